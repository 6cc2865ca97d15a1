"""Best of N. Oracles: the statement, enumeration of samples."""

import itertools

import jax.numpy as jnp
import numpy as np
from claims import SEEDS, assert_as_claimed, mutated, violations
from hypothesis import given
from hypothesis import settings as profile

from pgdyn.theory import best_of_n


@profile(max_examples=3)
@given(seed=SEEDS)
def test_holds_wherever_its_draw_leads(seed):
    assert_as_claimed(best_of_n.best_of_n_accuracy, seed)


def test_best_of_n_by_enumeration_of_samples():
    rng = np.random.default_rng(1)
    policy, reward = rng.dirichlet(np.ones(4)), np.array([0.3, -1.0, 0.3, 0.8])
    expected = np.zeros(4)
    for sample in itertools.product(range(4), repeat=3):
        top = [y for y in sample if reward[y] == max(reward[list(sample)])]
        for y in top:
            expected[y] += np.prod(policy[list(sample)]) / len(top)
    found = best_of_n.best_of_n(jnp.log(policy), jnp.asarray(reward), jnp.asarray(3.0))
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_its_check_can_fail(monkeypatch):
    mutated(monkeypatch, best_of_n, "best_of_n", lambda original: lambda p, r, n: original(p, r, n + 1e-6))
    assert violations("best_of_n_accuracy") > 0
