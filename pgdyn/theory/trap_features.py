r"""Features of a trap: squared norms a*, a_m, a_b and kappa = <phi*, phi_med>, bad features orthogonal to all others.

H = 1 / sum_b (1/a_b) is what all bad features together amount to. The setting is that of `mediocre_trap`.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from pgdyn import policy
from pgdyn.problem import Problem
from pgdyn.theory.draws import Stream
from pgdyn.theory.mediocre_trap import is_ordered


def trap_features(
    best: Array | float, mediocre: Array | float, inner: Array | float, bad: Float[Array, " n"]
) -> Float[Array, "K K"]:
    """Makes [K, K] features with these squared norms and <phi*, phi_med> = `inner`, where inner^2 < best mediocre.

    Example:
        >>> trap_features(4.0, 1.0, 0.0, jnp.ones(1)).tolist()
        [[2.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    """
    features = jnp.diag(jnp.concatenate([jnp.ones(2), jnp.sqrt(bad)]))
    root = jnp.sqrt(jnp.asarray(best, features.dtype))
    features = features.at[0, 0].set(root).at[1, 0].set(inner / root)
    return features.at[1, 1].set(jnp.sqrt(mediocre - (inner / root) ** 2))


def geometry(problem: Problem) -> tuple[Array, Array, Array, Float[Array, " n"]]:
    """Computes (a*, a_m, kappa, a_b [n]) of a problem with one prompt."""
    gram = policy.kernel(problem)[0, :, 0]
    return gram[0, 0], gram[1, 1], gram[0, 1], jnp.diag(gram)[2:]


def harmonic(bad: Float[Array, " n"]) -> Array:
    """Computes H = 1 / sum_b (1/a_b).

    Example:
        >>> float(harmonic(jnp.array([1.0, 1.0])))
        0.5
    """
    return 1 / jnp.sum(1 / bad)


def has_trap_shape(problem: Problem) -> bool:
    """Tells whether there is one prompt, and a best, a mediocre and a bad output at least."""
    return problem.num_prompts == 1 and problem.num_outputs >= 3


def has_trap_features(problem: Problem, **parameters: Any) -> Any:
    """Tells whether there is one prompt, r_0 > r_1 > the rest, and bad features are orthogonal to all others."""
    if not has_trap_shape(problem):
        return False
    gram = policy.kernel(problem)[0, :, 0]
    off = gram - jnp.diag(jnp.diag(gram))
    off = off.at[0, 1].set(0.0).at[1, 0].set(0.0)
    return is_ordered(problem) & (jnp.max(jnp.abs(off)) <= 1e-9 * jnp.max(jnp.diag(gram)))


def trap_problem(features: Float[Array, "K K"], rewards: Float[Array, " K"], start: Float[Array, " K"]) -> Problem:
    """Makes the problem of these features, rewards and initial policy."""
    return Problem.linear(features, rewards, initial_params=jnp.linalg.solve(features, jnp.log(start)))


def draw_between(stream: Stream, low: Array, high: Array) -> Array:
    """Draws uniformly between two arrays."""
    return low + (high - low) * stream.uniform()
