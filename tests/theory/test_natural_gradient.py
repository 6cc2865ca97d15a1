"""Natural flows in closed form. Oracle: the statements, and rewards that are spoilt a little."""

import numpy as np
import pytest
from claims import SEEDS, assert_as_claimed, mutated, violations, with_rewards
from hypothesis import given
from hypothesis import settings as profile

import pgdyn
from pgdyn import policy
from pgdyn.theory import flows, natural_gradient


@pytest.mark.parametrize("theorem", natural_gradient.THEOREMS, ids=lambda theorem: theorem.name)
@profile(max_examples=4)
@given(seed=SEEDS)
def test_holds_wherever_its_draw_leads(theorem, seed):
    assert_as_claimed(theorem, seed)


@pytest.mark.parametrize("theorem", natural_gradient.THEOREMS, ids=lambda theorem: theorem.name)
def test_notices_rewards_off_by_one_part_in_ten_thousand(theorem, monkeypatch):
    mutated(monkeypatch, flows, "run", with_rewards(lambda reward: reward * 1.0001))
    assert violations(theorem.name) > 0


def test_the_inverted_fisher_information_is_that_of_numpy():
    start, reward = np.array([[0.2, 0.5, 0.3], [0.1, 0.1, 0.8]]), np.array([[1.0, -0.5, 0.2], [0.0, 0.7, 0.9]])
    weights, heat = np.array([0.3, 0.7]), 1.7
    fisher, gradient = np.zeros((6, 6)), np.zeros(6)
    for p in range(2):
        own = slice(3 * p, 3 * p + 3)
        fisher[own, own] = weights[p] * (np.diag(start[p]) - np.outer(start[p], start[p])) / heat**2
        gradient[own] = weights[p] * start[p] * (reward[p] - start[p] @ reward[p]) / heat
    problem = pgdyn.Problem.tabular(start, reward, temperature=heat, prompt_weights=weights)
    direction, formed = natural_gradient.fisher_gradient(problem)
    np.testing.assert_allclose(formed, fisher, atol=1e-14)
    np.testing.assert_allclose(direction.reshape(-1), np.linalg.pinv(fisher) @ gradient, atol=1e-12)


def test_the_natural_gradient_notices_another_direction(monkeypatch):
    # Times and log-probabilities do not see a shift of all logits; F^+ g does.
    mutated(monkeypatch, policy, "natural_direction", lambda f: lambda *arguments: f(*arguments) + 1e-3)
    mutated(monkeypatch, natural_gradient, "start_errors", anew)
    assert violations("natural_gradient_closed_form") > 0


def test_the_natural_gradient_notices_another_fisher_information(monkeypatch):
    mutated(monkeypatch, natural_gradient, "fisher_gradient", scaled_first(1.001))
    mutated(monkeypatch, natural_gradient, "start_errors", anew)
    assert violations("natural_gradient_closed_form") > 0


def anew(function):
    """The same function under another name, for which a program is made that sees what a test has replaced."""
    return lambda problem: function(problem)


def scaled_first(factor):
    return lambda original: lambda problem: (factor * original(problem)[0], original(problem)[1])
