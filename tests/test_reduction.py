"""Sums and maxima along an axis against NumPy's, whole or written out term by term."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pgdyn import reduction

LENGTHS = [1, 7, 8, 9, 16, 64, 65, 200]

# One program each: written out, a reduction has hundreds of operations, and each would be compiled alone.
add = jax.jit(reduction.add, static_argnums=0)
largest = jax.jit(reduction.largest, static_argnums=0)


@pytest.mark.parametrize("lanes", [(4,), (2, 2)])
@pytest.mark.parametrize("length", LENGTHS)
def test_reductions_are_numpys(length, lanes):
    """Along a leading and a middle axis, of one array and of a product with factors that broadcast."""
    rng = np.random.default_rng(length)
    first = rng.standard_normal((3, length, 2, *lanes))
    second, third = rng.standard_normal((1, length, 1, *lanes)), rng.standard_normal((3, 1, 2, *lanes))
    given = [jnp.asarray(array) for array in (first, second, third)]
    summed = add(1, *given)
    np.testing.assert_allclose(summed, np.sum(first * second * third, axis=1, keepdims=True), rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(largest(1, *given[:2]), np.max(first * second, axis=1, keepdims=True))
    turned = np.moveaxis(first, 1, 0)
    np.testing.assert_array_equal(largest(0, jnp.asarray(turned)), turned.max(axis=0, keepdims=True))


@pytest.mark.parametrize("length", [8, 65])
def test_their_derivatives_are_numpys(length):
    """Oracle: d/da sum_i a_i b_i = b, and the maximum's derivative is at the maximum alone."""
    rng = np.random.default_rng(length)
    first, second = jnp.asarray(rng.standard_normal((2, 3, length, 4)))
    slope = jax.jit(jax.grad(lambda a: reduction.add(1, a, second).sum()))(first)
    np.testing.assert_allclose(slope, second, rtol=1e-15)
    slope = jax.jit(jax.grad(lambda a: reduction.largest(1, a).sum()))(first)
    np.testing.assert_array_equal(slope, np.asarray(first) == np.max(first, axis=1, keepdims=True))


def test_lanes_do_not_mix():
    """A nan in one lane stays there."""
    array = np.ones((2, 30, 3))
    array[1, 4, 1] = np.nan
    for reduce in (add, largest):
        found = np.asarray(reduce(1, jnp.asarray(array)))
        assert np.isnan(found[1, 0, 1]) and np.isfinite(np.delete(found.ravel(), 4)).all()


def test_along_broadcasts_from_the_end():
    weights = jnp.arange(4.0)
    assert reduction.along(weights, jnp.ones((2, 3, 4))).shape == (1, 1, 4)
    assert reduction.along(weights[0], jnp.ones((2, 3))).shape == (1, 1)
    assert reduction.along(jnp.ones((2, 2)), jnp.ones((5, 2, 2))).shape == (1, 2, 2)
