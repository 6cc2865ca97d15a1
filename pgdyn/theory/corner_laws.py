r"""Laws of the stall: how long a nearly deterministic policy on a mediocre output takes to find the best one.

Orthonormal features, one prompt. Outputs in this order: y* with reward r*, y_med with r_med < r*, and n bad outputs
with r_b < r_med; D* = r* - r_med, D_b = r_med - r_b. With all but a little of the mass on y_med, and u = D* p,
w_b = D_b q_b, w = sum_b w_b, s = u/w, the flow is to leading order (A_med m = w - u, by `log_ratio`)

    d ln u/dt = 2u - w,        d ln w_b/dt = u - w - w_b.

In these variables the gaps are gone, so one law serves unequal gaps and unequal masses. **Closed form** (derived here).
Put g = exp(int (u - w) dt) and G = int g dt; then u = g / (1/u_0 - G), w_b = g / (1/w_b0 + G), and with x = u_0 G from
0 to 1, c_b = w_b0/u_0,

    u   = u_0 / [(1 - x)^2 prod_b (1 + c_b x)],
    w_b = u_0 c_b / [(1 - x) (1 + c_b x) prod_a (1 + c_a x)],
    t   = (1/u_0) int_0^x (1 - y) prod_b (1 + c_b y) dy,

so that y* escapes at t(x = 1) = (1/u_0) sum_j e_j(c) / [(j + 1)(j + 2)], e_j the elementary symmetric polynomials,
whose last term, prod_b (D_b q_b) / [(n + 1)(n + 2) (D* p_0)^{n+1}], takes over when y* is rare.
"""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from pgdyn import policy
from pgdyn.dynamics.flow import flow
from pgdyn.problem import Problem
from pgdyn.theory.asymptotics import arrival_exponent, arrival_times, make_rarer, near, policy_after
from pgdyn.theory.draws import Stream
from pgdyn.theory.theorem import Check, Theorem

_SOURCE = "derived here; the lower bound of arXiv 2604.25872, Theorem 1, has exponent 14/13"


def pulls(problem: Problem) -> tuple[Array, Array]:
    """(u, w_b) = (D* p, D_b q_b) at the start, of the true reward: a scalar and [n]."""
    probabilities = jnp.exp(policy.log_policy(problem, problem.initial_params))[0]
    reward = problem.true_reward[0]
    return (reward[0] - reward[1]) * probabilities[0], (reward[1] - reward[2:]) * probabilities[2:]


def symmetric_polynomials(c: Float[Array, " n"]) -> Float[Array, " n+1"]:
    """e_0..e_n of c, the coefficients of prod_b (1 + c_b y)."""
    coefficients = jnp.ones(1, c.dtype)
    for root in c:
        coefficients = jnp.append(coefficients, 0.0) + jnp.append(0.0, root * coefficients)
    return coefficients


def escape_time(u: Array, w: Float[Array, " n"]) -> Array:
    """Time at which the corner system leaves every corner: (1/u) sum_j e_j(w/u) / [(j + 1)(j + 2)]."""
    coefficients = symmetric_polynomials(w / u)
    j = jnp.arange(coefficients.size, dtype=coefficients.dtype)
    return jnp.sum(coefficients / ((j + 1) * (j + 2))) / u


def corner_state(u: Array, w: Float[Array, " n"], x: Array) -> tuple[Array, Array, Array]:
    """(t, ln(u_t/u_0), ln(w_t/w_0) [n]) at the stage x in [0, 1) of the closed form."""
    coefficients = symmetric_polynomials(w / u)
    j = jnp.arange(coefficients.size, dtype=coefficients.dtype)
    t = jnp.sum(coefficients * x ** (j + 1) * (1 / (j + 1) - x / (j + 2))) / u
    logs = jnp.log1p(w / u * x)
    return t, -2 * jnp.log1p(-x) - jnp.sum(logs), -jnp.log1p(-x) - logs - jnp.sum(logs)


def has_mediocre_trap(problem: Problem) -> Any:
    """One prompt, tabular at temperature 1, proxy = true reward, and r_0 > r_1 > every other reward."""
    if not problem.is_tabular or problem.num_prompts > 1 or problem.num_outputs < 2:
        return False
    reward = problem.true_reward[0]
    ordered = (reward[0] > reward[1]) & jnp.all(reward[1] > reward[2:])
    return ordered & (problem.temperature == 1) & jnp.all(problem.proxy_reward == problem.true_reward)


