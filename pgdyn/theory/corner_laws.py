r"""Laws of the stall: how long a nearly deterministic policy on a mediocre output takes to find the best one.

Orthonormal features and the setting of `mediocre_trap`. With all but a little of the mass on y_med, and u = D* p,
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

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from pgdyn.batch import Batch
from pgdyn.problem import Problem
from pgdyn.theory import flows
from pgdyn.theory.check import Check
from pgdyn.theory.draws import Drawn, Stream, streamed
from pgdyn.theory.mediocre_trap import (
    draw_rewards,
    draw_start,
    is_ordered,
    mass_off,
    pulls,
    start_of_pulls,
    value_above,
)
from pgdyn.theory.premises import is_orthonormal
from pgdyn.theory.rarity import FACTOR, arrival_exponent, make_rarer
from pgdyn.theory.starts import initial_log_policy
from pgdyn.theory.theorem import Theorem, for_each

_SOURCE = "derived here; the lower bound of arXiv 2604.25872, Theorem 1, has exponent 14/13"
_SAVES = 48
_LATEST = 1e28  # of the escapes that are measured; flows are run until 1e30


def symmetric_polynomials(c: Float[Array, " n"]) -> Float[Array, " n+1"]:
    """Computes e_0..e_n of c, the coefficients of prod_b (1 + c_b y).

    Example:
        >>> symmetric_polynomials(jnp.array([2.0, 3.0])).tolist()
        [1.0, 5.0, 6.0]
    """
    coefficients = jnp.ones(1, c.dtype)
    for root in c:
        coefficients = jnp.append(coefficients, 0.0) + jnp.append(0.0, root * coefficients)
    return coefficients


def escape_time(u: Array, w: Float[Array, " n"]) -> Array:
    """Computes when the corner system leaves every corner: (1/u) sum_j e_j(w/u) / [(j + 1)(j + 2)].

    Example:
        >>> float(escape_time(jnp.asarray(1.0), jnp.array([6.0])))
        1.5
    """
    coefficients = symmetric_polynomials(w / u)
    j = jnp.arange(coefficients.size, dtype=coefficients.dtype)
    return jnp.sum(coefficients / ((j + 1) * (j + 2))) / u


def corner_state(u: Array, w: Float[Array, " n"], x: Array) -> tuple[Array, Array, Array]:
    """Computes (t, ln(u_t/u_0), ln(w_t/w_0) [n]) at the stage x in [0, 1) of the closed form."""
    coefficients = symmetric_polynomials(w / u)
    j = jnp.arange(coefficients.size, dtype=coefficients.dtype)
    t = jnp.sum(coefficients * x ** (j + 1) * (1 / (j + 1) - x / (j + 2))) / u
    logs = jnp.log1p(w / u * x)
    return t, -2 * jnp.log1p(-x) - jnp.sum(logs), -jnp.log1p(-x) - logs - jnp.sum(logs)


def has_mediocre_trap(problem: Problem, **parameters: Any) -> Any:
    """Tells whether the problem is orthonormal, proxy = true reward, and r_0 > r_1 > every other reward."""
    return problem.num_outputs >= 2 and is_orthonormal(problem) & is_ordered(problem)


def in_corner(problem: Problem, **parameters: Any) -> Any:
    """Tells whether there is a trap with bad outputs and all but 1e-5 of the mass on the mediocre output."""
    if problem.num_outputs < 3:
        return False
    return has_mediocre_trap(problem) & (mass_off(problem) <= 1e-5)


def _in_corner_at(problem: Problem, stage: Array) -> Any:
    return in_corner(problem) & (stage >= 0) & (stage <= 0.9)


def _in_corner_towards(problem: Problem, fraction: Array) -> Any:
    return in_corner(problem) & (fraction == 0.5) & (time_to_escape(problem) <= _LATEST)


def is_rare_in_trap(problem: Problem, share: float = 1e-3) -> Any:
    """Tells whether D* p_0 sum_b 1/(D_b q_b) <= `share`, p_0 <= 1e-4, and no bad output is likelier than y_med."""
    u, w = pulls(problem)
    log_policy = initial_log_policy(problem)[0]
    likely = jnp.all(log_policy[2:] <= log_policy[1])
    return likely & (u * jnp.sum(1 / w) <= share) & (log_policy[0] <= math.log(1e-4))


def _has_rare_trap(problem: Problem, fraction: Array) -> Any:
    if problem.num_outputs < 2:
        return False
    rare = is_rare_in_trap(problem) & escapes_in_time(problem)
    return has_mediocre_trap(problem) & rare & (fraction > 0) & (fraction <= 0.75)


def escapes_in_time(problem: Problem) -> Any:
    """Tells whether the escape, also that from sqrt(10) times rarer, comes before 1e28 by the law of its corner."""
    return time_to_escape(problem) * FACTOR ** (problem.num_outputs - 1) <= _LATEST


def corner_problem(rewards: Float[Array, " K"], u: Array, w: Float[Array, " n"]) -> Problem:
    """Makes the tabular problem of these rewards whose start has pulls D* p = u and D_b q_b = w_b."""
    return Problem.tabular(start_of_pulls(rewards, u, w), rewards)


def _draw_pulls(stream: Stream, n: int) -> tuple[Array, Array]:
    level = stream.log_uniform(1e-8, 3e-7) / max(1, n / 3)
    # The more bad outputs, the longer the stall at one ratio of pulls.
    u = level * stream.log_uniform(1e-3 ** (3 / max(n, 3)), 2.0)
    return u, level * stream.log_uniform(0.2, 5.0, (n,))


def state_at(problem: Problem, stage: Array) -> tuple[Array, Array, Array]:
    """Computes `corner_state` for the pulls of a problem."""
    return corner_state(*pulls(problem), stage)


def time_to_escape(problem: Problem) -> Array:
    """Computes `escape_time` for the pulls of a problem."""
    return escape_time(*pulls(problem))


def _corner_path(batch: Batch, stage: np.ndarray) -> Check:
    t, best, bad = for_each(batch, state_at, stage)
    moved = (flows.run(batch, t).log_policy - flows.start_log_policy(batch))[:, 0]
    predicted = np.concatenate([best[:, None], bad], axis=1)
    measured = np.delete(moved, 1, axis=1)
    worst = np.argmax(np.abs(measured - predicted), axis=1)[:, None]
    measured, predicted = (np.take_along_axis(array, worst, axis=1)[:, 0] for array in (measured, predicted))
    return Check.near(measured, predicted, 1e-3)


@streamed
def _draw_corner(stream: Stream, n: int) -> Drawn:
    return corner_problem(draw_rewards(stream, n), *_draw_pulls(stream, n)), {}


@streamed
def _draw_path(stream: Stream, n: int) -> Drawn:
    problem = corner_problem(draw_rewards(stream, n), *_draw_pulls(stream, n))
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
    unit="left over of a tolerance of 1e-3 in ln(pi_t/pi_0), worst output",
    draw=_draw_path,
    batch_claim=_corner_path,
    premise=_in_corner_at,
    sizes=(1, 2, 3, 28),
    defaults={"stage": 0.5},
)


def _corner_escape_time(batch: Batch, fraction: np.ndarray) -> Check:
    times = flows.arrival_times(batch, value_above(batch, fraction))
    return Check.near(times / for_each(batch, time_to_escape), 1.0, 1e-4)


corner_escape_time = Theorem(
    name="corner_escape_time",
    statement=(
        "Same flow: the time to the value r_med + D*/2 is, to leading order in the mass off the mediocre output, "
        "T = (1/u_0) sum_j e_j(c) / [(j + 1)(j + 2)], c_b = D_b q_b / (D* p_0). For rare y* it is "
        "prod_b (D_b q_b) / [(n + 1)(n + 2) (D* p_0)^(n+1)]: only the products of gap and mass enter."
    ),
    source=_SOURCE,
    kind="law",
    unit="left over of a tolerance of 1e-4 in the ratio of times",
    draw=_draw_corner,
    batch_claim=_corner_escape_time,
    premise=_in_corner_towards,
    sizes=(1, 2, 3, 28),
    defaults={"fraction": 0.5},
)


def minimum(s: Array, n: int) -> Array:
    """Computes ln(p_min/p_0) for bad outputs of equal pull and s = D* p_0 / sum_b D_b q_b; 0 for s >= 1/2.

    Example:
        >>> float(minimum(jnp.asarray(0.5), 2))
        0.0
    """
    s = jnp.minimum(s, 0.5)
    return n * jnp.log(s) + (n + 2) * (math.log(n + 2) - jnp.log1p(n * s)) - math.log(4)


def lowest(problem: Problem) -> Array:
    """Computes `minimum` for the pulls of a problem."""
    u, w = pulls(problem)
    return minimum(u / jnp.sum(w), w.size)


def _corner_minimum(batch: Batch) -> Check:
    # The path falls and then rises: its lowest point lies between the neighbours of the lowest of a few.
    times = flows.log_times(for_each(batch, time_to_escape), _SAVES)
    tolerances: dict[str, Any] = {"rtol": 1e-6, "atol": 1e-8}
    path = flows.path(batch, times, **tolerances)[:, :, 0, 0]
    place = np.clip(np.argmin(path, axis=1), 1, _SAVES - 2)[:, None]
    before, after = (np.take_along_axis(times, place + side, axis=1) for side in (-1, 1))
    between = flows.path(batch, before + (after - before) * np.linspace(0, 1, _SAVES), **tolerances)[:, :, 0, 0]
    lowest_seen = np.minimum(np.min(path, axis=1), np.min(between, axis=1))
    return Check.near(lowest_seen - path[:, 0], for_each(batch, lowest), 2e-4)


@streamed
def _draw_equal(stream: Stream, n: int) -> Drawn:
    pull = stream.log_uniform(1e-8, 3e-7)
    # p_min / p_0 is about s^n: s is kept where the stall ends while float64 can still follow it.
    s = stream.log_uniform(10 ** (-4 / n), 1.0)
    return corner_problem(draw_rewards(stream, n), n * pull * s, jnp.full(n, pull)), {}


def _equal_pulls(problem: Problem) -> Any:
    if problem.num_outputs < 3:
        return False
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
    unit="left over of a tolerance of 2e-4 in ln(p_min/p_0)",
    draw=_draw_equal,
    batch_claim=_corner_minimum,
    premise=_equal_pulls,
    sizes=(1, 2, 3),
)


def _escape_exponent(batch: Batch, fraction: np.ndarray) -> Check:
    slope = arrival_exponent(batch, make_rarer(batch), value_above(batch, fraction))
    return Check.near(slope, batch.num_outputs - 1.0, 0.004)


@streamed
def _draw_start(stream: Stream, n: int) -> Drawn:
    rewards = draw_rewards(stream, n)
    # The rarest are those whose time is still on the clock.
    rare = stream.log_uniform(0.7 * 1e-24 ** (1 / max(n + 1, 4)), 9.9e-5)
    start = draw_start(stream, n, rare)
    gaps = (rewards[1] - rewards[2:]) * start[2:]
    best = jnp.minimum(rare, 9e-4 / (1e-9 + (rewards[0] - rewards[1]) * jnp.sum(1 / gaps)))
    start = jnp.concatenate([best[None], start[1:] * (1 - best) / (1 - rare)])
    return Problem.tabular(start, rewards), {"fraction": stream.uniform(0.05, 0.75)}


corner_law = Theorem(
    name="corner_law",
    statement=(
        "Orthonormal flow on the true reward, one best output of initial probability p_0, one mediocre and n bad "
        "ones of any gaps: the time to a value above r_med is Theta(p_0^-(n+1)), where n = 0 (no bad output) gives "
        "1, which is no stall. Measured where y* is rare, D* p_0 sum_b 1/(D_b q_b) <= 1e-3 and p_0 <= 1e-4, no bad "
        "output is likelier than the mediocre one, and the value is at most r_med + (3/4) D*."
    ),
    source=_SOURCE,
    kind="law",
    unit="left over of a tolerance of .004 in -d ln T / d ln p_0, between p_0 and p_0 / sqrt(10)",
    draw=_draw_start,
    batch_claim=_escape_exponent,
    premise=_has_rare_trap,
    sizes=(0, 1, 2, 3, 5),
    defaults={"fraction": 0.5},
)


# C1 of docs/theory.md.
THEOREMS = [corner_path, corner_escape_time, corner_minimum, corner_law]
