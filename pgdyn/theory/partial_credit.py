r"""Laws of partial credit: half a reward for half a solution, against a reward for whole solutions alone.

Tabular (arXiv 2604.25872, section 5): one output F solves the task (probability f), one P half of it (probability g), n
none. The binary reward is 1[F]; partial credit gives P another 1/2, which makes it the mediocre output of
`corner_laws`:

    d ln(f/g)/dt = f (1 - f - g/2) - g (1 - 2f - g)/2,     T = Theta(f^-(n+1)) under partial credit, Theta(1/f) without

Times are those to pi(F) = .95.
"""

from __future__ import annotations

import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array

from pgdyn.batch import Batch
from pgdyn.problem import Problem
from pgdyn.theory.check import EPS, Check
from pgdyn.theory.corner_laws import escapes_in_time, is_rare_in_trap
from pgdyn.theory.draws import Drawn, Stream, streamed
from pgdyn.theory.premises import is_orthonormal
from pgdyn.theory.rarity import arrival_exponent, make_rarer
from pgdyn.theory.starts import initial_log_policy, initial_log_rate, initial_velocity
from pgdyn.theory.theorem import Theorem

TARGET = 0.95
PAPER = "arXiv 2604.25872, section 5, for the effect; this form derived here"


def credit_problem(full: Array | float, half: Array | float, none: int) -> Problem:
    """Makes outputs F, P and `none` others of equal probability; true reward binary, proxy partial credit.

    Example:
        >>> credit_problem(0.1, 0.3, 2).proxy_reward.tolist()
        [[1.0, 0.5, 0.0, 0.0]]
    """
    rest = jnp.full(none, 1.0) * (1 - full - half) / none
    start = jnp.concatenate([jnp.stack([jnp.asarray(full), jnp.asarray(half)]), rest])
    return Problem.tabular(start, jnp.zeros(none + 2).at[0].set(1.0), jnp.zeros(none + 2).at[0].set(1.0).at[1].set(0.5))


def is_credit_problem(problem: Problem, **parameters: Any) -> Any:
    """Tells whether the problem is orthonormal with true reward (1, 0, 0...) and proxy (1, 1/2, 0...)."""
    if problem.num_outputs < 3:
        return False
    binary = jnp.zeros(problem.num_outputs).at[0].set(1.0)
    partial = binary.at[1].set(0.5)
    rewards = jnp.all(problem.true_reward[0] == binary) & jnp.all(problem.proxy_reward[0] == partial)
    return is_orthonormal(problem) & rewards


def _rise(problem: Problem) -> Check:
    rate = initial_log_rate(problem, initial_velocity(problem))[0]
    f, g = jnp.exp(initial_log_policy(problem)[0, :2])
    return Check.identity(rate[0] - rate[1] - (f * (1 - f - g / 2) - g * (1 - 2 * f - g) / 2), 64 * EPS)


@streamed
def _draw_rise(stream: Stream, none: int) -> Drawn:
    masses = jax.nn.softmax(stream.log_uniform(0.1, 5.0) * stream.normal((3,)))
    return credit_problem(masses[0], masses[1], none), {}


partial_credit_rise = Theorem(
    name="partial_credit_rise",
    statement=(
        "Under partial credit d ln(f/g)/dt = f (1 - f - g/2) - g (1 - 2f - g)/2: full solutions gain on half ones "
        "iff the first term is the larger."
    ),
    source=PAPER,
    kind="exact",
    unit="absolute error of the rate; holds up to 64 eps",
    draw=_draw_rise,
    claim=_rise,
    premise=is_credit_problem,
    sizes=(2, 28),
)


@streamed
def _draw_rare(stream: Stream, none: int) -> Drawn:
    least = max(0.3, 1.01 / (none + 1))
    half = least + (0.75 - least) * stream.uniform()
    # D* = D_b = 1/2 makes D* f sum_b 1/(D_b q_b) = n^2 f / (1 - f - g).
    full = stream.log_uniform(1e-24 ** (1 / max(none + 1, 4)), 3e-5)
    return credit_problem(jnp.minimum(full, 9e-4 * (1 - half) / none**2), half, none), {}


def _rare_full_credit(problem: Problem) -> Any:
    if problem.num_outputs < 3:
        return False
    rare = initial_log_policy(problem)[0, 0] <= math.log(1e-4)
    return is_credit_problem(problem) & rare


def _rare_beside_half_credit(problem: Problem) -> Any:
    if problem.num_outputs < 3:
        return False
    on_proxy = eqx.tree_at(lambda p: p.true_reward, problem, problem.proxy_reward)
    return is_credit_problem(problem) & is_rare_in_trap(on_proxy) & escapes_in_time(on_proxy)


def _partial_exponent(batch: Batch) -> Check:
    return Check.near(arrival_exponent(batch, make_rarer(batch), TARGET), batch.num_outputs - 1.0, 0.004)


partial_credit_exponent = Theorem(
    name="partial_credit_exponent",
    statement=(
        "Partial credit, n outputs of no credit: time Theta(f^-(n+1)), as in corner_law. Measured where f is rare as "
        "there, with g at least as likely as any output of no credit."
    ),
    source=PAPER,
    kind="law",
    unit="left over of a tolerance of .004 in -d ln T / d ln f, between f and f / sqrt(10)",
    draw=_draw_rare,
    batch_claim=_partial_exponent,
    premise=_rare_beside_half_credit,
    sizes=(1, 2, 4),
)


def _binary_exponent(batch: Batch) -> Check:
    binary = batch.replace(proxy_reward=batch.true_reward)
    return Check.near(arrival_exponent(binary, make_rarer(binary), TARGET), 1.0, 0.004)


binary_credit_exponent = Theorem(
    name="binary_credit_exponent",
    statement=(
        "Binary reward, the same outputs: time Theta(1/f), however many outputs share the rest. Measured at f <= 1e-4."
    ),
    source=PAPER,
    kind="law",
    unit="left over of a tolerance of .004 in -d ln T / d ln f, between f and f / sqrt(10)",
    draw=_draw_rare,
    batch_claim=_binary_exponent,
    premise=_rare_full_credit,
    sizes=(1, 2, 28),
)


# C3 of docs/theory.md.
THEOREMS = [partial_credit_rise, partial_credit_exponent, binary_credit_exponent]
