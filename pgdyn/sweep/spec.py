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
import functools
import hashlib
import json
import math
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pgdyn import validate
from pgdyn.batch import Batch
from pgdyn.dynamics import fields
from pgdyn.dynamics.flow import Flow
from pgdyn.io import problem_file, provenance, tables
from pgdyn.objective import Objective, choose_objective
from pgdyn.problem import require_single
from pgdyn.sweep import addressing, dynamics
from pgdyn.sweep.axis import Axis
from pgdyn.sweep.dynamics import Dynamics
from pgdyn.sweep.template import Template

OBSERVABLES = ("true_value", "proxy_value", "hitting_time", "steps", "result", "log_policy", "params")
_SCALARS = OBSERVABLES[:5]
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
        dynamics: `pgdyn.Flow`, `pgdyn.Ascend` or `pgdyn.AscendSampled`. Kept with its defaults written out.
        objective: what is climbed; None for that of the dynamics, or else the proxy's value alone.
        observables: what is kept of every point, of true_value, proxy_value, hitting_time, steps, result, log_policy
            and params, all at the end of the run; None for the scalars among them (hitting_time where there is a
            target). `result` is always kept.
        shard_size: points of a shard; None for a size that suits the dynamics.
        name: title for the dataset.
        description: more about it.

    Raises:
        ValueError: naming the part that is wrong.

    Example:
        >>> problem = {"true_reward": [1, 0.8, -1, -1, -1], "initial_policy": [0.05, 0.5, 0.15, 0.15, 0.15]}
        >>> axes = [Axis.log("initial_policy[0]", 1e-4, 0.4, 200), Axis.linear("proxy_reward[1]", -1, 1, 200)]
        >>> spec = Spec(problem, axes, Flow(t1=5000.0, target=0.9), shard_size=1000)
        >>> spec.num_points, spec.num_shards, spec.observables
        (40000, 40, ('true_value', 'proxy_value', 'hitting_time', 'steps', 'result'))
    """

    problem: Any
    axes: Sequence[Axis]
    dynamics: Dynamics
    objective: Any = None
    observables: Any = None
    shard_size: Any = None
    name: str | None = None
    description: str | None = None

    def __post_init__(self):
        for key in ("name", "description"):
            if not isinstance(getattr(self, key), str | None):
                raise ValueError(validate.refusal(key, (), getattr(self, key), "it must be a string"))
        template, settings = _template(self.problem), dynamics.plain(self.dynamics)
        addressing.require(self.axes, template, settings, reserved=OBSERVABLES)
        kept = {
            "problem": template,
            "axes": tuple(self.axes),
            "dynamics": settings,
            "objective": _objective(self.objective, self.dynamics),
            "observables": self._observables(),
            "shard_size": self._shard_size(math.prod(template.sizes.values())),
        }
        for name, value in kept.items():
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
        return -(-self.num_points // self.shard_size)

    @property
    def has_target(self) -> bool:
        """Whether there is a target to hit."""
        return self.dynamics.target is not None or any(axis.field == "dynamics.target" for axis in self.axes)

    def shard_points(self, shard: int) -> range:
        """The numbers of a shard's points."""
        return range(self.num_points)[shard * self.shard_size : (shard + 1) * self.shard_size]

    def to_table(self) -> dict[str, Any]:
        """Everything that the numbers depend on, as plain JSON values; `from_table` reads it back to the same bits."""
        table = {
            "problem": self.template.to_table(),
            "axes": [axis.to_table() for axis in self.axes],
            "dynamics": dynamics.to_table(self.dynamics),
            "objective": {"kl": 0.0, "entropy": 0.0} | fields.to_table(self.objective),
            "observables": self.observables,
            "shard_size": self.shard_size,
            "name": self.name,
            "description": self.description,
        }
        return provenance.plain(table)

    @property
    def fingerprint(self) -> str:
        """A hash of all that the numbers depend on: two specs with the same one describe the same sweep."""
        return digest({key: value for key, value in self.to_table().items() if key not in ("name", "description")})

    @classmethod
    def from_table(cls, table: Mapping[str, Any], folder: pathlib.Path | None = None) -> Spec:
        """The spec of a file's table; problem files are looked for in `folder`.

        Raises:
            ValueError: naming the key that is missing, unknown or wrong.
            OSError: if the problem file cannot be read.
        """
        for key in ("problem", "dynamics", "objective"):
            if key in table and not isinstance(table[key], Mapping):
                raise ValueError(validate.refusal(key, (), table[key], f"it must be a table, written under [{key}]"))
        read = {"problem": functools.partial(_template, folder=folder), "axes": addressing.read}
        table = {key: read[key](value) if key in read else value for key, value in table.items()}
        readers = {"dynamics": dynamics.from_table, "objective": functools.partial(tables.build, Objective)}
        return tables.build(cls, table, readers)

    def _observables(self) -> tuple[str, ...]:
        if self.observables is None:
            return tuple(name for name in _SCALARS if name != "hitting_time" or self.has_target)
        if isinstance(self.observables, str) or not isinstance(self.observables, Sequence) or not self.observables:
            rule = f"it must be a list of {', '.join(OBSERVABLES)}"
            raise ValueError(validate.refusal("observables", (), self.observables, rule))
        for i, name in enumerate(self.observables):
            if name not in OBSERVABLES:
                hint = validate.suggestion(str(name), OBSERVABLES, "it must be one of")
                raise ValueError(validate.refusal("observables", (i,), name, hint))
            if name in self.observables[:i]:
                raise ValueError(f"observables[{i}] names {name} again")
        if "hitting_time" in self.observables and not self.has_target:
            raise ValueError("observables names hitting_time, but the dynamics has no target")
        return tuple(name for name in OBSERVABLES if name in self.observables or name == "result")

    def _shard_size(self, numbers: int) -> int:
        if isinstance(self.dynamics, Flow):
            bounds, each, floor = _FLOW_NUMBERS, numbers, 1
        else:
            bounds, each, floor = _ASCENT_UPDATES, self.dynamics.steps, _LEAST_ASCENTS
        least, most = (max(floor, bound // each) for bound in bounds)
        size = min(most, max(least, -(-self.num_points // _SHARDS)))
        if self.shard_size is not None:
            size = validate.count("shard_size", self.shard_size, minimum=1)
        size = min(size, self.num_points)
        if (shards := -(-self.num_points // size)) > _MOST_SHARDS:
            raise ValueError(f"{shards} shards of {size} points are more than {_MOST_SHARDS}; raise shard_size")
        return size


def load_spec(path: str | os.PathLike[str]) -> Spec:
    """The spec of a TOML file (or JSON with the same keys).

    Raises:
        FileNotFoundError: if there is no such file.
        OSError: if it, or the problem file that it names, cannot be read.
        ValueError: naming the file and the line or key that is wrong.

    Example:
        >>> import tempfile
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "map.toml"
        >>> _ = path.write_text('''
        ... problem = {true_reward = [1.0, 0.8, -1.0], initial_policy = [0.1, 0.6, 0.3]}
        ... axes = [{field = "proxy_reward[1]", kind = "linear", start = -1.0, stop = 1.0, count = 5}]
        ... dynamics = {kind = "flow", t1 = 100.0}
        ... ''')
        >>> load_spec(path).shape
        (5,)
    """
    path = pathlib.Path(path)
    table = tables.read(path, "spec")
    with tables.within(path):
        return Spec.from_table(table, path.parent)


def digest(value: Any) -> str:
    """SHA-256 of plain JSON values, the same for equal ones."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _objective(own: Any, settings: Dynamics) -> Objective:
    """The objective given beside the dynamics, in it, or neither."""
    given = [choice for choice in (own, settings.objective) if choice is not None]
    if len(given) == 2:
        raise ValueError("the objective is given twice, beside the dynamics and in it; give one")
    objective = choose_objective(given[0] if given else Objective(), "a sweep")
    for name in ("kl", "entropy"):
        if np.ndim(getattr(objective, name)):
            raise ValueError(f"objective.{name} must be a single number in a sweep, where axes set many")
    return objective


def _template(problem: Any, folder: pathlib.Path | None = None) -> Template:
    """Of a problem, of a [problem] table, or of a problem file, which is looked for in `folder`."""
    if isinstance(problem, Template):
        return problem
    if isinstance(problem, Mapping):
        with tables.within("problem"):
            if "file" not in problem:
                return Template.from_table(problem)
            for key in problem:
                if key != "file":
                    raise ValueError(f"the key {key} stands beside file; change the file or sweep over {key}")
            if not isinstance(problem["file"], str) or not problem["file"]:
                raise ValueError(validate.refusal("file", (), problem["file"], "it must be the path of a problem file"))
            return _template(problem["file"], folder)
    if isinstance(problem, str | os.PathLike):
        path = pathlib.Path(folder or "", problem)
        table = tables.read(path)
        with tables.within(path):
            # A problem file has no distributions: `table_arrays` refuses a table there in its own words.
            return Template.from_table(problem_file.table_arrays(table)[0])
    if isinstance(problem, Batch):
        raise ValueError(f"problem is a batch of {len(problem)}; a sweep takes one problem and makes the batch")
    require_single(problem, "a sweep")
    return Template.from_table(problem_file.problem_arrays(problem))
