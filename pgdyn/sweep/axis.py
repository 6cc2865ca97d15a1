"""The axes of a sweep: what each one sets, and to which values.

An axis addresses a *field*: an array of the problem or some of its entries ("proxy_reward[1]", "features[0, :]",
"initial_policy[0]" with the rest of the policy scaled to make room), a number ("temperature", "objective.kl",
"dynamics.t1"), or "seed". Indices are those of the field as the problem template shapes it, with Python's slices.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from pgdyn import validate
from pgdyn.validate import Numbers

ARRAYS = {  # field -> unit, for fields that an index may follow
    "features": "1",
    "true_reward": "reward",
    "proxy_reward": "reward",
    "initial_policy": "1",
    "initial_params": "1",
    "prompt_weights": "1",
}
NUMBERS = {  # field -> (unit, what every value must satisfy)
    "temperature": ("1", "positive"),
    "objective.kl": ("reward/nat", "at least 0"),
    "objective.entropy": ("reward/nat", "finite"),
    "dynamics.t1": ("1", "positive"),
    "dynamics.target": ("reward", "finite"),
    "dynamics.learning_rate": ("1", "positive"),
    "seed": ("1", "at least 0"),
}
KINDS = {
    "linear": ("start", "stop", "count"),
    "log": ("start", "stop", "count"),
    "list": ("values",),
    "seeds": ("count",),
}
_OPTIONAL = {"list": ("labels",), "seeds": ("first",)}
_COMMON = ("field", "kind", "name", "unit")
_LARGEST_SEED = 2**63 - 1
_MOST_VALUES = 10**9

Index = tuple[int | slice, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class Axis:
    """One dimension of a sweep. Make one with `linear`, `log`, `listed` or `seeds`.

    Attributes:
        field: what the axis sets, for instance "proxy_reward[1]".
        values: [n], or [n, ...] where every value is a whole array of the field.
        name: the dimension's name; the field where none is given.
        unit: its unit.
        labels: [n] coordinates for values that are arrays, or None for their positions.
    """

    field: str
    values: np.ndarray
    name: str
    unit: str
    labels: np.ndarray | None = None

    @classmethod
    def linear(
        cls, field: str, start: float, stop: float, count: int, *, name: str | None = None, unit: str | None = None
    ) -> Axis:
        """`count` values evenly spaced from `start` to `stop`, both included.

        Raises:
            ValueError: naming the argument that is wrong.
        """
        ends, number = _range(field, start, stop, count)
        return _make(cls, field, np.linspace(*ends, number), name, unit)

    @classmethod
    def log(
        cls, field: str, start: float, stop: float, count: int, *, name: str | None = None, unit: str | None = None
    ) -> Axis:
        """`count` values evenly spaced in their logarithm from `start` to `stop`, both included and positive.

        Raises:
            ValueError: naming the argument that is wrong.
        """
        ends, number = _range(field, start, stop, count)
        for key, end in zip(("start", "stop"), ends, strict=True):
            if end <= 0:
                raise ValueError(f"{key} is {end:g}; a logarithmic axis runs between positive numbers")
        return _make(cls, field, np.geomspace(*ends, number), name, unit)

    @classmethod
    def listed(
        cls,
        field: str,
        values: Numbers,
        *,
        labels: Sequence[Any] | None = None,
        name: str | None = None,
        unit: str | None = None,
    ) -> Axis:
        """The values given: numbers, or whole arrays of the field ([n, ...]), with `labels` as their coordinates.

        Raises:
            ValueError: naming the entry that is wrong.
        """
        if validate.is_traced(values):
            raise ValueError("values are traced; the values of an axis must be concrete")
        if not isinstance(values, np.ndarray) and isinstance(values, Iterable) and not len(list(values)):
            raise ValueError("values is empty; an axis needs at least one value")
        if field == "seed":
            return cls.from_seeds(values, name=name)
        array = validate.as_floats("values", values)
        if array.ndim == 0:
            raise ValueError(f"values is {array:g}; it must be a list")
        validate.require_finite("values", array)
        return _make(cls, field, array, name, unit, labels)

    @classmethod
    def seeds(cls, count: int, first: int = 0, *, name: str | None = None) -> Axis:
        """The seeds first, first + 1, ..., first + count - 1.

        Raises:
            ValueError: naming the argument that is wrong.
        """
        number = validate.count("count", count, minimum=1)
        first = validate.count("first", first, minimum=0)
        if number > _MOST_VALUES or first + number - 1 > _LARGEST_SEED:
            raise ValueError(f"count is {number} and first {first}; seeds end at 2^63 - 1 and an axis at 1e9 values")
        return _make(cls, "seed", np.arange(first, first + number, dtype=np.int64), name, None)

    @classmethod
    def from_seeds(cls, values: Any, *, name: str | None = None) -> Axis:
        """The seeds given.

        Raises:
            ValueError: naming the entry that is no whole number from 0 to 2^63 - 1.
        """
        listed = np.ravel(values).tolist() if isinstance(values, np.ndarray) else list(values)
        seeds = [validate.count(f"values[{i}]", seed, minimum=0) for i, seed in enumerate(listed)]
        for i, seed in enumerate(seeds):
            if seed > _LARGEST_SEED:
                raise ValueError(f"values[{i}] is {seed}; seeds end at 2^63 - 1")
        return _make(cls, "seed", np.asarray(seeds, np.int64), name, None)

    @property
    def base(self) -> str:
        """The field without its index."""
        return split_field(self.field)[0]

    @property
    def index(self) -> Index | None:
        """The entries that the axis sets, or None for the whole field."""
        return split_field(self.field)[1]

    @property
    def coordinates(self) -> np.ndarray:
        """[n] numbers or names along the dimension."""
        if self.labels is not None:
            return self.labels
        return self.values if self.values.ndim == 1 else np.arange(len(self.values))

    def __len__(self) -> int:
        return len(self.values)

    def to_table(self) -> dict[str, Any]:
        """The axis as a table that `from_table` reads back to the same bits; seeds in a row stay a range."""
        table: dict[str, Any] = {"field": self.field, "name": self.name, "unit": self.unit}
        steps = np.diff(self.values, axis=0)
        if self.field == "seed" and (steps == 1).all():
            return table | {"kind": "seeds", "first": int(self.values[0]), "count": len(self)}
        table |= {"kind": "list", "values": self.values.tolist()}
        if self.labels is not None:
            table["labels"] = self.labels.tolist()
        return table

    @classmethod
    def from_table(cls, table: Mapping[str, Any]) -> Axis:
        """An axis from the keys of a spec file's [[axes]] entry.

        Raises:
            ValueError: naming the key that is missing, unknown or wrong.
        """
        known = (*_COMMON, *dict.fromkeys(key for keys in (*KINDS.values(), *_OPTIONAL.values()) for key in keys))
        refuse_unknown(table, known)
        kind = table.get("kind")
        if kind is None:
            raise ValueError(f"the key kind is missing; it is one of {', '.join(KINDS)}")
        validate.choice("kind", kind, tuple(KINDS))
        own = (*KINDS[kind], *_OPTIONAL.get(kind, ()))
        for key in table:
            if key not in (*own, *_COMMON):
                raise ValueError(f"the key {key} does not go with kind {kind!r}, which takes {', '.join(own)}")
        for key in KINDS[kind]:
            if key not in table:
                raise ValueError(f"the key {key} is missing; kind {kind!r} takes {', '.join(KINDS[kind])}")
        field = table.get("field", "seed" if kind == "seeds" else None)
        if field is None:
            raise ValueError('the key field is missing; it names what the axis sets, for instance "proxy_reward[1]"')
        if not isinstance(field, str):
            raise ValueError(f"field is {field!r:.80}; it must be a string")
        arguments = {key: table[key] for key in own if key in table}
        if kind == "seeds":
            if field != "seed":
                raise ValueError(f"field is {field!r:.80}; an axis of seeds sets the field 'seed'")
            return cls.seeds(**arguments, name=table.get("name"))
        extra = {key: table[key] for key in ("name", "unit") if key in table}
        constructor = {"linear": cls.linear, "log": cls.log, "list": cls.listed}[kind]
        return constructor(field, **arguments, **extra)


def split_field(field: str) -> tuple[str, Index | None]:
    """A field's name and the entries that are meant, None for all.

    Raises:
        ValueError: if there is no such field or the index cannot be read.
    """
    if not isinstance(field, str):
        raise ValueError(f"field is {field!r:.80}; it must be a string")
    match = re.fullmatch(r"\s*([^\[\]\s]+)\s*(?:\[(.*)\]\s*)?", field)
    known = (*ARRAYS, *NUMBERS)
    if match is None:
        raise ValueError(f"field is {field!r:.80}; it must be a name or a name[index]")
    base, inside = match.groups()
    if base not in known:
        raise ValueError(f"no field takes {base!r:.80}; " + suggestion(base, known, "the fields are"))
    if inside is None:
        return base, None
    if base not in ARRAYS:
        raise ValueError(f"field is {field!r:.80}, but {base} is a single number and takes no index")
    return base, tuple(_index(field, part.strip()) for part in inside.split(","))


def _index(field: str, part: str) -> int | slice:
    if re.fullmatch(r"[+-]?\d{1,9}", part):
        return int(part)
    if match := re.fullmatch(r"([+-]?\d{1,9})?\s*:\s*([+-]?\d{1,9})?", part):
        return slice(*(None if end is None else int(end) for end in match.groups()))
    raise ValueError(f"field is {field!r:.80}; the index {part!r} is neither a whole number nor a slice like 1:3")


def suggestion(word: str, known: Sequence[str], otherwise: str) -> str:
    """A near miss of `word` as a question, or the list of what is known."""
    close = difflib.get_close_matches(word, known, n=1)
    return f"did you mean {close[0]!r}?" if close else f"{otherwise} {', '.join(known)}"


def refuse_unknown(table: Mapping[str, Any], known: Sequence[str]) -> None:
    """Raises ValueError for the first key that is not known."""
    for key in table:
        if key not in known:
            raise ValueError(f"unknown key {key!r:.80}; " + suggestion(str(key), known, "the keys are"))


def _range(field: str, start: Any, stop: Any, count: Any) -> tuple[tuple[float, float], int]:
    if field == "seed":
        raise ValueError("field is 'seed'; seeds are whole numbers, use kind 'seeds' or 'list'")
    number = validate.count("count", count, minimum=1)
    if number > _MOST_VALUES:
        raise ValueError(f"count is {number}; an axis has at most 1e9 values")
    ends = []
    for key, end in (("start", start), ("stop", stop)):
        if isinstance(end, bool) or not isinstance(end, int | float | np.integer | np.floating):
            raise ValueError(f"{key} is {end!r:.80}; it must be a number")
        try:
            value = float(end)
        except OverflowError:
            value = float("inf")
        if not np.isfinite(value):
            raise ValueError(f"{key} is {value}; it must be finite")
        ends.append(value)
    if number == 1 and ends[0] != ends[1]:
        raise ValueError(f"count is 1 but start {ends[0]:g} and stop {ends[1]:g} differ; one value cannot be both")
    if number > 1 and ends[0] == ends[1]:
        raise ValueError(f"the range is empty: start and stop are both {ends[0]:g} and count is {number}")
    return (ends[0], ends[1]), number


def _make(
    cls: type[Axis], field: str, values: np.ndarray, name: Any, unit: Any, labels: Sequence[Any] | None = None
) -> Axis:
    base, index = split_field(field)
    if base in NUMBERS:
        default, rule = NUMBERS[base]
        if values.ndim != 1:
            raise ValueError(f"values has shape {values.shape}, but {base} is a single number")
        good = {"positive": values > 0, "at least 0": values >= 0, "finite": np.isfinite(values)}[rule]
        validate.require("values", values, good, f"{base} must be {rule}")
    else:
        default = ARRAYS[base]
        if index is None and values.ndim == 1:
            raise ValueError(
                f"field is {base!r}, an array, but the values are single numbers; name an entry, as in {base}[0]"
            )
    for key, text in (("name", name), ("unit", unit)):
        if text is not None and (not isinstance(text, str) or not text.strip() or "/" in text and key == "name"):
            raise ValueError(f"{key} is {text!r:.80}; it must be a string that is not empty and, in a name, has no '/'")
    if values.ndim == 1:
        order = np.sort(values)
        if (twice := order[1:] == order[:-1]).any():
            raise ValueError(f"the value {order[1:][twice][0]:g} is listed twice")
        if labels is not None:
            raise ValueError("labels go with values that are arrays; numbers are their own coordinates")
    return cls(
        field, values, field if name is None else name, default if unit is None else unit, _labels(labels, values)
    )


def _labels(labels: Sequence[Any] | None, values: np.ndarray) -> np.ndarray | None:
    if labels is None:
        return None
    if isinstance(labels, str) or not isinstance(labels, Iterable):
        raise ValueError(f"labels is {labels!r:.80}; it must be a list of names or numbers")
    listed = labels.tolist() if isinstance(labels, np.ndarray) else list(labels)
    if len(listed) != len(values):
        raise ValueError(f"labels has {len(listed)} entries but values {len(values)}")
    texts = [isinstance(label, str) for label in listed]
    if not all(texts) and any(texts) or len(set(listed)) < len(listed):
        raise ValueError("labels must be all names or all numbers, none of them twice")
    if all(texts):
        return np.asarray(listed)
    array = validate.as_floats("labels", listed)
    validate.require_finite("labels", array)
    return array
