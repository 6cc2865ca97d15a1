"""Variance, time and accuracy. Oracles: enumeration of pairs and of samples, NumPy transcriptions of the bounds."""

import dataclasses
import itertools

import jax.numpy as jnp
import numpy as np
import pytest
from families import drawn
from hypothesis import given
from hypothesis import settings as profile
from hypothesis import strategies as st
from oracles import value_gradient
from strategies import settings

from pgdyn.theory import predecessor

SEEDS = st.integers(0, 2**32 - 1)
SIZES = {"variance_time_general": (1, 5, None), "policy_dependent_teacher": 4, "best_of_n_accuracy": 3}


def check(theorem, seed=0):
    size = SIZES.get(theorem.name, (3, 5, None))
    problems, parameters = drawn(theorem, seed, size)
    assert np.all(theorem.batch_assumptions(problems, **parameters))
    return theorem.batch_check(problems, **parameters)


@pytest.mark.parametrize("theorem", predecessor.THEOREMS, ids=lambda theorem: theorem.name)
@profile(max_examples=3)
@given(seed=SEEDS)
def test_holds_wherever_its_draw_leads(theorem, seed):
    found = check(theorem, seed)
    assert np.all(found.holds), np.min(found.slack)


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
    found = predecessor.variance_gradient.check(setting.problem())
    assert bool(found.holds)
    np.testing.assert_allclose(predecessor.initial_variance(setting.problem()), variance, atol=1e-13 * size**2)


def test_bounds_against_their_formulas():
    problems, parameters = drawn(predecessor.variance_time_general, 5, (3, 5, 4))
    one, gamma = problems[3], float(parameters["gamma"][3])
    norm = max(np.linalg.norm(phi, 2) for phi in np.asarray(one.features)) / float(one.temperature)
    variance = float(predecessor.initial_variance(one))
    for kl in (0.0, 0.2, 5.0):
        second = 1.0 if kl == 0 else 1 - np.exp(-7 / (3 * kl))
        expected = min(1 - np.exp(-gamma / 9), second) / (8 * norm**2) * variance ** (-1 / 3)
        found = predecessor.general_bound(one, jnp.asarray(gamma), jnp.asarray(kl))
        np.testing.assert_allclose(found, expected, rtol=1e-12)


def accuracy(true, proxy):
    pairs = list(itertools.combinations(range(len(true)), 2))
    return np.mean([(true[a] - true[b]) * (proxy[a] - proxy[b]) > 0 for a, b in pairs])


def test_accurate_and_spotlight_proxies_have_the_accuracies_claimed():
    rng = np.random.default_rng(0)
    true, start = rng.uniform(-1, 1, (2, 5)), rng.dirichlet(np.ones(5), 2)
    accurate = predecessor.accurate_proxy(jnp.asarray(true), jnp.asarray(7.0))
    spotlight = predecessor.spotlight_proxy(jnp.asarray(true), jnp.asarray(start))
    assert np.all((accurate > 0) & (accurate < 1 / 7))
    for p in range(2):
        assert accuracy(true[p], accurate[p]) == 1
        np.testing.assert_allclose(accuracy(true[p], spotlight[p]), 2 / 5)
        others = np.delete(np.asarray(spotlight[p]), true[p].argmax())
        assert np.all((others > 0) & (others < start[p, true[p].argmax()]))


def test_best_of_n_by_enumeration_of_samples():
    rng = np.random.default_rng(1)
    policy, reward = rng.dirichlet(np.ones(4)), np.array([0.3, -1.0, 0.3, 0.8])
    expected = np.zeros(4)
    for sample in itertools.product(range(4), repeat=3):
        top = [y for y in sample if reward[y] == max(reward[list(sample)])]
        for y in top:
            expected[y] += np.prod(policy[list(sample)]) / len(top)
    found = predecessor.best_of_n(jnp.log(policy), jnp.asarray(reward), jnp.asarray(3.0))
    np.testing.assert_allclose(found, expected, atol=1e-12)


def scaled(factor):
    return lambda original: lambda *arguments: factor * original(*arguments)


MUTATIONS = [
    ("variance_gradient", "initial_variance", scaled(0.5)),
    ("variance_time_general", "general_bound", scaled(1e4)),
    ("variance_time_tabular", "tabular_bound", scaled(1e3)),
    ("accurate_but_slow", "rise_times", scaled(1e-3)),
    ("inaccurate_but_fast", "spotlight_bound", scaled(1e-4)),
    # Its upper bounds alone, and its lower bounds alone.
    ("policy_dependent_teacher", "spotlight_bound", scaled(1e-6)),
    ("policy_dependent_teacher", "tabular_bound", scaled(1e11)),
    ("best_of_n_accuracy", "best_of_n", lambda original: lambda p, r, n: original(p, r, n + 1e-6)),
]


@pytest.mark.parametrize(("name", "attribute", "change"), MUTATIONS, ids=lambda part: part if type(part) is str else "")
def test_every_check_can_fail(name, attribute, change, monkeypatch):
    monkeypatch.setattr(predecessor, attribute, change(getattr(predecessor, attribute)))
    (theorem,) = (theorem for theorem in predecessor.THEOREMS if theorem.name == name)
    assert not np.all(check(dataclasses.replace(theorem)).holds)


def test_prompts_of_unequal_weight_are_outside_the_tabular_theorem():
    import pgdyn

    true = [[0.5, -0.5], [1.0, 0.0]]
    assert predecessor.variance_time_tabular.assumptions(pgdyn.Problem.tabular(None, true), gamma=0.1)
    uneven = pgdyn.Problem.tabular(None, true, prompt_weights=[0.9, 0.1])
    assert not predecessor.variance_time_tabular.assumptions(uneven, gamma=0.1)
