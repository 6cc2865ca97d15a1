"""Variance and time. Oracles: the statements, NumPy transcriptions of the bounds, complex-step gradients."""

import jax.numpy as jnp
import numpy as np
import pytest
from claims import SEEDS, assert_as_claimed, drawn, mutated, scaled, violations
from hypothesis import given
from hypothesis import settings as profile
from oracles import value_gradient
from strategies import settings

import pgdyn
from pgdyn.theory import reward_variance
from pgdyn.theory.starts import initial_variance

SIZES = {
    "variance_gradient": (3, 5, None),
    "variance_time_general": (1, 5, None),
    "variance_time_tabular": (3, 5, None),
}


@pytest.mark.parametrize("theorem", reward_variance.THEOREMS, ids=lambda theorem: theorem.name)
@profile(max_examples=3)
@given(seed=SEEDS)
def test_holds_wherever_its_draw_leads(theorem, seed):
    assert_as_claimed(theorem, seed, SIZES[theorem.name])


@profile(max_examples=25)
@given(setting=settings(shapes=((1, 5, None), (3, 5, None)), temperatures=(1.0,)))
def test_the_gradient_is_bounded_by_the_variance_on_every_tabular_problem(setting):
    gradient = value_gradient(setting, setting.start, setting.proxy_reward)
    policy = np.exp(setting.start - setting.start.max(axis=1, keepdims=True))
    policy /= policy.sum(axis=1, keepdims=True)
    mean = (policy * setting.proxy_reward).sum(axis=1, keepdims=True)
    variance = setting.prompt_weights @ (policy * (setting.proxy_reward - mean) ** 2).sum(axis=1)
    size = 1 + np.abs(setting.proxy_reward).max()
    assert np.abs(gradient).sum() <= np.sqrt(variance) + 1e-12 * size
    assert bool(reward_variance.variance_gradient.check(setting.problem()).holds)
    np.testing.assert_allclose(initial_variance(setting.problem()), variance, atol=1e-13 * size**2)


def test_bounds_against_their_formulas():
    batch, parameters = drawn(reward_variance.variance_time_general, 5, (3, 5, 4))
    one, gamma = batch[3], float(parameters["gamma"][3])
    norm = max(np.linalg.norm(phi, 2) for phi in np.asarray(one.features)) / float(one.temperature)
    variance = float(initial_variance(one))
    for kl in (0.0, 0.2, 5.0):
        second = 1.0 if kl == 0 else 1 - np.exp(-7 / (3 * kl))
        expected = min(1 - np.exp(-gamma / 9), second) / (8 * norm**2) * variance ** (-1 / 3)
        found = reward_variance.general_bound(one, jnp.asarray(gamma), jnp.asarray(kl))
        np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_the_tabular_bound_by_its_formula():
    problem = pgdyn.Problem.tabular([[0.25, 0.75], [0.5, 0.5]], [[0.8, 0.0], [0.4, 0.0]])
    variance = (0.25 * 0.75 * 0.64 + 0.04) / 2
    check = reward_variance.variance_time_tabular.check(problem, gamma=np.array(0.1))
    np.testing.assert_allclose(np.exp(check.bound), 4 * (1 - np.exp(-0.05)) / np.sqrt(variance))


MUTATIONS = {
    "variance_gradient": ("initial_variance", scaled(0.5)),
    "variance_time_general": ("general_bound", scaled(1e4)),
    "variance_time_tabular": ("tabular_bound", scaled(1e3)),
}


@pytest.mark.parametrize("name", MUTATIONS)
def test_every_check_can_fail(name, monkeypatch):
    mutated(monkeypatch, reward_variance, *MUTATIONS[name])
    assert violations(name, size=SIZES[name]) > 0


def test_prompts_of_unequal_weight_are_outside_the_tabular_theorem():
    true, theorem = [[0.5, -0.5], [1.0, 0.0]], reward_variance.variance_time_tabular
    assert theorem.assumptions(pgdyn.Problem.tabular(None, true), gamma=0.1)
    assert not theorem.assumptions(pgdyn.Problem.tabular(None, true, prompt_weights=[0.9, 0.1]), gamma=0.1)
