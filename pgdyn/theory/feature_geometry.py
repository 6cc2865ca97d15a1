r"""Laws of the stall when the features of the best and the mediocre output are not orthogonal.

The setting is that of `mediocre_trap` and `trap_features`. Near the mediocre output, with u = D* p, w_b = D_b q_b,
w = sum_b w_b and s = u/w, to leading order

    d ln u/dt   = (a* + a_m - 2 kappa) u - (a_m - kappa) w,
    d ln w_b/dt = (a_m - kappa) u - a_m w - a_b w_b,

where the a_b w_b are drawn together to H w, and then d ln s/dt = (a* - kappa) u + (kappa + H) w. So s grows from the
start if kappa > -H, and y* escapes; if kappa < -H it falls for ever from any s < -(kappa + H)/(a* - kappa).

Escape time (derived here), with alpha = a* - kappa > 0, beta = kappa + H > 0, mu = a_m - kappa, g = (a_m + H)/(kappa +
H), start at a_b w_b all equal, and x = alpha s / (alpha s + beta):

    T = B(g, 1 + mu/alpha) [1 - I_x(g, 1 + mu/alpha)] x^-g (1 - x)^(-mu/alpha) / (w beta)  ~  p_0^-g,

I the regularised incomplete beta function. Orthonormal features give g = n + 1 and the time of `corner_laws`.
"""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from pgdyn import policy
from pgdyn.batch import Batch
from pgdyn.problem import Problem
from pgdyn.theory import flows
from pgdyn.theory.check import EPS, Check
from pgdyn.theory.corner_laws import is_rare_in_trap
from pgdyn.theory.draws import Drawn, Stream, streamed
from pgdyn.theory.mediocre_trap import draw_rewards, draw_start, mass_off, pulls, start_of_pulls, value_above
from pgdyn.theory.rarity import arrival_exponent, make_rarer
from pgdyn.theory.starts import initial_log_policy, initial_log_rate, initial_velocity
from pgdyn.theory.theorem import Theorem, for_each
from pgdyn.theory.trap_features import (
    draw_between,
    geometry,
    harmonic,
    has_trap_features,
    has_trap_shape,
    trap_features,
    trap_problem,
)

_SOURCE = "derived here; arXiv 2604.25872, appendix A.1, for the direction of the effect"


def exponent(problem: Problem) -> Array:
    """Computes g = (a_m + H) / (kappa + H).

    Example:
        >>> problem = trap_problem(jnp.eye(4), jnp.array([1.0, 0.8, -1.0, -1.0]), jnp.full(4, 0.25))
        >>> float(exponent(problem))  # n + 1, without correlations
        3.0
    """
    _, mediocre, inner, bad = geometry(problem)
    return (mediocre + harmonic(bad)) / (inner + harmonic(bad))


def escape_time(problem: Problem) -> Array:
    """Computes T of this module's docstring, for a start near the mediocre output with a_b D_b q_b all equal."""
    best, mediocre, inner, bad = geometry(problem)
    u, w = pulls(problem)
    total = jnp.sum(w)
    alpha, beta, mu = best - inner, inner + harmonic(bad), mediocre - inner
    g, tail = (mu + beta) / beta, 1 + mu / alpha
    x = alpha * u / (alpha * u + beta * total)
    rest = jax.scipy.special.betainc(tail, g, 1 - x)
    log_beta = jax.scipy.special.betaln(g, tail)
    return jnp.exp(log_beta - g * jnp.log(x) - mu / alpha * jnp.log1p(-x)) * rest / (total * beta)


def _gain(problem: Problem) -> Check:
    rate = initial_log_rate(problem, initial_velocity(problem))[0]
    log_policy = initial_log_policy(problem)
    pull = (jnp.exp(log_policy) * policy.advantage(log_policy, problem.proxy_reward))[0]
    best, mediocre, inner, _ = geometry(problem)
    formula = (best - inner) * pull[0] - (mediocre - inner) * pull[1]
    scale = jnp.max(jnp.abs(problem.proxy_reward)) * jnp.max(policy.kernel(problem))
    return Check.identity((rate[0] - rate[1] - formula) / scale, 16 * problem.num_outputs**2 * EPS)


def _draw_kernel(stream: Stream, n: int, low: float, high: float) -> tuple[Array, Array, Array]:
    """(features, kappa, a_b) with kappa between -H + `low` and the smaller of `high` and .95 sqrt(a* a_m)."""
    best, mediocre = stream.uniform(1.0, 2.5), stream.uniform(0.6, 2.0)
    bad = stream.uniform(0.5, 2.0, (n,))
    ceiling = jnp.minimum(high, 0.95 * jnp.sqrt(best * mediocre))
    inner = draw_between(stream, jnp.maximum(low - harmonic(bad), -0.95 * jnp.sqrt(best * mediocre)), ceiling)
    return trap_features(best, mediocre, inner, bad), inner, bad


@streamed
def _draw_gain(stream: Stream, n: int) -> Drawn:
    features, *_ = _draw_kernel(stream, n, -5.0, 5.0)
    start = jax.nn.softmax(stream.log_uniform(0.1, 5.0) * stream.normal((n + 2,)))
    return trap_problem(features, draw_rewards(stream, n), start), {}


