"""The axes of a sweep: what each one sets, and to which values.

An axis sets an array of the problem, some of its entries, a number, or the seed:

    proxy_reward[1]        features[0, :]        initial_policy[0]        an index has Python's slices
    temperature            objective.kl          dynamics.t1              seed

An index is that of the field as the problem template shapes it.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from pgdyn import validate
from pgdyn.io import tables
from pgdyn.validate import Numbers

Index: TypeAlias = tuple[int | slice, ...]

FIELDS: dict[str, tuple[str, str | tuple[str, ...]]] = {  # field -> unit, and its dimensions or what the number must be
    "features": ("1", ("prompts", "outputs", "dimension")),
    "true_reward": ("reward", ("prompts", "outputs")),
    "proxy_reward": ("reward", ("prompts", "outputs")),
    "initial_policy": ("1", ("prompts", "outputs")),
    "initial_params": ("1", ("prompts", "outputs")),  # with features: ("dimension",)
    "prompt_weights": ("1", ("prompts",)),
    "temperature": ("1", "positive"),
    "objective.kl": ("reward/nat", "at least 0"),
    "objective.entropy": ("reward/nat", "finite"),
    "dynamics.t1": ("1", "positive"),
    "dynamics.target": ("reward", "finite"),
    "dynamics.learning_rate": ("1", "positive"),
    "seed": ("1", "at least 0"),
}
_MOST_VALUES = 10**7  # a store's description lists them


@dataclasses.dataclass(frozen=True, eq=False)
class Axis:
    """One dimension of a sweep. Make one with `linear`, `log`, `listed` or `seeds`.

    Attributes:
        field: what the axis sets, for instance "proxy_reward[1]".
        values: [n], or [n, ...] where every value is a whole array of the field.
        name: the dimension's name; the field where none is given.
        unit: its unit.
        labels: [n] coordinates for values that are arrays, or None for their positions.

    Raises:
        ValueError: naming the argument that is wrong, in all constructors.

    Example:
        >>> Axis.linear("proxy_reward[1]", -1, 1, 5).values
        array([-1. , -0.5,  0. ,  0.5,  1. ])
        >>> Axis.listed("true_reward", [[1, 0], [0, 1]], labels=["first", "second"]).coordinates
        array(['first', 'second'], dtype='<U6')
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
        """`count` values evenly spaced from `start` to `stop`, both included."""
        return _axis(field, _between(np.linspace, start, stop, count), name, unit)

    @classmethod
    def log(
        cls, field: str, start: float, stop: float, count: int, *, name: str | None = None, unit: str | None = None
    ) -> Axis:
        """`count` values evenly spaced in their logarithm from `start` to `stop`, both included and positive.

        Example:
            >>> Axis.log("initial_policy[0]", 0.001, 0.1, 3).values.round(6)
            array([0.001, 0.01 , 0.1  ])
        """
        return _axis(field, _between(np.geomspace, start, stop, count), name, unit)

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

        For the field "seed" they are whole numbers up to 2^63 - 1.
        """
        validate.require_known("an axis", values)
        seeds = values.tolist() if isinstance(values, np.ndarray) else values
        if field == "seed" and isinstance(seeds, list | tuple):
            checked = [validate.count(f"values[{i}]", seed, minimum=0) for i, seed in enumerate(seeds)]
            return _axis(field, np.asarray(checked, np.int64), name, unit)
        array = validate.as_floats("values", values)
        if array.ndim == 0:
            raise ValueError(validate.refusal("values", (), float(array), "it must be a list"))
        validate.require_finite("values", array)
        return _axis(field, array, name, unit, labels)

    @classmethod
    def seeds(cls, count: int, first: int = 0, *, name: str | None = None) -> Axis:
        """The seeds first, first + 1, ..., first + count - 1.

        Example:
            >>> Axis.seeds(3, first=5).values
            array([5, 6, 7])
        """
        number = _count(count)
        if isinstance(first, int) and first + number > 2**63:
            raise ValueError(validate.refusal("first", (), first, f"count is {number} and seeds end at 2^63 - 1"))
        start = validate.count("first", first, minimum=0)
        return _axis("seed", np.arange(start, start + number, dtype=np.int64), name, None)

    @property
    def base(self) -> str:
        """The field without its index."""
        return parse(self.field)[0]

    @property
    def index(self) -> Index | None:
        """The entries that the axis sets, or None for the whole field."""
        return parse(self.field)[1]

    @property
    def of_problem(self) -> bool:
        """Whether the axis sets a part of the problem."""
        return "." not in self.base and self.base != "seed"

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
        if (self.field, self.unit) == ("seed", "1") and (np.diff(self.values) == 1).all():
            return table | {"kind": "seeds", "first": int(self.values[0]), "count": len(self)}
        table |= {"kind": "list", "values": self.values.tolist()}
        return table if self.labels is None else table | {"labels": self.labels.tolist()}

    @classmethod
    def from_table(cls, table: Mapping[str, Any]) -> Axis:
        """An axis from the keys of a spec file's [[axes]] entry: `kind`, and the arguments of the constructor it names.

        Example:
            >>> Axis.from_table({"field": "temperature", "kind": "list", "values": [0.5, 1.0]}).name
            'temperature'
        """
        kinds = {"linear": cls.linear, "log": cls.log, "list": cls.listed, "seeds": cls.seeds}
        known = {kind: list(inspect.signature(make).parameters) for kind, make in kinds.items()}
        if "kind" not in table:
            raise ValueError(f"the key kind is missing; it is one of {', '.join(kinds)}")
        kind = table["kind"]
        validate.choice("kind", kind, tuple(kinds))
        fixed = {"kind": kind, "field": "seed", "unit": "1"} if kind == "seeds" else {"kind": kind}
        for key, value in table.items():
            if key in fixed and value != fixed[key]:
                raise ValueError(validate.refusal(key, (), value, f"an axis of seeds has the {key} {fixed[key]!r}"))
            if key not in (*fixed, *known[kind]) and any(key in keys for keys in known.values()):
                raise ValueError(f"the key {key} does not go with kind {kind!r}, which takes {', '.join(known[kind])}")
        return tables.build(kinds[kind], {key: value for key, value in table.items() if key not in fixed})


def parse(text: str) -> tuple[str, Index | None]:
    """The field that a text names, and its index: "proxy_reward[1, :]" gives ("proxy_reward", (1, slice(None)))."""
    match = re.fullmatch(r"\s*([^\[\]\s]+)\s*(?:\[(.*)\]\s*)?", text) if isinstance(text, str) else None
    if match is None:
        raise ValueError(validate.refusal("field", (), text, "it must be a string, a name or name[index]"))
    base, inside = match.groups()
    if base not in FIELDS:
        hint = validate.suggestion(base, FIELDS, "the fields are")
        raise ValueError(f"no field takes {validate.shown(base)}; {hint}")
    if inside is None:
        return base, None
    if isinstance(FIELDS[base][1], str):
        raise ValueError(f"field is {validate.shown(text)}, but {base} is a single number and takes no index")
    index = []
    for part in map(str.strip, inside.split(",")):
        found = re.fullmatch(r"([+-]?\d{1,9})|([+-]?\d{1,9})?\s*:\s*([+-]?\d{1,9})?", part)
        if found is None:
            rule = f"the index {part!r} is neither a whole number nor a slice like 1:3"
            raise ValueError(validate.refusal("field", (), text, rule))
        number, *ends = (None if end is None else int(end) for end in found.groups())
        index.append(slice(*ends) if number is None else number)
    return base, tuple(index)


def _between(space: Callable[..., np.ndarray], start: Any, stop: Any, count: Any) -> np.ndarray:
    number = _count(count)
    for key, end in (("start", start), ("stop", stop)):
        if isinstance(end, bool) or not isinstance(end, int | float | np.integer | np.floating):
            raise ValueError(validate.refusal(key, (), end, "it must be a number"))
        if not abs(end) <= sys.float_info.max:
            raise ValueError(validate.refusal(key, (), end, "it must be finite"))
        if space is np.geomspace and end <= 0:
            raise ValueError(validate.refusal(key, (), end, "a logarithmic axis runs between positive numbers"))
    low, high = float(start), float(stop)
    if number == 1 and low != high:
        raise ValueError(f"count is 1 but start {low:g} and stop {high:g} differ; one value cannot be both")
    if number > 1 and low == high:
        raise ValueError(f"the range is empty: start and stop are both {low:g} and count is {number}")
    return space(low, high, number)


def _count(value: Any) -> int:
    number = validate.count("count", value, minimum=1)
    if number > _MOST_VALUES:
        raise ValueError(f"count is {number}; an axis has at most 1e7 values")
    return number


def _axis(field: str, values: np.ndarray, name: Any, unit: Any, labels: Any = None) -> Axis:
    base, index = parse(field)
    own_unit, rule = FIELDS[base]
    if base == "seed" and values.dtype.kind != "i":
        raise ValueError("field is 'seed'; seeds are whole numbers, use kind 'seeds' or 'list'")
    if isinstance(rule, tuple) and index is None and values.ndim == 1:
        raise ValueError(f"field is {base!r}, an array, but values are single numbers; name an entry, as in {base}[0]")
    if isinstance(rule, str):
        if values.ndim != 1:
            raise ValueError(f"values has shape {values.shape}, but {base} is a single number")
        good = {"positive": values > 0, "at least 0": values >= 0, "finite": np.isfinite(values)}[rule]
        validate.require("values", values, good, f"{base} must be {rule}")
    if base == "initial_policy" and index is not None:
        validate.require("values", values, (values > 0) & (values < 1), "a probability lies between 0 and 1")
    for key, text in (("name", name), ("unit", unit)):
        if text is not None and (not isinstance(text, str) or not text.strip() or "/" in text and key == "name"):
            rule = "it must be a string that is not empty and, in a name, has no '/'"
            raise ValueError(validate.refusal(key, (), text, rule))
    if not len(values):
        raise ValueError("values is empty")
    if values.ndim == 1:
        found, counts = np.unique(values, return_counts=True)
        if (counts > 1).any():
            raise ValueError(f"the value {found[counts > 1][0]:g} is listed twice")
        if labels is not None:
            raise ValueError("labels go with values that are arrays; numbers are their own coordinates")
    coordinates = None if labels is None else _labels(labels, len(values))
    return Axis(field, values, field if name is None else name, own_unit if unit is None else unit, coordinates)


def _labels(labels: Any, size: int) -> np.ndarray:
    if isinstance(labels, str) or not isinstance(labels, Sequence | np.ndarray):
        raise ValueError(validate.refusal("labels", (), labels, "it must be a list of names or numbers"))
    if len(labels) != size:
        raise ValueError(f"labels has {len(labels)} entries but values {size}")
    if len({isinstance(label, str) for label in labels}) > 1:
        raise ValueError("labels must be all names or all numbers")
    array = np.asarray(labels) if isinstance(labels[0], str) else validate.as_floats("labels", labels)
    if array.ndim > 1 or len(np.unique(array)) < size:
        raise ValueError("labels must be names or numbers, none of them twice")
    if array.dtype.kind == "f":
        validate.require_finite("labels", array)
    return array
