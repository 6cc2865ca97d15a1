"""Designed proxies against exhaustive searches over single-output errors, and their bounds against hypothesis."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import xarray
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import brentq

import pgdyn
from pgdyn.errors.design import design
from pgdyn.errors.region import Region, allowed
from pgdyn.errors.sensitivity import hitting_time_sensitivity
from pgdyn.io import datasets

SEARCH = {"steps": 60, "random_starts": 1, "key": jax.random.key(2)}


# All that differs from `SEARCH` in what is compiled, shared by the tests of other settings.
OTHER = {**SEARCH, "steps": 4, "objective": pgdyn.Objective(kl=0.3), "max_steps": 256, "optimizer": optax.sgd(-1e3)}


def end_of_flow(problem, t1, **settings):
    """The end of a flow with the settings that `design` has by default."""
    return pgdyn.flow(problem, t1, **{"saves": 2, "rtol": 1e-8, "atol": 1e-10, "max_steps": 4096, **settings}).end


def best_single(problem, low, high, t1, what):
    """The best of all single-output errors with new rewards on a grid of 61 from `low` to `high`, by Runge-Kutta."""
    truth = np.asarray(problem.true_reward)[0]
    proxies = np.where(np.eye(5, dtype=bool)[:, None], np.linspace(low, high, 61)[:, None], truth).reshape(-1, 5)
    z = np.tile(np.asarray(problem.initial_params), (len(proxies), 1))

    def policy(z):
        weights = np.exp(z)
        return weights / weights.sum(axis=1, keepdims=True)

    def slope(z, reward):
        pi = policy(z)
        return pi * (reward - (pi * reward).sum(axis=1, keepdims=True))

    def step(z, reward, h):
        k1 = slope(z, reward)
        k2 = slope(z + h / 2 * k1, reward)
        k3 = slope(z + h / 2 * k2, reward)
        return z + h / 6 * (k1 + 2 * k2 + 2 * k3 + slope(z + h * k3, reward))

    size = 0.05
    for i in range(round(t1 / size)):
        before, z = z, step(z, proxies, size)
        arrived = np.nonzero(policy(z) @ truth >= 0.9)[0]
        if what == "time" and len(arrived):
            first = zip(before[arrived, None], proxies[arrived, None], strict=True)
            return i * size + min(
                brentq(lambda h, z=z, proxy=proxy: policy(step(z, proxy, h))[0] @ truth - 0.9, 0, size)
                for z, proxy in first
            )
    return (policy(z) @ truth).max()


def test_earlier_than_any_single_output_error(paper_problem):
    """Rewards in [-2, 1], range 3 for both. Oracle: the search over all single errors."""
    found = design(paper_problem, 1e3, target=0.9, lower=-2.0, max_range=3.0, **SEARCH)
    single = best_single(paper_problem, -2.0, 1.0, 1e3, "time")
    assert float(found.hitting_time) < 0.75 * single
    assert float(jnp.ptp(found.proxy_reward)) <= 3 + 1e-9
    flow = end_of_flow(paper_problem.with_proxy(found.proxy_reward), 1e3, target=0.9, rtol=1e-10, atol=1e-12)
    assert float(found.hitting_time) == pytest.approx(float(flow.hitting_time), rel=1e-6)


def test_at_the_range_of_the_truth_the_paper_s_proxy_is_the_optimum(paper_problem):
    """Rewards in [-1, 1]: the best single error is y_med at -1, the design finds it, and no slope leads out of it.

    A search cannot beat it here: at (1, -1, -1, -1, -1) every entry is at a bound that the hitting time presses on.
    """
    found = design(paper_problem, 1e3, target=0.9, **SEARCH)
    single = best_single(paper_problem, -1.0, 1.0, 1e3, "time")
    assert float(found.hitting_time) == pytest.approx(single, rel=1e-5)
    np.testing.assert_allclose(found.proxy_reward, [[1, -1, -1, -1, -1]], atol=1e-9)
    slope = hitting_time_sensitivity(paper_problem.with_proxy(found.proxy_reward), 1e3, 0.9)[0]
    assert slope[0] < 0 and bool((slope[1:] > 0).all())


def test_higher_value_than_any_single_output_error(paper_problem):
    found = design(paper_problem, 10.0, **SEARCH)
    assert float(found.true_value) > 1.005 * best_single(paper_problem, -1.0, 1.0, 10.0, "value")
    assert bool(jnp.isnan(found.hitting_time))


def test_nothing_is_lost_and_nothing_leaves_the_bounds(paper_problem):
    """Never worse than any start, and within budget; the searches' own records agree with the answer."""
    found = design(paper_problem, 10.0, budget=1.0, lower=-1.5, upper=1.25, max_range=2.5, **SEARCH)
    assert float(found.true_value) >= float(jnp.max(found.history[:, 0])) - 1e-9
    assert float(found.true_value) == pytest.approx(float(jnp.max(found.history)), abs=1e-6)
    error = found.proxy_reward - paper_problem.true_reward
    assert float(jnp.linalg.norm(error)) <= 1 + 1e-9
    assert float(jnp.ptp(found.proxy_reward)) <= 2.5 + 1e-9
    assert float(found.proxy_reward.min()) >= -1.5 and float(found.proxy_reward.max()) <= 1.25


