"""Policy quantities against plain NumPy sums (oracles.py), and in extended precision on plateaus."""

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import SHAPES, make_setting, settings

from pgdyn import policy


def close(actual, expected, rtol=1e-12, scale=None):
    expected = np.asarray(expected)
    size = np.abs(expected).max() if scale is None else scale
    np.testing.assert_allclose(np.asarray(actual), expected, rtol=rtol, atol=rtol * max(size, 1e-300))


@given(settings(), st.sampled_from(("true_reward", "proxy_reward")))
def test_observables_match_their_definitions(setting, which):
    problem, params = setting.problem(), jnp.asarray(setting.start)
    reward = getattr(setting, which)
    log_pi = policy.log_policy(problem, params)
    np.testing.assert_allclose(log_pi, oracles.log_policy(setting, setting.start), rtol=1e-13, atol=1e-13)
    size = np.abs(reward).max()
    close(policy.value(problem, log_pi, jnp.asarray(reward)), oracles.value(setting, setting.start, reward), scale=size)
    close(
        policy.reward_variance(problem, log_pi, jnp.asarray(reward)),
        oracles.variance(setting, setting.start, reward),
        scale=size**2,
    )
    entropy = jnp.sum(problem.prompt_weights * policy.entropies(log_pi))
    close(entropy, oracles.entropy(setting, setting.start), rtol=1e-11)


@given(settings(), st.sampled_from(("reverse", "forward")), st.sampled_from(("initial", "uniform")))
def test_divergence_matches_its_definition(setting, direction, reference):
    goal = oracles.Goal(kl=1.0, kl_direction=direction, reference=reference)
    problem, objective = setting.problem(), goal.objective()
    params = setting.start + 0.5 * np.sin(1.0 + np.arange(setting.start.size)).reshape(setting.start.shape)
    log_pi = policy.log_policy(problem, jnp.asarray(params))
    measured = objective.divergence(problem, log_pi, objective.reference_log_policy(problem))
    np.testing.assert_allclose(measured, oracles.divergence(setting, goal, params), rtol=1e-11, atol=1e-12)
    assert measured >= -1e-12


@given(settings(temperatures=(0.5, 1.0)))
def test_value_gradient_matches_complex_steps(setting):
    problem = setting.problem()
    log_pi = policy.log_policy(problem, jnp.asarray(setting.start))
    reward = problem.true_reward
    slope = problem.prompt_weights[:, None] * jnp.exp(log_pi) * policy.advantage(log_pi, reward)
    expected = oracles.complex_step(lambda x: oracles.value(setting, x, setting.true_reward), setting.start)
    scale = np.abs(setting.true_reward).max() * (1 if setting.features is None else np.abs(setting.features).max())
    close(policy.pull_back(problem, slope), expected, rtol=1e-12, scale=scale)


@pytest.mark.parametrize("shape", [(1, 5, None), (3, 5, None), (3, 5, 4), (2, 3, 7)])
def test_kernel_moves_the_logits_as_parameters_do(shape):
    setting = make_setting(3, shape, temperature=0.7)
    problem = setting.problem()
    slope = np.random.default_rng(0).normal(size=shape[:2])
    moved = policy.logits(problem, policy.pull_back(problem, jnp.asarray(slope)))
    predicted = jnp.einsum("pkql,ql->pk", policy.kernel(problem), jnp.asarray(slope))
    np.testing.assert_allclose(predicted, moved, rtol=1e-12, atol=1e-12)
    if setting.features is None:
        expected = slope / 0.7**2
    else:
        flat = setting.features.reshape(-1, shape[2])
        expected = (flat @ flat.T @ slope.ravel()).reshape(shape[:2]) / 0.7**2
    np.testing.assert_allclose(predicted, expected, rtol=1e-12, atol=1e-12)


