"""The units that lanes compute in do not show: rewards far from one, temperatures, features wider than P K.

Oracle: the same flow in other units, bit for bit where they differ by powers of two, which round nothing.
"""

import dataclasses

import numpy as np
import pytest
from batches import ONE, assert_same_bits

import pgdyn

SHAPE = (40, 2, 4)
RANDOM = np.random.default_rng


def rewards(seed=0):
    return RANDOM(seed).uniform(-1, 1, (2, *SHAPE))


def tabular(scale=1.0):
    true, proxy = rewards()
    policy = RANDOM(1).dirichlet(np.ones(SHAPE[-1]), SHAPE[:2]) * 0.96 + 0.01
    return pgdyn.Batch.tabular(policy, true, scale * proxy)


def run(batch, t1=100.0, target=0.2, kl=0.01, **options):
    objective = pgdyn.Objective(kl=kl, entropy=kl / 2)
    return pgdyn.flow_many(batch, t1, target=target, objective=objective, devices=ONE, **options)


def unscaled(found, scale):
    """The same solution with the training reward in other units."""
    return dataclasses.replace(
        found,
        proxy_value=found.proxy_value / scale,
        reward_variance=found.reward_variance / scale**2,
        hitting_time=found.hitting_time * scale,
    )


@pytest.fixture(scope="module")
def small():
    """Rewards of 2^-40, far enough from one to be in units of their own."""
    scale = 2.0**-40
    return unscaled(run(tabular(scale), 100.0 / scale, kl=0.01 * scale), scale)


@pytest.mark.parametrize("power", [-60, 30, 60])
def test_powers_of_two_change_no_bit(small, power):
    """A reward times c is a clock that runs c times as fast; weights of KL and entropy are rewards, too."""
    scale = 2.0**power
    assert_same_bits(unscaled(run(tabular(scale), 100.0 / scale, kl=0.01 * scale), scale), small)


def test_ordinary_rewards_agree_with_those_in_units_of_their_own(small):
    """They are left as they are, and the suspicion of the error control is not free of units: within tolerance."""
    found = run(tabular())
    np.testing.assert_allclose(found.log_policy, small.log_policy, rtol=0, atol=1e-5)
    np.testing.assert_allclose(found.hitting_time, small.hitting_time, rtol=1e-5)


@pytest.mark.parametrize(("geometry", "power"), [("euclidean", 2), ("natural", 0)])
def test_a_temperature_is_a_clock(geometry, power):
    """At temperature T the policy moves alike in T^2 (natural: 1) times the time; logits are params / T."""
    true, proxy = rewards()
    policy = RANDOM(1).dirichlet(np.ones(SHAPE[-1]), SHAPE[:2]) * 0.96 + 0.01
    temperature = 2.0 ** RANDOM(2).integers(-3, 4, SHAPE[0])
    plain = run(pgdyn.Batch.tabular(policy, true, proxy), 50.0, geometry=geometry)
    warm = pgdyn.Batch.tabular(policy, true, proxy, temperature=temperature)
    found = run(warm, 50.0 * temperature**power, geometry=geometry)
    found = dataclasses.replace(
        found,
        params=found.params / temperature[:, None, None],
        hitting_time=found.hitting_time / temperature**power,
    )
    assert_same_bits(found, plain)


@pytest.mark.parametrize("shared", [True, False])
def test_features_wider_than_the_outputs(shared):
    """Oracle: six features rotated into eleven give the same logits, and parameters that are turned alike."""
    count, prompts, outputs, width = 30, 2, 3, 6
    rng = RANDOM(3)
    narrow = rng.normal(size=(1 if shared else count, prompts, outputs, width))
    rotation = np.linalg.qr(rng.normal(size=(11, width)))[0]
    start = rng.normal(size=(count, 11))
    true, proxy = rng.uniform(-1, 1, (2, count, prompts, outputs))
    temperature = rng.uniform(0.5, 2, count)
    runs = []
    for features, params in ((narrow, start @ rotation), (narrow @ rotation.T, start)):
        features = features[0] if shared else features
        options = {"initial_params": params, "temperature": temperature}
        runs.append(run(pgdyn.Batch.linear(features, true, proxy, **options), rtol=1e-9, atol=1e-12))
    few, many = runs
    np.testing.assert_allclose(many.log_policy, few.log_policy, rtol=0, atol=1e-7)
    np.testing.assert_allclose(many.hitting_time, few.hitting_time, rtol=1e-6)
    np.testing.assert_allclose(many.params @ rotation, few.params, rtol=0, atol=1e-6)
    across = np.eye(11) - rotation @ rotation.T  # what no logit depends on, the flow leaves alone
    np.testing.assert_allclose(many.params @ across, start @ across, rtol=0, atol=1e-12)
