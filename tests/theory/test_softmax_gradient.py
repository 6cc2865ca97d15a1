"""Softmax policy gradient on bandits. Oracle: NumPy loops over updates, counts from the literature."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import optax
import pytest
from families import drawn
from hypothesis import given
from hypothesis import settings as profile
from hypothesis import strategies as st

import pgdyn
from pgdyn.theory import softmax_gradient

SEEDS = st.integers(0, 2**32 - 1)


def check(theorem, seed=0):
    problems, parameters = drawn(theorem, seed, theorem.sizes[-1])
    assert np.all(theorem.batch_assumptions(problems, **parameters))
    return theorem.batch_check(problems, **parameters)


@pytest.mark.parametrize("theorem", softmax_gradient.THEOREMS, ids=lambda theorem: theorem.name)
@profile(max_examples=2)
@given(seed=SEEDS)
def test_holds_wherever_its_draw_leads(theorem, seed):
    found = check(theorem, seed)
    assert np.all(found.holds), np.min(found.slack)


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
    assert int(np.argmax(gaps <= softmax_gradient.PULL_GAP)) == updates
    assert float(softmax_gradient.updates_to(pgdyn.Problem.tabular(start, REWARD))) == updates


def test_the_rates_bound_a_path_made_by_a_numpy_loop():
    start, reward = np.array([0.2, 0.5, 0.3]), np.array([0.9, 0.4, 0.6])
    gaps = numpy_gaps(start, reward, 2000)
    problem = pgdyn.Problem.tabular(start, reward)
    # Oracle for the last update of the sharper bound, from the loop's own path.
    found = softmax_gradient.global_rate_sum.check(problem)
    assert bool(found.holds)
    late = np.log(gaps[1:]) - np.log(5 / (0.2**2 * np.arange(1, 2001)))
    assert late.max() < 0
    found = softmax_gradient.global_rate.check(problem)
    np.testing.assert_allclose(found.slack, -late.max(), rtol=1e-6)


def test_two_equal_best_outputs_are_outside_the_lower_rate():
    assert not softmax_gradient.rate_lower.assumptions(pgdyn.Problem.tabular(None, [1.0, 1.0, 0.0]))
    assert softmax_gradient.rate_lower.assumptions(pgdyn.Problem.tabular(None, [1.0, 0.9, 0.0]))


@pytest.mark.parametrize("rates", [(0.1, 0.8), (0.8, 0.1), (0.4, 0.4)])
def test_the_wrong_mass_moves_against_the_verifier_power(rates):
    false_positive, true_positive = rates
    start = jnp.asarray([0.3, 0.1, 0.4, 0.2])
    problem = softmax_gradient.verifier_problem(start, 2, jnp.asarray(false_positive), jnp.asarray(true_positive))
    end = np.exp(pgdyn.flow(problem, 20.0, saves=2).log_policy[-1, 0])
    change = end[2:].sum() - 0.6
    assert np.sign(np.round(change, 9)) == np.sign(false_positive - true_positive)


def off_velocity(original):
    return lambda *arguments: original(*arguments) * (1 + 1e-9)


def with_step(step):
    """Ascent with another step than the 2/5 that the rates are for."""

    def change(original):
        return lambda problem, updates, optimizer: original(problem, updates, optimizer=optax.sgd(step))

    return change


MUTATIONS = {
    "lojasiewicz": ("gaps", lambda original: lambda *arguments: 1.5 * original(*arguments)),
    "global_rate": ("ascend", with_step(1e-3)),
    "global_rate_sum": ("ascend", with_step(1e-3)),
    "uniform_rate": ("ascend", with_step(1e-3)),
    "rate_lower": ("ascend", with_step(8.0)),
    "gravitational_pull": ("updates_to", lambda original: lambda problem: original(problem) ** 0.5),
    "noisy_verifier": ("velocity", off_velocity),
    "verifier_phase": (
        "flow_many",
        lambda original: (
            lambda problems, t1, **options: original(problems.with_proxy(1 - problems.proxy_reward), t1, **options)
        ),
    ),
    "gradient_gap": ("Objective", lambda original: lambda: original(entropy=1e-9)),
    "vanishing_gradient": ("initial_variance", lambda original: lambda problem: 1e-6 * original(problem)),
}


@pytest.mark.parametrize("name", MUTATIONS)
def test_every_check_can_fail(name, monkeypatch):
    attribute, change = MUTATIONS[name]
    monkeypatch.setattr(softmax_gradient, attribute, change(getattr(softmax_gradient, attribute)))
    (theorem,) = (theorem for theorem in softmax_gradient.THEOREMS if theorem.name == name)
    assert not np.all(check(dataclasses.replace(theorem)).holds)
