"""Whether the axes of a sweep set what there is to set, each something of its own, to values that give problems."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pgdyn import validate
from pgdyn.io import tables
from pgdyn.sweep.axis import Axis
from pgdyn.sweep.dynamics import Dynamics
from pgdyn.sweep.template import Template

_DIMENSIONS = ("prompt", "output", "feature", "done")  # names of a sweep's dataset that no axis may have


def read(entries: Any) -> list[Axis]:
    """The axes of a spec's [[axes]] tables.

    Raises:
        ValueError: naming the axis and the key that is wrong.
    """
    if not isinstance(entries, list) or not all(isinstance(entry, Mapping) for entry in entries):
        raise ValueError("axes must be a list of tables, each written under [[axes]]")
    axes = []
    for i, entry in enumerate(entries):
        with tables.within(_place(i, entry.get("field"))):
            axes.append(Axis.from_table(entry))
    return axes


def checked(axes: Any, reserved: Sequence[str]) -> tuple[Axis, ...]:
    """The axes, all different in name.

    Raises:
        ValueError: naming the axis that is wrong.
    """
    if isinstance(axes, Axis) or not isinstance(axes, Sequence) or not all(isinstance(axis, Axis) for axis in axes):
        raise ValueError(validate.refusal("axes", (), axes, "it must be a list of axes"))
    if not axes:
        raise ValueError("axes is empty; a sweep needs at least one axis")
    for i, axis in enumerate(axes):
        if axis.name in (*reserved, *_DIMENSIONS):
            raise ValueError(
                f"{_place(i, axis.field)}: the name {axis.name!r} is that of an observable or another dimension"
            )
        for j, other in enumerate(axes[:i]):
            if axis.name == other.name and axis.field != other.field:
                raise ValueError(f"{_place(i, axis.field)}: axes[{j}] has the name {axis.name!r} too")
    return tuple(axes)


def require(template: Template, axes: Sequence[Axis], dynamics: Dynamics) -> None:
    """Raises unless every axis sets something of its own that the template, the dynamics or the objective has.

    Raises:
        ValueError: naming the axis that is wrong.
    """
    taken: dict[str, Any] = {}
    for i, axis in enumerate(axes):
        with tables.within(_place(i, axis.field)):
            entries = _entries(template, axis, dynamics)
            if np.any(taken.get(axis.base, False) & entries):
                first = next(other for other in axes if other.base == axis.base)
                raise ValueError(f"another axis ({first.field}) sets this already")
        taken[axis.base] = taken.get(axis.base, False) | entries
    if "initial_policy" in taken and "initial_params" in taken:
        raise ValueError("one axis sets initial_policy and another initial_params; each of them sets the start")
    if template.draws and "seed" not in taken:
        raise ValueError(f"problem: {next(iter(template.draws))} is random, so an axis of seeds is needed")
    _require_policies(template, [axis for axis in axes if axis.base == "initial_policy" and axis.index is not None])
    along = [i for i, axis in enumerate(axes) if axis.of_problem]
    for i in along:
        # The problems along one axis, all others at their first value: the constructors know every rule.
        with tables.within(_place(i, axes[i].field)):
            size = len(axes[i])
            values = [other.values if other is axes[i] else other.values[[0] * size] for other in axes]
            chosen = [(axes[j].base, axes[j].index, values[j]) for j in along]
            template.batch(size, chosen, np.zeros(size, np.int64))
    if not along:
        with tables.within("problem"):
            template.batch(1, (), np.zeros(1, np.int64))


def _entries(template: Template, axis: Axis, dynamics: Dynamics) -> np.ndarray:
    """Which entries of its field an axis sets: a truth value for each, a single one for a number."""
    if axis.field == "seed" and dynamics.name != "ascend_sampled" and not template.draws:
        raise ValueError(f"no field takes a seed: the problem is not random and {dynamics.name} draws no samples")
    name = axis.base.removeprefix("dynamics.")
    if name != axis.base and not hasattr(dynamics, name):
        raise ValueError(f"no field takes this: {dynamics.name} has no {name}")
    if not axis.is_array:
        return np.asarray(True)
    shape, index = template.field_shape(axis.base), axis.index or ()
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


def _require_policies(template: Template, axes: Sequence[Axis]) -> None:
    """Raises unless the probabilities that axes set are positive and leave something for the others."""
    if not axes:
        return
    largest = np.zeros(template.field_shape("initial_policy"))
    for axis in axes:
        with tables.within(axis.field):
            good = (axis.values > 0) & (axis.values < 1)
            validate.require("values", axis.values, good, "a probability lies between 0 and 1")
        largest[axis.index] = axis.values.max(axis=0)
    if (largest > 0).all(-1).any():
        raise ValueError("axes set every entry of initial_policy, so that none is left to make the sum 1")
    if (total := largest.sum(-1)).max() >= 1:
        raise ValueError(
            f"axes set initial_policy to entries that sum to {total.max():g}; the others need some of the 1"
        )


def _place(i: int, field: Any) -> str:
    """Where an axis stands in its spec, for error messages."""
    return f"axes[{i}] ({field})" if isinstance(field, str) else f"axes[{i}]"
