"""Rates of softmax policy gradient. Oracles: the statements, NumPy loops over updates, counts from the literature."""

import types

import numpy as np
import pytest
from claims import SEEDS, assert_as_claimed, mutated, violations
from hypothesis import given
from hypothesis import settings as profile

import pgdyn
from pgdyn.theory import convergence_rates


@pytest.mark.parametrize("theorem", convergence_rates.THEOREMS, ids=lambda theorem: theorem.name)
@profile(max_examples=2)
@given(seed=SEEDS)
def test_holds_wherever_its_draw_leads(theorem, seed):
    assert_as_claimed(theorem, seed, theorem.sizes[-1])


def numpy_gaps(start, reward, updates):
    """V* - V after each update of 2/5, by a plain loop."""
    z, reward, found = np.log(start), np.asarray(reward), []
    for _ in range(updates + 1):
        policy = np.exp(z - z.max())
        policy /= policy.sum()
        found.append(policy @ (reward.max() - reward))
        z = z + 0.4 * policy * (reward - policy @ reward)
    return np.array(found)


REWARD = (1.0, 0.9, 0.1)


@pytest.mark.parametrize(("start", "updates"), [((0.05, 0.01, 0.94), 53), ((0.01, 0.05, 0.94), 7367)])
def test_the_gravitational_pull_by_a_numpy_loop(start, updates):
    gaps = numpy_gaps(start, REWARD, 7400)
    assert int(np.argmax(gaps <= convergence_rates.PULL_GAP)) == updates
    assert convergence_rates.updates_to(pgdyn.Batch.of(pgdyn.Problem.tabular(start, REWARD))).tolist() == [updates]


def test_the_rates_bound_a_path_made_by_a_numpy_loop():
    start, reward = np.array([0.2, 0.5, 0.3]), np.array([0.9, 0.4, 0.6])
    gaps = numpy_gaps(start, reward, 2000)
    problem = pgdyn.Problem.tabular(start, reward)
    assert convergence_rates.global_rate_sum.check(problem).holds
    late = np.log(gaps[1:]) - np.log(5 / (0.2**2 * np.arange(1, 2001)))
    assert late.max() < 0
    np.testing.assert_allclose(convergence_rates.global_rate.check(problem).slack, -late.max(), rtol=1e-6)


def test_two_equal_best_outputs_are_outside_the_lower_rate():
    assert not convergence_rates.rate_lower.assumptions(pgdyn.Problem.tabular(None, [1.0, 1.0, 0.0]))
    assert convergence_rates.rate_lower.assumptions(pgdyn.Problem.tabular(None, [1.0, 0.9, 0.0]))


def test_bounds_by_their_formulas():
    # V* - V_0 = .5; the best output at .5, .4, .8 at first: c = .5, .4 and sums .25, .41.
    best = np.array([[0.5, 0.4, 0.8]])
    np.testing.assert_allclose(convergence_rates.rate_bound(best), [[5 / 0.25, 5 / (0.16 * 2)]])
    expected = [[1 / (2 + 0.25 / 5), 1 / (2 + 0.41 / 5)]]
    np.testing.assert_allclose(convergence_rates.sum_bound(np.array([[0.5]]), best), expected)
    np.testing.assert_allclose(convergence_rates.uniform_bound(30, 3), [4500.0, 2250.0, 1500.0])
    np.testing.assert_allclose(convergence_rates.lower_bound(np.array(100.0), np.array(0.01)), 1 / (100 + 900 / 7))
    assert (convergence_rates.STEP, convergence_rates.LEAST_FACTOR) == (0.4, 20.0)


def test_the_bounds_are_those_of_the_paths_made_by_a_numpy_loop():
    start, reward = np.array([0.2, 0.5, 0.3]), np.array([0.9, 0.4, 0.6])
    gaps = numpy_gaps(start, reward, 2000)
    policies = [start]
    for _ in range(1999):
        z = np.log(policies[-1])
        z = z + 0.4 * policies[-1] * (reward - policies[-1] @ reward)
        policies.append(np.exp(z) / np.exp(z).sum())
    best = np.array(policies)[:, 0]
    sums = np.log(gaps[1:]) + np.log(1 / gaps[0] + np.cumsum(best**2) / 5)
    check = convergence_rates.global_rate_sum.check(pgdyn.Problem.tabular(start, reward))
    np.testing.assert_allclose(check.slack, -sums.max(), rtol=1e-6)
    uniform = numpy_gaps(np.full(3, 1 / 3), reward, 2000)
    late = np.log(uniform[1:]) - np.log(45 / np.arange(1, 2001))
    check = convergence_rates.uniform_rate.check(pgdyn.Problem.tabular(None, reward))
    np.testing.assert_allclose(check.slack, -late.max(), rtol=1e-6)


def test_the_lower_rate_by_a_numpy_loop_and_its_limit():
    # Two outputs: 1/delta grows by 4/5 an update in the limit, whatever the lead; the bound allows 9/7.
    reward = np.array([1.0, 0.7])
    gaps = numpy_gaps(np.array([0.98, 0.02]), reward, 2000)
    grown = np.diff(1 / gaps)
    assert grown.max() < 9 / 7 and abs(grown[-1] - 0.8) < 0.01
    ratio = np.log(gaps[1:] * (1 / gaps[0] + 9 / 7 * np.arange(1, 2001)))
    check = convergence_rates.rate_lower.check(pgdyn.Problem.tabular([0.98, 0.02], reward))
    np.testing.assert_allclose(check.slack, ratio.min(), rtol=1e-6)


def with_step(step):
    """Ascent with another step than the 2/5 that the rates are for."""
    return lambda original: lambda *arguments, **options: original(*arguments, **{**options, "learning_rate": step})


def weaker(original):
    """An objective whose gradient is a third smaller."""
    return lambda: types.SimpleNamespace(gradient=lambda *arguments: original().gradient(*arguments) / 1.5)


MUTATIONS = {
    "lojasiewicz": ("Objective", weaker),
    "global_rate": ("ascend_many", with_step(1e-3)),
    "global_rate_sum": ("ascend_many", with_step(1e-3)),
    "uniform_rate": ("ascend_many", with_step(1e-3)),
    "rate_lower": ("ascend_many", with_step(8.0)),
    "gravitational_pull": ("updates_to", lambda f: lambda batch, gap: f(batch, gap) ** 0.5),
}


@pytest.mark.parametrize("name", MUTATIONS)
def test_every_check_can_fail(name, monkeypatch):
    mutated(monkeypatch, convergence_rates, *MUTATIONS[name])
    assert violations(name) > 0
