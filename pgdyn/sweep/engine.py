"""From the number of a shard to its results.

A shard is made whole by array operations: its points' indices along each axis, the problems, the runs. The same shard
of the same spec gives the same bits in any process, on any number of cores, whatever was run before.
"""

from __future__ import annotations

import functools
import json
import platform
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jaxlib.version
import numpy as np
import optax

from pgdyn import cores, validate
from pgdyn.dynamics.ascend import ascend
from pgdyn.dynamics.ensemble import flow_many
from pgdyn.dynamics.sampled import ascend_sampled
from pgdyn.estimators import Estimator
from pgdyn.objective import Objective
from pgdyn.problem import Problem
from pgdyn.sweep.settings import Ascend, AscendSampled, Flow
from pgdyn.sweep.spec import Spec
from pgdyn.version import __version__

# Raised by hand whenever a change of the code changes the numbers of a sweep: stores made before do not mix with it.
NUMBERS = 3

# Ascents run side by side in one compiled program: enough for the vector units, few enough that XLA does not split its
# loops between threads, whose number differs from machine to machine and would show in the last bits.
_LANES = 256


def numbers_version() -> dict[str, Any]:
    """What besides the spec the numbers depend on: versions, precision and kind of device."""
    return {
        "numbers": NUMBERS,
        "pgdyn": __version__,
        "jax": jax.__version__,
        "jaxlib": jaxlib.version.__version__,
        "dtype": str(np.dtype(validate.float_dtype())),
        "device": jax.devices()[0].device_kind,
        "machine": platform.machine(),
    }


def compute_shard(spec: Spec, shard: int) -> dict[str, np.ndarray]:
    """The observables of a shard's points, each with a leading axis of its length.

    Args:
        spec: the sweep.
        shard: number of the shard, from 0.

    Raises:
        ValueError: if the problem's constructor refuses the points, or the dynamics their precision.
    """
    points = np.asarray(spec.shard_points(shard))
    where = np.unravel_index(points, spec.shape)
    values = {axis.field: axis.values[at] for axis, at in zip(spec.axes, where, strict=True)}
    entries = [(axis.base, axis.index, values[axis.field]) for axis in spec.axes if _of_problem(axis.base)]
    problems = spec.template.batch(len(points), entries, values.get("seed"))
    objective = spec.objective
    assert objective is not None and spec.observables is not None
    for name in ("kl", "entropy"):
        if (field := f"objective.{name}") in values:
            objective = eqx.tree_at(lambda o, name=name: getattr(o, name), objective, jnp.asarray(values[field]))
    if isinstance(spec.dynamics, Flow):
        found = _flow(spec.dynamics, problems, objective, values)
    else:
        found = _ascend(spec.dynamics, problems, objective, values)
    return {name: np.ascontiguousarray(found[name]) for name in spec.observables}


def _of_problem(base: str) -> bool:
    return base != "seed" and "." not in base


def _flow(settings: Flow, problems: Problem, objective: Objective, values: dict[str, np.ndarray]) -> dict[str, Any]:
    outcome = flow_many(
        problems,
        values.get("dynamics.t1", settings.t1),
        objective=objective,
        target=values.get("dynamics.target", settings.target),
        rtol=settings.rtol,
        atol=settings.atol,
        geometry=settings.geometry,  # pyright: ignore[reportArgumentType]
        stop_at_target=settings.stop_at_target,
        max_steps=settings.max_steps,
    )
    return vars(outcome)


def _ascend(
    settings: Ascend | AscendSampled, problems: Problem, objective: Objective, values: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    size = len(problems)
    estimator, seeds = None, None
    if isinstance(settings, AscendSampled):
        estimator = settings.make_estimator()
        seeds = values.get("seed", np.full(size, settings.seed))
    rates = values.get("dynamics.learning_rate", np.full(size, settings.learning_rate))
    goals = values.get("dynamics.target", None if settings.target is None else np.full(size, settings.target))

    def run(first: int) -> dict[str, np.ndarray]:
        # The last lanes repeat the last point, so that every call has the same shape and compiles once.
        lanes = np.minimum(np.arange(first, first + _LANES), size - 1)
        weights = jax.tree.map(lambda leaf: leaf[lanes] if np.ndim(leaf) == 1 else leaf, objective)
        rate, goal, seed = (None if array is None else jnp.asarray(array[lanes]) for array in (rates, goals, seeds))
        found = _lanes(problems[lanes], weights, estimator, rate, goal, seed, settings.optimizer, settings.steps)
        return {name: np.asarray(array)[: size - first] for name, array in found.items()}

    parts: dict[int, dict[str, np.ndarray]] = {}
    starts = range(0, size, _LANES)
    cores.each(lambda first: parts.update({first: run(first)}), starts)
    return {name: np.concatenate([parts[first][name] for first in starts]) for name in parts[0]}


@eqx.filter_jit
def _lanes(
    problems: Problem,
    objective: Objective,
    estimator: Estimator | None,
    rates: jax.Array | None,
    goals: jax.Array | None,
    seeds: jax.Array | None,
    optimizer: str,
    steps: int,
) -> dict[str, jax.Array]:
    def one(problem: Problem, objective: Objective, rate: Any, goal: Any, seed: Any) -> dict[str, jax.Array]:
        made = {"sgd": optax.sgd, "adam": optax.adam}[optimizer](rate)
        common: dict[str, Any] = {"optimizer": made, "objective": objective, "target": goal, "save_every": steps}
        if estimator is None:
            path = ascend(problem, steps, **common)
        else:
            path = ascend_sampled(problem, steps, jax.random.key(seed), estimator=estimator, **common)
        ends = {name: getattr(path, name)[-1] for name in ("true_value", "proxy_value", "log_policy", "params")}
        return ends | {name: getattr(path, name) for name in ("hitting_time", "steps", "result")}

    weights = jax.tree.map(lambda leaf: 0 if jnp.ndim(leaf) == 1 else None, objective)
    axes = (problems.batch_axes, weights, 0, None if goals is None else 0, None if seeds is None else 0)
    return jax.vmap(one, in_axes=axes)(problems, objective, rates, goals, seeds)


@functools.lru_cache(maxsize=4)
def spec_of(table: str) -> Spec:
    """The spec of the JSON text of its table, kept for the next shard."""
    return Spec.from_table(json.loads(table))
