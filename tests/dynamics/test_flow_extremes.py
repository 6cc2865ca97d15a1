"""Gradient flow on plateaus and at the ends of float64: golden times, SciPy's DOP853, and what cannot move."""

import dataclasses

import numpy as np
import oracles
import pytest
from flow_cases import SAVES, TABULAR, plain, simple_flow, tabular
from hypothesis import given
from hypothesis import settings as profile
from strategies import make_setting, settings

import pgdyn

# ---------------------------------------------------------------- plateaus

GOLDEN_PLATEAUS = [(1, 187350161.14, 1e-9), (2, 1.0535162e12, 1e-7), (3, 4.2129e15, 1e-4)]


def plateau(bad):
    return tabular([1e-4, 0.5, *[(0.5 - 1e-4) / bad] * bad], [1.0, 0.8, *[-1.0] * bad])


@pytest.mark.parametrize(("bad", "expected", "precision"), GOLDEN_PLATEAUS)
def test_plateau_escape_times(bad, expected, precision):
    """T(.9) for r = (1, .8, -1 x n), m_0 = .5, p_0 = 1e-4, measured independently."""
    run = simple_flow(plateau(bad), 1e17, target=0.9)
    assert abs(float(run.hitting_time) / expected - 1) < precision
    assert run.result == pgdyn.Result.completed
    assert run.true_value[-1] > 0.999
    assert run.steps < 5000


def test_plateau_escape_time_against_dop853():
    setting = plateau(1)
    _, hit = oracles.flow(setting, np.array([0.0, 2.5e8]), plain(setting), 0.9)
    assert abs(float(simple_flow(setting, 2.5e8, target=0.9).hitting_time) / hit - 1) < 1e-6


def test_a_plateau_that_outlasts_1e15():
    run = simple_flow(tabular([1e-12, 0.5, *[(0.5 - 1e-12) / 3] * 3], [1.0, 0.8, -1, -1, -1]), 1e15, target=0.9)
    assert run.result == pgdyn.Result.completed
    assert np.isinf(run.hitting_time)
    np.testing.assert_allclose(run.true_value[-1], 0.8, atol=1e-6)


# ---------------------------------------------------------------- extremes


def test_probability_of_1e_300():
    """Nothing pulls it up within t = 1e15; the other outputs go their way as if it were not there."""
    run = simple_flow(tabular([1e-300, 0.5, 0.2, 0.2, 0.1], [1, 0.3, -1, -0.5, 0.2]), 1e15)
    assert run.result == pgdyn.Result.completed
    assert np.isfinite(run.log_policy).all()
    np.testing.assert_allclose(run.true_value[-1], 0.3, atol=1e-5)
    without = simple_flow(tabular([0.5, 0.2, 0.2, 0.1], [0.3, -1, -0.5, 0.2]), 100.0)
    short = simple_flow(tabular([1e-300, 0.5, 0.2, 0.2, 0.1], [1, 0.3, -1, -0.5, 0.2]), 100.0)
    np.testing.assert_allclose(short.log_policy[:, :, 1:], without.log_policy, rtol=0, atol=1e-6)


def test_rewards_of_1e6():
    setting = tabular([0.2, 0.2, 0.2, 0.2, 0.2], [1e6, -1e6, 3e5, 0, 1e6])
    run = simple_flow(setting, 1.0, target=9e5)
    assert run.result == pgdyn.Result.completed
    path, hit = oracles.flow(setting, np.asarray(run.t), plain(setting), 9e5)
    np.testing.assert_allclose(run.log_policy[-1], oracles.log_policy(setting, path[-1]), rtol=0, atol=1e-6)
    assert abs(float(run.hitting_time) / hit - 1) < 1e-6


def test_a_run_that_broke_off_has_no_hitting_time():
    """An escape at 1e22 is shorter than the clock's last digit there: the run says so, and makes no time up."""
    run = simple_flow(tabular([1e-22, 0.25, 0.25, 0.25, 0.25], [1, 0, 0, 0, 0]), 1e25, target=0.5)
    assert run.result == pgdyn.Result.step_budget_spent
    assert np.isinf(run.hitting_time)


def test_one_output_has_nowhere_to_go():
    run = simple_flow(tabular([1.0], [0.7]), 1e6, target=0.9)
    np.testing.assert_array_equal(run.log_policy, 0.0)
    np.testing.assert_array_equal(run.true_value, 0.7)
    assert run.result == pgdyn.Result.completed and np.isinf(run.hitting_time)


@pytest.mark.parametrize("shape", [TABULAR, (3, 5, 4)])
def test_equal_rewards_stand_still(shape):
    setting = make_setting(1, shape)
    flat = dataclasses.replace(setting, proxy_reward=np.full(shape[:2], 0.3))
    run = simple_flow(flat, 1e15)
    np.testing.assert_allclose(run.params, np.broadcast_to(run.params[0], run.params.shape), rtol=0, atol=1e-12)
    assert run.result == pgdyn.Result.completed


def test_duplicated_features_move_together():
    setting = make_setting(3, (3, 5, 4), features="duplicated")
    run = simple_flow(setting, 1e3)
    ratio = np.asarray(run.log_policy[:, :, 0] - run.log_policy[:, :, 1])
    np.testing.assert_allclose(ratio, 0.0, atol=1e-12)
    path, _ = oracles.flow(setting, np.asarray(run.t), plain(setting))
    np.testing.assert_allclose(run.log_policy[-1], oracles.log_policy(setting, path[-1]), rtol=0, atol=1e-6)


@profile(max_examples=15)
@given(settings(shapes=(TABULAR, (3, 5, 4)), rewards=("uniform", "ties", "equal", "gap")))
def test_no_corner_gives_nan_and_the_proxy_value_never_falls(setting):
    run = simple_flow(setting, 1e4)
    assert run.result == pgdyn.Result.completed
    assert np.isfinite(run.log_policy).all()
    assert (np.diff(run.proxy_value) >= -1e-7).all()


def test_a_spent_step_budget_is_told():
    setting = make_setting(0, TABULAR)
    run = pgdyn.flow(setting.problem(), 1e3, saves=SAVES, max_steps=3)
    assert run.result == pgdyn.Result.step_budget_spent
    assert "step budget" in run.message
    assert np.isfinite(run.params[0]).all()
    assert np.isnan(run.params[-1]).all() and np.isnan(run.true_value[-1])
