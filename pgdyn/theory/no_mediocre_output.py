r"""Escape where no output is mediocre: the proxy r_b + D 1[y*] finds the best output in time O(1/p_0).

With p = pi(y*), I = int dp / (p^2 (1 - p)^2) = [-1/x + 1/(1 - x) + 2 ln(x/(1 - x))] from p_0 to rho, and T the time at
which p reaches rho,

    T <= I / (D dist(phi*, conv{other phi})^2)            any linear features
    I / (2 D) <= T <= I (K - 1) / (K D)                   orthonormal
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from pgdyn.batch import Batch
from pgdyn.problem import Problem
from pgdyn.theory import draws, flows, hull
from pgdyn.theory.check import Check
from pgdyn.theory.draws import Drawn, Stream, streamed
from pgdyn.theory.premises import is_orthonormal
from pgdyn.theory.rarity import DECADE_UNIT, exponent_over_a_decade
from pgdyn.theory.starts import initial_log_policy
from pgdyn.theory.theorem import Theorem, for_each


def escape_integral(start: Array, end: Array) -> Array:
    """Computes I = int dp / (p^2 (1 - p)^2) from `start` to `end`.

    Example:
        >>> round(float(escape_integral(jnp.asarray(0.05), jnp.asarray(0.9))), 4)
        38.1196
    """

    def antiderivative(p: Array) -> Array:
        return -1 / p + 1 / (1 - p) + 2 * (jnp.log(p) - jnp.log1p(-p))

    return antiderivative(end) - antiderivative(start)


def _best_start(problem: Problem) -> tuple[Array, Array, Array]:
    """(best output, its initial probability, the gap D) of a proxy r_b + D 1[y*]."""
    reward = problem.proxy_reward[0]
    best = jnp.argmax(reward)
    return best, jnp.exp(initial_log_policy(problem)[0, best]), reward[best] - jnp.min(reward)


def _counting(batch: Batch) -> Batch:
    """The same problems with the probability of the proxy's best output as their true value."""
    reward = batch.proxy_reward
    return batch.replace(true_reward=(reward == np.max(reward, axis=-1, keepdims=True)).astype(float))


def one_good_output(problem: Problem, rho: Array) -> Any:
    """Tells whether the proxy is r_b + D 1[y*] on one prompt at temperature 1, with p_0 < rho < 1."""
    if problem.num_prompts != 1:
        return False
    _, p, _ = _best_start(problem)
    reward = problem.proxy_reward[0]
    others_equal = jnp.sum(reward == jnp.min(reward)) == problem.num_outputs - 1
    return others_equal & (p < rho) & (rho < 1) & (problem.temperature == 1)


def _hull_bound(problem: Problem, rho: Array) -> Array:
    best, p, gap = _best_start(problem)
    assert problem.features is not None
    phi = jnp.roll(problem.features[0], -best, axis=0)
    return escape_integral(p, rho) / (gap * hull.squared_distance(phi[0], phi[1:]))


def _no_mediocre_upper(batch: Batch, rho: np.ndarray) -> Check:
    bound = for_each(batch, _hull_bound, rho)
    times = flows.arrival_times(_counting(batch), rho, until=1.01 * bound)
    return Check.ratio_at_most(times, bound, rounding=1e-5)


@streamed
def _draw_features(stream: Stream, size: tuple[int, int]) -> Drawn:
    outputs, width = size
    phi = stream.normal((outputs, width))
    # Less likely the further the start lies away from phi*.
    away = phi[0] - jnp.mean(phi[1:], axis=0)
    params = stream.uniform(-8.0, 1.0) * away / jnp.sum(away**2) + 0.5 * stream.normal((width,))
    low, gap = stream.uniform(-1.0, 1.0), stream.log_uniform(0.01, 2.0)
    reward = jnp.full(outputs, low).at[0].set(low + gap)
    problem = Problem.linear(phi, reward, initial_params=params)
    _, p, _ = _best_start(problem)
    return problem, {"rho": p + stream.uniform(0.01, 0.99) * (1 - p)}


