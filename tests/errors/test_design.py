"""Designed proxies against exhaustive searches over single-output errors, and their bounds against hypothesis."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import pgdyn
from pgdyn.errors.categorize import categorize
from pgdyn.errors.design import Region, design
from pgdyn.errors.perturb import SingleOutput
from pgdyn.errors.sensitivity import hitting_time_sensitivity

SEARCH = {"steps": 60, "random_starts": 1, "key": jax.random.key(2)}


def best_single(problem, low, high, t1, what):
    """The best of all single-output errors with new rewards on a grid of 61 from `low` to `high`."""
    errors = SingleOutput(np.linspace(low, high, 61))(problem)
    report = categorize(problem, errors.proxy_rewards, t1=t1, target=0.9)
    return report.times.min() if what == "time" else report.values.max()


def test_earlier_than_any_single_output_error(paper_problem):
    """Rewards in [-2, 1], range 3 for both. Oracle: the search over all single errors."""
    found = design(paper_problem, 1e3, target=0.9, lower=-2.0, max_range=3.0, **SEARCH)
    single = best_single(paper_problem, -2.0, 1.0, 1e3, "time")
    assert float(found.hitting_time) < 0.75 * single
    assert float(jnp.ptp(found.proxy_reward)) <= 3 + 1e-9
    flow = pgdyn.flow(paper_problem.with_proxy(found.proxy_reward), 1e3, target=0.9, rtol=1e-10, atol=1e-12)
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
    projected = jax.vmap(region.project)(proxies)
    assert bool(jax.vmap(region.contains)(projected).all())
    np.testing.assert_allclose(jax.vmap(region.project)(projected), projected, rtol=1e-12, atol=1e-12)
    assert not bool(jax.vmap(region.contains)(proxies).all())


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
        ("with a budget the true reward must itself be within", {"budget": 1.0, "upper": 0.5}),
        ("target is -0.5 but the initial policy's true value is", {"target": -0.5}),
    ],
)
def test_refusals(paper_problem, sentence, options):
    arguments = {"t1": 10.0, **options}
    with pytest.raises(ValueError) as caught:
        design(paper_problem, arguments.pop("t1"), **arguments)
    assert sentence in str(caught.value) and "\n" not in str(caught.value)
