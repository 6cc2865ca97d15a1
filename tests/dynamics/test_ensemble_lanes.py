"""What lanes compute, beside what NumPy does: reductions, and slopes that keep their digits on a plateau."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import pgdyn
from pgdyn.dynamics.ensemble import lanes


def tabular_layout(fused):
    return lanes.Layout("tabular", False, True, False, False, False, fused)


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("length", [1, 7, 8, 9, 16, 63, 64, 65, 200])
def test_reductions_are_numpys(length, fused):
    """Sums and maxima along a leading and a middle axis, of one array and of a product with a broadcast factor."""
    layout = tabular_layout(fused)
    rng = np.random.default_rng(length)
    first, second = rng.standard_normal((3, length, 2, 4)), rng.standard_normal((1, length, 1, 4))
    summed = lanes.fold(layout, jnp.add, 1, jnp.asarray(first), jnp.asarray(second))
    np.testing.assert_allclose(summed, np.sum(first * second, axis=1, keepdims=True), rtol=1e-12, atol=1e-12)
    turned = np.moveaxis(first, 1, 0)
    np.testing.assert_array_equal(
        lanes.fold(layout, jnp.maximum, 0, jnp.asarray(turned)), turned.max(axis=0, keepdims=True)
    )


@pytest.mark.parametrize("weights", [{}, {"kl": 0.3}, {"entropy": 0.2}, {"kl": 0.3, "entropy": 0.2}])
def test_slopes_keep_their_digits_on_a_plateau(weights):
    """Oracle: dJ/dz in extended precision, the likeliest output's by the others', away from where the step began."""
    start = np.array([0.0, -27.0, -29.0, -31.0, -34.0])
    moved = start + np.array([0.37, -0.4, 0.2, 0.1, 0.05])
    reward, reference = np.array([0.3, 1.0, -0.7, 0.2, -1.0]), np.log([0.1, 0.3, 0.2, 0.25, 0.15])

    def column(array):
        return jnp.asarray(array)[None, :, None]

    problem = pgdyn.Problem.tabular(None, reward)
    problem = jax.tree.map(lambda leaf: leaf[..., None], problem)
    lane = lanes.Lane(problem, None, None, None, column(reference), None, None, jnp.ones(1), None)
    objective = pgdyn.Objective(**weights)
    anchor = lanes.anchor(tabular_layout(False), objective, lanes.Shared(), lane, column(start))
    found, _ = lanes.slope(tabular_layout(False), objective, lanes.Shared(), lane, anchor, column(moved))

    z = moved.astype(np.longdouble)
    log_policy = z - np.log(np.sum(np.exp(z)))
    kl, entropy = weights.get("kl", 0.0), weights.get("entropy", 0.0)
    signal = reward - kl * (log_policy - reference) - entropy * log_policy
    signal -= signal[0]
    others = np.exp(log_policy) * (signal - np.sum(np.exp(log_policy) * signal))
    others[0] = -np.sum(others[1:])
    np.testing.assert_allclose(found[0, :, 0], others.astype(float), rtol=1e-10)
