"""The Runge-Kutta pair of the engine: order conditions, SciPy's table, and order 8 measured."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import DOP853

from pgdyn.ensemble import step as stepping
from pgdyn.ensemble import tableau


def dense(weights, length=13):
    return np.array([weights.get(i, 0.0) for i in range(length)])


STAGES = np.array([np.zeros(13), *[dense(row) for row in tableau.STAGES], np.zeros(13)])
STAGES[12] = dense(tableau.SOLUTION)  # the slope at the new point, which the error weights may use
NODES = STAGES.sum(axis=1)


def test_coefficients_are_scipys():
    """Oracle: the table of `scipy.integrate.DOP853`, typed in by others."""
    np.testing.assert_allclose(STAGES[:12, :12], DOP853.A[:12, :12], rtol=1e-15)
    np.testing.assert_allclose(NODES[:12], DOP853.C[:12], atol=1e-14)
    np.testing.assert_allclose(dense(tableau.SOLUTION, 12), DOP853.B, rtol=1e-15)
    np.testing.assert_allclose(dense(tableau.ERROR5), DOP853.E5, rtol=1e-14)
    np.testing.assert_allclose(dense(tableau.ERROR3), DOP853.E3, rtol=1e-13)


def test_order_conditions():
    """Oracle: Butcher's conditions for bushy and tall trees to order 8, and for trees with one branch."""
    b, a, c = dense(tableau.SOLUTION), STAGES, NODES
    for k in range(8):
        np.testing.assert_allclose(b @ c**k, 1 / (k + 1), atol=2e-14)
    tall = np.ones(13)
    for k in range(1, 8):  # b A^k 1 = 1 / (k + 1)!
        tall = a @ tall
        np.testing.assert_allclose(b @ tall, 1 / np.prod(np.arange(1.0, k + 2)), atol=2e-14)
    for outer in range(7):
        for inner in range(1, 7 - outer):  # b (c^m A c^n) = 1 / ((n + 1)(m + n + 2))
            expected = 1 / ((inner + 1) * (outer + inner + 2))
            np.testing.assert_allclose(b @ (c**outer * (a @ c**inner)), expected, atol=2e-14)


def test_error_estimates_vanish_to_their_orders():
    """Oracle: e c^k = 0 for every k below the order of the embedded formula, and not at it."""
    for weights, order in ((tableau.ERROR5, 5), (tableau.ERROR3, 3)):
        moments = [abs(dense(weights) @ NODES**k) for k in range(order + 1)]
        assert max(moments[:order]) < 1e-14
        assert moments[order] > 1e-5


@pytest.mark.parametrize("in_memory", [True, False])
def test_order_eight_is_measured(in_memory):
    """Oracle: y' = y (1 - y) from 1/2 is the logistic function; the error of fixed steps falls as h^8."""

    def logistic(y):
        return y * (1 - y), None

    sizes = (len(tableau.STAGES) + 1, 2)
    errors = []
    counts = np.array([3, 4, 6])
    for count in counts:
        state, step = jnp.full((1, 1), 0.5), jnp.full(1, 6.0 / count)
        room = stepping.Memory(*(jnp.zeros((size, 1, 1)) for size in sizes)) if in_memory else None
        for _ in range(count):
            state, _, room = stepping.take_step(logistic, state, state * (1 - state), step, room)
        errors.append(abs(state.item() - 1 / (1 + np.exp(-6.0))))
    order = -np.polyfit(np.log(counts), np.log(errors), 1)[0]
    assert 7 < order < 10, (order, errors)
