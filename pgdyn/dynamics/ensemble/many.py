r"""`flow_many`: thousands to millions of gradient flows at once.

The same flows as `pgdyn.flow` (theta' = dJ/dtheta), ends and hitting times only. The engine lays problems side by side
with the batch axis last (`lanes`), steps each by its own clock (`stepper`) and keeps every core busy with lanes that
have work left (`schedule`). `backend="diffrax"` is `flow` under `jax.vmap`, for gradients and as a check.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import ArrayLike

from pgdyn import validate
from pgdyn.dynamics.ensemble import reference, schedule
from pgdyn.dynamics.ensemble.lanes import choose_layout
from pgdyn.dynamics.ensemble.outcome import Outcome
from pgdyn.dynamics.ensemble.stepper import Control
from pgdyn.dynamics.flow import GEOMETRIES
from pgdyn.objective import Objective, choose_objective
from pgdyn.problem import Problem

_REFERENCE_BLOCK = 4096
_MOST_STEPS = 2**31 - 1  # the engine counts steps in 32 bits


def flow_many(
    problems: Problem,
    t1: ArrayLike,
    *,
    objective: Objective | None = None,
    target: ArrayLike | None = None,
    rtol: float = 1e-6,
    atol: float = 1e-9,
    geometry: Literal["euclidean", "natural"] = "euclidean",
    stop_at_target: bool = False,
    max_steps: int = 65536,
    backend: Literal["engine", "diffrax"] = "engine",
    progress: Callable[[int, int], None] | None = None,
    devices: Sequence[Any] | None = None,
) -> Outcome:
    """Gradient flows of a batch of problems from t = 0 to `t1`.

    Each flow has its own adaptive steps, and none can spoil another: one that fails says so in `result`.

    Args:
        problems: a batch (`pgdyn.stack`, rewards of shape [N, P, K], or `problem.with_proxy` of [M, P, K]); one problem
            counts as a batch of one. Features may be shared by the batch.
        t1: end time, positive; one number, or [N].
        objective: what is climbed; None for the proxy's value alone. Made under `jax.vmap`, its KL and entropy weights
            may be [N].
        target: true value whose first hitting time is wanted; one number, [N], or None.
        rtol: relative tolerance of one step.
        atol: absolute tolerance of one step, in logits (tabular) or parameters.
        geometry: "euclidean" or "natural", as in `flow`.
        stop_at_target: end each flow at its hitting time; its results are those of that time.
        max_steps: step budget of each flow; one that spends it stops where it is and says so.
        backend: "engine", or "diffrax" for `flow` under `jax.vmap`: more than ten times slower, differentiable; it
            always runs to t1, and a flow that cannot has nan for its end.
        progress: called with (flows ended, N) from time to time, in the calling thread.
        devices: the devices that the engine uses, of one kind; None for all local ones.

    Returns:
        An `Outcome`. The engine's hitting times are roots of true value - target within the first step that ends at or
        above the target, by Newton's method on steps of trial length from its start: as accurate as the integration. A
        value that rises above the target and falls back within one step is not seen.

    Memory: besides the problems and the outcome, which live on the host, the engine needs some tens of MiB, and a few
    more for every core, however large N is: lanes are laid out a block at a time.

    Raises:
        ValueError: on shapes that do not fit, an empty batch, numbers out of range, unknown options, float32 problems,
            traced values with the engine (it has no derivative: use `backend="diffrax"` inside `jax.grad`, `jax.jit`
            and `jax.vmap`), or `stop_at_target` without a target.
    """
    if not isinstance(problems, Problem):
        raise ValueError(f"flow_many takes a pgdyn.Problem, got {problems!r:.80}")
    if problems.batch_size is None:
        problems = jax.tree.map(lambda leaf: leaf[None], problems)
    validate.choice("geometry", geometry, GEOMETRIES)
    validate.choice("backend", backend, ("engine", "diffrax"))
    size = len(problems)
    if size == 0:
        raise ValueError("flow_many needs at least one problem, and this batch is empty")
    if devices is not None and len(devices) == 0:
        raise ValueError("devices is empty; give at least one, or None for all local ones")
    end = _per_problem("t1", t1, size, positive="the end time must be positive")
    goal = None if target is None else _per_problem("target", target, size)
    if stop_at_target and goal is None:
        raise ValueError("stop_at_target needs a target")
    relative = validate.number("rtol", rtol, positive=True)
    absolute = validate.number("atol", atol, positive=True)
    budget = validate.count("max_steps", max_steps, minimum=1)
    objective = choose_objective(objective, "flow_many")
    _require_weights(objective, size)
    settings = (
        ("geometry", geometry),
        ("backend", backend),
        ("rtol", _plain(rtol)),
        ("atol", _plain(atol)),
        ("stop_at_target", stop_at_target),
    )
    if problems.true_reward.dtype != np.float64:
        raise ValueError(
            f"flow_many needs float64 and these problems are {problems.true_reward.dtype}; "
            "leave PGDYN_X64 unset (or set it to 1) before importing pgdyn"
        )
    traced = any(map(validate.is_traced, jax.tree.leaves((problems, objective, end, goal, relative, absolute))))
    if backend == "diffrax":
        if stop_at_target:
            raise ValueError('stop_at_target is the engine\'s; backend="diffrax" always runs to t1')
        fields = _reference(problems, objective, end, goal, relative, absolute, geometry, budget, progress, traced)
        return Outcome(**fields, settings=settings)
    if traced:
        raise ValueError(
            "the engine of flow_many has no derivative and cannot be traced; inside jax.grad, jax.jit or jax.vmap "
            'use backend="diffrax", or pgdyn.flow for one problem'
        )
    control = Control(float(relative), float(absolute), min(budget, _MOST_STEPS))
    with jax.ensure_compile_time_eval():  # what is known is computed, also while a function is traced for `jax.jit`
        fields = _engine(problems, objective, end, goal, control, geometry, bool(stop_at_target), progress, devices)
    return Outcome(**fields, settings=settings)


def _per_problem(name: str, value: Any, size: int, positive: str = "") -> Any:
    array = validate.as_floats(name, value)
    if array.shape not in ((), (size,)):
        raise ValueError(f"{name} has shape {array.shape}; it must be one number or one for each of {size} problems")
    validate.require_finite(name, array)
    if validate.is_traced(array):
        return jnp.broadcast_to(array, (size,))
    if positive and not (good := array > 0).all():
        validate.require(name, array, good, positive)
    return array if array.ndim else np.full(size, array)


def _require_weights(objective: Objective, size: int) -> None:
    # Inside the `jax.vmap` that makes weights of [N] nothing could be checked but shapes.
    for name, weight in (("kl", objective.kl), ("entropy", objective.entropy)):
        if isinstance(weight, float):
            continue  # checked when it was made
        if jnp.shape(weight) not in ((), (size,)):
            raise ValueError(
                f"{name} has shape {jnp.shape(weight)}; it must be one number or one for each of {size} problems"
            )
        if not validate.is_traced(weight):
            validate.require_finite(name, np.asarray(weight))
    if not validate.is_traced(objective.kl) and not isinstance(objective.kl, float):
        validate.require("kl", np.asarray(objective.kl), np.asarray(objective.kl) >= 0, "it must be at least 0")


def _plain(value: Any) -> float | str:
    return "traced" if validate.is_traced(value) else float(np.asarray(value))


def _engine(
    problems: Problem,
    objective: Objective,
    t1: np.ndarray,
    goal: np.ndarray | None,
    control: Control,
    geometry: str,
    stop: bool,
    progress: Callable[[int, int], None] | None,
    devices: Sequence[Any] | None,
) -> dict[str, np.ndarray]:
    size = len(problems)
    # On the host from here on: JAX would compile the slices of a batch anew for every N.
    problems = jax.tree.map(np.asarray, problems)
    if not all(isinstance(weight, float) for weight in (objective.kl, objective.entropy)):
        objective = jax.tree.map(lambda leaf: np.asarray(leaf) if np.ndim(leaf) == 1 else leaf, objective)
    devices = jax.local_devices() if devices is None else list(devices)
    layout = choose_layout(problems, objective, geometry, stop, devices[0].platform)
    return schedule.solve(layout, problems, objective, t1, goal, control, _Ticker(size, progress), devices)


class _Ticker:
    """Counts ended flows and reports them."""

    def __init__(self, size: int, progress: Callable[[int, int], None] | None):
        self._size, self._progress, self._done = size, progress, 0

    def __call__(self, more: int) -> None:
        self._done += more
        if self._progress is not None and more:
            self._progress(self._done, self._size)


def _reference(
    problems: Problem,
    objective: Objective,
    t1: Any,
    goal: Any,
    rtol: Any,
    atol: Any,
    geometry: Literal["euclidean", "natural"],
    max_steps: int,
    progress: Callable[[int, int], None] | None,
    traced: bool,
) -> dict[str, Any]:
    def solve(batch: Problem, objective: Objective, end: Any, goal: Any) -> dict[str, Any]:
        end, goal = jnp.asarray(end), None if goal is None else jnp.asarray(goal)
        return reference.solve(batch, objective, end, goal, rtol, atol, geometry, max_steps, diffrax.Dopri8())

    size = len(problems)
    if traced:
        return solve(problems, objective, t1, goal)
    tick = _Ticker(size, progress)
    parts: list[dict[str, np.ndarray]] = []
    for start in range(0, size, _REFERENCE_BLOCK):
        part = slice(start, min(start + _REFERENCE_BLOCK, size))
        weights = jax.tree.map(lambda leaf, part=part: leaf[part] if jnp.ndim(leaf) == 1 else leaf, objective)
        found = solve(problems[part], weights, t1[part], None if goal is None else goal[part])
        parts.append({name: np.asarray(value) for name, value in found.items()})
        tick(part.stop - part.start)
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
