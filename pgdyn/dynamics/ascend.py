r"""Exact-gradient ascent: theta_{i+1} = theta_i + update(dJ/dtheta at theta_i), the updates an optax optimiser's.

This is what the figures of arXiv 2604.25872 (section 3.3) show. With plain SGD of rate eta it is the Euler scheme of
`flow` with step eta, and near a threshold the two can end far apart, so the dynamics' name is kept with the result.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PyTree

from pgdyn import policy, validate
from pgdyn.dynamics.optimizer import GradientTransformation, Optimizer, check_optimizer, trace
from pgdyn.objective import Objective, choose_objective
from pgdyn.problem import Problem
from pgdyn.solution import MOST_SAVES, Result, Solution, observe, observe_path

MOST_STEPS = 10**12  # at a microsecond each, eleven days


class Ascend(eqx.Module):
    """Settings of exact-gradient ascent.

    Attributes:
        steps: number of updates.
        optimizer: "sgd" or "adam" at the learning rate, or an optax transformation, which is fed the negative gradient;
            None for "sgd".
        objective: what is climbed; None for the proxy's value alone.
        target: true value whose first hitting time (in updates) is wanted, or None. The exact value is checked at every
            update, saved or not. For a batch also [N].
        save_every: the start, every `save_every`-th update and the end are kept; None for all of one run and the ends
            alone of a batch.
        learning_rate: of an optimiser given by its name. For a batch also [N].

    Raises:
        ValueError: naming the field that is wrong.

    Example:
        >>> Ascend(steps=100, optimizer="adam").learning_rate
        0.1
    """

    steps: int = eqx.field(static=True, converter=validate.counts("steps", minimum=1, maximum=MOST_STEPS))
    optimizer: Literal["sgd", "adam"] | GradientTransformation | None = eqx.field(
        default=None, static=True, converter=check_optimizer
    )
    objective: Objective | None = None
    target: float | None = eqx.field(default=None, converter=validate.numbers("target", optional=True))
    save_every: int | None = eqx.field(
        default=None, static=True, converter=validate.counts("save_every", minimum=1, maximum=MOST_STEPS, optional=True)
    )
    learning_rate: float = eqx.field(default=0.1, converter=validate.numbers("learning_rate", positive=True))

    name: ClassVar[str] = "ascend"

    def __check_init__(self):
        choose_objective(self.objective, "ascend")

    @property
    def chosen_objective(self) -> Objective:
        """The objective, with the default in place of None."""
        return choose_objective(self.objective, "ascend")

    def run(self, problem: Problem) -> Solution:
        """Runs one problem; `pgdyn.solve` checks it first."""
        path = self.path(problem, 1 if self.save_every is None else self.save_every)
        return Solution(**path, problem=problem, settings=self)

    def path(self, problem: Problem, save_every: int | None) -> dict[str, Any]:
        """The arrays of the `Solution` of one problem; of its end alone for a `save_every` of None."""
        require_room(self.steps, save_every)
        goal = None if self.target is None else validate.scalar("target", self.target)
        rate = validate.scalar("learning_rate", self.learning_rate)
        optimizer = trace(self.optimizer, rate, problem.initial_params)
        return _run(problem, self.chosen_objective, optimizer, goal, self.steps, save_every)


@eqx.filter_jit
def _run(
    problem: Problem,
    objective: Objective,
    optimizer: Optimizer,
    goal: Array | None,
    steps: int,
    save_every: int | None,
) -> dict[str, Any]:
    reference = objective.reference_log_policy(problem)

    def step(state: PyTree, count: Array) -> tuple[PyTree, None]:
        params, memory, hit = state
        logits = policy.logits(problem, params)
        hit = first_hit(problem, goal, hit, count, logits)
        gradient = policy.pull_back(problem, objective.logit_gradient(problem, logits, reference), params)
        params, memory = optimizer.ascend(gradient, memory, params)
        return (params, memory, hit), None

    def stretch(state: PyTree, counts: Array) -> tuple[PyTree, Array | None]:
        state, _ = jax.lax.scan(step, state, counts)
        return state, None if save_every is None else state[0]

    start = problem.initial_params
    state, counts = (start, optimizer.init(start), no_hit(goal, start.dtype)), jnp.arange(steps)
    length = steps if save_every is None else save_every
    whole = (math.ceil(steps / length) - 1) * length
    state, path = jax.lax.scan(stretch, state, counts[:whole].reshape(-1, length))
    state, last = stretch(state, counts[whole:])
    if path is not None and last is not None:
        path = jnp.concatenate([start[None], path, last[None]])
    params, _, hit = state
    return finish(problem, objective, goal, steps, save_every, params, hit, path)


def finish(
    problem: Problem,
    objective: Objective,
    goal: Array | None,
    steps: int,
    save_every: int | None,
    params: Array,
    hit: Array,
    path: Array | None,
) -> dict[str, Any]:
    """The fields of a `Solution` but its problem and settings, after the last update."""
    hit = first_hit(problem, goal, hit, jnp.asarray(steps), policy.logits(problem, params))
    result = jnp.where(jnp.all(jnp.isfinite(params)), Result.completed, Result.not_finite).astype(jnp.int32)
    found = {"hitting_time": hit, "result": result, "steps": jnp.asarray(steps)}
    if path is None or save_every is None:
        reference = objective.reference_log_policy(problem)
        seen = observe(problem, objective, policy.log_policy(problem, params), reference)
        return {"t": None, "params": params, **seen, **found}
    return {"t": save_counts(steps, save_every), **observe_path(problem, objective, path), **found}


def no_hit(goal: Array | None, dtype: Any) -> Float[Array, ""]:
    """The hitting time before the first update: inf, or nan where there is no target."""
    return jnp.full((), jnp.nan if goal is None else jnp.inf, dtype)


def first_hit(problem: Problem, goal: Array | None, hit: Array, count: Array, logits: Array) -> Float[Array, ""]:
    """The smaller of the hitting time so far and `count` where the target is reached at `logits`."""
    if goal is None:
        return hit
    reached = policy.value(problem, policy.normalize(logits), problem.true_reward) >= goal
    return jnp.where(reached, jnp.minimum(hit, count.astype(hit.dtype)), hit)


def require_room(steps: int, save_every: int | None) -> None:
    """Raises ValueError if a run would keep more points than fit into memory."""
    if save_every is not None and steps // save_every > MOST_SAVES:
        raise ValueError(
            f"save_every is {save_every}; of {steps} updates that keeps more than {MOST_SAVES:.0e} points, save fewer"
        )


def save_counts(steps: int, save_every: int) -> Int[Array, " S"]:
    """The update counts at which a run is saved: 0, every `save_every`-th, and `steps`."""
    return jnp.minimum(jnp.arange(1 + math.ceil(steps / save_every)) * save_every, steps)
