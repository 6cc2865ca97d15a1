r"""Reward variance sets the pace: bounds of "What Makes a Reward Model a Good Teacher?" (arXiv 2503.15477).

|S| prompts of equal weight, rewards in [-1, 1], Var_0[r_P] the variance of the proxy under the initial policy averaged
over prompts, T_gamma the first time at which the true value has risen by gamma under gradient flow:

    |grad V|_1 <= sqrt(Var_pi r)                                                 tabular
    T_gamma >= 2 |S| (1 - e^{-gamma/2}) / sqrt(Var_0[r_P])                       tabular
    T_gamma >= min{1 - e^{-gamma/9}, 1 - e^{-7/(3 kl)}} / (8 J^2) Var_0^{-1/3}   any features, with a KL penalty

J is the largest |d logits/d theta|_2. Constants are those of the notes at hand on that paper's theorems, which each
check puts to the test.
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
from pgdyn.theory.premises import has_small_rewards, is_plain_tabular
from pgdyn.theory.starts import feature_norm, initial_log_policy, initial_value, initial_variance, trained_on
from pgdyn.theory.theorem import Theorem, for_each

PAPER = "arXiv 2503.15477"
LATEST = 1e6
LOG_TIMES = "ln of the ratio of time and bound, with 1e-5 for the integrator"
_SAVES = 16
_TABULAR_SIZES = ((1, 2, None), (1, 30, None), (3, 5, None))


def room(problem: Problem) -> Array:
    """Computes how far the true value can rise."""
    best = jnp.sum(problem.prompt_weights * jnp.max(problem.true_reward, axis=-1))
    return jnp.maximum(best - initial_value(problem), 1e-6)


def no_sooner(batch: Batch, gamma: np.ndarray, bound: np.ndarray) -> Check:
    """Checks T_gamma >= bound, in ln."""
    # Well beyond the bound, or a flow that is cut short would prove nothing.
    times = flows.rise_times(batch, gamma, np.maximum(LATEST, 10 * bound))
    return Check.at_least(np.log(times), np.log(bound), rounding=1e-5)


def _variance_gradient(problem: Problem) -> Check:
    gradient = Objective().gradient(problem, problem.initial_params)
    variance = initial_variance(problem)
    likeliest = jnp.exp(jnp.max(initial_log_policy(problem))) * jnp.max(problem.prompt_weights)
    rounding = 64 * EPS * (1 + jnp.max(jnp.abs(problem.proxy_reward)))
    return Check.all_of(
        Check.at_most(jnp.sum(jnp.abs(gradient)), jnp.sqrt(variance), rounding=rounding),
        Check.at_most(jnp.sqrt(jnp.sum(gradient**2)), jnp.sqrt(likeliest * variance), rounding=rounding),
    )


@streamed
def _draw_tabular(stream: Stream, size: Any) -> Drawn:
    return draws.plain_tabular(stream, size[:2], (0.1, 3.0)), {}


variance_gradient = Theorem(
    name="variance_gradient",
    statement=(
        "Tabular: |grad V|_1 <= sqrt(Var_pi r) and |grad V|_2 <= sqrt(max pi Var_pi r); over prompts Var is their "
        "mean and the second bound gains a factor sqrt(max prompt weight)."
    ),
    source="derived here (Cauchy-Schwarz on pi |A|), in the spirit of " + PAPER,
    kind="bound",
    unit="the norm; holds up to 64 eps of the largest reward",
    draw=_draw_tabular,
    claim=_variance_gradient,
    premise=lambda problem, **_: problem.is_tabular & (problem.temperature == 1),
    sizes=_TABULAR_SIZES,
)


def general_bound(problem: Problem, gamma: Array, kl: Array) -> Array:
    """Computes min{1 - e^{-gamma/9}, 1 - e^{-7/(3 kl)}} / (8 J^2) (E Var_0[r_P])^{-1/3}, for outputs of length 1.

    Example:
        >>> problem = Problem.tabular([0.5, 0.5], [1, -1])
        >>> float(general_bound(problem, jnp.asarray(0.9), jnp.asarray(0.0)).round(5))
        0.0119
    """
    weak = -jnp.expm1(-7 / (3 * jnp.where(kl > 0, kl, 1.0)))
    rise = jnp.minimum(-jnp.expm1(-gamma / 9), jnp.where(kl > 0, weak, 1.0))
    return rise / (8 * feature_norm(problem) ** 2) * initial_variance(problem) ** (-1 / 3)


def _variance_time_general(batch: Batch, gamma: np.ndarray, kl: np.ndarray) -> Check:
    # No sooner than the bound means: not at any time until then. These times are closer than the integrator's steps.
    times = flows.log_times(for_each(batch, general_bound, gamma, kl), _SAVES)
    values = flows.path(batch, times, Objective(kl=kl), observed="true_value")
    return Check.at_most(np.max(values - values[:, :1], axis=1), gamma, rounding=1e-8)


@streamed
def _draw_general(stream: Stream, size: Any) -> Drawn:
    problem = draws.problem(stream, size)
    # Rewards that all tie have no variance, an infinite bound and, with a KL penalty, a stiff flow that never moves.
    problem = trained_on(problem, stream.log_uniform(1e-3, 1.0) * stream.uniform(-1.0, 1.0, problem.true_reward.shape))
    kl = jnp.where(stream.flag(0.5), 0.0, stream.log_uniform(1e-3, 3.0))
    return problem, {"gamma": stream.uniform(0.05, 0.95) * room(problem), "kl": kl}


variance_time_general = Theorem(
    name="variance_time_general",
    statement=(
        "Rewards in [-1, 1], KL weight lambda to the initial policy: T_gamma >= min{1 - e^(-gamma/9), "
        "1 - e^(-7/(3 lambda))} / (8 L^2 J^2) (E Var_0[r_P])^(-1/3), L = 1 the output length, J the largest "
        "|d logits/d theta|_2; second term 1 at lambda = 0."
    ),
    source=PAPER + ", Theorem 1",
    kind="bound",
    unit="gamma less the largest rise of the true value until the bound; holds up to 1e-8 for the integrator",
    draw=_draw_general,
    batch_claim=_variance_time_general,
    premise=has_small_rewards,
    sizes=((1, 5, None), (3, 5, 4)),
    defaults={"gamma": 0.1, "kl": 0.0},
)


def tabular_bound(problem: Problem, gamma: Array) -> Array:
    """Computes 2 |S| (1 - e^{-gamma/2}) / sqrt(Var_0[r_P]).

    Example:
        >>> float(tabular_bound(Problem.tabular([0.5, 0.5], [1, -1]), jnp.asarray(1.0)).round(4))
        0.7869
    """
    return 2 * problem.num_prompts * -jnp.expm1(-gamma / 2) / jnp.sqrt(initial_variance(problem))


def _variance_time_tabular(batch: Batch, gamma: np.ndarray) -> Check:
    return no_sooner(batch, gamma, for_each(batch, tabular_bound, gamma))


@streamed
def _draw_rise(stream: Stream, size: Any) -> Drawn:
    problem = draws.plain_tabular(stream, size[:2], (0.1, 3.0))
    # A proxy that knows something of the truth, so that the value does rise; from faint to full strength.
    noise = stream.uniform(-1.0, 1.0, problem.true_reward.shape)
    problem = trained_on(problem, stream.log_uniform(0.01, 1.0) * (problem.true_reward + noise) / 2)
    return problem, {"gamma": stream.uniform(0.05, 0.95) * room(problem)}


variance_time_tabular = Theorem(
    name="variance_time_tabular",
    statement="Tabular, rewards in [-1, 1]: T_gamma >= 2 |S| (1 - e^(-gamma/2)) / sqrt(E Var_0[r_P]).",
    source=PAPER + ", Theorem 1 (tabular case)",
    kind="bound",
    unit=LOG_TIMES,
    draw=_draw_rise,
    batch_claim=_variance_time_tabular,
    premise=is_plain_tabular,
    sizes=_TABULAR_SIZES,
    defaults={"gamma": 0.1},
)


# D1 to D3 of docs/theory.md.
THEOREMS = [variance_gradient, variance_time_general, variance_time_tabular]
