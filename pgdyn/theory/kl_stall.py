r"""A KL penalty shortens the stall.

The flow of V_G - beta KL(pi || pi_0) is that of the rewards r_y - beta ln(pi(y)/pi_0(y)). In a stall the mediocre
output has gained and all others have lost, y* and the bad ones alike: the penalty widens D* and narrows every D_b, and
the time of `corner_law` goes with prod D_b / D*^(n+1). It ends above the target as long as the penalised optimum pi_0
e^{r/beta} does.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from pgdyn.batch import Batch
from pgdyn.objective import Objective
from pgdyn.problem import Problem
from pgdyn.theory import flows
from pgdyn.theory.check import Check
from pgdyn.theory.draws import Drawn, Stream, streamed
from pgdyn.theory.mediocre_trap import draw_rewards, is_ordered, pulls, value_above
from pgdyn.theory.premises import is_orthonormal
from pgdyn.theory.theorem import Theorem

_MOST = 0.05  # of the weight, relative to D*
_RARE, _WEAK = 0.05, 0.1  # of p_0, and of D* p_0 relative to sum_b D_b q_b: a stall, and not a detour


def penalised_times(batch: Batch, weight: np.ndarray, fraction: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Computes the times to r_med + fraction D* without and with a KL penalty to the start."""
    every = batch.concatenate(batch)
    target, kl = np.tile(value_above(batch, fraction), 2), np.concatenate([0 * weight, weight])
    without, under = flows.arrival_times(every, target, Objective(kl=kl)).reshape(2, -1)
    return without, under


def _claim(batch: Batch, weight: np.ndarray, fraction: np.ndarray) -> Check:
    without, under = penalised_times(batch, weight, fraction)
    gap = batch.true_reward[:, 0, 0] - batch.true_reward[:, 0, 1]
    return Check.at_least(np.log(without / under) / (weight / gap), 0.0)


def _stalls(problem: Problem, weight: Array | float, fraction: Array | float) -> Any:
    if problem.num_outputs < 3:
        return False
    u, w = pulls(problem)
    gap = problem.true_reward[0, 0] - problem.true_reward[0, 1]
    stall = (u <= _WEAK * jnp.sum(w)) & (u <= 1.001 * _RARE * gap) & (weight <= _MOST * gap) & (fraction <= 0.3)
    return is_orthonormal(problem) & is_ordered(problem) & stall


@streamed
def _draw(stream: Stream, n: int) -> Drawn:
    rewards = draw_rewards(stream, n)
    mediocre, shares = stream.uniform(0.3, 0.8), stream.uniform(0.3, 1.0, (n,))
    bad = (1 - mediocre) * shares / jnp.sum(shares)
    gap = rewards[0] - rewards[1]
    p = stream.log_uniform(1e-3, 0.1) * jnp.sum((rewards[1] - rewards[2:]) * bad) / gap
    p = jnp.clip(p / (1 + p), 1e-4, _RARE)
    start = jnp.concatenate([p[None], (1 - p) * jnp.concatenate([mediocre[None], bad])])
    return Problem.tabular(start, rewards), {"weight": gap * stream.log_uniform(1e-3, _MOST)}


kl_shortens_stall = Theorem(
    name="kl_shortens_stall",
    statement=(
        "Orthonormal flow of V_G - beta KL(pi || pi_0) in a stall, p_0 <= .05, D* p_0 <= .1 sum_b D_b q_b and beta <= "
        ".05 D*: a value above r_med is reached sooner than without penalty. (Controlled problem, time to V_G = .85 "
        "for beta = 0 / .001 / .003 / .01 / .03: 33,553 / 30,265 / 24,974 / 14,264 / 4,898.)"
    ),
    source="derived here",
    kind="law",
    unit="ln of the ratio of times without and with the penalty, over beta / D*",
    draw=_draw,
    batch_claim=_claim,
    premise=_stalls,
    sizes=(3,),
    defaults={"weight": 0.001, "fraction": 0.3},
)


# F9 of docs/theory.md.
THEOREMS = [kl_shortens_stall]
