r"""The size of the gradient: what a binary reward makes of it, and how little where the reward hardly varies.

binary reward of mean J:   grad J = J (1 - J) (E[score | correct] - E[score | wrong])
any rewards:               |grad V|_2 <= |d logits/d theta|_2 (E Var_pi[r])^{1/2}
rewards in [-1, 1]:        |grad V|_2 <= 6 |d logits/d theta|_2 (E Var_pi[r])^{1/3}
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from pgdyn import policy
from pgdyn.objective import Objective
from pgdyn.problem import Problem
from pgdyn.theory import draws
from pgdyn.theory.check import EPS, Check
from pgdyn.theory.draws import Drawn, Stream, streamed
from pgdyn.theory.starts import feature_norm, initial_log_policy, initial_variance, trained_on
from pgdyn.theory.theorem import Theorem


def _gradient_gap(problem: Problem) -> Check:
    log_policy = initial_log_policy(problem)[0]
    scores = jax.jacfwd(lambda theta: policy.log_policy(problem, theta)[0])(problem.initial_params)
    scores = scores.reshape(problem.num_outputs, -1)
    right = problem.proxy_reward[0] == 1

    def mean(side: Array) -> tuple[Array, Array]:
        log_mass = jax.nn.logsumexp(jnp.where(side, log_policy, -jnp.inf))
        weights = jnp.where(side, jnp.exp(log_policy - log_mass), 0.0)
        return jnp.exp(log_mass), jnp.sum(weights[:, None] * scores, axis=0)

    (success, correct), (failure, wrong) = mean(right), mean(~right)
    gradient = Objective().gradient(problem, problem.initial_params).reshape(-1)
    size = 1 + jnp.max(jnp.abs(scores))
    error = jnp.max(jnp.abs(gradient - success * failure * (correct - wrong))) / size
    return Check.identity(error, 64 * (problem.num_outputs + gradient.size) * EPS)


@streamed
def _draw_binary(stream: Stream, size: Any) -> Drawn:
    problem = draws.problem(stream, size)
    split = jnp.arange(problem.num_outputs) < 2
    return trained_on(problem, jnp.where(split, 1.0, 0.0)), {}


gradient_gap = Theorem(
    name="gradient_gap",
    statement="Binary reward of mean J, any features: grad J = J (1 - J) (E[score | correct] - E[score | wrong]).",
    source="arXiv 2510.08539 (gradient gap)",
    kind="exact",
    unit="error relative to the largest score; holds up to 64 (K + D) eps",
    draw=_draw_binary,
    claim=_gradient_gap,
    premise=lambda problem, **_: (
        (problem.num_prompts == 1) & jnp.all((problem.proxy_reward == 0) | (problem.proxy_reward == 1))
    ),
    sizes=((1, 5, None), (1, 30, 3)),
)


def _vanishing_gradient(problem: Problem) -> Check:
    size = jnp.sqrt(jnp.sum(Objective().gradient(problem, problem.initial_params) ** 2))
    rounding = 64 * EPS * (1 + feature_norm(problem))
    bounds = (vanishing_bound(problem), sharp_vanishing_bound(problem))
    return Check.all_of(*(Check.at_most(size, bound, rounding=rounding) for bound in bounds))


def vanishing_bound(problem: Problem) -> Array:
    """Computes 6 J (E Var_0[r_P])^{1/3}.

    Example:
        >>> float(vanishing_bound(Problem.tabular([0.5, 0.5], [0.25, 0.0])))
        1.5
    """
    return 6 * feature_norm(problem) * initial_variance(problem) ** (1 / 3)


def sharp_vanishing_bound(problem: Problem) -> Array:
    """Computes J (E Var_0[r_P])^{1/2}.

    Example:
        >>> float(sharp_vanishing_bound(Problem.tabular([0.5, 0.5], [1.0, 0.0])))
        0.5
    """
    return feature_norm(problem) * jnp.sqrt(initial_variance(problem))


vanishing_gradient = Theorem(
    name="vanishing_gradient",
    statement=(
        "Rewards in [-1, 1]: |grad V|_2 <= 6 L J (E Var_pi[r])^(1/3), L = 1 the output length, J the largest |d "
        "logits/d theta|_2. Where the reward hardly varies there is hardly a gradient, however far V is from its best. "
        "More sharply, |grad V|_2 <= L J (E Var_pi[r])^(1/2), by Cauchy-Schwarz on pi |A|."
    ),
    source=(
        "arXiv 2310.20703, theorem 1; the lambda = 0 case of the lemma behind arXiv 2503.15477, Theorem 1; the sharper "
        "form derived here"
    ),
    kind="bound",
    unit="the norm; holds up to 64 eps of it",
    draw=draws.any_problem,
    claim=_vanishing_gradient,
    premise=lambda problem, **_: jnp.max(jnp.abs(problem.proxy_reward)) <= 1,
    sizes=((1, 5, None), (3, 5, 8), (1, 30, 2)),
)


# E6 and E7 of docs/theory.md.
THEOREMS = [gradient_gap, vanishing_gradient]
