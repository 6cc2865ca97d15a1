"""Benign errors. Oracle: the statements, on random problems of their draws; and flows that are spoilt."""

import numpy as np
import pytest
from claims import SEEDS, assert_as_claimed, mutated, violations, with_rewards
from hypothesis import given
from hypothesis import settings as profile

import pgdyn
from pgdyn.theory import benign_errors, flows


@pytest.mark.parametrize("theorem", benign_errors.THEOREMS, ids=lambda theorem: theorem.name)
@profile(max_examples=4)
@given(seed=SEEDS)
def test_as_claimed_wherever_its_draw_leads(theorem, seed):
    assert_as_claimed(theorem, seed)


@pytest.mark.parametrize("name", ["benign_never_attracts", "benign_probability_bound"])
def test_bounds_notice_descent(name, monkeypatch):
    mutated(monkeypatch, flows, "run", with_rewards(lambda reward: -reward))
    assert violations(name) > 0


def test_negligible_notices_proxies_that_differ_elsewhere(monkeypatch):
    calls = []

    def unlike(original):
        def run(batch, *arguments, **options):
            calls.append(batch)
            proxy = batch.proxy_reward[..., ::-1] if len(calls) == 2 else batch.proxy_reward
            return original(batch.replace(proxy_reward=proxy), *arguments, **options)

        return run

    mutated(monkeypatch, flows, "run", unlike)
    assert violations("benign_negligible", seed=1) > 0


def test_the_bounds_of_negligible_errors_by_their_formulas():
    mass, t = np.array([1e-3, 0.02]), np.array([0.1, 2.0])
    expected = [4e-3 * np.exp(0.5), 0.08 * np.exp(10.0)]
    np.testing.assert_allclose(benign_errors.negligible_bound(mass, t), expected)
    sharp = [1e-3 * (np.exp(0.5) - np.exp(0.1)) / np.sqrt(2), 0.02 * (np.exp(10.0) - np.exp(2.0)) / np.sqrt(2)]
    np.testing.assert_allclose(benign_errors.sharp_negligible_bound(mass, t), sharp)


def test_the_constants_of_the_sharper_bound():
    # Oracle: random points. d ln pi/dt <= 1, |field - other field|_2 <= 4 mass, |grad V|_2 <= 1/sqrt(2).
    rng = np.random.default_rng(0)
    for _ in range(2000):
        policy, reward = rng.dirichlet(np.full(4, rng.uniform(0.1, 2))), rng.choice([-1.0, 1.0], 4)
        pull = policy * (reward - policy @ reward)
        assert np.max(pull - policy @ pull) <= 1 and np.linalg.norm(pull) <= 1 / np.sqrt(2) + 1e-12
        other = reward.copy()
        other[0] = -other[0]
        assert np.linalg.norm(policy * (other - policy @ other) - pull) <= 4 * policy[0] + 1e-12


def test_a_benign_output_rises_beside_a_likely_one_that_loses():
    falling = pgdyn.Problem.tabular([0.05, 0.9, 0.05], [-0.9, -1.0, 1.0])
    assert benign_errors.benign_probability_never_rises.assumptions(falling, output=0, t1=10.0)
    assert not benign_errors.benign_probability_never_rises.check(falling, output=0, t1=10.0).holds
    assert benign_errors.benign_never_attracts.check(falling, output=0, t1=10.0).holds
