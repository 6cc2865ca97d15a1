"""The ingredients of theorems against independent ones: quadrature, NumPy, SciPy's optimiser, golden values."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad
from scipy.optimize import minimize

import pgdyn
from pgdyn.theory import closed_forms, draws, hull
from pgdyn.theory.escape_bounds import _bump, simple_lower_bound, stall_lower_bound
from pgdyn.theory.paper_bounds import escape_integral


@pytest.mark.parametrize(("p", "rho"), [(1e-4, 0.5), (0.05, 0.9), (0.3, 0.999)])
def test_escape_integral_is_the_integral(p, rho):
    # Oracle: quadrature, in log p where the integrand is smooth.
    expected, _ = quad(lambda s: np.exp(-s) / (1 - np.exp(s)) ** 2, np.log(p), np.log(rho), epsrel=1e-12)
    np.testing.assert_allclose(escape_integral(jnp.asarray(p), jnp.asarray(rho)), expected, rtol=1e-9)


def test_two_level_closed_form_knows_its_golden_time():
    # K = 5, p_0 = .05, D = 2: F(u_t) - F(u_0) = D K t / (K - 1) reaches p = .9 at t = 15.2478337688.
    start = np.array([0.05, *[0.95 / 4] * 4])
    problem = pgdyn.Problem.tabular(start, [1.0, -1, -1, -1, -1])
    run = pgdyn.flow(problem, 15.2478337688, saves=2, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(run.policy[-1, 0, 0], 0.9, rtol=1e-8)
    assert closed_forms.two_level_closed_form.check(problem, t1=15.2478337688).holds


def test_distance_to_a_hull():
    # Oracle: SLSQP over the weights, from the uniform ones.
    rng = np.random.default_rng(0)
    points, others = rng.normal(size=(8, 3)), rng.normal(size=(8, 4, 3))
    points[:3] = others[:3].mean(axis=1)  # inside: distance 0
    points[3:5] *= 3
    found = jax.vmap(hull.squared_distance)(jnp.asarray(points), jnp.asarray(others))
    for point, corners, distance in zip(points, others, found, strict=True):
        best = minimize(
            lambda w, p=point, c=corners: ((p - w @ c) ** 2).sum(),
            np.full(4, 0.25),
            bounds=[(0, 1)] * 4,
            constraints={"type": "eq", "fun": lambda w: w.sum() - 1},
            options={"ftol": 1e-14, "maxiter": 500},
        )
        np.testing.assert_allclose(distance, best.fun, rtol=1e-5, atol=1e-9)


def test_lower_bounds_of_the_escape():
    # Oracle: the formulas once more, in NumPy, with y* at index 1 and y_med at index 3.
    start, reward = np.array([0.1, 0.02, 0.08, 0.8]), np.array([-0.5, 1.0, -0.9, 0.6])
    problem, v = pgdyn.Problem.tabular(start, reward), 0.95
    p, m, q = 0.02, 0.8, start[[0, 2]]
    gaps, value = 0.6 - reward[[0, 2]], start @ reward
    reached = (v - 0.6) / 0.4
    simple = (1 / p - 1 / reached) / (2 * (1 - value))
    a = (1 + 0.9) / gaps.min()
    mu = 1 / (1 + np.e * p / m + np.sqrt(np.e) * q.sum() / m)
    w = (gaps * q).sum() / m
    stall = m / (np.e * p) * (1 + (a + 1) * mu * w / (4 * (1 - value) * p)) ** (mu / (a + 1)) - 1 / reached
    np.testing.assert_allclose(simple_lower_bound(problem, jnp.asarray(v)), simple, rtol=1e-12)
    np.testing.assert_allclose(stall_lower_bound(problem, jnp.asarray(v)), stall / (2 * (1 - value)), rtol=1e-12)


def test_bump_of_a_path():
    # Oracle: every triple of times.
    rng = np.random.default_rng(1)
    for path in [*rng.normal(size=(4, 9)), np.abs(np.arange(9.0) - 4)]:
        rises = [min(path[b] - path[a], path[b] - path[c]) for b in range(9) for a in range(b) for c in range(b, 9)]
        np.testing.assert_allclose(_bump(jnp.asarray(path)), max(0.0, *rises), atol=1e-15)


def test_a_stream_gives_what_it_says():
    stream = draws.Stream(jax.random.key(0), budget=4000)
    numbers = np.asarray(stream.normal((3000,)))
    assert abs(numbers.mean()) < 0.1 and abs(numbers.std() - 1) < 0.05
    logs = np.log10(stream.log_uniform(1e-4, 1.0, (500,)))
    assert logs.min() > -4 and logs.max() < 0 and abs(logs.mean() + 2) < 0.3
    np.testing.assert_allclose(np.sum(stream.simplex(7)), 1.0, rtol=1e-12)
    with pytest.raises(ValueError, match="a draw used 5507 random numbers; give its Stream a larger budget"):
        stream.uniform(shape=(2000,))
