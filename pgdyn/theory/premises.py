"""Settings that several theorems assume."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

from pgdyn.problem import Problem


def is_orthonormal(problem: Problem, **parameters: Any) -> Any:
    """Tells whether the policy is tabular with one prompt at temperature 1: orthonormal features, kernel identity.

    Example:
        >>> bool(is_orthonormal(Problem.tabular([0.2, 0.8], [1, 0], temperature=2.0)))
        False
    """
    if not problem.is_tabular or problem.num_prompts > 1:
        return False
    return problem.temperature == 1


def is_plain_tabular(problem: Problem, **parameters: Any) -> Any:
    """Tells whether the policy is tabular at temperature 1, prompts of equal weight, rewards in [-1, 1]."""
    even = jnp.max(jnp.abs(problem.prompt_weights - 1 / problem.num_prompts)) < 1e-12
    return problem.is_tabular & even & (problem.temperature == 1) & has_small_rewards(problem)


def has_small_rewards(problem: Problem, **parameters: Any) -> Any:
    """Tells whether true and proxy rewards lie in [-1, 1].

    Example:
        >>> bool(has_small_rewards(Problem.tabular(None, [1.0, -2.0])))
        False
    """
    return (jnp.max(jnp.abs(problem.true_reward)) <= 1) & (jnp.max(jnp.abs(problem.proxy_reward)) <= 1)
