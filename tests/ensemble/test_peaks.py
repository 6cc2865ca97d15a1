"""A true value that rises above its target and falls back within one solver step is seen by `flow` and `flow_many`.

Oracle: the true value at 2,048 points of a path at tight tolerance; for the worked case exact ascent in small steps.
"""

import numpy as np
import pytest

import pgdyn

T1 = 1000.0


@pytest.fixture(scope="module")
def peaked():
    """Problems whose true value has a peak inside, with its height and the time when 99 % of the rise are there."""
    rng = np.random.default_rng(0)
    shape = (300, 1, 4)
    policies = rng.dirichlet(np.ones(4), shape[:2]) * 0.96 + 0.01
    batch = pgdyn.Batch.tabular(policies, rng.uniform(-1, 1, shape), rng.uniform(-1, 1, shape))
    runs = batch.map(lambda problem: pgdyn.flow(problem, T1, saves=2048, rtol=1e-10, atol=1e-12))
    values, times = np.asarray(runs.true_value), np.asarray(runs.t)
    top, start = values.max(axis=1), values[:, 0]
    chosen = np.flatnonzero((top - start > 1e-3) & (top - values[:, -1] > 1e-3))
    goal = (top - 0.01 * (top - start))[chosen]
    above = values[chosen] >= goal[:, None]
    first = above.argmax(axis=1)
    assert len(chosen) >= 30
    rows = np.arange(len(chosen))
    return batch[chosen], goal, times[chosen][rows, first - 1], times[chosen][rows, first], top[chosen]


def test_the_engine_sees_every_peak(peaked):
    batch, goal, before, after, _ = peaked
    hit = pgdyn.flow_many(batch, T1, target=goal).hitting_time
    assert (hit >= before * (1 - 1e-5)).all() and (hit <= after * (1 + 1e-5)).all()


def test_a_single_flow_sees_every_peak(peaked):
    batch, goal, before, after, _ = peaked
    hit = np.asarray(batch.map(lambda problem, g: pgdyn.flow(problem, T1, target=g, saves=2).hitting_time, goal))
    assert (hit >= before * (1 - 1e-5)).all() and (hit <= after * (1 + 1e-5)).all()


def test_a_target_above_the_peak_is_never_reached(peaked):
    batch, goal, *_, top = peaked
    hit = pgdyn.flow_many(batch, T1, target=goal + 0.02).hitting_time
    np.testing.assert_array_equal(np.isinf(hit), top < goal + 0.02)


def test_a_transient_peak_that_no_step_ends_in():
    """Eleven points of a path of 256 lie above the target; ascent in small steps says 6.384."""
    problem = pgdyn.Problem.tabular([0.2, 0.3, 0.5], [-0.3, 0.8, -0.8], [-0.1, -0.4, -0.7])
    steps = pgdyn.ascend(problem, 8000, learning_rate=0.001, target=-0.066, save_every=8000).hitting_time
    run = pgdyn.flow_many(problem, T1, target=-0.066)
    np.testing.assert_allclose(run.hitting_time, [0.001 * steps], rtol=1e-3)


def test_stopping_at_a_peak():
    problem = pgdyn.Problem.tabular([0.2, 0.3, 0.5], [-0.3, 0.8, -0.8], [-0.1, -0.4, -0.7])
    run = pgdyn.flow(problem, T1, target=-0.066, stop_at_target=True)
    assert run.t[-1] == run.hitting_time and int(run.result) == pgdyn.Result.reached_target
    np.testing.assert_allclose(run.true_value[-1], -0.066, atol=1e-7)
    many = pgdyn.flow_many(problem, T1, target=-0.066, stop_at_target=True)
    np.testing.assert_allclose(many.params[0], run.params[-1], atol=1e-5)
