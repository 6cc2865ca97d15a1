"""What the axes of a sweep set at a point, and whether each sets something of its own, to values that give problems.

What does not is refused by a ValueError that names the axis.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pgdyn import validate
from pgdyn.batch import Batch
from pgdyn.io import tables
from pgdyn.sweep.axis import FIELDS, Axis
from pgdyn.sweep.dynamics import Dynamics
from pgdyn.sweep.template import Template

_DIMENSIONS = ("prompt", "output", "feature", "done")  # names of a sweep's dataset that no axis may have
_NUMBERS = 2**24  # of the problems that are made at once, to see whether they can be


def read(entries: Any) -> list[Axis]:
    """The axes of a spec's [[axes]] tables."""
    if not isinstance(entries, list) or not all(isinstance(entry, Mapping) for entry in entries):
        raise ValueError("axes must be a list of tables, each written under [[axes]]")
    axes = []
    for i, entry in enumerate(entries):
        with _within(i, entry.get("field")):
            axes.append(Axis.from_table(entry))
    return axes


def require(axes: Any, template: Template, dynamics: Dynamics, reserved: Sequence[str]) -> None:
    """Raises unless every axis has a name and sets something of its own that the problem or the dynamics has."""
    if not isinstance(axes, Sequence) or not all(isinstance(axis, Axis) for axis in axes):
        raise ValueError(validate.refusal("axes", (), axes, "it must be a list of axes"))
    if not axes:
        raise ValueError("axes is empty; a sweep needs at least one axis")
    names: dict[str, tuple[int, str]] = {}
    taken: dict[str, Any] = {}  # field -> the entries that axes set
    for i, axis in enumerate(axes):
        with _within(i, axis.field):
            if axis.name in (*reserved, *_DIMENSIONS):
                raise ValueError(f"the name {axis.name!r} is that of an observable or another dimension")
            j, field = names.setdefault(axis.name, (i, axis.field))
            if field != axis.field:
                raise ValueError(f"axes[{j}] has the name {axis.name!r} too")
            entries, before = _entries(axis, template, dynamics), taken.get(axis.base, False)
            if np.any(before & entries):
                first = next(other for other in axes if other.base == axis.base)
                raise ValueError(f"another axis ({first.field}) sets this already")
            taken[axis.base] = before | entries
    if "initial_policy" in taken and "initial_params" in taken:
        raise ValueError("one axis sets initial_policy and another initial_params; each of them sets the start")
    if template.draws and "seed" not in taken:
        raise ValueError(f"problem: {next(iter(template.draws))} is random, so an axis of seeds is needed")
    _require_room([axis for axis in axes if axis.base == "initial_policy" and axis.index is not None], template)
    most = max(1, _NUMBERS // math.prod(template.sizes.values()))
    for i, axis in enumerate(axes):
        # The problems along one axis, all others at their first value: the constructors know every rule.
        for first in range(0, len(axis), most) if axis.of_problem else ():
            with _within(i, axis.field), tables.within(f"from value {first} on") if first else contextlib.nullcontext():
                own = np.arange(first, min(first + most, len(axis)))
                problems(axes, template, [own if other is axis else 0 * own for other in axes])
    if not any(axis.of_problem for axis in axes):
        with tables.within("problem"):
            problems(axes, template, [np.zeros(1, int)] * len(axes))


def problems(axes: Sequence[Axis], template: Template, at: Sequence[np.ndarray]) -> tuple[dict[str, np.ndarray], Batch]:
    """What axes set at N points, by field, and the problems there; `at` are their indices [N] along each axis."""
    values = {axis.field: axis.values[index] for axis, index in zip(axes, at, strict=True)}
    entries = [(axis.base, axis.index, values[axis.field]) for axis in axes if axis.of_problem]
    return values, template.batch(len(at[0]), entries, values.get("seed"))


def _entries(axis: Axis, template: Template, dynamics: Dynamics) -> np.ndarray:
    """Which entries of its field an axis sets: a truth value for each, a single one for a number."""
    if axis.field == "seed" and dynamics.name != "ascend_sampled" and not template.draws:
        raise ValueError(f"no field takes a seed: the problem is not random and {dynamics.name} draws no samples")
    kind, _, name = axis.base.partition(".")
    if kind == "dynamics" and not hasattr(dynamics, name):
        raise ValueError(f"no field takes this: {dynamics.name} has no {name}")
    if isinstance(FIELDS[axis.base][1], str):
        return np.asarray(True)
    shape, index = template.given_shape(axis.base), axis.index or ()
    if index and len(index) != len(shape):
        raise ValueError(f"{axis.base} has shape {shape}, so its index needs {len(shape)} parts, not {len(index)}")
    entries = np.zeros(shape, bool)
    try:
        entries[index] = True
    except IndexError:
        inside = axis.field.partition("[")[2].rstrip(" ]")
        raise ValueError(f"the index {inside} is out of range; {axis.base} has shape {shape}") from None
    if not entries.any():
        raise ValueError(f"the index picks nothing; {axis.base} has shape {shape}")
    if axis.values.ndim > 1 and axis.values.shape[1:] != entries[index].shape:
        raise ValueError(f"values have shape {axis.values.shape[1:]}, but {axis.field} has {entries[index].shape}")
    return entries


def _require_room(axes: Sequence[Axis], template: Template) -> None:
    """Raises unless the probabilities that axes set always leave something for the others."""
    if not axes:
        return
    largest = np.zeros(template.given_shape("initial_policy"))
    for axis in axes:
        largest[axis.index] = axis.values.max(axis=0)
    if (largest > 0).all(-1).any():
        raise ValueError("axes set every entry of initial_policy, so that none is left to make the sum 1")
    if (total := largest.sum(-1).max()) >= 1:
        raise ValueError(f"axes set initial_policy to entries that sum to {total:g}; the others need some of the 1")


def _within(i: int, field: Any) -> Any:
    """Errors inside the block begin with the place of an axis in its spec."""
    return tables.within(f"axes[{i}] ({field:.80})" if isinstance(field, str) else f"axes[{i}]")