feature_geometry_gain = Theorem(
    name="feature_geometry_gain",
    statement=(
        "Bad features orthogonal to phi* and phi_med: d ln(p/m)/dt = (a* - kappa) p A* - (a_m - kappa) m A_med, so "
        "y* gains on y_med iff the first term is the larger."
    ),
    source=_SOURCE,
    kind="exact",
    unit="error relative to the largest reward and squared norm; holds up to 16 K^2 eps",
    draw=_draw_gain,
    claim=_gain,
    premise=has_trap_features,
    sizes=(1, 3),
)


def _exponent_claim(batch: Batch, fraction: np.ndarray) -> Check:
    slope = arrival_exponent(batch, make_rarer(batch), value_above(batch, fraction))
    return Check.near(slope, for_each(batch, exponent), 0.01)


def _escapes_late(problem: Problem, fraction: Array) -> Any:
    if not has_trap_shape(problem):
        return False
    _, _, inner, bad = geometry(problem)
    log_best = initial_log_policy(problem)[0, 0]
    away = inner + harmonic(bad) >= 0.5
    decades = exponent(problem) * log_best / math.log(10)
    late = is_rare_in_trap(problem, 0.02) & (decades <= -15) & (decades >= -25)
    return has_trap_features(problem) & away & late & (fraction > 0) & (fraction <= 0.75)


@streamed
def _draw_exponent(stream: Stream, n: int) -> Drawn:
    # A kappa nearer to -H has a larger exponent, and times beyond any clock before the law sets in.
    features, inner, bad_norms = _draw_kernel(stream, n, 0.6, 3.0)
    rewards = draw_rewards(stream, n)
    power = (jnp.sum(features[1] ** 2) + harmonic(bad_norms)) / (inner + harmonic(bad_norms))
    best = jnp.minimum(stream.log_uniform(1e-24, 1e-18) ** (1 / power), 9e-5)
    start = draw_start(stream, n, best)
    return trap_problem(features, rewards, start), {"fraction": stream.uniform(0.05, 0.75)}


feature_geometry_law = Theorem(
    name="feature_geometry_law",
    statement=(
        "Flow on the true reward, kappa > -H: the time to a value above r_med is Theta(p_0^-g) with "
        "g = (a_m + H)/(kappa + H). So rating the mediocre output low, which makes it p_0^-1, helps in the limit iff "
        "kappa < a_m. Measured where kappa + H >= 1/2 and y* is rare: p_0 <= 1e-4, 1e-25 <= p_0^g <= 1e-15, D* p_0 "
        "sum_b 1/(D_b q_b) <= 1/50, no bad output likelier than the mediocre one; to a value of at most "
        "r_med + (3/4) D*."
    ),
    source=_SOURCE,
    kind="law",
    unit="left over of a tolerance of .01 in -d ln T / d ln p_0, between p_0 and p_0 / sqrt(10)",
    draw=_draw_exponent,
    batch_claim=_exponent_claim,
    premise=_escapes_late,
    sizes=(1, 2, 3),
    defaults={"fraction": 0.5},
)


def _escape_claim(batch: Batch, fraction: np.ndarray) -> Check:
    times = flows.arrival_times(batch, value_above(batch, fraction))
    return Check.near(times / for_each(batch, escape_time), 1.0, 1e-4)


@streamed
def _draw_escape(stream: Stream, n: int) -> Drawn:
    best, mediocre = stream.uniform(1.0, 2.5), stream.uniform(0.6, 2.0)
    bad = stream.uniform(0.5, 2.0, (n,))
    ceiling = jnp.minimum(best - 0.3, 0.95 * jnp.sqrt(best * mediocre))
    inner = draw_between(stream, jnp.maximum(0.2 - harmonic(bad), -0.95 * jnp.sqrt(best * mediocre)), ceiling)
    rewards = draw_rewards(stream, n)
    total = stream.log_uniform(1e-8, 3e-7)
    u = total * stream.log_uniform(1e-3, 1.0)
    start = start_of_pulls(rewards, u, total * harmonic(bad) / bad)
    return trap_problem(trap_features(best, mediocre, inner, bad), rewards, start), {}


def _in_balanced_corner(problem: Problem, fraction: Array) -> Any:
    best, _, inner, bad = geometry(problem)
    _, w = pulls(problem)
    balanced = jnp.all(jnp.abs(bad * w - (bad * w)[0]) <= 1e-6 * (bad * w)[0])
    escapes = (inner > -harmonic(bad)) & (inner < best)
    in_time = escape_time(problem) <= 1e28  # flows are run until 1e30
    return has_trap_features(problem) & balanced & escapes & (mass_off(problem) <= 1e-5) & in_time & (fraction == 0.5)


feature_geometry_time = Theorem(
    name="feature_geometry_time",
    statement=(
        "Same flow from near the mediocre output, a_b D_b q_b all equal and -H < kappa < a*: the time to r_med + "
        "D*/2 is, to leading order in the mass off the mediocre output, B(g, 1 + mu/alpha) [1 - I_x(g, 1 + "
        "mu/alpha)] x^-g (1 - x)^(-mu/alpha) / (w beta), alpha = a* - kappa, beta = kappa + H, mu = a_m - kappa, x "
        "= alpha u/(alpha u + beta w)."
    ),
    source="derived here",
    kind="law",
    unit="left over of a tolerance of 1e-4 in the ratio of times",
    draw=_draw_escape,
    batch_claim=_escape_claim,
    premise=_in_balanced_corner,
    sizes=(1, 3),
    defaults={"fraction": 0.5},
)


# C2a to C2c of docs/theory.md.
THEOREMS = [feature_geometry_gain, feature_geometry_law, feature_geometry_time]
