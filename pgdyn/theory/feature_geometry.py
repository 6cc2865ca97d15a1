r"""Laws of the stall when the features of the best and the mediocre output are not orthogonal.

One prompt, outputs y*, y_med and n bad ones as in `corner_laws`; squared feature norms a*, a_m, a_b, inner product
kappa = <phi*, phi_med>, and bad features orthogonal to each other and to both. H = 1 / sum_b (1/a_b). Near the mediocre
output, with u = D* p, w_b = D_b q_b, w = sum_b w_b and s = u/w, to leading order

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

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from pgdyn import policy
from pgdyn.dynamics.ensemble import flow_many
from pgdyn.dynamics.flow import velocity
from pgdyn.objective import Objective
from pgdyn.problem import Problem
from pgdyn.theory.asymptotics import ATOL, RTOL, arrival_exponent, arrival_times, make_rarer, near
from pgdyn.theory.corner_laws import pulls
from pgdyn.theory.draws import Stream
from pgdyn.theory.theorem import Check, Theorem

_SOURCE = "derived here; arXiv 2604.25872, appendix A.1, for the direction of the effect"
EPS = float(np.finfo(np.float64).eps)


def trap_features(
    best: Array | float, mediocre: Array | float, inner: Array | float, bad: Float[Array, " n"]
) -> Float[Array, "K K"]:
    """[K, K] features with these squared norms and <phi*, phi_med> = `inner`, where inner^2 < best mediocre."""
    features = jnp.diag(jnp.concatenate([jnp.ones(2), jnp.sqrt(bad)]))
    root = jnp.sqrt(jnp.asarray(best, features.dtype))
    features = features.at[0, 0].set(root).at[1, 0].set(inner / root)
    return features.at[1, 1].set(jnp.sqrt(mediocre - (inner / root) ** 2))


def geometry(problem: Problem) -> tuple[Array, Array, Array, Array]:
    """(a*, a_m, kappa, a_b [n]) of a problem with one prompt."""
    gram = policy.kernel(problem)[0, :, 0]
    return gram[0, 0], gram[1, 1], gram[0, 1], jnp.diag(gram)[2:]


def harmonic(bad: Float[Array, " n"]) -> Array:
    """H = 1 / sum_b (1/a_b)."""
    return 1 / jnp.sum(1 / bad)


def exponent(problem: Problem) -> Array:
    """g = (a_m + H) / (kappa + H)."""
    _, mediocre, inner, bad = geometry(problem)
    return (mediocre + harmonic(bad)) / (inner + harmonic(bad))


def has_trap_features(problem: Problem, **parameters: Any) -> Any:
    """One prompt, proxy = true reward, r_0 > r_1 > the rest, and bad features orthogonal to all others."""
    if problem.num_prompts > 1 or problem.num_outputs < 3:
        return False
    gram = policy.kernel(problem)[0, :, 0]
    off = gram - jnp.diag(jnp.diag(gram))
    off = off.at[0, 1].set(0.0).at[1, 0].set(0.0)
    reward = problem.true_reward[0]
    ordered = (reward[0] > reward[1]) & jnp.all(reward[1] > reward[2:])
    orthogonal = jnp.max(jnp.abs(off)) <= 1e-9 * jnp.max(jnp.diag(gram))
    return ordered & orthogonal & jnp.all(problem.proxy_reward == problem.true_reward)


def _trap_problem(features: Array, rewards: Array, start: Array) -> Problem:
    return Problem.linear(features, rewards, initial_params=jnp.linalg.solve(features, jnp.log(start)))


def _between(stream: Stream, low: Array, high: Array) -> Array:
    return low + (high - low) * stream.uniform()


def _draw_rewards(stream: Stream, n: int) -> Array:
    gap = stream.log_uniform(0.2, 1.0, (1,))
    return jnp.concatenate([gap, jnp.zeros(1), -stream.uniform(0.3, 2.0, (n,))]) + stream.uniform(-1.0, 1.0)


def _draw_kernel(stream: Stream, n: int, low: float, high: float) -> tuple[Array, Array, Array, Array]:
    """(features, a*, kappa, a_b) with kappa between -H + `low` and the smaller of `high` and .95 sqrt(a* a_m)."""
    best, mediocre = stream.uniform(1.0, 2.5), stream.uniform(0.6, 2.0)
    bad = stream.uniform(0.5, 2.0, (n,))
    ceiling = jnp.minimum(high, 0.95 * jnp.sqrt(best * mediocre))
    inner = _between(stream, jnp.maximum(low - harmonic(bad), -0.95 * jnp.sqrt(best * mediocre)), ceiling)
    return trap_features(best, mediocre, inner, bad), best, inner, bad


# ------------------------------------------------------------------ who gains on whom, exactly


def _gain(problem: Problem) -> Check:
    log_policy = policy.log_policy(problem, problem.initial_params)
    slope = velocity(problem, Objective(), problem.initial_params, log_policy)
    rate = jax.jvp(lambda theta: policy.log_policy(problem, theta), (problem.initial_params,), (slope,))[1][0]
    pull = (jnp.exp(log_policy) * policy.advantage(log_policy, problem.proxy_reward))[0]
    best, mediocre, inner, _ = geometry(problem)
    formula = (best - inner) * pull[0] - (mediocre - inner) * pull[1]
    scale = jnp.max(jnp.abs(problem.proxy_reward)) * jnp.max(policy.kernel(problem))
    return Check.identity((rate[0] - rate[1] - formula) / scale, 16 * problem.num_outputs**2 * EPS)


def _draw_gain(key: Array, n: int) -> tuple[Problem, dict[str, Any]]:
    stream = Stream(key)
    features, *_ = _draw_kernel(stream, n, -5.0, 5.0)
    start = jax.nn.softmax(stream.log_uniform(0.1, 5.0) * stream.normal((n + 2,)))
    return _trap_problem(features, _draw_rewards(stream, n), start), {}


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


# ------------------------------------------------------------------ C2: exponents


def _target(problems: Problem, fraction: Array) -> Array:
    reward = problems.true_reward[:, 0]
    return reward[:, 1] + fraction * (reward[:, 0] - reward[:, 1])


def _exponent_claim(problems: Problem, fraction: Array) -> Check:
    slope = arrival_exponent(problems, make_rarer(problems), _target(problems, fraction))
    return near(slope, jax.vmap(exponent)(problems), 0.02)


def _draw_exponent(key: Array, n: int) -> tuple[Problem, dict[str, Any]]:
    stream = Stream(key)
    # A kappa nearer to -H has a larger exponent, and times beyond any clock before the law sets in.
    features, _, inner, bad_norms = _draw_kernel(stream, n, 0.6, 3.0)
    rewards = _draw_rewards(stream, n)
    power = (jnp.sum(features[1] ** 2) + harmonic(bad_norms)) / (inner + harmonic(bad_norms))
    best = jnp.minimum(stream.log_uniform(1e-24, 1e-18) ** (1 / power), 1e-4)
    mediocre = stream.uniform(0.3, 0.6)
    shares = stream.uniform(0.3, 1.0, (n,))
    bad = (1 - mediocre - best) * shares / jnp.sum(shares)
    start = jnp.concatenate([jnp.stack([best, 1 - best - jnp.sum(bad)]), bad])
    return _trap_problem(features, rewards, start), {}


feature_geometry_law = Theorem(
    name="feature_geometry_law",
    statement=(
        "Flow on the true reward, kappa > -H: the time to a value above r_med is Theta(p_0^-g) with "
        "g = (a_m + H)/(kappa + H). So rating the mediocre output low, which makes it p_0^-1, helps in the limit iff "
        "kappa < a_m."
    ),
    source=_SOURCE,
    kind="law",
    unit="left over of a tolerance of .02 in -d ln T / d ln p_0",
    draw=_draw_exponent,
    batch_claim=_exponent_claim,
    premise=has_trap_features,
    sizes=(1, 2, 3),
    defaults={"fraction": 0.5},
)


# ------------------------------------------------------------------ the time itself


def escape_time(problem: Problem) -> Array:
    """T of this module's docstring, for a start near the mediocre output with a_b D_b q_b all equal."""
    best, mediocre, inner, bad = geometry(problem)
    u, w = pulls(problem)
    total = jnp.sum(w)
    alpha, beta, mu = best - inner, inner + harmonic(bad), mediocre - inner
    g, tail = (mu + beta) / beta, 1 + mu / alpha
    x = alpha * u / (alpha * u + beta * total)
    rest = jax.scipy.special.betainc(tail, g, 1 - x)
    log_beta = jax.scipy.special.betaln(g, tail)
    return jnp.exp(log_beta - g * jnp.log(x) - mu / alpha * jnp.log1p(-x)) * rest / (total * beta)