@pytest.mark.parametrize("budget", [0.25, 1.0])
def test_the_budget_is_kept_and_spent(paper_problem, budget):
    """More budget is better here, so the best error is as large as allowed, counted over all outputs. Oracle: NumPy."""
    found = design(paper_problem, 10.0, budget=budget, **SEARCH)
    error = np.asarray(found.proxy_reward - paper_problem.true_reward)
    assert np.sqrt((error**2).sum()) == pytest.approx(budget, rel=1e-6)
    truth = float(end_of_flow(paper_problem, 10.0).true_value)
    assert float(found.true_value) > truth + 0.01 * budget
    # A budget that large that it never binds changes nothing.
    if budget == 1.0:
        free, ample = (design(paper_problem, 10.0, budget=limit, **SEARCH) for limit in (None, 100.0))
        np.testing.assert_array_equal(free.proxy_reward, ample.proxy_reward)
        assert float(free.true_value) > float(found.true_value)


@pytest.mark.parametrize("target", [None, 0.9])
def test_never_worse_than_the_best_start(paper_problem, target):
    """Also where every update leads astray: one of a thousand times the size. Oracle: flows on the starts."""
    settings = {} if target else {"objective": OTHER["objective"], "max_steps": OTHER["max_steps"]}
    options = {**SEARCH, **settings, "steps": 4, "optimizer": OTHER["optimizer"]}
    found = design(paper_problem, 1e2, target=target, lower=-1.5, upper=1.25, max_range=2.5, **options)
    assert found.starts.shape == (4, 1, 5)
    ends = [end_of_flow(paper_problem.with_proxy(start), 1e2, target=target, **settings) for start in found.starts]
    if target is None:
        assert float(found.true_value) >= max(float(end.true_value) for end in ends) - 1e-7
    else:
        assert float(found.hitting_time) <= min(float(end.hitting_time) for end in ends) * (1 + 1e-6)
    assert bool(found.region.contains(found.proxy_reward))


def test_where_no_proxy_arrives_the_highest_value_counts(paper_problem):
    """A target out of reach before t1: the design is the one of the task without a target."""
    found = design(paper_problem, 2.0, target=0.9, **SEARCH)
    assert np.isinf(found.history).all() and np.isinf(found.hitting_time)
    free = design(paper_problem, 2.0, **SEARCH)
    assert float(found.true_value) == pytest.approx(float(free.true_value), rel=1e-6)
    assert float(found.true_value) > 1.02 * float(end_of_flow(paper_problem, 2.0).true_value)


def test_other_settings_of_the_flow_and_the_dataset(paper_problem, tmp_path):
    """Under a KL penalty. Oracle: `pgdyn.flow` on the designed proxy under the same objective."""
    found = design(paper_problem, 10.0, budget=1.0, **OTHER)
    settings = {name: OTHER[name] for name in ("objective", "max_steps")}
    end = end_of_flow(paper_problem.with_proxy(found.proxy_reward), 10.0, **settings)
    assert float(found.true_value) == pytest.approx(float(end.true_value), rel=1e-7)
    assert float(found.true_value) == pytest.approx(float(found.history.max()), rel=1e-7)
    dataset = found.to_dataset()
    datasets.save(dataset, tmp_path / "design.zarr")
    xarray.testing.assert_identical(datasets.load(tmp_path / "design.zarr"), dataset)
    assert dict(dataset.sizes) == {"search": 4, "update": 5, "prompt": 1, "output": 5}
    np.testing.assert_array_equal(dataset["proxy_reward"], found.proxy_reward)
    np.testing.assert_array_equal(dataset["true_reward"], paper_problem.true_reward)
    assert float(dataset["budget"]) == 1.0 and float(dataset["max_range"]) == 2.0
    made = {name: dataset.attrs["settings"][name] for name in ("t1", "rtol", "atol", "max_steps", "steps")}
    assert made == {"t1": 10.0, "rtol": 1e-8, "atol": 1e-10, "max_steps": 256, "steps": 4}
    assert dataset.attrs["objective"]["kl"] == 0.3
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.true_value = 1.0