def test_advantage_keeps_its_digits_on_a_plateau():
    """Oracle: the same sums in 80-bit floats, where one output holds all but 1e-13 of the mass."""
    logits = np.array([[0.0, -31.0, -30.0, -33.0]])
    reward = np.array([[0.8, 1.0, -1.0, -0.7]])
    wide = logits.astype(np.longdouble)
    pi = np.exp(wide) / np.exp(wide).sum()
    expected = ((pi * (reward - reward[0, 0])).sum() * -1 + (reward - reward[0, 0]))[0, 0]
    log_pi = jax.nn.log_softmax(jnp.asarray(logits), axis=-1)
    measured = policy.advantage(log_pi, jnp.asarray(reward))[0, 0]
    assert abs(float(measured) / float(expected) - 1) < 1e-13


@pytest.mark.parametrize("reward", [1e6, -1e6, 0.0])
def test_equal_rewards_leave_no_advantage(reward):
    log_pi = jax.nn.log_softmax(jnp.asarray([[3.0, -700.0, 0.1]]), axis=-1)
    constant = jnp.full((1, 3), reward)
    assert np.all(policy.advantage(log_pi, constant) == 0)
    assert np.all(policy.prompt_variances(log_pi, constant) == 0)
    assert policy.prompt_values(log_pi, constant)[0] == reward


def test_probabilities_of_1e_300_and_rewards_of_1e6():
    log_pi = jnp.log(jnp.asarray([[1e-300, 0.5, 0.5]]))
    reward = jnp.asarray([[1e6, -1e6, -1e6]])
    advantage = policy.advantage(log_pi, reward)
    np.testing.assert_allclose(advantage[0, 0], 2e6)
    np.testing.assert_allclose(advantage[0, 1:], -2e6 * 1e-300, rtol=1e-12)
    np.testing.assert_allclose(policy.prompt_variances(log_pi, reward), 4e12 * 1e-300, rtol=1e-12)
    assert np.isfinite(policy.entropies(log_pi)).all()


@pytest.mark.parametrize("params", [np.full((1, 3), 1e300), np.array([[1e300, 0.0, -1e300]]), np.full((1, 3), -1e300)])
def test_log_policy_is_finite_for_any_finite_logits(params):
    problem = make_setting(0, (1, 3, None)).problem()
    log_pi = policy.log_policy(problem, jnp.asarray(params))
    assert np.isfinite(log_pi).all()
    np.testing.assert_allclose(np.exp(log_pi).sum(), 1.0)


@pytest.mark.parametrize("shape", [(1, 5, None), (3, 5, None), (1, 5, 2), (3, 5, 4), (2, 3, 7)])
@pytest.mark.parametrize("goal", [oracles.Goal(), oracles.Goal(kl=0.5), oracles.Goal(kl=0.5, kl_direction="forward")])
def test_natural_direction_is_the_inverse_fisher_times_the_gradient(shape, goal):
    """Oracle: the Fisher matrix summed from complex-step scores, its pseudo-inverse by eigenvalues."""
    setting = make_setting(11, shape, temperature=1.3, weighted=False)
    point = setting.start + 0.3
    point = point + np.linspace(0, 1, point.size).reshape(point.shape)
    problem, objective = setting.problem(), goal.objective()
    log_pi = policy.log_policy(problem, jnp.asarray(point))
    signal = objective.natural_signal(problem, log_pi, objective.reference_log_policy(problem))
    measured = policy.natural_direction(problem, log_pi, signal)
    np.testing.assert_allclose(measured, oracles.natural_gradient(setting, goal, point), rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("shape", SHAPES)
def test_policy_functions_run_under_vmap_and_jit(shape):
    problem = make_setting(5, shape).problem()
    points = problem.initial_params[None] + jnp.arange(3.0).reshape(3, *(1,) * problem.initial_params.ndim) * 0.1

    def observe(params):
        log_pi = policy.log_policy(problem, params)
        return policy.value(problem, log_pi, problem.true_reward), policy.reward_variance(
            problem, log_pi, problem.proxy_reward
        )

    batched = jax.jit(jax.vmap(observe))(points)
    single = [observe(point) for point in points]
    for column, parts in zip(batched, zip(*single, strict=True), strict=True):
        np.testing.assert_allclose(column, jnp.stack(parts), rtol=1e-14, atol=1e-14)
