r"""Sharper bounds by the reward's variance: exponent 1/2 where those of arXiv 2503.15477 have 1/3, and no constant.

J is the largest |d logits/d theta|_2, Var_pi[r] the proxy's variance, E the mean over prompts, s = sqrt(E Var_pi[r]).
|pi A|_2 <= s gives |grad V|_2 <= J s. Along the flow |grad E Var|_2 <= J E sum_y pi |A^2 - Var| <= 2 J s^2, so

    ds/dt <= J^2 s^2,   s_t <= s_0 / (1 - J^2 s_0 t),   dV_G/dt <= J^2 s_t   (true reward in [-1, 1]),

and V_G rises until t by -ln(1 - J^2 s_0 t) at most.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from pgdyn.batch import Batch
from pgdyn.objective import Objective
from pgdyn.problem import Problem
from pgdyn.theory import draws, flows
from pgdyn.theory.check import EPS, Check
from pgdyn.theory.draws import Drawn, Stream, streamed
from pgdyn.theory.reward_variance import room
from pgdyn.theory.starts import feature_norm, initial_variance, trained_on
from pgdyn.theory.theorem import Theorem, for_each

_SIZES = ((1, 2, None), (3, 5, None), (3, 5, 4))


def gradient_bound(problem: Problem) -> Array:
    """Computes J sqrt(E Var_0[r_P]).

    Example:
        >>> float(gradient_bound(Problem.tabular([0.5, 0.5], [1, -1])))
        1.0
    """
    return feature_norm(problem) * jnp.sqrt(initial_variance(problem))


def _gradient(problem: Problem) -> Check:
    gradient = Objective().gradient(problem, problem.initial_params)
    size = 1 + feature_norm(problem) * jnp.max(jnp.abs(problem.proxy_reward))
    return Check.at_most(jnp.sqrt(jnp.sum(gradient**2)), gradient_bound(problem), rounding=64 * EPS * size)


variance_gradient_sharp = Theorem(
    name="variance_gradient_sharp",
    statement=(
        "Any features, any rewards: |grad V|_2 <= J sqrt(E Var_pi[r]), J the largest |d logits/d theta|_2. "
        "(vanishing_gradient has 6 J (E Var)^(1/3).)"
    ),
    source="derived here; arXiv 2310.20703, theorem 1, for the weaker form",
    kind="bound",
    unit="the norm; holds up to 64 eps of 1 + J max |r|",
    draw=draws.any_problem,
    claim=_gradient,
    sizes=_SIZES,
)


def sharp_bound(problem: Problem, gamma: Array) -> Array:
    """Computes (1 - e^-gamma) / (J^2 sqrt(E Var_0[r_P])).

    Example:
        >>> float(sharp_bound(Problem.tabular([0.5, 0.5], [1, -1]), jnp.asarray(1.0)).round(4))
        0.6321
    """
    return -jnp.expm1(-gamma) / (feature_norm(problem) ** 2 * jnp.sqrt(initial_variance(problem)))


def _time(batch: Batch, gamma: np.ndarray) -> Check:
    bound = for_each(batch, sharp_bound, gamma)
    # Well beyond the bound, or a flow that is cut short would prove nothing.
    times = flows.rise_times(batch, gamma, np.maximum(1e6, 10 * bound))
    return Check.ratio_at_least(times, bound, rounding=1e-5)


@streamed
def _draw_rise(stream: Stream, size: Any) -> Drawn:
    problem = draws.problem(stream, size)
    # A proxy that knows something of the truth, so that the value rises; of any range.
    noise = stream.uniform(-1.0, 1.0, problem.true_reward.shape) * stream.log_uniform(0.01, 1.0)
    problem = trained_on(problem, stream.log_uniform(0.01, 3.0) * (problem.true_reward + noise))
    return problem, {"gamma": stream.uniform(0.05, 0.95) * room(problem)}


variance_time_sharp = Theorem(
    name="variance_time_sharp",
    statement=(
        "Any features, true reward in [-1, 1], any proxy: T_gamma >= (1 - e^-gamma) / (J^2 sqrt(E Var_0[r_P])), J the "
        "largest |d logits/d theta|_2. (Exponent -1/2 in the variance, where variance_time_general has -1/3.)"
    ),
    source="derived here; setting of arXiv 2503.15477, Theorem 1, without KL penalty",
    kind="bound",
    unit="decades: log10(time / bound), inf where the value never rises by gamma; rounding 1e-5",
    draw=_draw_rise,
    batch_claim=_time,
    premise=lambda problem, **_: jnp.max(jnp.abs(problem.true_reward)) <= 1,
    sizes=_SIZES,
    defaults={"gamma": 0.1},
)


# F10 of docs/theory.md.
THEOREMS = [variance_gradient_sharp, variance_time_sharp]
