"""Flows at the ends of float64: closed forms and laws of scale, for any temperature and size of reward.

All go through both backends; `backend="diffrax"` is `pgdyn.flow` under `jax.vmap`.
"""

import dataclasses

import jax
import numpy as np
import pytest
from oracles import Goal
from strategies import make_setting

import pgdyn
from pgdyn import Batch, Problem

ONE = jax.local_devices()[:1]
NEVER = 1e9
RANDOM = np.random.default_rng
# As many of the one as of the other: a batch of another size is another program of the reference backend.
TEMPERATURES = (1e-15, 1e-12, 1e-10, 1e-7, 1e-5, 1e-3, 0.01, 0.3, 1.0, 30.0, 1e3, 1e6)
SCALES = (1e-300, 1e-200, 1e-155, 1e-100, 1e-20, 1e-3, 1.0, 1e20, 1e100, 1e155, 1e200, 1e300)
BACKENDS = ("engine", "diffrax")


def two_outputs(gap, odds, target_odds):
    """Time from log-odds `odds` to `target_odds` for K = 2: u' = 2 gap p (1 - p) gives t = (u + sinh u) / gap."""
    passed = [u + np.sinh(u) for u in (odds, target_odds)]
    return (passed[1] - passed[0]) / gap


START, GOAL = np.log(0.2 / 0.8), np.log(0.9 / 0.1)  # log-odds of probabilities .2 and .9


def run(batch, t1, backend, **options):
    options = {"rtol": 1e-9, "atol": 1e-11, **options}
    return pgdyn.flow_many(batch, t1, backend=backend, devices=ONE, **options)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("geometry", ["euclidean", "natural"])
@pytest.mark.parametrize("kind", ["temperature", "reward"])
def test_two_outputs_at_any_temperature_and_reward(backend, geometry, kind):
    """Oracle: u + sinh u grows as gap t / T^2 (theory A5), and under the natural gradient u as gap t (theory A7)."""
    moved = np.array(TEMPERATURES if kind == "temperature" else SCALES)
    ones = np.ones_like(moved)
    temperature, gap = (moved, ones) if kind == "temperature" else (ones, moved)
    reward = np.stack([gap, 0 * gap], axis=-1)[:, None]
    batch = Batch.tabular([0.2, 0.8], reward, temperature=temperature)
    if geometry == "natural":
        hit = (GOAL - START) / gap
    else:
        hit = temperature**2 * two_outputs(gap, START, GOAL)
    found = run(batch, hit, backend, geometry=geometry, target=0.85 * gap)
    assert (found.result == pgdyn.Result.completed).all(), found.message
    np.testing.assert_allclose(found.log_policy[:, 0], np.log([[0.9, 0.1]] * len(gap)), rtol=0, atol=1e-7)
    np.testing.assert_allclose(found.true_value / gap, 0.9, rtol=1e-7)
    np.testing.assert_allclose(found.params, temperature[:, None, None] * found.params[[0]] / temperature[0], rtol=1e-7)
    ordinary = np.abs(np.log10(gap)) < 150
    variance = found.reward_variance[ordinary] / gap[ordinary] ** 2
    np.testing.assert_allclose(variance, 0.09, rtol=1e-6)
    # At 1e-300 the differences of values that the hitting time is found by lose digits.
    passed = np.log(0.85 / 0.15)
    expected = hit * (passed - START) / (GOAL - START)
    if geometry == "euclidean":
        expected = temperature**2 * two_outputs(gap, START, passed)
    np.testing.assert_allclose(found.hitting_time, expected, rtol=1e-6)


@pytest.mark.parametrize("backend", BACKENDS)
def test_targets_of_any_size(backend):
    """A true reward of any scale beside an ordinary proxy. Oracle: the same closed form."""
    scales = np.array(SCALES)
    reward = np.stack([scales, 0 * scales], axis=-1)[:, None]
    proxy, temperature = np.broadcast_to([1.0, 0.0], reward.shape), np.ones_like(scales)
    batch = Batch.tabular([0.2, 0.8], reward, proxy, temperature=temperature)
    expected = two_outputs(1.0, START, GOAL)
    found = run(batch, np.full_like(scales, 2 * expected), backend, target=0.9 * scales)
    np.testing.assert_allclose(found.hitting_time, expected, rtol=1e-6)
    np.testing.assert_allclose(found.true_value / scales, np.full(len(scales), found.proxy_value[0]), rtol=1e-12)


