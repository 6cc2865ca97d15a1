"""Flows in a few shapes. Oracles: `pgdyn.flow` and `pgdyn.flow_many` on the problems as they are, SciPy's hits."""

import numpy as np
import pytest
from compilations import Compilations
from strategies import make_setting

import pgdyn
from pgdyn.theory import flows

TIGHT = {"rtol": 1e-10, "atol": 1e-12}
SHAPES = [(1, 3, None), (2, 3, None), (1, 2, 3), (1, 5, 2)]  # each runs as a wider one


def batch_of(shape, count=6):
    prompts = {"temperature": 1.7, "weighted": shape[0] > 1}
    return pgdyn.stack([make_setting(seed, shape, **prompts).problem() for seed in range(count)])


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_wider_problem_moves_as_the_narrow_one(shape):
    batch = batch_of(shape)
    wide, plain = flows.run(batch, 20.0, **TIGHT), pgdyn.flow_many(batch, 20.0, **TIGHT)
    for name in ("params", "log_policy", "true_value", "proxy_value", "reward_variance"):
        np.testing.assert_allclose(getattr(wide, name), getattr(plain, name), rtol=1e-8, atol=1e-10, err_msg=name)
    assert wide.problem is batch


def test_arrivals_are_those_of_the_plain_flow():
    batch = batch_of((1, 3, None))
    start = flows.initial_values(batch)
    target = start + 0.5 * (batch.true_reward.max(axis=(1, 2)) - start)
    plain = pgdyn.flow_many(batch, flows.HORIZON, target=target, rtol=flows.RTOL, atol=flows.ATOL)
    np.testing.assert_allclose(flows.arrival_times(batch, target), plain.hitting_time, rtol=1e-7)
    np.testing.assert_allclose(flows.rise_times(batch, target - start, 1e30), plain.hitting_time, rtol=1e-6)
    assert np.isinf(flows.arrival_times(batch, 10.0)).all()


@pytest.mark.parametrize("shape", [(1, 3, None), (2, 3, 4)], ids=str)
def test_a_path_is_the_path_of_each_flow(shape):
    batch = batch_of(shape, 2)
    end = np.array([3.0, 50.0])
    times = flows.log_times(end, 7)
    for i in range(2):
        run = pgdyn.flow(batch[i], end[i], saves=7, **TIGHT)
        np.testing.assert_allclose(times[i], run.t, rtol=1e-12, atol=1e-12)
        for name in ("log_policy", "params", "true_value"):
            found = flows.path(batch, times, observed=name, **TIGHT)
            np.testing.assert_allclose(found[i], getattr(run, name), rtol=1e-6, atol=1e-7, err_msg=name)


def test_a_path_under_a_penalty_of_its_own():
    batch = batch_of((1, 3, None), 2)
    weights, times = np.array([0.1, 2.0]), np.array([[1.0, 4.0], [0.0, 9.0]])
    found = flows.path(batch, times, pgdyn.Objective(kl=weights), **TIGHT)
    for i in range(2):
        run = pgdyn.flow(batch[i], times[i, 1], objective=pgdyn.Objective(kl=weights[i]), saves=2, **TIGHT)
        np.testing.assert_allclose(found[i, 1], run.log_policy[-1], rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(found[1, 0], flows.start_log_policy(batch)[1])


def test_a_flow_that_breaks_off_is_nan(monkeypatch):
    original = flows.flow_many
    monkeypatch.setattr(flows, "flow_many", lambda *a, **o: original(*a, **o, max_steps=3))
    found = flows.run(batch_of((1, 3, None)), 1e6)
    assert np.isnan(found.log_policy).any(axis=(1, 2)).tolist() == np.isnan(found.params).any(axis=(1, 2)).tolist()
    assert np.isnan(found.true_value).all() and np.isnan(found.hitting_time).all()


def test_shapes_and_questions_share_a_program():
    flows.run(batch_of((1, 2, None)), 1.0)
    with Compilations() as made:
        flows.arrival_times(batch_of((1, 3, None), 5), 0.5)
        flows.run(batch_of((1, 5, None), 3), 2.0)
    assert made.count == 0
