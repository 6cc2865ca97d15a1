"""The sharper bounds by the variance. Oracles: their formulas in NumPy, the bounds that they sharpen."""

import jax.numpy as jnp
import numpy as np
import pytest
from claims import SEEDS, assert_as_claimed, drawn, mutated, scaled, violations
from hypothesis import given
from hypothesis import settings as profile

import pgdyn
from pgdyn.theory import reward_variance, variance_sharp

SIZE = (3, 5, None)


@pytest.mark.parametrize("theorem", variance_sharp.THEOREMS, ids=lambda theorem: theorem.name)
@profile(max_examples=3)
@given(seed=SEEDS)
def test_holds_wherever_its_draw_leads(theorem, seed):
    assert_as_claimed(theorem, seed, SIZE)


def test_bounds_against_their_formulas():
    batch, parameters = drawn(variance_sharp.variance_time_sharp, 3, (3, 5, 4))
    for k in range(4):
        one, gamma = batch[k], float(parameters["gamma"][k])
        policy = np.exp(np.asarray(pgdyn.policy.log_policy(one, one.initial_params)))
        reward = np.asarray(one.proxy_reward)
        mean = (policy * reward).sum(1, keepdims=True)
        variance = np.asarray(one.prompt_weights) @ (policy * (reward - mean) ** 2).sum(1)
        norm = max(np.linalg.norm(phi, 2) for phi in np.asarray(one.features)) / float(one.temperature)
        np.testing.assert_allclose(variance_sharp.gradient_bound(one), norm * np.sqrt(variance), rtol=1e-12)
        expected = (1 - np.exp(-gamma)) / (norm**2 * np.sqrt(variance))
        np.testing.assert_allclose(variance_sharp.sharp_bound(one, jnp.asarray(gamma)), expected, rtol=1e-12)


def test_they_imply_those_that_they_sharpen():
    batch, parameters = drawn(reward_variance.variance_time_general, 0, (3, 5, 4))
    for k in range(16):
        gamma = jnp.asarray(parameters["gamma"][k])
        assert variance_sharp.sharp_bound(batch[k], gamma) > reward_variance.general_bound(
            batch[k], gamma, jnp.zeros(())
        )


# How much larger the bounds may be before the tightest of 64 random problems notices.
@pytest.mark.parametrize(
    ("name", "bound", "factor"),
    [("variance_gradient_sharp", "gradient_bound", 0.4), ("variance_time_sharp", "sharp_bound", 30.0)],
)
def test_every_check_can_fail(name, bound, factor, monkeypatch):
    mutated(monkeypatch, variance_sharp, bound, scaled(factor))
    assert violations(name, size=SIZE) > 0