def _escape_claim(problems: Problem, fraction: Array) -> Check:
    times = arrival_times(problems, _target(problems, fraction))
    return near(times / jax.vmap(escape_time)(problems), 1.0, 0.05)


def _draw_escape(key: Array, n: int) -> tuple[Problem, dict[str, Any]]:
    stream = Stream(key)
    best, mediocre = stream.uniform(1.0, 2.5), stream.uniform(0.6, 2.0)
    bad = stream.uniform(0.5, 2.0, (n,))
    ceiling = jnp.minimum(best - 0.3, 0.95 * jnp.sqrt(best * mediocre))
    inner = _between(stream, jnp.maximum(0.2 - harmonic(bad), -0.95 * jnp.sqrt(best * mediocre)), ceiling)
    rewards = _draw_rewards(stream, n)
    total = stream.log_uniform(1e-6, 3e-5)
    u = total * stream.log_uniform(1e-3, 1.0)
    gaps = rewards[1] - rewards[2:]
    masses = total * harmonic(bad) / bad / gaps
    p = u / (rewards[0] - rewards[1])
    start = jnp.concatenate([jnp.stack([p, 1 - p - jnp.sum(masses)]), masses])
    return _trap_problem(trap_features(best, mediocre, inner, bad), rewards, start), {}