def test_starts_of_any_rarity():
    """Escapes from probabilities down to 1e-295, where squares of slopes vanish. Oracle: the same closed form."""
    odds = -np.geomspace(5.0, 680.0, len(SCALES))
    start = np.stack([1 / (1 + np.exp(-odds)), 1 / (1 + np.exp(odds))], axis=-1)[:, None]
    reward = np.broadcast_to([1.0, 0.0], start.shape)
    expected = two_outputs(1.0, odds, 0.0)
    found = run(Batch.tabular(start, reward), 3 * expected, "engine", target=0.5)
    assert (found.result == pgdyn.Result.completed).all(), found.message
    np.testing.assert_allclose(found.hitting_time, expected, rtol=1e-7)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("goal", "geometry"),
    [(Goal(kl=0.2, entropy=0.05), "euclidean"), (Goal(kl=0.2, kl_direction="forward"), "natural")],
    ids=str,
)
def test_a_scaled_objective_is_a_scaled_clock(backend, goal, geometry):
    """Theory A9, with penalties: rewards and weights times c end at t1 / c where they would at t1; T^2 is a clock too.

    Oracle: the problem at scale and temperature one, which `test_engine_oracles` holds to SciPy.
    """
    setting = make_setting(5, (2, 4, 3))
    scales = np.array([1.0, 1e-300, 1e-150, 1e-30, 1e30, 1e150, 1e290, 1.0, 1.0])
    temperatures = np.array([1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1e-15, 1e6])
    rewards = {name: scales[:, None, None] * getattr(setting, name) for name in ("true_reward", "proxy_reward")}
    starts = temperatures[:, None] * setting.start
    batch = Batch.linear(setting.features, **rewards, initial_params=starts, temperature=temperatures)
    objective = dataclasses.replace(goal, kl=0.0, entropy=0.0).objective()
    objective = objective.with_weights(goal.kl * scales, goal.entropy * scales if goal.entropy else None)
    clock = scales if geometry == "natural" else scales / temperatures**2
    found = run(batch, 5.0 / clock, backend, objective=objective, geometry=geometry)
    assert (found.result == pgdyn.Result.completed).all(), found.message
    np.testing.assert_allclose(
        found.log_policy, np.broadcast_to(found.log_policy[:1], found.log_policy.shape), atol=1e-7
    )
    np.testing.assert_allclose(found.true_value / scales, np.full(len(scales), found.true_value[0]), atol=1e-7)
    np.testing.assert_allclose(found.kl, np.full(len(scales), found.kl[0]), rtol=1e-6)


# ---------------------------------------------------------------- more parameters than logits


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("geometry", ["euclidean", "natural"])
@pytest.mark.parametrize("shared", [True, False])
def test_wide_features_are_their_narrow_form(backend, geometry, shared):
    """Oracle: with Phi = L Q^T the flow of v = Q^T theta under features L; theta moves within the range of Q alone.

    The engine runs the narrow form for both backends, so that it is compiled once.
    """
    rng, count = RANDOM(3), 3
    wide = rng.normal(size=(2, 2, 9)) if shared else rng.normal(size=(count, 2, 2, 9))
    starts, rewards = 0.2 * rng.normal(size=(count, 9)), rng.uniform(-1, 1, (count, 2, 2))
    temperature = np.array([0.5, 1.0, 2.0])
    options = {"temperature": temperature, "prompt_weights": rng.dirichlet(np.ones(2), count)}
    rows = np.broadcast_to(wide, (count, 2, 2, 9)).reshape(count, 4, 9)
    rotation, upper = np.linalg.qr(rows.swapaxes(1, 2))
    narrow = upper.swapaxes(1, 2).reshape(count, 2, 2, 4)
    within = np.einsum("ndv,nd->nv", rotation, starts)
    wide_runs, narrow_runs = (
        run(
            Batch.linear(features, rewards, initial_params=start, **options),
            1.0 if geometry == "natural" else 4.0,
            ran_by,
            geometry=geometry,
            target=0.2,
            objective=pgdyn.Objective(kl=0.1),
        )
        for features, start, ran_by in ((wide, starts, backend), (narrow, within, "engine"))
    )
    np.testing.assert_allclose(wide_runs.log_policy, narrow_runs.log_policy, rtol=0, atol=1e-8)
    np.testing.assert_allclose(wide_runs.hitting_time, narrow_runs.hitting_time, rtol=1e-7)
    moved = np.einsum("ndv,nv->nd", rotation, narrow_runs.params - within)
    np.testing.assert_allclose(wide_runs.params, starts + moved, rtol=0, atol=1e-7)


@pytest.mark.parametrize("backend", BACKENDS)
def test_tabular_temperature_is_a_clock(backend):
    """Oracle: the policy of T = 1 at t / T^2, and parameters T times as large."""
    rng = RANDOM(4)
    temperature = np.array([1.0, 0.3, 2.5, 40.0])
    reward, policy = rng.uniform(-1, 1, (3, 5)), rng.dirichlet(np.ones(5), 3)
    batch = Batch.tabular(policy, reward, temperature=temperature)
    found = run(batch, 6.0 * temperature**2, backend, target=0.1)
    np.testing.assert_allclose(found.log_policy, np.broadcast_to(found.log_policy[:1], (4, 3, 5)), atol=1e-8)
    np.testing.assert_allclose(found.params / temperature[:, None, None], found.params[[0] * 4], rtol=1e-7)
    np.testing.assert_allclose(found.hitting_time / temperature**2, found.hitting_time[[0] * 4], rtol=1e-7)
    setting = Problem.tabular(policy, reward)
    alone = pgdyn.flow(setting, 6.0, target=0.1, saves=12, rtol=1e-9, atol=1e-11).end
    np.testing.assert_allclose(found.log_policy[0], alone.log_policy, rtol=0, atol=1e-8)
    np.testing.assert_allclose(found.hitting_time[0], alone.hitting_time, rtol=1e-7)
