"""Solutions: paths and ends, one run or many, messages, equality; what they hold by reference."""

import copy
import dataclasses
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import pgdyn
from pgdyn import Flow, Problem, Result, Solution
from pgdyn.solution import OBSERVED

PROBLEM = Problem.tabular([0.2, 0.3, 0.5], [1.0, 0.5, -1.0], [0.7, 1.0, -1.0])
PROXIES = np.random.default_rng(0).uniform(-1, 1, (4, 1, 3))
BATCH = PROBLEM.with_proxy(PROXIES)
KEYS = jax.random.split(jax.random.key(0), 2)


def flow_of(proxy):
    return pgdyn.flow(PROBLEM.with_proxy(proxy), 4.0, saves=6, target=0.3)


@pytest.fixture(scope="module")
def runs():
    """Solutions of every kind, with the shape of their leading axes and the number of saved points."""
    return {
        "flow": (pgdyn.flow(PROBLEM, 4.0, saves=6), (), 6),
        "ascend": (pgdyn.ascend(PROBLEM, 9, save_every=4), (), 4),
        "sampled": (pgdyn.ascend_sampled(PROBLEM, 9, KEYS[0]), (), 10),
        "flow under vmap": (jax.vmap(flow_of)(jnp.asarray(PROXIES)), (4,), 6),
        "flow_many": (pgdyn.flow_many(BATCH, 4.0), (4,), None),
        "ascend_many": (pgdyn.ascend_many(BATCH, 9), (4,), None),
        "ascend_many, path": (pgdyn.ascend_many(BATCH, 9, save_every=4), (4,), 4),
        "sampled_many": (pgdyn.ascend_sampled_many(BATCH, 9, KEYS), (4, 2), None),
        "sampled_many, path": (pgdyn.ascend_sampled_many(BATCH, 9, KEYS, save_every=4), (4, 2), 4),
    }


KINDS = (
    "flow",
    "ascend",
    "sampled",
    "flow under vmap",
    "flow_many",
    "ascend_many",
    "ascend_many, path",
    "sampled_many",
    "sampled_many, path",
)


@pytest.mark.parametrize("kind", KINDS)
def test_shapes(runs, kind):
    run, lead, saves = runs[kind]
    point = lead if saves is None else (*lead, saves)
    assert run.t is None if saves is None else run.t.shape == point
    assert run.params.shape == run.log_policy.shape == (*point, 1, 3)
    for name in ("true_value", "proxy_value", "reward_variance", "kl"):
        assert getattr(run, name).shape == point
    for name in ("hitting_time", "result", "steps"):
        assert getattr(run, name).shape == lead
    np.testing.assert_allclose(run.policy.sum(axis=-1), 1.0, rtol=1e-14)
    assert run.objective == pgdyn.Objective()


@pytest.mark.parametrize("kind", KINDS)
def test_the_end_is_the_last_point(runs, kind):
    run, lead, saves = runs[kind]
    end = run.end
    assert end.t is None and end.end is end
    for name in OBSERVED:
        array = getattr(run, name)
        expected = array if saves is None else np.take(np.asarray(array), -1, axis=len(lead))
        np.testing.assert_array_equal(getattr(end, name), expected)
    for name in ("hitting_time", "result", "steps"):
        assert getattr(end, name) is getattr(run, name)
    assert end.problem is run.problem and end.settings is run.settings and end.message == run.message


@pytest.mark.parametrize("kind", KINDS)
def test_observables_are_those_of_the_policy(runs, kind):
    """Oracle: NumPy sums over the probabilities that are kept."""
    run, lead, saves = runs[kind]
    policy = np.asarray(run.policy)
    true, proxy = (np.asarray(r) for r in (run.problem.true_reward, run.problem.proxy_reward))
    inner = (1,) * (len(lead) - (true.ndim - 2) + (saves is not None))
    true, proxy = (r.reshape(*r.shape[:-2], *inner, 1, 3) for r in (true, proxy))
    np.testing.assert_allclose(run.true_value, (policy * true).sum(axis=(-1, -2)), rtol=1e-12, atol=1e-13)
    value = (policy * proxy).sum(axis=(-1, -2))
    np.testing.assert_allclose(run.proxy_value, value, rtol=1e-12, atol=1e-13)
    spread = (policy * (proxy - value[..., None, None]) ** 2).sum(axis=(-1, -2))
    np.testing.assert_allclose(run.reward_variance, spread, rtol=1e-10, atol=1e-14)
    start = np.array([0.2, 0.3, 0.5])
    divergence = (policy * (np.log(policy) - np.log(start))).sum(axis=(-1, -2))
    np.testing.assert_allclose(run.kl, divergence, rtol=1e-9, atol=1e-14)