@jax.jit
def project(region, proxies):
    return jax.vmap(region.project)(proxies)


@jax.jit
def contains(region, proxies):
    return jax.vmap(region.contains)(proxies)


@given(seed=st.integers(0, 2**32 - 1), share=st.sampled_from([0.1, 0.5, 0.999]))
def test_the_budget_is_a_ball_around_the_truth(seed, share):
    """Where only the budget binds the projection is radial; Oracle: its formula in NumPy."""
    rng = np.random.default_rng(seed)
    truth, error = rng.uniform(-1, 1, (2, 5)), rng.normal(size=(2, 5))
    size = np.sqrt(sum(entry**2 for entry in error.ravel()))
    problem = pgdyn.Problem.tabular(None, truth)
    region = allowed(problem, lower=-100, upper=100, max_range=200, budget=share * size)
    proxies = jnp.asarray([truth + factor * error for factor in (1.0, 0.999 * share, 1.001 * share)])
    np.testing.assert_allclose(project(region, proxies)[0], truth + share * error, rtol=1e-12)
    assert contains(region, proxies).tolist() == [False, True, False]


@given(seed=st.integers(0, 2**32 - 1), limited=st.booleans())
def test_projection(seed, limited):
    """What is projected is allowed, and what is allowed stays as it is."""
    rng = np.random.default_rng(seed)
    truth = rng.uniform(-1, 1, (2, 5))
    lower, upper = truth - rng.exponential(size=truth.shape), truth + rng.exponential(size=truth.shape)
    width = np.ptp(truth, axis=-1).max() * rng.uniform(1, 1.5)
    budget = rng.uniform(0.1, 2) if limited else np.inf
    region = Region(*map(jnp.asarray, (truth, lower, upper, width, budget)))
    proxies = jnp.asarray(truth + 3 * rng.normal(size=(32, 2, 5)))
    projected = project(region, proxies)
    assert bool(contains(region, projected).all())
    np.testing.assert_allclose(project(region, projected), projected, rtol=1e-12, atol=1e-12)
    assert not bool(contains(region, proxies).all())


@pytest.mark.parametrize(
    ("sentence", "options"),
    [
        ("t1 is -1; it must be positive", {"t1": -1.0}),
        ("steps is 0", {"steps": 0}),
        ("random_starts is -1", {"random_starts": -1}),
        ("lower has shape (4,)", {"lower": np.zeros(4)}),
        ("lower[0, 2] is 2; no lower bound", {"lower": [0, 0, 2, 0, 0]}),
        ("the bounds ask for rewards at least 3 apart", {"lower": [2, -2, -2, -2, -2], "upper": [2, -1, -1, -1, -1]}),
        ("max_range is 0", {"max_range": 0.0}),
        ("budget is 0", {"budget": 0.0}),
        ("no flow of the search ran to its end within max_steps = 256", {"t1": 1e6, **OTHER}),
        ("rtol is -1; it must be positive", {"rtol": -1.0}),
        ("with a budget the true reward must itself be within", {"budget": 1.0, "upper": 0.5}),
        ("target is -0.5 but the initial policy's true value is", {"target": -0.5}),
    ],
)
def test_refusals(paper_problem, sentence, options):
    arguments = {"t1": 10.0, **options}
    with pytest.raises(ValueError) as caught:
        design(paper_problem, arguments.pop("t1"), **arguments)
    assert sentence in str(caught.value) and "\n" not in str(caught.value)


def test_refusals_of_problems(paper_problem):
    with pytest.raises(ValueError, match="design takes one problem and this is a batch of 2"):
        design(pgdyn.stack([paper_problem] * 2), 1.0)
    with pytest.raises(ValueError, match="all true rewards of a prompt are equal.*give max_range"):
        design(pgdyn.Problem.tabular(None, [1.0, 1.0]), 1.0)
