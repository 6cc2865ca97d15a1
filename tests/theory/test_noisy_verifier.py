"""A verifier that errs. Oracles: the statements, and the sign of the change of the wrong mass."""

import jax.numpy as jnp
import numpy as np
import pytest
from claims import SEEDS, assert_as_claimed, mutated, scaled, violations
from hypothesis import given
from hypothesis import settings as profile

import pgdyn
from pgdyn.theory import flows, noisy_verifier, starts


@pytest.mark.parametrize("theorem", noisy_verifier.THEOREMS, ids=lambda theorem: theorem.name)
@profile(max_examples=2)
@given(seed=SEEDS)
def test_holds_wherever_its_draw_leads(theorem, seed):
    assert_as_claimed(theorem, seed, theorem.sizes[-1])


@pytest.mark.parametrize("rates", [(0.1, 0.8), (0.8, 0.1), (0.4, 0.4)])
def test_the_wrong_mass_moves_against_the_verifier_power(rates):
    false_positive, true_positive = rates
    start = jnp.asarray([0.3, 0.1, 0.4, 0.2])
    problem = noisy_verifier.verifier_problem(start, 2, jnp.asarray(false_positive), jnp.asarray(true_positive))
    end = np.exp(pgdyn.flow(problem, 20.0, saves=2).log_policy[-1, 0])
    change = end[2:].sum() - 0.6
    assert np.sign(np.round(change, 9)) == np.sign(false_positive - true_positive)


def of_the_opposite(original):
    """Replaces runs by those on 1 - r."""
    return lambda batch, *a, **o: original(batch.replace(proxy_reward=1 - batch.proxy_reward), *a, **o)


MUTATIONS = {
    "noisy_verifier": (starts, "velocity", scaled(1 + 1e-9)),
    "verifier_phase": (flows, "run", of_the_opposite),
}


@pytest.mark.parametrize("name", MUTATIONS)
def test_every_check_can_fail(name, monkeypatch):
    mutated(monkeypatch, *MUTATIONS[name])
    assert violations(name) > 0