def test_under_vmap_everything_gains_the_axis(runs):
    """Of the problem, too: its arrays are those of each run."""
    run, _, _ = runs["flow under vmap"]
    np.testing.assert_array_equal(run.problem.proxy_reward, PROXIES)
    assert run.problem.true_reward.shape == (4, 1, 3)
    for i, proxy in enumerate(PROXIES):
        alone = flow_of(proxy)
        np.testing.assert_allclose(run.log_policy[i], alone.log_policy, rtol=0, atol=1e-10)
        np.testing.assert_allclose(run.hitting_time[i], alone.hitting_time, rtol=1e-9)
        np.testing.assert_array_equal(run.t[i], alone.t)


def test_solutions_come_out_of_jit():
    run = jax.jit(flow_of)(jnp.asarray(PROXIES[0]))
    alone = flow_of(PROXIES[0])
    assert isinstance(run, Solution) and run.dynamics == "flow" and run.settings.saves == 6
    np.testing.assert_allclose(run.params, alone.params, rtol=1e-12, atol=1e-13)
    assert run.message == "ran to the end"


# ---------------------------------------------------------------- messages


def test_messages():
    assert [int(code) for code in Result] == [0, 1, 2, 3]
    run = pgdyn.flow(PROBLEM, 4.0, saves=6)
    said = [dataclasses.replace(run, result=jnp.asarray(int(code))).message for code in Result]
    assert said == [code.message for code in Result]
    assert said == [
        "ran to the end",
        "stopped on reaching the target",
        "stopped early: the step budget was spent before the end time",
        "stopped early: the state was no longer finite",
    ]


@pytest.mark.parametrize("lead", [(6,), (3, 2)])
def test_many_messages_are_counted(lead):
    run = dataclasses.replace(pgdyn.ascend_many(BATCH, 2), result=np.array([0, 3, 0, 2, 0, 0]).reshape(lead))
    assert run.message == (
        "4 ran to the end; 1 stopped early: the step budget was spent before the end time; "
        "1 stopped early: the state was no longer finite"
    )


# ---------------------------------------------------------------- values


@pytest.mark.parametrize("kind", KINDS)
def test_solutions_are_values(runs, kind):
    """Equal to themselves, though hitting times without a target are nan."""
    run, _, _ = runs[kind]
    for other in (run, copy.deepcopy(run), pickle.loads(pickle.dumps(run))):
        assert other == run
        assert jax.tree.structure(other) == jax.tree.structure(run)
    assert run != dataclasses.replace(run, steps=run.steps + 1)
    assert run != dataclasses.replace(run, hitting_time=jnp.zeros_like(run.hitting_time))
    assert run != dataclasses.replace(run, kl=run.kl * jnp.nan)
    assert run != run.dynamics
    with pytest.raises(AttributeError):
        run.steps = 0
    with pytest.raises(TypeError, match="unhashable"):
        hash(run)


def test_other_runs_are_not_equal(runs):
    run = runs["flow_many"][0]
    assert run != pgdyn.flow_many(BATCH, 5.0) and run != pgdyn.flow_many(BATCH[:2], 4.0)
    assert run != runs["ascend_many"][0]


def test_the_problem_is_held_by_reference():
    shared = Problem.linear(np.eye(3), [1.0, 0.5, -1.0]).with_proxy(PROXIES)
    for run in (pgdyn.flow_many(shared, 2.0), pgdyn.ascend_sampled_many(shared, 3, KEYS)):
        assert run.problem is shared
        assert run.problem.problems.features.shape == (1, 3, 3)


def test_settings_are_those_that_were_given():
    given = Flow(2.0, target=0.9, rtol=1e-9)
    run = pgdyn.solve(PROBLEM, given)
    assert run.settings is given and run.settings.atol is None
