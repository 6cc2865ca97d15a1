"""Gradient flow under JAX's transformations: batches, derivatives by finite differences of DOP853, compilations."""

import dataclasses

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
from compilations import Compilations
from flow_cases import SAVES, TABULAR, flow_batch, plain, random_settings, simple_flow, tabular
from oracles import Goal
from strategies import make_setting

import pgdyn


def test_a_batch_is_its_single_runs():
    drawn = list(random_settings(TABULAR, range(4)))
    batch = flow_batch(drawn, 50.0, [0.3] * 4)
    for i, setting in enumerate(drawn):
        alone = simple_flow(setting, 50.0, target=0.3)
        np.testing.assert_allclose(batch.log_policy[i], alone.log_policy, rtol=0, atol=1e-9)
        np.testing.assert_allclose(batch.hitting_time[i], alone.hitting_time, rtol=1e-9)
        np.testing.assert_array_equal(batch.t[i], alone.t)


def test_derivatives_of_the_final_value():
    """Oracle: central differences of DOP853. Reverse mode, forward mode, and a reward's pull on the hitting time."""
    setting = tabular([0.1, 0.4, 0.2, 0.2, 0.1], [1.0, 0.6, -1, -1, -0.5])
    problem, t1, target = setting.problem(), 8.0, 0.3

    def final(reward, adjoint=None):
        run = pgdyn.flow(problem.with_proxy(reward), t1, target=target, saves=SAVES, adjoint=adjoint)
        return run.true_value[-1], run.hitting_time

    point = jnp.asarray(setting.proxy_reward)
    reverse = jax.jit(jax.jacrev(final))(point)
    forward = jax.jit(jax.jacfwd(lambda r: final(r, diffrax.ForwardMode())))(point)

    def reference(reward):
        moved = dataclasses.replace(setting, proxy_reward=reward)
        path, hit = oracles.flow(moved, np.array([0.0, t1]), plain(moved), target)
        return np.array([oracles.value(moved, path[-1], setting.true_reward), hit])

    assert np.isfinite(reference(setting.proxy_reward)).all()
    step = 1e-5
    slopes = np.zeros((2, 5))
    for i in range(5):
        nudge = step * (np.arange(5) == i)[None]
        slopes[:, i] = (reference(setting.proxy_reward + nudge) - reference(setting.proxy_reward - nudge)) / (2 * step)
    for mode in (reverse, forward):
        np.testing.assert_allclose(mode[0][0], slopes[0], rtol=1e-5, atol=1e-8)
        np.testing.assert_allclose(mode[1][0], slopes[1], rtol=1e-5, atol=1e-6)


def shifted(s):
    """A setting, KL weight, end time and target that all move with the number `s`."""
    base, rng = make_setting(12, (1, 5, 2)), np.random.default_rng(0)
    setting = dataclasses.replace(
        base,
        features=base.features + s * rng.normal(size=base.features.shape),
        true_reward=base.true_reward + s * rng.normal(size=(1, 5)),
        proxy_reward=base.true_reward + 0.3 * base.proxy_reward + s * rng.normal(size=(1, 5)),
        start=base.start + s * rng.normal(size=2),
        temperature=1.3 + s,
    )
    return setting, 0.2 + s, 4.0 + s, -0.2 + s


def test_derivative_by_everything_at_once():
    """Oracle: a central difference of DOP853, along a line through features, rewards, start, temperature, KL and t1."""

    def final(s):
        setting, kl, t1, target = shifted(s)
        problem = pgdyn.Problem.linear(
            setting.features,
            setting.true_reward,
            setting.proxy_reward,
            initial_params=setting.start,
            temperature=setting.temperature,
        )
        run = pgdyn.flow(problem, t1, objective=pgdyn.Objective(kl=kl), target=target, saves=SAVES).end
        return jnp.stack([run.true_value, run.kl, run.hitting_time])

    def reference(s):
        setting, kl, t1, target = shifted(s)
        goal = Goal(kl=kl)
        path, hit = oracles.flow(
            setting, np.array([0.0, t1]), lambda x: oracles.gradient(setting, goal, x), target, 1e-11
        )
        value = oracles.value(setting, path[-1], setting.true_reward)
        return np.array([value, oracles.divergence(setting, goal, path[-1]), hit])

    slope, found = jax.jit(jax.jacrev(lambda s: (final(s),) * 2, has_aux=True))(0.0)
    np.testing.assert_allclose(found, reference(0.0), rtol=1e-6)
    assert 0 < found[2] < 4.0
    step = 1e-4
    np.testing.assert_allclose(slope, (reference(step) - reference(-step)) / (2 * step), rtol=1e-4)


@pytest.mark.parametrize("kind", ["tabular", "linear"])
def test_problems_may_be_built_under_vmap(kind):
    """Oracle: the runs one by one, of problems built outside."""
    rng = np.random.default_rng(0)
    rewards, temperatures = rng.uniform(-1, 1, (3, 5)), np.array([0.5, 1.0, 2.0])
    features = rng.normal(size=(5, 2))

    def run(reward, temperature):
        policy = [0.1, 0.4, 0.2, 0.2, 0.1]
        if kind == "tabular":
            problem = pgdyn.Problem.tabular(policy, reward, temperature=temperature)
        else:
            problem = pgdyn.Problem.linear(features, reward, initial_policy=policy, temperature=temperature)
        return pgdyn.flow(problem, 5.0, target=0.3, saves=SAVES)

    batch = jax.vmap(run)(jnp.asarray(rewards), jnp.asarray(temperatures))
    for i in range(3):
        alone = run(rewards[i], temperatures[i])
        np.testing.assert_allclose(batch.log_policy[i], alone.log_policy, rtol=0, atol=1e-9)
        np.testing.assert_allclose(batch.hitting_time[i], alone.hitting_time, rtol=1e-9)
        np.testing.assert_allclose(batch.problem.initial_params[i], alone.problem.initial_params, rtol=1e-10)


def test_new_values_compile_nothing():
    first = make_setting(0, TABULAR)
    pgdyn.flow(first.problem(), 5.0, target=0.5, saves=SAVES, objective=pgdyn.Objective(kl=0.1), rtol=1e-7, atol=1e-9)
    second = make_setting(1, TABULAR, temperature=2.5)
    problem = second.problem()
    with Compilations() as made:
        pgdyn.flow(problem, 7.5, target=0.25, saves=SAVES, objective=pgdyn.Objective(kl=0.2), rtol=1e-9, atol=1e-8)
        pgdyn.flow(problem, 3, target=1, saves=SAVES, objective=pgdyn.Objective(kl=0.7), rtol=1e-9, atol=1e-8)
    assert made.count == 0
