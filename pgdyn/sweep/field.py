"""What an axis of a sweep can set: arrays of the problem or some of their entries, numbers, and the seed.

    proxy_reward[1]        features[0, :]        initial_policy[0]        an index has Python's slices
    temperature            objective.kl          dynamics.t1              seed

An index is that of the field as the problem template shapes it.
"""

from __future__ import annotations

import functools
import re
from typing import NamedTuple, TypeAlias

from pgdyn import validate

Index: TypeAlias = tuple[int | slice, ...]

FIELDS = {  # field -> unit, and "array" (an index may follow) or what the number must be
    "features": ("1", "array"),
    "true_reward": ("reward", "array"),
    "proxy_reward": ("reward", "array"),
    "initial_policy": ("1", "array"),
    "initial_params": ("1", "array"),
    "prompt_weights": ("1", "array"),
    "temperature": ("1", "positive"),
    "objective.kl": ("reward/nat", "at least 0"),
    "objective.entropy": ("reward/nat", "finite"),
    "dynamics.t1": ("1", "positive"),
    "dynamics.target": ("reward", "finite"),
    "dynamics.learning_rate": ("1", "positive"),
    "seed": ("1", "at least 0"),
}


class Field(NamedTuple):
    """A field as an axis names it.

    Attributes:
        base: its name without the index.
        index: the entries that are meant, or None for the whole field.
        unit: its unit.
        rule: what its values must be.
    """

    base: str
    index: Index | None
    unit: str
    rule: str


@functools.lru_cache(maxsize=256)
def parse(text: str) -> Field:
    """The field that a text names.

    Raises:
        ValueError: if there is no such field or the index cannot be read.

    Example:
        >>> parse("proxy_reward[1, :]").index
        (1, slice(None, None, None))
        >>> parse("proxi_reward[1]")
        Traceback (most recent call last):
            ...
        ValueError: no field takes 'proxi_reward'; did you mean 'proxy_reward'?
    """
    if not isinstance(text, str):
        raise ValueError(validate.refusal("field", (), text, "it must be a string"))
    match = re.fullmatch(r"\s*([^\[\]\s]+)\s*(?:\[(.*)\]\s*)?", text)
    if match is None:
        raise ValueError(validate.refusal("field", (), text, "it must be a name or a name[index]"))
    base, inside = match.groups()
    if base not in FIELDS:
        hint = validate.suggestion(base, FIELDS, "the fields are")
        raise ValueError(f"no field takes {validate.shown(base)}; {hint}")
    unit, rule = FIELDS[base]
    if inside is None:
        return Field(base, None, unit, rule)
    if rule != "array":
        raise ValueError(f"field is {validate.shown(text)}, but {base} is a single number and takes no index")
    return Field(base, tuple(_part(text, part.strip()) for part in inside.split(",")), unit, rule)


def _part(text: str, part: str) -> int | slice:
    if re.fullmatch(r"[+-]?\d{1,9}", part):
        return int(part)
    if match := re.fullmatch(r"([+-]?\d{1,9})?\s*:\s*([+-]?\d{1,9})?", part):
        return slice(*(None if end is None else int(end) for end in match.groups()))
    rule = f"the index {part!r} is neither a whole number nor a slice like 1:3"
    raise ValueError(validate.refusal("field", (), text, rule))
