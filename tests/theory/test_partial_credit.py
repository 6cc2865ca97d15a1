"""Partial credit against binary. Oracles: ratios written down once, SciPy quadrature, closed forms."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
from families import drawn
from hypothesis import given
from hypothesis import settings as profile
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.optimize import brentq

import pgdyn
from pgdyn.objective import Objective
from pgdyn.theory import asymptotics, partial_credit

SEEDS = st.integers(0, 2**32 - 1)
BINARY = Objective(reward="true")


def violations(theorem, seed=0):
    problems, parameters = drawn(theorem, seed, 2)
    assert np.all(theorem.batch_assumptions(problems, **parameters))
    return int(np.sum(~np.asarray(theorem.batch_check(problems, **parameters).holds)))


@pytest.mark.parametrize("theorem", partial_credit.THEOREMS, ids=lambda theorem: theorem.name)
@profile(max_examples=3)
@given(seed=SEEDS)
def test_holds_wherever_its_draw_leads(theorem, seed):
    assert violations(theorem, seed) == 0


def test_ratios_of_times_for_two_outputs_without_credit():
    table = {
        (0.1, 0.1): 1.18,
        (0.1, 0.3): 1.47,
        (0.05, 0.3): 1.97,
        (0.01, 0.5): 51.9,
        (0.003, 0.5): 703,
        (0.001, 0.001): 0.90,
    }
    problems = pgdyn.stack([partial_credit.credit_problem(full, half, 2) for full, half in table])
    ratios = asymptotics.arrival_times(problems, 0.95) / asymptotics.arrival_times(problems, 0.95, BINARY)
    np.testing.assert_allclose(ratios, list(table.values()), rtol=0.005)


def test_two_rare_constraints_of_one_percent():
    logit = np.log(0.01 / 0.99)
    problems = pgdyn.stack([partial_credit.constraints_problem(jnp.full(2, logit))] * 2)
    binary, partial = (asymptotics.arrival_times(problems, 0.95, objective)[0] for objective in (BINARY, None))
    np.testing.assert_allclose([binary, partial], [5261, 308], rtol=0.001)
    # Partial credit alone in closed form: both logits reach log(x/(1 - x)) with x^2 = .95.
    end = np.log(np.sqrt(0.95) / (1 - np.sqrt(0.95)))
    expected = partial_credit.partial_clock(jnp.asarray(end)) - partial_credit.partial_clock(jnp.asarray(logit))
    np.testing.assert_allclose(partial, expected, rtol=1e-6)


@pytest.mark.parametrize("easy", [0.05, 0.4, 0.9])
def test_the_cost_of_partial_credit_by_quadrature(easy):
    odds = easy / (1 - easy)

    def inverse_probability(x):
        w = np.exp(brentq(lambda z: z + np.exp(z) - np.log(odds) - odds - x, np.log(odds), np.log(odds) + x + 1))
        return np.exp(-x) * (1 + 1 / w)

    expected = 2 / quad(inverse_probability, 0, 60, limit=200)[0]
    np.testing.assert_allclose(partial_credit.partial_cost(jnp.asarray(easy)), expected, rtol=1e-6)


MUTATIONS = {
    "partial_credit_rise": ("velocity", lambda original: lambda *arguments: original(*arguments) * (1 + 1e-9)),
    "partial_credit_exponent": ("make_rarer", lambda original: lambda problems: original(problems, factor=3.3)),
    "binary_credit_exponent": ("make_rarer", lambda original: lambda problems: original(problems, factor=3.3)),
    "compositional_partial_time": ("partial_clock", lambda original: lambda z: original(z) + 1e-6 * jnp.exp(-z)),
    "compositional_binary_curve": (
        "flow_many",
        lambda original: lambda problems, t1, objective, **options: original(problems, t1, **options),
    ),
    "compositional_easy_rare": ("partial_cost", lambda original: lambda easy: 1.02 * original(easy)),
    "compositional_both_rare": (
        "arrival_times",
        lambda original: lambda *arguments: 1.03 * original(*arguments),
    ),
}


@pytest.mark.parametrize("name", MUTATIONS)
def test_every_check_can_fail(name, monkeypatch):
    attribute, change = MUTATIONS[name]
    monkeypatch.setattr(partial_credit, attribute, change(getattr(partial_credit, attribute)))
    (theorem,) = (theorem for theorem in partial_credit.THEOREMS if theorem.name == name)
    assert violations(dataclasses.replace(theorem)) > 0
