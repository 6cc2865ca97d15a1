"""The start of a problem: policy, value and variance there, and how fast things move at first."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from pgdyn import policy
from pgdyn.dynamics.flow import velocity
from pgdyn.objective import Objective
from pgdyn.problem import Problem


def initial_log_policy(problem: Problem) -> Float[Array, "P K"]:
    """Computes log pi_0.

    Example:
        >>> jnp.exp(initial_log_policy(Problem.tabular([0.2, 0.8], [1, 0]))).round(3).tolist()
        [[0.2, 0.8]]
    """
    return policy.log_policy(problem, problem.initial_params)


def initial_value(problem: Problem) -> Array:
    """Computes V_G at the start.

    Example:
        >>> float(initial_value(Problem.tabular([0.25, 0.75], [1, 0])))
        0.25
    """
    return policy.value(problem, initial_log_policy(problem), problem.true_reward)


def initial_variance(problem: Problem) -> Array:
    """Computes E_x Var_{pi_0}[r_P], the proxy's variance averaged over prompts.

    Example:
        >>> float(initial_variance(Problem.tabular([0.25, 0.75], [1, 0])))
        0.1875
    """
    return policy.reward_variance(problem, initial_log_policy(problem), problem.proxy_reward)


def feature_norm(problem: Problem) -> Array:
    """Computes J, the largest |d logits / d theta|_2 over prompts: 1/T when tabular, else |Phi_p|_2 / T.

    Example:
        >>> float(feature_norm(Problem.linear([[3.0, 0.0], [0.0, 4.0]], [1, 0])))
        4.0
    """
    if problem.features is None:
        return 1 / problem.temperature
    return jnp.max(jnp.linalg.norm(problem.features, ord=2, axis=(-2, -1))) / problem.temperature


def trained_on(problem: Problem, proxy_reward: Array) -> Problem:
    """Gives the same problem with another proxy [P, K] or [K]."""
    changed = problem.with_proxy(proxy_reward)
    assert isinstance(changed, Problem)
    return changed


def initial_velocity(problem: Problem, objective: Objective | None = None, geometry: str = "euclidean") -> Array:
    """Computes theta' at the start; `objective` None for the proxy's value.

    Example:
        >>> initial_velocity(Problem.tabular([0.5, 0.5], [1, 0])).tolist()
        [[0.25, -0.25]]
    """
    objective = Objective() if objective is None else objective
    reference = objective.reference_log_policy(problem)
    return velocity(problem, objective, problem.initial_params, reference, geometry)


def initial_rate(problem: Problem, function: Callable[[Array], Any], direction: Array) -> Array:
    """Computes d function(theta)/dt at the start, moving along `direction`."""
    return jax.jvp(function, (problem.initial_params,), (direction,))[1]


def initial_log_rate(problem: Problem, direction: Array) -> Float[Array, "P K"]:
    """Computes d ln pi/dt at the start, moving along `direction`.

    Example:
        >>> problem = Problem.tabular([0.5, 0.5], [1, 0])
        >>> initial_log_rate(problem, initial_velocity(problem)).tolist()
        [[0.25, -0.25]]
    """
    return initial_rate(problem, lambda theta: policy.log_policy(problem, theta), direction)
