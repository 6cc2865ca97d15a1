"""What a sweep runs: a problem template, axes, a dynamics, an objective, and what is recorded at every point.

As a file:

    observables = ["true_value", "hitting_time"]

    [problem]                                    # the keys of a problem file; or: file = "problem.toml"
    true_reward = [1.0, 0.8, -1.0, -1.0, -1.0]
    initial_policy = [0.05, 0.5, 0.15, 0.15, 0.15]

    [[axes]]
    field = "initial_policy[0]"                  # the rest of the policy is scaled to make room
    kind = "log"                                 # linear, log: start, stop, count; list: values; seeds: count, first
    start = 1e-4
    stop = 0.4
    count = 200

    [[axes]]
    field = "proxy_reward[1]"
    kind = "linear"
    start = -1.0
    stop = 1.0
    count = 200

    [dynamics]
    kind = "flow"                                # or ascend, ascend_sampled
    t1 = 5000.0
    target = 0.9

    [objective]                                  # optional: the fields of pgdyn.Objective
    kl = 0.01

Every combination of the axes' values is a point. Points are numbered with the last axis fastest, and a run of them is a
shard, the unit of work.
"""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
import json
import math
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pgdyn import problem_file, provenance, validate
from pgdyn.objective import Objective
from pgdyn.problem import Problem
from pgdyn.sweep import settings
from pgdyn.sweep.axis import Axis, refuse_unknown, suggestion
from pgdyn.sweep.settings import Ascend, AscendSampled, Dynamics, Flow
from pgdyn.sweep.template import Template

OBSERVABLES = ("true_value", "proxy_value", "hitting_time", "steps", "result", "log_policy", "params")
_KEYS = ("name", "description", "problem", "axes", "dynamics", "objective", "observables", "shard_size")
_RESERVED = (*OBSERVABLES, "prompt", "output", "feature", "done")
_FLOW_NUMBERS = (2**16, 2**18)  # P K (D) numbers in a shard of flows, least and most: some tenths of a second
_ASCENT_UPDATES = (2**20, 2**25)  # updates in a shard of ascents
_LEAST_ASCENTS = 64
_SHARDS = 32  # a sweep is cut in so many, where that keeps shards within these bounds
_MOST_SHARDS = 10**6


