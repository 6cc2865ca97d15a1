"""Elasticities of the escape time. Oracles: derivatives of the exact solution, the leading term of the corner law."""

import jax
import numpy as np
import pytest
from claims import SEEDS, assert_as_claimed, mutated, scaled, violations
from hypothesis import given
from hypothesis import settings as profile

from pgdyn import Problem, exact
from pgdyn.theory import corner_elasticities


@pytest.mark.parametrize("bad", [1, 3])
@profile(max_examples=2)
@given(seed=SEEDS)
def test_holds_wherever_its_draw_leads(bad, seed):
    assert_as_claimed(corner_elasticities.corner_elasticities, seed, bad)


def test_they_are_derivatives_of_the_leading_term():
    start = np.array([1e-6, 0.99, 0.006, 0.003999])

    def log_time(reward):
        p, q = start[0], start[2:]
        n = len(q)
        gaps = reward[1] - reward[2:]
        return jax.numpy.sum(jax.numpy.log(gaps * q)) - (n + 1) * jax.numpy.log((reward[0] - reward[1]) * p)

    reward = jax.numpy.array([0.9, 0.3, -0.2, -1.1])
    expected = jax.jit(jax.grad(log_time))(reward)
    np.testing.assert_allclose(corner_elasticities.elasticities(Problem.tabular(start, reward)), expected, rtol=1e-12)


def test_the_controlled_problem_is_near_them():
    # Oracle: the exact solution's derivative. The start is far from the corner, so the law is good to 4 % only.
    start, reward = [0.05, 0.5, 0.15, 0.15, 0.15], jax.numpy.array([1.0, 0.8, -1.0, -1.0, -1.0])
    time, slope = jax.value_and_grad(lambda reward: exact.hitting_time(Problem.tabular(start, reward), 0.9))(reward)
    problem = Problem.tabular(start, reward)
    np.testing.assert_allclose(corner_elasticities.elasticities(problem), slope / time, rtol=0.06)


def test_the_check_can_fail(monkeypatch):
    mutated(monkeypatch, corner_elasticities, "elasticities", scaled(1.004))
    assert violations("corner_elasticities", size=3) > 32


def test_the_check_sees_every_output(monkeypatch):
    def without_last(original):
        return lambda problem: original(problem).at[-1].multiply(0.99)

    mutated(monkeypatch, corner_elasticities, "elasticities", without_last)
    assert violations("corner_elasticities", size=3) == 64
