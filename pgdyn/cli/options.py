"""What the options of the commands have in common: how text becomes a value, and what several commands begin with."""

from __future__ import annotations

import difflib
import pathlib
import re
import sys
from collections.abc import Sequence
from typing import Any

import click

import pgdyn

_LARGEST = 2**63 - 1


class Value(click.ParamType):
    """Text as a number, a whole number or one of some words. What does not fit is refused by a sentence.

    Args:
        kind: float or int; None where only the choices are allowed.
        choices: values given by their name (True by "yes", False by "no"), beside those of `kind`.
        smallest: of whole numbers.

    Example:
        >>> Value(int).convert("1e6", None, None), Value(float, ["value"]).convert("-0.5", None, None)
        (1000000, -0.5)
    """

    name = "value"

    def __init__(self, kind: type | None = None, choices: Sequence[Any] = (), smallest: int = -_LARGEST):
        self.kind, self.smallest = kind, smallest
        self.words = {("yes" if one else "no") if isinstance(one, bool) else one: one for one in choices}

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        """What help shows as the value: its kind, and the words."""
        kinds = {float: ["NUMBER"], int: ["INTEGER"]}.get(self.kind, [])
        return "|".join([*kinds, *self.words])

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The value that a text stands for; what is no text is a value already."""
        if not isinstance(value, str) or value in self.words:
            return self.words.get(value, value)
        try:
            if self.kind is not None:
                return self._whole(value) if self.kind is int else self.kind(value)
        except ValueError:
            pass
        least = "up" if self.smallest < 0 else f"from {self.smallest}"
        rules = {float: ["a number"], int: [f"a whole number {least} to 2^63 - 1"]}.get(self.kind, [])
        near = difflib.get_close_matches(value, self.words, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        shown = value[:60] if re.fullmatch(r"[-+.\deE]+", value) else f"{value!r:.60}"
        return self.fail(f"is {shown}; it must be {' or '.join([*rules, *self.words])}{hint}", param, ctx)

    def _whole(self, text: str) -> int:
        number = int(text) if text.strip().lstrip("+-").isdigit() else float(text)
        if number != number // 1 or not self.smallest <= number <= _LARGEST:
            raise ValueError(text)
        return int(number)


NUMBER, COUNT, SEED = Value(float), Value(int, smallest=1), Value(int, smallest=0)
PATH = click.Path(path_type=pathlib.Path)
problem = click.argument("problem", type=PATH, help="Problem file, .toml or .json.")


def enable_cache() -> None:
    """Keeps compiled programs between runs, unless `--no-cache` was given; for a command that is about to compute."""
    from pgdyn import compilation_cache

    if not click.get_current_context().find_root().params["no_cache"]:
        compilation_cache.enable()


def load(path: pathlib.Path) -> pgdyn.Problem:
    """The problem of a file, for a command that is about to compute, and a remark where it starts elsewhere."""
    from pgdyn.io.problem_file import start_note

    enable_cache()
    loaded = pgdyn.load_problem(path)
    if note := start_note(path, loaded):
        print("note: " + note, file=sys.stderr)
    return loaded