@dataclasses.dataclass(frozen=True, eq=False)
class Spec:
    """A sweep.

    Attributes:
        problem: a `pgdyn.Problem`, the keys of a problem file as a mapping (some may be distributions, see
            `pgdyn.sweep.template`), or the path of a problem file. Kept as a `Template`.
        axes: the dimensions, first the slowest.
        dynamics: `Flow`, `Ascend` or `AscendSampled`.
        objective: what is climbed; None for the proxy's value alone.
        observables: what is kept of every point, of true_value, proxy_value, hitting_time, steps, result, log_policy
            and params, all at the end of the run; None for the scalars among them (hitting_time where there is a
            target). `result` is always kept.
        shard_size: points of a shard; None for a size that suits the dynamics.
        name: title for the dataset.
        description: more about it.

    Raises:
        ValueError: naming the part that is wrong.
    """

    problem: Any
    axes: Sequence[Axis]
    dynamics: Dynamics
    objective: Objective | None = None
    observables: Sequence[str] | None = None
    shard_size: int | None = None
    name: str | None = None
    description: str | None = None

    def __post_init__(self):
        for key in ("name", "description"):
            if getattr(self, key) is not None and not isinstance(getattr(self, key), str):
                raise ValueError(f"{key} is {getattr(self, key)!r:.80}; it must be a string")
        if not isinstance(self.dynamics, Flow | Ascend | AscendSampled):
            raise ValueError(f"dynamics is {self.dynamics!r:.80}; it must be a Flow, Ascend or AscendSampled")
        if self.objective is not None and not isinstance(self.objective, Objective):
            raise ValueError(f"objective is {self.objective!r:.80}; it must be a pgdyn.Objective")
        self._put("objective", Objective() if self.objective is None else self.objective)
        self._put("problem", _template(self.problem))
        self._put("axes", _axes(self.axes))
        self._put("observables", self._observables())
        _check_fields(self)
        self._put("shard_size", self._shard_size())

    def _put(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)

    @property
    def template(self) -> Template:
        """The problem template."""
        return self.problem

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of values of each axis."""
        return tuple(len(axis) for axis in self.axes)

    @property
    def num_points(self) -> int:
        """Points of the sweep."""
        return math.prod(self.shape)

    @property
    def num_shards(self) -> int:
        """Shards of the sweep."""
        assert self.shard_size is not None
        return -(-self.num_points // self.shard_size)

    @property
    def has_target(self) -> bool:
        """Whether there is a target to hit."""
        return self.dynamics.target is not None or any(axis.field == "dynamics.target" for axis in self.axes)

    def shard_points(self, shard: int) -> range:
        """The numbers of a shard's points."""
        assert self.shard_size is not None
        first = shard * self.shard_size
        return range(first, min(first + self.shard_size, self.num_points))

    def to_table(self) -> dict[str, Any]:
        """Everything that the numbers depend on, as plain JSON values; `from_table` reads it back to the same bits."""
        objective = self.objective
        assert objective is not None and self.observables is not None
        weights = {name: float(np.asarray(getattr(objective, name))) for name in ("kl", "entropy")}
        options = {
            name: getattr(objective, name) for name in ("reward", "reference", "kl_direction", "normalize_by_std")
        }
        table = {
            "problem": self.template.to_table(),
            "axes": [axis.to_table() for axis in self.axes],
            "dynamics": settings.to_table(self.dynamics),
            "objective": options | weights,
            "observables": list(self.observables),
            "shard_size": self.shard_size,
        }
        named = {key: getattr(self, key) for key in ("name", "description") if getattr(self, key) is not None}
        return provenance.plain(table | named)

    @property
    def fingerprint(self) -> str:
        """A hash of all that the numbers depend on: two specs with the same one describe the same sweep."""
        table = {key: value for key, value in self.to_table().items() if key not in ("name", "description")}
        return digest(table)

    @classmethod
    def from_table(cls, table: Mapping[str, Any], folder: pathlib.Path | None = None) -> Spec:
        """The spec of a file's table; problem files are looked for in `folder`.

        Raises:
            ValueError: naming the key that is missing, unknown or wrong.
            OSError: if the problem file cannot be read.
        """
        refuse_unknown(table, _KEYS)
        for key in ("problem", "axes", "dynamics"):
            if key not in table:
                raise ValueError(f"the key {key} is missing")
        listed = table["axes"]
        if not isinstance(listed, list) or not all(isinstance(entry, Mapping) for entry in listed):
            raise ValueError("axes must be a list of tables, each written under [[axes]]")
        axes = []
        for i, entry in enumerate(listed):
            place = f"axes[{i}]" + (f" ({entry['field']})" if isinstance(entry.get("field"), str) else "")
            axes.append(_within(place, Axis.from_table, entry))
        return cls(
            problem=_problem(_mapping("problem", table["problem"]), folder),
            axes=axes,
            dynamics=_within("dynamics", settings.from_table, _mapping("dynamics", table["dynamics"])),
            objective=_within("objective", _objective, _mapping("objective", table.get("objective", {}))),
            **{key: table[key] for key in ("observables", "shard_size", "name", "description") if key in table},
        )

    def _observables(self) -> tuple[str, ...]:
        if self.observables is None:
            scalars = OBSERVABLES[:5]
            return tuple(name for name in scalars if name != "hitting_time" or self.has_target)
        if isinstance(self.observables, str) or not isinstance(self.observables, Sequence) or not self.observables:
            raise ValueError(f"observables is {self.observables!r:.80}; it must be a list of {', '.join(OBSERVABLES)}")
        for i, name in enumerate(self.observables):
            if not isinstance(name, str) or name not in OBSERVABLES:
                hint = suggestion(str(name), OBSERVABLES, "it must be one of")
                raise ValueError(f"observables[{i}] is {name!r:.80}; {hint}")
            if name in self.observables[:i]:
                raise ValueError(f"observables[{i}] names {name} again")
        if "hitting_time" in self.observables and not self.has_target:
            raise ValueError("observables names hitting_time, but the dynamics has no target")
        return tuple(name for name in OBSERVABLES if name in self.observables or name == "result")

    def _shard_size(self) -> int:
        if self.shard_size is not None:
            size = validate.count("shard_size", self.shard_size, minimum=1)
        else:
            if isinstance(self.dynamics, Flow):
                bounds, each, floor = _FLOW_NUMBERS, math.prod(self.template.sizes.values()), 1
            else:
                bounds, each, floor = _ASCENT_UPDATES, self.dynamics.steps, _LEAST_ASCENTS
            least, most = (max(floor, bound // each) for bound in bounds)
            size = min(most, max(least, -(-self.num_points // _SHARDS)))
        size = min(size, self.num_points)
        if -(-self.num_points // size) > _MOST_SHARDS:
            raise ValueError(
                f"{self.num_points} points in shards of {size} make more than {_MOST_SHARDS} shards; raise shard_size"
            )
        return size


def load_spec(path: str | os.PathLike[str]) -> Spec:
    """The spec of a TOML file (or JSON with the same keys).

    Raises:
        FileNotFoundError: if there is no such file.
        OSError: if it, or the problem file that it names, cannot be read.
        ValueError: naming the file and the line or key that is wrong.
    """
    path = pathlib.Path(path)
    if path.is_dir():
        raise ValueError(f"{path} is a directory, not a spec file")
    if path.suffix.lower() not in (".toml", ".json"):
        raise ValueError(f"{path}: the name of a spec file ends in .toml or .json")
    table = problem_file.read_table(path)
    return _within(str(path), lambda: Spec.from_table(table, path.parent))


def digest(value: Any) -> str:
    """SHA-256 of plain JSON values, the same for equal ones."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _within(place: str, make: Any, *arguments: Any) -> Any:
    try:
        return make(*arguments)
    except ValueError as error:
        raise ValueError(f"{place}: {error}") from None
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{place}: {error}") from None


def _mapping(key: str, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ValueError(f"{key} is {value!r:.80}; it must be a table, written under [{key}]")
    return value


def _problem(table: Mapping[str, Any], folder: pathlib.Path | None) -> Template:
    if "file" not in table:
        return _within("problem", Template.from_table, table)
    for key in table:
        if key != "file":
            raise ValueError(f"problem: the key {key} stands beside file; change the file or sweep over {key}")
    name = table["file"]
    if not isinstance(name, str) or not name:
        raise ValueError(f"problem.file is {name!r:.80}; it must be the path of a problem file")
    path = pathlib.Path(name) if folder is None else folder / name
    return _within("problem.file", _from_file, path)


def _from_file(path: pathlib.Path) -> Template:
    table = problem_file.read_table(path)
    return _within(str(path), lambda: Template.from_table(_arrays(table)))


def _arrays(table: dict[str, Any]) -> dict[str, Any]:
    # A problem file has no distributions: `table_arrays` refuses a table there in its own words.
    arrays, _ = problem_file.table_arrays(table)
    return {name: array.tolist() for name, array in arrays.items()}


def _objective(table: Mapping[str, Any]) -> Objective:
    refuse_unknown(table, list(inspect.signature(Objective).parameters))
    return Objective(**table)


def _template(problem: Any) -> Template:
    if isinstance(problem, Template):
        return problem
    if isinstance(problem, Problem):
        return Template.from_problem(problem)
    if isinstance(problem, str | os.PathLike):
        return _from_file(pathlib.Path(problem))
    if isinstance(problem, Mapping):
        return _within("problem", Template.from_table, problem)
    raise ValueError(f"problem is {problem!r:.80}; it must be a pgdyn.Problem, a problem file's keys, or its path")


def _axes(axes: Any) -> tuple[Axis, ...]:
    if isinstance(axes, Axis) or not isinstance(axes, Sequence) or not all(isinstance(axis, Axis) for axis in axes):
        raise ValueError(f"axes is {axes!r:.80}; it must be a list of axes")
    if not axes:
        raise ValueError("axes is empty; a sweep needs at least one axis")
    for i, axis in enumerate(axes):
        place = f"axes[{i}] ({axis.field})"
        if axis.name in _RESERVED:
            raise ValueError(f"{place}: the name {axis.name!r} is that of an observable or another dimension")
        for j, other in enumerate(axes[:i]):
            if axis.name == other.name and axis.field != other.field:
                raise ValueError(f"{place}: axes[{j}] has the name {axis.name!r} too")
    return tuple(axes)


def _check_fields(spec: Spec) -> None:
    """Raises unless every axis sets something of its own that the template, the dynamics or the objective has."""
    taken: dict[str, np.ndarray | None] = {}
    for i, axis in enumerate(spec.axes):
        place = f"axes[{i}] ({axis.field})"
        _within(place, _check_field, spec, axis)
        mask, before = _mask(spec, axis), taken.get(axis.base)
        if axis.base in taken and (mask is None or before is None or (before & mask).any()):
            first = next(other for other in spec.axes if other.base == axis.base)
            raise ValueError(f"{place}: another axis ({first.field}) sets this already")
        taken[axis.base] = mask if before is None or mask is None else before | mask
    if "initial_policy" in taken and "initial_params" in taken:
        raise ValueError("one axis sets initial_policy and another initial_params; each of them sets the start")
    random = spec.template.draws
    if random and "seed" not in taken:
        raise ValueError(f"problem: {next(iter(random))} is random, so an axis of seeds is needed")
    _check_policy(spec)
    for i, axis in enumerate(spec.axes):
        if axis.base in ("seed", "temperature") or "." in axis.base:
            continue
        _within(f"axes[{i}] ({axis.field})", _build_along, spec, axis)
    if not any(axis.base not in ("seed", "temperature") and "." not in axis.base for axis in spec.axes):
        _within("problem", spec.template.batch, 1, (), np.zeros(1, np.int64))


def _check_field(spec: Spec, axis: Axis) -> None:
    kind = spec.dynamics.kind
    if axis.field == "seed":
        if kind != "ascend_sampled" and not spec.template.draws:
            raise ValueError(f"no field takes a seed: the problem is not random and {kind} draws no samples")
    elif axis.base.startswith("dynamics."):
        name = axis.base.removeprefix("dynamics.")
        if name not in [field.name for field in dataclasses.fields(spec.dynamics)]:
            raise ValueError(f"no field takes this: {kind} has no {name}")
    elif axis.base != "temperature" and not axis.base.startswith("objective."):
        shape = spec.template.field_shape(axis.base)
        if axis.index is None:
            if axis.values.shape[1:] != shape:
                raise ValueError(f"values have shape {axis.values.shape[1:]}, but {axis.base} has {shape}")
            return
        if len(axis.index) != len(shape):
            raise ValueError(
                f"{axis.base} has shape {shape}, so its index needs {len(shape)} parts, not {len(axis.index)}"
            )
        for part, length in zip(axis.index, shape, strict=True):
            if isinstance(part, int) and not -length <= part < length:
                raise ValueError(f"the index {part} is out of range; {axis.base} has shape {shape}")
        picked = np.empty(shape)[axis.index].shape
        if 0 in picked:
            raise ValueError(f"the index picks nothing; {axis.base} has shape {shape}")
        if axis.values.ndim > 1 and axis.values.shape[1:] != picked:
            raise ValueError(f"values have shape {axis.values.shape[1:]}, but the index picks {picked}")


def _mask(spec: Spec, axis: Axis) -> np.ndarray | None:
    if axis.index is None:
        return None
    mask = np.zeros(spec.template.field_shape(axis.base), bool)
    mask[axis.index] = True
    return mask


def _check_policy(spec: Spec) -> None:
    """Raises unless the probabilities that axes set are positive and leave something for the others."""
    axes = [axis for axis in spec.axes if axis.base == "initial_policy" and axis.index is not None]
    if not axes:
        return
    shape = spec.template.field_shape("initial_policy")
    largest, fixed = np.zeros(shape), np.zeros(shape, bool)
    for axis in axes:
        good = (axis.values > 0) & (axis.values < 1)
        _within(axis.field, validate.require, "values", axis.values, good, "a probability lies between 0 and 1")
        largest[axis.index] = axis.values.max(axis=0)
        fixed[axis.index] = True
    if fixed.all(-1).any():
        raise ValueError("axes set every entry of initial_policy, so that none is left to make the sum 1")
    if (total := largest.sum(-1)).max() >= 1:
        raise ValueError(
            f"axes set initial_policy to entries that sum to {total.max():g}; the others need some of the 1"
        )


def _build_along(spec: Spec, axis: Axis) -> None:
    """Builds the problems along one axis, all others at their first value: the constructors know every rule."""
    entries = []
    for other in spec.axes:
        if other.base not in ("seed", "temperature") and "." not in other.base:
            values = (
                other.values
                if other is axis
                else np.broadcast_to(other.values[:1], (len(axis), *other.values.shape[1:]))
            )
            entries.append((other.base, other.index, values))
    spec.template.batch(len(axis), entries, np.zeros(len(axis), np.int64))
