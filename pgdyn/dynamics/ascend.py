r"""Exact-gradient ascent: theta_{i+1} = theta_i + update(dJ/dtheta at theta_i), the updates an optax optimiser's.

This is what the figures of arXiv 2604.25872 (section 3.3) show. With plain SGD of rate eta it is the Euler scheme of
`flow` with step eta, and near a threshold the two can end far apart, so the dynamics' name is kept with the result.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, ArrayLike, Float, Int, PyTree

from pgdyn import policy, validate
from pgdyn.dynamics import chunks
from pgdyn.dynamics.optimizer import Optimizer, trace
from pgdyn.dynamics.result import Result
from pgdyn.objective import Objective, choose_objective
from pgdyn.problem import Problem, require_single
from pgdyn.trajectory import Trajectory, observe


def ascend(
    problem: Problem,
    steps: int,
    *,
    optimizer: optax.GradientTransformation | None = None,
    objective: Objective | None = None,
    target: ArrayLike | None = None,
    save_every: int = 1,
) -> Trajectory:
    """`steps` exact-gradient updates.

    Args:
        problem: one problem.
        steps: number of updates, at least 1.
        optimizer: an optax optimiser, fed the negative gradient; None for `optax.sgd(0.1)`.
        objective: what is climbed; None for the proxy's value alone.
        target: true value whose first hitting time (in updates) is wanted, or None. It is checked at every update,
            saved or not.
        save_every: the start, every `save_every`-th update and the end are kept; nothing else is stored.

    Returns:
        A `Trajectory` with dynamics "ascend" and `t` the updates made so far.

    Raises:
        ValueError: on a batch, a count below 1, or something that is no optax optimiser.
    """
    require_single(problem, "ascend")
    steps = validate.count("steps", steps, minimum=1)
    save_every = validate.count("save_every", save_every, minimum=1)
    goal = None if target is None else validate.scalar("target", target)
    objective = choose_objective(objective, "ascend")
    traced = trace(optax.sgd(0.1) if optimizer is None else optimizer, problem.initial_params)
    path = _run(problem, objective, traced, goal, steps, save_every)
    settings = _settings(steps, save_every, traced, goal)
    return Trajectory(**path, problem=problem, objective=objective, dynamics="ascend", settings=settings)


def ascend_many(
    problems: Problem,
    steps: int,
    *,
    optimizer: optax.GradientTransformation | None = None,
    objective: Objective | None = None,
    target: ArrayLike | None = None,
    save_every: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Trajectory:
    """`ascend` for a batch of problems, in chunks on every core.

    Args:
        problems: a batch of N problems, or one.
        steps: number of updates, at least 1.
        optimizer: as in `ascend`.
        objective: as in `ascend`.
        target: as in `ascend`; one number for all.
        save_every: as in `ascend`, but None keeps the start and the end alone.
        progress: called with (runs done, N) from time to time, never from two threads at once.

    Returns:
        A `Trajectory` with leading axis N on every array.

    Raises:
        ValueError: as `ascend`.
    """
    problems = chunks.as_batch(problems, "ascend_many")
    steps = validate.count("steps", steps, minimum=1)
    save_every = steps if save_every is None else validate.count("save_every", save_every, minimum=1)
    goal = None if target is None else validate.scalar("target", target)
    objective = choose_objective(objective, "ascend_many")
    traced = trace(optax.sgd(0.1) if optimizer is None else optimizer, chunks.one_start(problems))

    def compute(rows: np.ndarray) -> dict[str, Any]:
        return _run_chunk(chunks.pick(problems, rows), objective, traced, goal, steps, save_every)

    path = chunks.run(compute, len(problems), progress)
    settings = _settings(steps, save_every, traced, goal)
    return Trajectory(**path, problem=problems, objective=objective, dynamics="ascend", settings=settings)


@eqx.filter_jit
def _run_chunk(
    problems: Problem, objective: Objective, optimizer: Optimizer, goal: Array | None, steps: int, save_every: int
) -> dict[str, Any]:
    def one(problem: Problem) -> dict[str, Any]:
        return _run(problem, objective, optimizer, goal, steps, save_every)

    return jax.vmap(one, in_axes=(problems.batch_axes,))(problems)


def _settings(steps: int, save_every: int, optimizer: Optimizer, goal: Array | None) -> tuple[tuple[str, Any], ...]:
    return (
        ("steps", steps),
        ("save_every", save_every),
        ("optimizer", optimizer.describe()),
        ("target", None if goal is None else "traced" if validate.is_traced(goal) else float(goal)),
    )


def save_counts(steps: int, save_every: int) -> Int[Array, " S"]:
    """The update counts at which a run is saved: 0, every `save_every`-th, and `steps`."""
    counts = list(range(0, steps, save_every))
    return jnp.asarray([*counts, steps])


def true_value(problem: Problem, params: Array) -> Float[Array, ""]:
    """V of the true reward at `params`."""
    return policy.value(problem, policy.log_policy(problem, params), problem.true_reward)


def first_hit(hit: Array, count: Array, reached: Array) -> Array:
    """The smaller of the hitting time so far and `count` where the target is `reached` now."""
    return jnp.where(reached, jnp.minimum(hit, count.astype(hit.dtype)), hit)


def ending(params: Array) -> Array:
    """The result code of a run of fixed length."""
    return jnp.where(jnp.all(jnp.isfinite(params)), Result.completed, Result.not_finite).astype(jnp.int32)


@eqx.filter_jit
def _run(
    problem: Problem,
    objective: Objective,
    optimizer: Optimizer,
    goal: Array | None,
    steps: int,
    save_every: int,
) -> dict[str, Any]:
    reference = objective.reference_log_policy(problem)
    start = problem.initial_params
    never = jnp.full((), jnp.nan if goal is None else jnp.inf, start.dtype)

    def step(state: PyTree, count: Array) -> tuple[PyTree, None]:
        params, memory, hit = state
        log_policy = policy.log_policy(problem, params)
        if goal is not None:
            reached = policy.value(problem, log_policy, problem.true_reward) >= goal
            hit = first_hit(hit, count, reached)
        gradient = policy.pull_back(problem, objective.logit_gradient(problem, log_policy, reference))
        params, memory = optimizer.ascend(gradient, memory, params)
        return (params, memory, hit), None

    state, path = _save_every(step, (start, optimizer.init(start), never), steps, save_every)
    params, _, hit = state
    if goal is not None:
        hit = first_hit(hit, jnp.asarray(steps), true_value(problem, params) >= goal)
    path = jnp.concatenate([start[None], path])
    return {
        "t": save_counts(steps, save_every),
        "params": path,
        **observe(problem, objective, path),
        "hitting_time": hit,
        "result": ending(params),
        "steps": jnp.asarray(steps),
    }


def _save_every(
    step: Callable[[PyTree, Array], tuple[PyTree, None]], state: PyTree, steps: int, save_every: int
) -> tuple[PyTree, Array]:
    """Scan `step` over the update counts, keeping the parameters (the state's first entry) after each stretch."""
    stretches = math.ceil(steps / save_every) - 1

    def stretch(state: PyTree, counts: Array) -> tuple[PyTree, Array]:
        state, _ = jax.lax.scan(step, state, counts)
        return state, state[0]

    counts = jnp.arange(steps)
    state, path = jax.lax.scan(stretch, state, counts[: stretches * save_every].reshape(stretches, save_every))
    state, last = stretch(state, counts[stretches * save_every :])
    return state, jnp.concatenate([path, last[None]])