def _in_balanced_corner(problem: Problem, **parameters: Any) -> Any:
    best, _, inner, bad = geometry(problem)
    _, w = pulls(problem)
    start = policy.log_policy(problem, problem.initial_params)[0]
    balanced = jnp.all(jnp.abs(bad * w - (bad * w)[0]) <= 1e-6 * (bad * w)[0])
    escapes = (inner > -harmonic(bad)) & (inner < best)
    return has_trap_features(problem) & balanced & escapes & (-jnp.expm1(start[1]) <= 0.01)


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
    unit="left over of a tolerance of .05 in the ratio of times",
    draw=_draw_escape,
    batch_claim=_escape_claim,
    premise=_in_balanced_corner,
    sizes=(1, 3),
    defaults={"fraction": 0.5},
)


# ------------------------------------------------------------------ stalls without end

_LATE = (1e10, 1e14)


def _stall(problems: Problem) -> Check:
    logs = [jnp.asarray(flow_many(problems, t, rtol=RTOL, atol=ATOL).log_policy)[:, 0, 0] for t in _LATE]
    slope = (logs[1] - logs[0]) / np.log(_LATE[1] / _LATE[0])
    return near(slope, jax.vmap(stall_exponent)(problems), 0.02)


def stall_exponent(problem: Problem) -> Array:
    """-(a_m - kappa) / (a_m + H), the power of t with which the best output's probability falls."""
    _, mediocre, inner, bad = geometry(problem)
    return -(mediocre - inner) / (mediocre + harmonic(bad))


def _draw_stall(key: Array, n: int) -> tuple[Problem, dict[str, Any]]:
    stream = Stream(key)
    best, mediocre = stream.uniform(1.0, 2.5), stream.uniform(1.0, 2.0)
    bad = stream.uniform(0.3, 0.8, (n,))
    # The ratio s falls with the power (kappa + H)/(a_m + H) of time; near zero the start is felt for ever.
    inner = _between(stream, -0.95 * jnp.sqrt(best * mediocre), -harmonic(bad) - 0.1)
    rewards = _draw_rewards(stream, n)
    total = stream.log_uniform(1e-4, 1e-3)
    s = stream.uniform(0.02, 0.5) * -(inner + harmonic(bad)) / (best - inner)
    masses = total * harmonic(bad) / bad / (rewards[1] - rewards[2:])
    p = s * total / (rewards[0] - rewards[1])
    start = jnp.concatenate([jnp.stack([p, 1 - p - jnp.sum(masses)]), masses])
    return _trap_problem(trap_features(best, mediocre, inner, bad), rewards, start), {}


def _stalls(problem: Problem, **parameters: Any) -> Any:
    best, _, inner, bad = geometry(problem)
    u, w = pulls(problem)
    start = policy.log_policy(problem, problem.initial_params)[0]
    threshold = -(inner + harmonic(bad)) / (best - inner)
    return has_trap_features(problem) & (u < threshold * jnp.sum(w)) & (-jnp.expm1(start[1]) <= 0.05)


permanent_stall = Theorem(
    name="permanent_stall",
    statement=(
        "Flow on the true reward, kappa < -H, from near the mediocre output with s = D* p / sum_b D_b q_b below "
        "-(kappa + H)/(a* - kappa): y* is never found. Its probability falls for ever, like t^(-(a_m - kappa)/(a_m "
        "+ H))."
    ),
    source=_SOURCE,
    kind="law",
    unit="left over of a tolerance of .02 in d ln p / d ln t between t = 1e10 and 1e14",
    draw=_draw_stall,
    batch_claim=_stall,
    premise=_stalls,
    sizes=(1, 3),
)


THEOREMS = [feature_geometry_gain, feature_geometry_law, feature_geometry_time, permanent_stall]
