"""Accuracy, speed and pupils. Oracles: the statements, enumeration of pairs."""

import itertools

import jax.numpy as jnp
import numpy as np
import pytest
from claims import SEEDS, assert_as_claimed, mutated, scaled, violations
from hypothesis import given
from hypothesis import settings as profile

import pgdyn
from pgdyn.theory import flows, teachers

SIZES = {"accurate_but_slow": (3, 5, None), "inaccurate_but_fast": (3, 5, None), "policy_dependent_teacher": 4}


@pytest.mark.parametrize("theorem", teachers.THEOREMS, ids=lambda theorem: theorem.name)
@profile(max_examples=3)
@given(seed=SEEDS)
def test_holds_wherever_its_draw_leads(theorem, seed):
    assert_as_claimed(theorem, seed, SIZES[theorem.name])


def accuracy(true, proxy):
    pairs = list(itertools.combinations(range(len(true)), 2))
    return np.mean([(true[a] - true[b]) * (proxy[a] - proxy[b]) > 0 for a, b in pairs])


def test_accurate_and_spotlight_proxies_have_the_accuracies_claimed():
    rng = np.random.default_rng(0)
    true, start = rng.uniform(-1, 1, (2, 5)), rng.dirichlet(np.ones(5), 2)
    accurate = teachers.accurate_proxy(jnp.asarray(true), jnp.asarray(7.0))
    spotlight = teachers.spotlight_proxy(jnp.asarray(true), jnp.asarray(start))
    assert np.all((accurate > 0) & (accurate < 1 / 7))
    for p in range(2):
        assert accuracy(true[p], accurate[p]) == 1
        np.testing.assert_allclose(accuracy(true[p], spotlight[p]), 2 / 5)
        others = np.delete(np.asarray(spotlight[p]), true[p].argmax())
        assert np.all((others > 0) & (others < start[p, true[p].argmax()]))


def test_bounds_by_their_formulas():
    problem = pgdyn.Problem.tabular([0.2, 0.5, 0.3], [0.9, 0.1, -0.4], [0.05, 0.04, 0.02])
    check = teachers.accurate_but_slow.check(problem, gamma=0.3, slowness=10.0)
    np.testing.assert_allclose(np.exp(check.bound), 2 * (1 - np.exp(-0.15)) * 10)
    bright = problem.with_proxy([1.0, 0.1, 0.05])
    check = teachers.inaccurate_but_fast.check(bright, gamma=0.3)
    rho = (0.2 * 0.9 + 0.05 - 0.12 + 0.3 + 1) / 1.9
    np.testing.assert_allclose(np.exp(check.bound), 4 / (1 - rho) ** 4 * (5 - 1 / rho))


MUTATIONS = [
    ("accurate_but_slow", flows, "arrival_times", scaled(1e-3)),
    ("inaccurate_but_fast", teachers, "spotlight_bound", scaled(1e-4)),
    # Its upper bounds alone, and its lower bounds alone.
    ("policy_dependent_teacher", teachers, "spotlight_bound", scaled(1e-6)),
    ("policy_dependent_teacher", teachers, "tabular_bound", scaled(1e11)),
]


@pytest.mark.parametrize(
    ("name", "module", "attribute", "change"), MUTATIONS, ids=[f"{m[0]}-{m[2]}" for m in MUTATIONS]
)
def test_every_check_can_fail(name, module, attribute, change, monkeypatch):
    mutated(monkeypatch, module, attribute, change)
    assert violations(name, size=SIZES[name]) > 0
