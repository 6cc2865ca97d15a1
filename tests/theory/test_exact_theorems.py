"""The exact solution beside the integrated flow. Oracles: the equations by SciPy's root finder and quadrature."""

import numpy as np
import pytest
from claims import SEEDS, assert_as_claimed, examined, mutated, violations
from hypothesis import given
from hypothesis import settings as profile
from scipy.integrate import quad
from scipy.optimize import brentq

import pgdyn
from pgdyn import exact
from pgdyn.theory import THEOREMS, exact_solution, flows

SIZES = {"exact_solution": (3, 5), "exact_features": 5, "staircase": 5}


@pytest.mark.parametrize("theorem", exact_solution.THEOREMS, ids=lambda theorem: theorem.name)
@profile(max_examples=3)
@given(seed=SEEDS)
def test_holds_wherever_its_draw_leads(theorem, seed):
    assert_as_claimed(theorem, seed, SIZES[theorem.name])


@pytest.mark.parametrize(("name", "size"), [("exact_solution", (1, 10)), ("exact_features", 3), ("staircase", 10)])
def test_holds_at_other_sizes(name, size):
    assert examined(THEOREMS[name], 1, size).holds.all()


def test_the_equations_of_the_statement_give_the_flow():
    start, reward = np.array([0.05, 0.4, 0.25, 0.3]), np.array([1.0, 0.7, -0.4, -1.0])

    def state(tau):
        def excess(nu):
            return np.log1p(start * (nu - reward * tau)).sum()

        lowest = np.max(reward * tau - 1 / start)
        return 1 / start + brentq(excess, lowest + 1e-13, lowest + 1e4, xtol=1e-15, rtol=1e-15) - reward * tau

    tau = 20.0
    t, _ = quad(lambda tau: (1 / state(tau)).sum(), 0, tau, epsabs=0, epsrel=1e-12, limit=200)
    weights = 1 / state(tau)
    problem = pgdyn.Problem.tabular(start, reward)
    integrated = pgdyn.flow(problem, t, saves=2, rtol=1e-11, atol=1e-13).log_policy[-1, 0]
    np.testing.assert_allclose(integrated, np.log(weights / weights.sum()), atol=1e-8)
    batch = pgdyn.stack([problem])
    params = flows.path(batch, np.array([[t]]), observed="params", rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(exact_solution.plane_time(batch, params), [[tau]], rtol=1e-8)


def later(factor):
    return lambda original: lambda batch, times: original(batch, factor * times)


@pytest.mark.parametrize("name", ["exact_solution", "exact_features"])
def test_the_clock_is_held_to_a_millionth(name, monkeypatch):
    mutated(monkeypatch, exact_solution, "states", later(1 + 1e-6))
    assert violations(name, size=SIZES[name]) > 32


def test_the_staircase_notices_a_step_that_is_missing(monkeypatch):
    def without(original):
        return lambda problem: original(problem)._replace(
            outputs=original(problem).outputs[:1], taus=original(problem).taus[:1]
        )

    mutated(monkeypatch, exact, "staircase", without)
    assert violations("staircase", size=5) > 0


def test_the_staircase_notices_steps_that_come_late(monkeypatch):
    mutated(
        monkeypatch,
        exact,
        "staircase",
        lambda original: lambda problem: original(problem)._replace(taus=1.3 * original(problem).taus),
    )
    assert violations("staircase", size=5) > 0


def test_four_outputs_in_a_plane_have_no_exact_solution():
    square = pgdyn.Problem.linear([[1, 0], [0, 1], [1, 1], [2, 1]], [1, 0, 0, 0])
    orthogonal = pgdyn.Problem.linear(np.diag([1.0, 2.0, 0.5, 3.0]) + 0.3, [1, 0, 0, 0])
    assert not exact_solution.exact_features.assumptions(square)
    assert exact_solution.exact_features.assumptions(orthogonal)
