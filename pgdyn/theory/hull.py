"""The distance from a point to the convex hull of a few others, exactly and traceably."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


def squared_distance(point: Float[Array, " D"], others: Float[Array, "M D"]) -> Float[Array, ""]:
    r"""min over lambda >= 0, sum lambda = 1, of |point - sum_i lambda_i others_i|^2.

    The minimum lies in the relative interior of the hull of some affinely independent subset, where lambda solves a
    linear system; all 2^M - 1 subsets are tried and the best feasible one is taken. Weights are clipped and normalised,
    so that rounding can only give a distance to a point of the hull, never less than the true one by more than its own
    rounding. Meant for M up to about 10.
    """
    count = others.shape[0]
    arms = others - point[None]
    gram = arms @ arms.T
    subsets = jnp.asarray(np.array([s for s in itertools.product((False, True), repeat=count) if any(s)]))

    def face(inside: Array) -> Array:
        both = inside[:, None] & inside[None, :]
        chosen = inside.astype(gram.dtype)[:, None]
        # Stationarity: G lambda = nu 1 on the subset, with 1' lambda = 1 beside it. G alone is singular where the
        # subset's plane holds the point; with the border the system is singular for dependent subsets alone.
        corner = jnp.zeros((1, 1), gram.dtype)
        system = jnp.block([[jnp.where(both, gram, jnp.eye(count)), chosen], [chosen.T, corner]])
        weights = jnp.linalg.solve(system, jnp.append(jnp.zeros(count, gram.dtype), 1.0))[:count]
        weights = jnp.where(inside, weights, 0.0)
        weights = weights / jnp.sum(weights)
        feasible = jnp.all(jnp.isfinite(weights)) & jnp.all(weights >= 0)
        weights = jnp.where(feasible, jnp.maximum(weights, 0.0), 0.0)
        return jnp.where(feasible, jnp.sum((weights @ arms) ** 2), jnp.inf)

    return jnp.min(jax.vmap(face)(subsets))
