r"""Measuring laws: hitting times of batches of flows, their exponents, and comparison to a stated tolerance.

A law T = C p_0^{-g} (1 + o(1)) is tested by the local slope g = -d ln T / d ln p_0, taken between a start and one whose
best output is rarer by a factor: constants cancel, and what is left is the correction that the tolerance allows for.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from pgdyn.dynamics.ensemble import flow_many
from pgdyn.objective import Objective
from pgdyn.problem import Problem
from pgdyn.theory.theorem import Check

HORIZON = 1e30  # later than any escape that is measured here; a plateau costs few steps however long it is
FACTOR = math.sqrt(10.0)  # between the two starts of a slope
# Errors made at the start are magnified on the way out of a plateau, but only in proportion.
RTOL, ATOL = 1e-8, 1e-10


def near(measured: ArrayLike, predicted: ArrayLike, tolerance: ArrayLike) -> Check:
    """|measured - predicted| <= tolerance, with slack the part of the tolerance that is left over."""
    measured, predicted = jnp.broadcast_arrays(jnp.asarray(measured), jnp.asarray(predicted))
    error = jnp.where(measured == predicted, 0.0, jnp.abs(measured - predicted))  # both may be infinite
    slack = jnp.asarray(tolerance) - error
    return Check(slack >= 0, slack, measured, predicted)


def arrival_times(problems: Problem, target: ArrayLike, objective: Objective | None = None) -> Float[Array, " N"]:
    """First times at which the flows' true values reach `target`, inf where they never do before `HORIZON`."""
    outcome = flow_many(
        problems, HORIZON, objective=objective, target=target, stop_at_target=True, rtol=RTOL, atol=ATOL
    )
    return jnp.asarray(outcome.hitting_time)


def policy_after(problems: Problem, times: Float[Array, " N"]) -> Float[Array, "N K"]:
    """log pi of the first prompt when each flow has run for its own time."""
    return jnp.asarray(flow_many(problems, times, rtol=RTOL, atol=ATOL).log_policy)[:, 0]


def arrival_exponent(
    problems: Problem,
    rarer: Problem,
    target: ArrayLike,
    objective: Objective | None = None,
    factor: float = FACTOR,
) -> Float[Array, " N"]:
    """-d ln T / d ln p_0 between `problems` and the same with their best output `factor` times rarer."""
    both = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), problems, rarer)
    target = jnp.tile(jnp.broadcast_to(jnp.asarray(target), len(problems)), 2)
    times = arrival_times(both, target, objective).reshape(2, -1)
    return jnp.log(times[1] / times[0]) / math.log(factor)


def make_rarer(problems: Problem, output: int = 0, factor: float = FACTOR) -> Problem:
    """The same problems with the odds of one output against all others divided by `factor`.

    Features must be square and invertible, so that any logits can be had.
    """
    change = jnp.zeros(problems.true_reward.shape).at[..., output].set(-math.log(factor))
    change = change * problems.temperature[:, None, None]
    if problems.features is not None:
        change = jnp.linalg.solve(problems.features[..., 0, :, :], change[:, 0, :, None])[..., 0]
    return Problem(
        problems.features,
        problems.true_reward,
        problems.proxy_reward,
        problems.initial_params + change,
        problems.temperature,
        problems.prompt_weights,
    )
