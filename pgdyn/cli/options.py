"""What the options of the commands have in common: how text becomes a value, and options that several have."""

from __future__ import annotations

import difflib
import pathlib
import re
from collections.abc import Callable, Sequence
from typing import Any

import click

_LARGEST = 2**63 - 1


class Value(click.ParamType):
    """Text as a number, a whole number or one of some words. What does not fit is refused by a sentence.

    Args:
        kind: float, int or str; None where only the choices are allowed.
        choices: values given by their name (True by "yes", False by "no"), beside those of `kind`.
        smallest: of whole numbers.

    Example:
        >>> Value(int).convert("1e6", None, None), Value(float, ["value"]).convert("-0.5", None, None)
        (1000000, -0.5)
    """

    name = "value"

    def __init__(self, kind: type | None = None, choices: Sequence[Any] = (), smallest: int | None = None):
        self.kind, self.smallest = kind, smallest
        self.words = {("yes" if choice else "no") if isinstance(choice, bool) else choice: choice for choice in choices}

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        """What help shows as the value: its kind, and the words."""
        kinds = [] if self.kind is None else [{float: "NUMBER", int: "INTEGER"}.get(self.kind, "TEXT")]
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
        least = "up" if self.smallest is None else f"from {self.smallest}"
        rule = {int: [f"a whole number {least} to 2^63 - 1"], float: ["a number"]}.get(self.kind or str, [])
        near = difflib.get_close_matches(value, self.words, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        shown = value[:60] if re.fullmatch(r"[-+.\deE]+", value) else f"{value!r:.60}"
        return self.fail(f"is {shown}; it must be {' or '.join([*rule, *self.words])}{hint}", param, ctx)

    def _whole(self, text: str) -> int:
        number = int(text) if text.strip().lstrip("+-").isdigit() else float(text)
        if number != number // 1 or not (-_LARGEST if self.smallest is None else self.smallest) <= number <= _LARGEST:
            raise ValueError(text)
        return int(number)


NUMBER, SEED = Value(float), Value(int, smallest=0)
PATH = click.Path(path_type=pathlib.Path)
problem = click.argument("problem", type=PATH, help="Problem file, .toml or .json.")


def output(files: str) -> Callable[[Any], Any]:
    """The options `--out` and `--overwrite` of a command that leaves `files` in a folder.

    Example:
        >>> [option.name for option in click.command()(output("run.png")(lambda out, overwrite: None)).params]
        ['out', 'overwrite']
    """
    overwrite = click.option("--overwrite", is_flag=True, help="Replace what an earlier run left in that folder.")
    text = f"Folder for {files}.  [default: only show the table]"
    return lambda function: click.option("--out", type=PATH, metavar="DIR", help=text)(overwrite(function))
