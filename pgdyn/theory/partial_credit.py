r"""Laws of partial credit: half a reward for half a solution, against a reward for whole solutions alone.

Tabular (arXiv 2604.25872, section 5): one output F solves the task (probability f), one P half of it (probability g), n
none. The binary reward is 1[F]; partial credit gives P another 1/2, which makes it the mediocre output of
`corner_laws`.

Compositional: two constraints met independently with probabilities sigma(z_1), sigma(z_2); outputs 00, 10, 01, 11 have
features (0,0), (1,0), (0,1), (1,1). Partial credit (sigma(z_1) + sigma(z_2))/2 then trains each logit alone,

    z_i' = sigma(z_i)(1 - sigma(z_i))/2,      2 (2 z_i + e^{z_i} - e^{-z_i}) = t + const,

and the binary reward sigma(z_1) sigma(z_2) moves them along a curve of constant z_1 + e^{z_1} - z_2 - e^{z_2}. (Both
derived here.) Times are those to pi(F) = .95 or pi(11) = .95.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from pgdyn import policy
from pgdyn.dynamics.ensemble import flow_many
from pgdyn.dynamics.flow import velocity
from pgdyn.objective import Objective
from pgdyn.problem import Problem
from pgdyn.theory.asymptotics import arrival_exponent, arrival_times, make_rarer, near
from pgdyn.theory.draws import Stream
from pgdyn.theory.theorem import Check, Theorem

TARGET = 0.95
_PAPER = "arXiv 2604.25872, section 5, for the effect; this form derived here"
_EPS = float(np.finfo(np.float64).eps)
CONSTRAINTS = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
_TIGHT: dict[str, Any] = {"rtol": 1e-10, "atol": 1e-12}


def credit_problem(full: Array | float, half: Array | float, none: int) -> Problem:
    """Outputs F, P and `none` others of equal probability; true reward binary, proxy partial credit."""
    rest = jnp.full(none, 1.0) * (1 - full - half) / none
    start = jnp.concatenate([jnp.stack([jnp.asarray(full), jnp.asarray(half)]), rest])
    return Problem.tabular(start, jnp.zeros(none + 2).at[0].set(1.0), jnp.zeros(none + 2).at[0].set(1.0).at[1].set(0.5))


def is_credit_problem(problem: Problem, **parameters: Any) -> Any:
    """One prompt, tabular at temperature 1, true reward (1, 0, 0...), proxy (1, 1/2, 0...)."""
    if not problem.is_tabular or problem.num_prompts > 1 or problem.num_outputs < 3:
        return False
    binary = jnp.zeros(problem.num_outputs).at[0].set(1.0)
    partial = binary.at[1].set(0.5)
    rewards = jnp.all(problem.true_reward[0] == binary) & jnp.all(problem.proxy_reward[0] == partial)
    return rewards & (problem.temperature == 1)


# ------------------------------------------------------------------ C3: tabular


def _rise(problem: Problem) -> Check:
    log_policy = policy.log_policy(problem, problem.initial_params)
    slope = velocity(problem, Objective(), problem.initial_params, log_policy)
    rate = jax.jvp(lambda theta: policy.log_policy(problem, theta), (problem.initial_params,), (slope,))[1][0]
    f, g = jnp.exp(log_policy[0, 0]), jnp.exp(log_policy[0, 1])
    return Check.identity(rate[0] - rate[1] - (f * (1 - f - g / 2) - g * (1 - 2 * f - g) / 2), 64 * _EPS)


def _draw_rise(key: Array, none: int) -> tuple[Problem, dict[str, Any]]:
    stream = Stream(key)
    masses = jax.nn.softmax(stream.log_uniform(0.1, 5.0) * stream.normal((3,)))
    return credit_problem(masses[0], masses[1], none), {}


partial_credit_rise = Theorem(
    name="partial_credit_rise",
    statement=(
        "Under partial credit d ln(f/g)/dt = f (1 - f - g/2) - g (1 - 2f - g)/2: full solutions gain on half ones "
        "iff the first term is the larger."
    ),
    source=_PAPER,
    kind="exact",
    unit="absolute error of the rate; holds up to 64 eps",
    draw=_draw_rise,
    claim=_rise,
    premise=is_credit_problem,
    sizes=(2, 8),
)


def _draw_rare(key: Array, none: int) -> tuple[Problem, dict[str, Any]]:
    stream = Stream(key)
    return credit_problem(stream.log_uniform(1e-6, 1e-4), stream.uniform(0.3, 0.7), none), {}


def _partial_exponent(problems: Problem) -> Check:
    slope = arrival_exponent(problems, make_rarer(problems), TARGET)
    return near(slope, problems.num_outputs - 1.0, 0.05)


def _binary_exponent(problems: Problem) -> Check:
    slope = arrival_exponent(problems, make_rarer(problems), TARGET, Objective(reward="true"))
    return near(slope, 1.0, 0.02)


partial_credit_exponent = Theorem(
    name="partial_credit_exponent",
    statement="Partial credit, n outputs of no credit, f small against g: time Theta(f^-(n+1)), as in corner_law.",
    source=_PAPER,
    kind="law",
    unit="left over of a tolerance of .05 in -d ln T / d ln f",
    draw=_draw_rare,
    batch_claim=_partial_exponent,
    premise=is_credit_problem,
    sizes=(1, 2),
)

binary_credit_exponent = Theorem(
    name="binary_credit_exponent",
    statement="Binary reward, the same outputs: time Theta(1/f), however many outputs share the rest.",
    source=_PAPER,
    kind="law",
    unit="left over of a tolerance of .02 in -d ln T / d ln f",
    draw=_draw_rare,
    batch_claim=_binary_exponent,
    premise=is_credit_problem,
    sizes=(1, 2),
)


# ------------------------------------------------------------------ C4: two independent constraints


def constraints_problem(logits: Array) -> Problem:
    """Outputs 00, 10, 01, 11 of two independent constraints with these logits; true reward binary, proxy partial."""
    return Problem.linear(CONSTRAINTS, [0.0, 0.0, 0.0, 1.0], [0.0, 0.5, 0.5, 1.0], initial_params=logits)


def has_two_constraints(problem: Problem, **parameters: Any) -> Any:
    """Whether the problem is one of `constraints_problem`."""
    if problem.features is None or problem.features.shape != (1, 4, 2):
        return False
    features = jnp.all(problem.features[0] == CONSTRAINTS)
    rewards = jnp.all(problem.true_reward[0] == np.array([0.0, 0.0, 0.0, 1.0]))
    rewards &= jnp.all(problem.proxy_reward[0] == np.array([0.0, 0.5, 0.5, 1.0]))
    return features & rewards & (problem.temperature == 1)


def partial_clock(z: Array) -> Array:
    """2 (2 z + e^z - e^-z), which partial credit moves at rate 1."""
    return 2 * (2 * z + 2 * jnp.sinh(z))


def _partial_time(problems: Problem, t1: Array) -> Check:
    end = jnp.asarray(flow_many(problems, t1, **_TIGHT).params)
    before, after = partial_clock(problems.initial_params), partial_clock(end)
    error = (after - before - t1[:, None]) / (t1[:, None] + jnp.abs(before))
    return Check.identity(jnp.max(jnp.abs(error), axis=1), 1e-9)


def _draw_constraints(key: Array, _: Any) -> tuple[Problem, dict[str, Any]]:
    stream = Stream(key)
    return constraints_problem(stream.uniform(-7.0, 3.0, (2,))), {"t1": stream.log_uniform(1.0, 1e5)}


compositional_partial_time = Theorem(
    name="compositional_partial_time",
    statement=(
        "Partial credit on two independent constraints trains each alone: 2 (2 z_i + e^z_i - e^-z_i) = t + const."
    ),
    source="derived here",
    kind="exact",
    unit="error relative to t + |const|; holds up to 1e-9, what the integrator leaves at rtol 1e-10",
    draw=_draw_constraints,
    batch_claim=_partial_time,
    premise=has_two_constraints,
    sizes=(2,),
    defaults={"t1": 100.0},
)


def _binary_curve(problems: Problem, t1: Array) -> Check:
    end = jnp.asarray(flow_many(problems, t1, objective=Objective(reward="true"), **_TIGHT).params)

    def difference(z: Array) -> tuple[Array, Array]:
        terms = z + jnp.exp(z)
        return terms[:, 0] - terms[:, 1], jnp.max(jnp.abs(terms), axis=1)

    (before, _), (after, size) = difference(problems.initial_params), difference(end)
    return Check.identity((after - before) / (1 + size), 1e-9)


compositional_binary_curve = Theorem(
    name="compositional_binary_curve",
    statement="The binary reward on two independent constraints keeps z_1 + e^z_1 - z_2 - e^z_2 constant.",
    source="derived here",
    kind="exact",
    unit="drift relative to the terms; holds up to 1e-9, what the integrator leaves at rtol 1e-10",
    draw=_draw_constraints,
    batch_claim=_binary_curve,
    premise=has_two_constraints,
    sizes=(2,),
    defaults={"t1": 100.0},
)


def partial_cost(easy: Array) -> Array:
    r"""lim T_partial / T_binary as the second constraint gets rare, for a first one met with probability `easy`.

    While z_2 rises by x from its rare start, z_1 + e^{z_1} rises by x too, so that T_binary ~ (1/s) int e^-x /
    sigma(z_1(x)) dx against T_partial ~ 2/s. With w = easy/(1 - easy) and the exponential integrals E_k the ratio is
    2 / {w e^w [E_1(w) + 2 E_2(w)/w + E_3(w)/w^2]}, which grows from 4 easy to 2.
    """
    w = easy / (1 - easy)
    first = jnp.exp(w) * jax.scipy.special.exp1(w)
    second = 1 - w * first
    third = (1 - w * second) / 2
    return 2 / (w * first + 2 * second + third / w)


def _easy_rare(problems: Problem) -> Check:
    binary = arrival_times(problems, TARGET, Objective(reward="true"))
    partial = arrival_times(problems, TARGET)
    return near(partial / binary, partial_cost(jax.nn.sigmoid(problems.initial_params[:, 0])), 0.01)


def _logit(probability: Array) -> Array:
    return jnp.log(probability) - jnp.log1p(-probability)


def _draw_easy_rare(key: Array, _: Any) -> tuple[Problem, dict[str, Any]]:
    stream = Stream(key)
    return constraints_problem(_logit(jnp.stack([stream.uniform(0.2, 0.95), stream.log_uniform(1e-7, 1e-5)]))), {}


compositional_easy_rare = Theorem(
    name="compositional_easy_rare",
    statement=(
        "One easy constraint and one rare: partial credit costs only a constant factor, which tends to 2 / {w e^w "
        "[E_1(w) + 2 E_2(w)/w + E_3(w)/w^2]} < 2, w the odds of the easy one, as the other gets rare."
    ),
    source=_PAPER,
    kind="law",
    unit="left over of a tolerance of .01 in the ratio of times",
    draw=_draw_easy_rare,
    batch_claim=_easy_rare,
    premise=has_two_constraints,
    sizes=(2,),
)


def _both_rare(problems: Problem) -> Check:
    s = jax.nn.sigmoid(problems.initial_params[:, 0])
    binary = arrival_times(problems, TARGET, Objective(reward="true")) * 2 * s**2
    partial = arrival_times(problems, TARGET) * s / 2
    checks = jax.vmap(lambda a, b: Check.all_of(near(a, 1.0, 0.02), near(b, 1.0, 0.02)))
    return checks(binary, partial)


def _draw_both_rare(key: Array, _: Any) -> tuple[Problem, dict[str, Any]]:
    return constraints_problem(_logit(Stream(key).log_uniform(1e-6, 1e-4) * jnp.ones(2))), {}


compositional_both_rare = Theorem(
    name="compositional_both_rare",
    statement=(
        "Both constraints rare, met with probability s: binary takes 1/(2 s^2), partial credit 2/s; partial wins."
    ),
    source=_PAPER,
    kind="law",
    unit="left over of a tolerance of .02 in the ratios of times to these",
    draw=_draw_both_rare,
    batch_claim=_both_rare,
    premise=has_two_constraints,
    sizes=(2,),
)


THEOREMS = [
    partial_credit_rise,
    partial_credit_exponent,
    binary_credit_exponent,
    compositional_partial_time,
    compositional_binary_curve,
    compositional_easy_rare,
    compositional_both_rare,
]