def in_corner(problem: Problem, **parameters: Any) -> Any:
    """As `has_mediocre_trap`, with all but a hundredth of the mass on the mediocre output."""
    start = policy.log_policy(problem, problem.initial_params)[0]
    return has_mediocre_trap(problem) & (-jnp.expm1(start[1]) <= 0.01)


def _gaps(stream: Stream, n: int) -> Float[Array, " K"]:
    """Rewards (D*, 0, -D_b) for random gaps, moved by a constant that changes nothing."""
    best = stream.log_uniform(0.2, 1.0, (1,))
    bad = -stream.uniform(0.3, 2.0, (n,))
    return jnp.concatenate([best, jnp.zeros(1), bad]) + stream.uniform(-1.0, 1.0)


def corner_problem(rewards: Float[Array, " K"], u: Array, w: Float[Array, " n"]) -> Problem:
    """The tabular problem of these rewards whose start has pulls D* p = u and D_b q_b = w_b."""
    best, bad = u / (rewards[0] - rewards[1]), w / (rewards[1] - rewards[2:])
    start = jnp.concatenate([jnp.stack([best, 1 - best - jnp.sum(bad)]), bad])
    return Problem.tabular(start, rewards)


def _draw_pulls(stream: Stream, n: int) -> tuple[Array, Array]:
    level = stream.log_uniform(1e-6, 3e-5)
    u = level * stream.log_uniform(1e-3, 2.0)
    return u, level * stream.log_uniform(0.2, 5.0, (n,))


def _draw_corner(key: Array, n: int) -> tuple[Problem, dict[str, Any]]:
    stream = Stream(key)
    return corner_problem(_gaps(stream, n), *_draw_pulls(stream, n)), {}


# ------------------------------------------------------------------ C1: the corner system in closed form


def _starts(problems: Problem) -> Float[Array, "N K"]:
    return jax.vmap(lambda p: policy.log_policy(p, p.initial_params)[0], in_axes=(problems.batch_axes,))(problems)


def _corner_path(problems: Problem, stage: Array) -> Check:
    u, w = jax.vmap(pulls)(problems)
    t, best, bad = jax.vmap(corner_state)(u, w, stage)
    moved = policy_after(problems, t) - _starts(problems)
    predicted = jnp.concatenate([best[:, None], bad], axis=1)
    measured = jnp.delete(moved, 1, axis=1)
    worst = jnp.argmax(jnp.abs(measured - predicted), axis=1)[:, None]
    measured, predicted = (jnp.take_along_axis(array, worst, axis=1)[:, 0] for array in (measured, predicted))
    return near(measured, predicted, 0.05)


def _draw_path(key: Array, n: int) -> tuple[Problem, dict[str, Any]]:
    stream = Stream(key)
    problem = corner_problem(_gaps(stream, n), *_draw_pulls(stream, n))
    return problem, {"stage": stream.uniform(0.01, 0.9)}


corner_path = Theorem(
    name="corner_path",
    statement=(
        "Orthonormal flow on the true reward from near the mediocre output: with u = D* p, c_b = D_b q_b / u_0 and "
        "a stage x in [0, 1), at time t = (1/u_0) int_0^x (1 - y) prod (1 + c_b y) dy the best output's probability "
        "has changed by the factor 1/[(1 - x)^2 prod (1 + c_b x)] and that of bad output b by 1/[(1 - x)(1 + c_b x) "
        "prod (1 + c_a x)]."
    ),
    source=_SOURCE,
    kind="law",
    unit="left over of a tolerance of .05 in ln(pi_t/pi_0), worst output",
    draw=_draw_path,
    batch_claim=_corner_path,
    premise=in_corner,
    sizes=(1, 2, 3),
    defaults={"stage": 0.5},
)


def _corner_escape_time(problems: Problem, fraction: Array) -> Check:
    u, w = jax.vmap(pulls)(problems)
    reward = problems.true_reward[:, 0]
    target = reward[:, 1] + fraction * (reward[:, 0] - reward[:, 1])
    return near(arrival_times(problems, target) / jax.vmap(escape_time)(u, w), 1.0, 0.05)


