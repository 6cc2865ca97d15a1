"""Distances to convex hulls. Oracle: SLSQP over the weights."""

import jax
import jax.numpy as jnp
import numpy as np
from scipy.optimize import minimize

from pgdyn.theory import hull


def test_distance_to_a_hull():
    rng = np.random.default_rng(0)
    points, others = rng.normal(size=(8, 3)), rng.normal(size=(8, 4, 3))
    points[:3] = others[:3].mean(axis=1)  # inside: distance 0
    points[3:5] *= 3
    found = jax.jit(jax.vmap(hull.squared_distance))(jnp.asarray(points), jnp.asarray(others))
    for point, corners, distance in zip(points, others, found, strict=True):
        best = minimize(
            lambda w, p=point, c=corners: ((p - w @ c) ** 2).sum(),
            np.full(4, 0.25),
            bounds=[(0, 1)] * 4,
            constraints={"type": "eq", "fun": lambda w: w.sum() - 1},
            options={"ftol": 1e-14, "maxiter": 500},
        )
        np.testing.assert_allclose(distance, best.fun, rtol=1e-5, atol=1e-9)
