"""Two independent constraints. Oracles: the statements, SciPy quadrature, closed forms, times written down once."""

import jax.numpy as jnp
import numpy as np
import pytest
from claims import SEEDS, assert_as_claimed, mutated, scaled, violations
from hypothesis import given
from hypothesis import settings as profile
from scipy.integrate import quad
from scipy.optimize import brentq

import pgdyn
from pgdyn.theory import compositional_credit, flows


@pytest.mark.parametrize("theorem", compositional_credit.THEOREMS, ids=lambda theorem: theorem.name)
@profile(max_examples=3)
@given(seed=SEEDS)
def test_holds_wherever_its_draw_leads(theorem, seed):
    assert_as_claimed(theorem, seed)


def test_two_rare_constraints_of_one_percent():
    logit = np.log(0.01 / 0.99)
    batch = pgdyn.Batch.of(compositional_credit.constraints_problem(jnp.full(2, logit)))
    binary, partial = (
        flows.arrival_times(batch, 0.95, objective)[0] for objective in (pgdyn.Objective(reward="true"), None)
    )
    np.testing.assert_allclose([binary, partial], [5261, 308], rtol=0.001)
    # Partial credit alone in closed form: both logits reach log(x/(1 - x)) with x^2 = .95.
    end = np.log(np.sqrt(0.95) / (1 - np.sqrt(0.95)))
    expected = compositional_credit.partial_clock(end) - compositional_credit.partial_clock(logit)
    np.testing.assert_allclose(partial, expected, rtol=1e-6)


@pytest.mark.parametrize("easy", [0.05, 0.4, 0.9])
def test_the_cost_of_partial_credit_by_quadrature(easy):
    odds = easy / (1 - easy)

    def inverse_probability(x):
        w = np.exp(brentq(lambda z: z + np.exp(z) - np.log(odds) - odds - x, np.log(odds), np.log(odds) + x + 1))
        return np.exp(-x) * (1 + 1 / w)

    expected = 2 / quad(inverse_probability, 0, 60, limit=200)[0]
    np.testing.assert_allclose(compositional_credit.partial_cost(jnp.asarray(easy)), expected, rtol=1e-6)


def on_the_proxy(original):
    """Replaces runs on the binary reward by runs on partial credit."""
    credit = np.array([0.0, 0.5, 0.5, 1.0])
    return lambda batch, *a, **o: original(batch.replace(proxy_reward=np.tile(credit, (len(batch), 1, 1))), *a, **o)


MUTATIONS = {
    "compositional_partial_time": (compositional_credit, "partial_clock", lambda f: lambda z: f(z) + 1e-6 * np.exp(-z)),
    "compositional_binary_curve": (flows, "run", on_the_proxy),
    "compositional_easy_rare": (compositional_credit, "cost_of_start", scaled(1.0006)),
    "compositional_both_rare": (flows, "arrival_times", scaled(1.003)),
}


@pytest.mark.parametrize("name", MUTATIONS)
def test_every_check_can_fail(name, monkeypatch):
    mutated(monkeypatch, *MUTATIONS[name])
    assert violations(name) > 0