corner_escape_time = Theorem(
    name="corner_escape_time",
    statement=(
        "Same flow: the time to the value r_med + D*/2 is, to leading order in the mass off the mediocre output, "
        "T = (1/u_0) sum_j e_j(c) / [(j + 1)(j + 2)], c_b = D_b q_b / (D* p_0). For rare y* it is "
        "prod_b (D_b q_b) / [(n + 1)(n + 2) (D* p_0)^(n+1)]: only the products of gap and mass enter."
    ),
    source=_SOURCE,
    kind="law",
    unit="left over of a tolerance of .05 in the ratio of times",
    draw=_draw_corner,
    batch_claim=_corner_escape_time,
    premise=in_corner,
    sizes=(1, 2, 3),
    defaults={"fraction": 0.5},
)


def minimum(s: Array, n: int) -> Array:
    """ln(p_min/p_0) for bad outputs of equal pull and s = D* p_0 / sum_b D_b q_b; 0 for s >= 1/2."""
    s = jnp.minimum(s, 0.5)
    return n * jnp.log(s) + (n + 2) * (math.log(n + 2) - jnp.log1p(n * s)) - math.log(4)


def _corner_minimum(problem: Problem) -> Check:
    u, w = pulls(problem)
    path = flow(problem, escape_time(u, w), saves=512, rtol=1e-6, atol=1e-8).log_policy[:, 0, 0]
    return near(jnp.min(path) - path[0], minimum(u / jnp.sum(w), w.size), 0.05)


def _draw_equal(key: Array, n: int) -> tuple[Problem, dict[str, Any]]:
    stream = Stream(key)
    pull = stream.log_uniform(1e-6, 3e-5)
    # p_min / p_0 is about s^n: s is kept where the stall ends while float64 can still follow it.
    s = stream.log_uniform(10 ** (-4 / n), 1.0)
    return corner_problem(_gaps(stream, n), n * pull * s, jnp.full(n, pull)), {}


def _equal_pulls(problem: Problem) -> Any:
    _, w = pulls(problem)
    return in_corner(problem) & jnp.all(jnp.abs(w - w[0]) <= 1e-9 * w[0])


corner_minimum = Theorem(
    name="corner_minimum",
    statement=(
        "Same flow, all D_b q_b equal, s = D* p_0 / sum_b D_b q_b: the best output loses probability at first iff s "
        "< 1/2, down to p_min = p_0 s^n (n + 2)^(n+2) / [4 (1 + n s)^(n+2)]."
    ),
    source=_SOURCE,
    kind="law",
    unit="left over of a tolerance of .05 in ln(p_min/p_0)",
    draw=_draw_equal,
    claim=_corner_minimum,
    premise=_equal_pulls,
    sizes=(1, 2, 3),
)


# ------------------------------------------------------------------ C1: exponents, from any start


def _escape_exponent(problems: Problem, fraction: Array) -> Check:
    reward = problems.true_reward[:, 0]
    target = reward[:, 1] + fraction * (reward[:, 0] - reward[:, 1])
    slope = arrival_exponent(problems, make_rarer(problems), target)
    return near(slope, problems.num_outputs - 1.0, 0.05)


def _draw_start(key: Array, n: int) -> tuple[Problem, dict[str, Any]]:
    stream = Stream(key)
    rewards = _gaps(stream, n)
    best, mediocre = stream.log_uniform(1e-6, 1e-4), stream.uniform(0.2, 0.6)
    shares = stream.uniform(0.3, 1.0, (n,))
    # The mediocre output is the likeliest of those that are not best, as the corner of the others would delay it.
    bad = (1 - mediocre - best) * shares / jnp.sum(shares) if n else jnp.zeros(0)
    start = jnp.concatenate([jnp.stack([best, 1 - best - jnp.sum(bad)]), bad])
    return Problem.tabular(start, rewards), {}


corner_law = Theorem(
    name="corner_law",
    statement=(
        "Orthonormal flow on the true reward, one best output of initial probability p_0, one mediocre and n bad "
        "ones of any gaps: the time to a value above r_med is Theta(p_0^-(n+1)), where n = 0 (no bad output) gives "
        "1, which is no stall."
    ),
    source=_SOURCE,
    kind="law",
    unit="left over of a tolerance of .05 in -d ln T / d ln p_0, between p_0 <= 1e-4 and p_0 / sqrt(10)",
    draw=_draw_start,
    batch_claim=_escape_exponent,
    premise=lambda problem, **_: has_mediocre_trap(problem),
    sizes=(0, 1, 2, 3),
    defaults={"fraction": 0.5},
)


THEOREMS = [corner_path, corner_escape_time, corner_minimum, corner_law]
