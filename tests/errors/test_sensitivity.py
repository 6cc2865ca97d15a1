"""Sensitivities against central differences of SciPy flows, their identities, and their closed form at short times."""

import jax.numpy as jnp
import numpy as np
import oracles
import pytest
from strategies import make_setting

import pgdyn
from pgdyn.errors.sensitivity import hitting_time_sensitivity, sensitivity, value_and_slope

SHAPES = ((1, 5, None), (2, 3, 7))
STEP = 2e-3


def setting_of(shape):
    return make_setting(4, shape, weighted=shape[0] > 1, temperature=1.25)


def central_differences(setting, measure):
    """d measure / d proxy entry, to fourth order in STEP, flows by DOP853 at 1e-13."""
    slopes = np.zeros_like(setting.proxy_reward)
    for index in np.ndindex(slopes.shape):
        at = {}
        for k in (-2, -1, 1, 2):
            proxy = setting.proxy_reward.copy()
            proxy[index] += k * STEP
            at[k] = measure(oracles.dataclasses.replace(setting, proxy_reward=proxy))
        slopes[index] = (8 * (at[1] - at[-1]) - (at[2] - at[-2])) / (12 * STEP)
    return slopes


def scipy_flow(setting, t1, target=None):
    times = np.array([0.0, t1])
    return oracles.flow(setting, times, lambda y: oracles.value_gradient(setting, y, setting.proxy_reward), target)


@pytest.mark.parametrize("shape", SHAPES)
def test_value_against_central_differences(shape):
    """Within 1e-5 relative of the largest entry; Oracle: SciPy."""
    setting = setting_of(shape)

    def value(one):
        path, _ = scipy_flow(one, 6.0)
        return oracles.value(one, path[-1], one.true_reward)

    expected = central_differences(setting, value)
    found = np.asarray(sensitivity(setting.problem(), 6.0))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6 * np.abs(expected).max())


def test_hitting_time_against_central_differences():
    """Within 1e-5 relative; Oracle: event times of SciPy. The target is one that the flow crosses upward."""
    setting = setting_of((2, 3, 7))
    # The true reward is climbed here, perturbed: its value rises all the way.
    climbing = oracles.dataclasses.replace(setting, proxy_reward=setting.true_reward + 0.1 * setting.proxy_reward)
    path, _ = scipy_flow(climbing, 6.0)
    start, end = (oracles.value(climbing, y, climbing.true_reward) for y in path)
    assert end > start
    target = 0.5 * (start + end)
    expected = central_differences(climbing, lambda one: scipy_flow(one, 60.0, target)[1])
    found = np.asarray(hitting_time_sensitivity(climbing.problem(), 60.0, target))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6 * np.abs(expected).max())


def test_identities_on_a_long_stall(paper_problem):
    """theory A9 at T = 33,565: a shift changes nothing, and <r_P, dT/dr_P> = -T."""
    slope = np.asarray(hitting_time_sensitivity(paper_problem, 1e6, 0.9))
    time = float(pgdyn.flow(paper_problem, 1e6, target=0.9, saves=2).hitting_time)
    assert abs(slope.sum()) < 1e-8 * np.abs(slope).max()
    assert (slope * np.asarray(paper_problem.proxy_reward)).sum() == pytest.approx(-time, rel=1e-6)
    # theory C5: the stall worsens with the mediocre reward.
    assert slope[0, 1] > 0


def test_short_times_are_the_instantaneous_effect(paper_problem):
    """theory A2: S(t)/t -> <grad V_G, grad pi(y0)> = pi(y0) [pi(y0) A(y0) - <pi, pi A>] for a tabular policy."""
    pi = np.array([0.05, 0.5, 0.15, 0.15, 0.15])
    reward = np.array([1, 0.8, -1, -1, -1])
    advantage = reward - pi @ reward
    expected = pi * (pi * advantage - pi @ (pi * advantage))
    problem = paper_problem.with_proxy([[1, -1, -1, -1, -1]])
    np.testing.assert_allclose(sensitivity(problem, 1e-4)[0] / 1e-4, expected, rtol=2e-3, atol=1e-6)


@pytest.mark.parametrize("rtol", [1e-4, 1e-10])
def test_what_is_differentiated_is_the_flow(rtol):
    """At equal settings the very steps of `pgdyn.flow`, also at a tolerance where other steps end elsewhere."""
    problem = setting_of((2, 3, 7)).problem()
    settings = {"rtol": rtol, "atol": rtol / 100}
    value, *_ = value_and_slope(problem, jnp.asarray(6.0), pgdyn.Flow(t1=6.0, **settings))
    end = pgdyn.flow(problem, 6.0, saves=2, **settings).true_value[-1]
    assert float(value) == pytest.approx(float(end), rel=1e-13)


def test_other_settings_of_the_flow(paper_problem):
    """Oracle: theory A7, pi_t ~ pi_0 e^{t r} on the natural gradient flow, so S(y) = t pi_t(y) (r_G(y) - V_G)."""
    pi, reward = np.array([0.05, 0.5, 0.15, 0.15, 0.15]), np.array([1, 0.8, -1, -1, -1])
    moved = pi * np.exp(3.0 * reward)
    moved /= moved.sum()
    slope = sensitivity(paper_problem, 3.0, geometry="natural")[0]
    np.testing.assert_allclose(slope, 3.0 * moved * (reward - moved @ reward), rtol=1e-8)
    # V_G grows by Var(r) on its own flow, so dT/dr = -S / Var.
    target = float(moved @ reward)
    found = hitting_time_sensitivity(paper_problem, 10.0, target, geometry="natural")[0]
    variance = moved @ (reward - target) ** 2
    np.testing.assert_allclose(found, -3.0 * moved * (reward - target) / variance, rtol=1e-7)


def test_never_and_already(paper_problem):
    assert bool(jnp.isnan(hitting_time_sensitivity(paper_problem, 10.0, 0.95)).all())
    np.testing.assert_array_equal(hitting_time_sensitivity(paper_problem, 10.0, -0.5), np.zeros((1, 5)))


def test_a_spent_budget_gives_nan_and_its_neighbour_none(paper_problem):
    """Mapped over proxies, one of which stalls for longer than eight steps; Oracle: the other one alone."""
    proxies = np.array([[[1.0, 0.8, -1, -1, -1]], [[0.0, 0, 0, 0, 0]]])
    mapped = paper_problem.with_proxy(proxies).map(lambda problem: sensitivity(problem, 50.0, max_steps=8))
    assert bool(jnp.isnan(mapped[0]).all())
    # On equal rewards nothing moves: S(t) = t pi (pi A - <pi, pi A>) exactly.
    pi = np.array([0.05, 0.5, 0.15, 0.15, 0.15])
    drift = pi * np.array([1, 0.8, -1, -1, -1])  # the true value is 0 at the start
    np.testing.assert_allclose(mapped[1, 0], 50 * pi * (drift - pi @ drift), rtol=1e-9)


@pytest.mark.parametrize(
    ("sentence", "call"),
    [
        ("t1 is 0; it must be positive", lambda p: sensitivity(p, 0.0)),
        ("target is nan", lambda p: hitting_time_sensitivity(p, 1.0, np.nan)),
        ("rtol is 0; it must be positive", lambda p: sensitivity(p, 1.0, rtol=0)),
        ("geometry is 'flat'; it must be one of", lambda p: sensitivity(p, 1.0, geometry="flat")),
        ("batch", lambda p: sensitivity(pgdyn.stack([p, p]), 1.0)),
    ],
)
def test_refusals(paper_problem, sentence, call):
    with pytest.raises(ValueError, match=sentence):
        call(paper_problem)