no_mediocre_upper = Theorem(
    name="no_mediocre_upper",
    statement=(
        "Proxy r_b + D 1[y*], any linear features, one prompt: under the flow p = pi(y*) reaches rho by the time "
        "I / (D dist(phi*, conv{other phi})^2), I = [-1/x + 1/(1-x) + 2 ln(x/(1-x))] from p_0 to rho; so in time "
        "O(1/p_0), as in the paper's second theorem."
    ),
    source="arXiv 2604.25872, theorem 2 (its rate); constant and the extension to features derived here",
    kind="bound",
    unit="decades: log10(bound / time); rounding 1e-5",
    draw=_draw_features,
    batch_claim=_no_mediocre_upper,
    premise=lambda problem, rho: (not problem.is_tabular) & one_good_output(problem, rho),
    sizes=((5, 5), (2, 3), (3, 2)),
    defaults={"rho": 0.9},
)


def _scaled_integral(problem: Problem, rho: Array) -> Array:
    _, p, gap = _best_start(problem)
    return escape_integral(p, rho) / gap


def _no_mediocre_orthonormal(batch: Batch, rho: np.ndarray) -> Check:
    integral = for_each(batch, _scaled_integral, rho)
    upper = integral * (batch.num_outputs - 1) / batch.num_outputs
    time = flows.arrival_times(_counting(batch), rho, until=1.01 * upper)
    above = Check.ratio_at_most(time, upper, rounding=1e-5)
    return Check.each_of(above, Check.ratio_at_least(time, integral / 2, rounding=1e-5))


def _one_good(stream: Stream, outputs: int, p: Array) -> Problem:
    start = jnp.append(p, (1 - p) * draws.policy(stream, (outputs - 1,)))
    low, gap = stream.uniform(-1.0, 1.0), stream.log_uniform(0.01, 2.0)
    return Problem.tabular(start, jnp.full(outputs, low).at[0].set(low + gap))


@streamed
def _draw_one_good(stream: Stream, outputs: int) -> Drawn:
    p = stream.log_uniform(1e-6, 0.5)
    return _one_good(stream, outputs, p), {"rho": p + stream.uniform(0.01, 0.99) * (1 - p)}


no_mediocre_orthonormal = Theorem(
    name="no_mediocre_orthonormal",
    statement=(
        "Proxy r_b + D 1[y*], K outputs, orthonormal flow: the time T at which pi(y*) reaches rho satisfies "
        "I / (2 D) <= T <= I (K - 1) / (K D), with I as in no_mediocre_upper: the lower end where one other output "
        "holds all the rest, the upper where the others are equal (see two_level_closed_form)."
    ),
    source="derived here; rate of arXiv 2604.25872, theorem 2",
    kind="bound",
    unit="decades to the nearer end; rounding 1e-5",
    draw=_draw_one_good,
    batch_claim=_no_mediocre_orthonormal,
    premise=lambda problem, rho: is_orthonormal(problem) & one_good_output(problem, rho),
    sizes=(3, 2, 30),
    defaults={"rho": 0.9},
)


def _no_mediocre_exponent(batch: Batch, rho: np.ndarray) -> Check:
    counting = _counting(batch)
    best = np.argmax(batch.proxy_reward[:, 0], axis=1)
    return Check.at_most(exponent_over_a_decade(counting, best, rho), 1.0, rounding=1e-3)


def _rare_good_output(problem: Problem, rho: Array) -> Any:
    _, p, _ = _best_start(problem)
    return is_orthonormal(problem) & one_good_output(problem, rho) & (p <= 0.1) & (rho >= 0.5)


@streamed
def _draw_rare_good(stream: Stream, outputs: int) -> Drawn:
    return _one_good(stream, outputs, stream.log_uniform(1e-5, 0.1)), {"rho": stream.uniform(0.5, 0.99)}


no_mediocre_exponent = Theorem(
    name="no_mediocre_exponent",
    statement=(
        "Orthonormal flow of the proxy r_b + D 1[y*] from p_0 <= .1 to rho >= 1/2: the measured exponent of the time "
        "against 1/p_0 is at most 1, as in the paper's second theorem. For a start where the others are equal this is "
        "I(p_0) >= 1/(p_0 (1 - p_0)^2), which needs both conditions: from p_0 = .3, or to rho = p_0 + .01, slopes "
        "reach 1.7."
    ),
    source="arXiv 2604.25872, theorem 2 (its rate); the conditions derived here",
    kind="law",
    unit=DECADE_UNIT,
    draw=_draw_rare_good,
    batch_claim=_no_mediocre_exponent,
    premise=_rare_good_output,
    sizes=(5, 2, 30),
    defaults={"rho": 0.9},
)


# B3 and B6b of docs/theory.md.
THEOREMS = [no_mediocre_upper, no_mediocre_orthonormal, no_mediocre_exponent]
