"""REINFORCE by enumeration of every group of outputs, and the drawing of outputs."""

import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import make_setting

import pgdyn
from pgdyn import estimators, policy


def expected_update(problem, log_pi, estimator):
    """E[ghat], pgdyn's estimate averaged over every group of outputs of a single prompt."""
    outputs, group = problem.num_outputs, estimator.group_size
    groups = np.array(list(itertools.product(range(outputs), repeat=group)))
    chances = np.exp(np.asarray(log_pi)[0])[groups].prod(axis=1)
    reward = pgdyn.Objective().training_reward(problem)
    updates = every_update(estimator, problem.prompt_weights, log_pi, reward, jnp.asarray(groups)[:, None, :])
    return np.einsum("n,npk->pk", chances, updates)


@eqx.filter_jit
def every_update(estimator, weights, log_pi, reward, groups):
    """Compiled once for all numbers that a baseline may be."""
    return jax.vmap(lambda drawn: estimators.logit_gradient(estimator, weights, log_pi, reward, drawn))(groups)


@pytest.mark.parametrize("group", [1, 2])
@pytest.mark.parametrize("baseline", [None, 0.0, -0.7, 3.0, "value"])
@pytest.mark.parametrize("outputs", [2, 5])
def test_expected_reinforce_update_is_the_exact_gradient(outputs, baseline, group):
    """Oracles: the complex-step gradient of the value, and the same enumeration written out in NumPy."""
    setting = make_setting(outputs, (1, outputs, None), start="peaked")
    problem = setting.problem()
    log_pi = policy.log_policy(problem, problem.initial_params)
    estimator = estimators.Reinforce(baseline, group_size=group)
    measured = expected_update(problem, log_pi, estimator)
    exact = oracles.complex_step(lambda x: oracles.value(setting, x, setting.proxy_reward), setting.start)
    np.testing.assert_allclose(measured, exact, rtol=1e-11, atol=1e-14)
    enumerated = oracles.reinforce_expectation(setting, setting.start, setting.proxy_reward, baseline, group)
    np.testing.assert_allclose(measured, enumerated, rtol=1e-11, atol=1e-14)


def test_expected_update_over_several_weighted_prompts():
    """Every pair of outputs of two prompts, G = 1: the joint expectation is the exact gradient in the parameters."""
    setting = make_setting(3, (2, 3, 7), weighted=True)
    problem = setting.problem()
    log_pi = policy.log_policy(problem, problem.initial_params)
    pi = np.exp(np.asarray(log_pi))
    total = np.zeros(7)
    for first, second in itertools.product(range(3), repeat=2):
        drawn = jnp.asarray([[first], [second]])
        estimate = estimators.logit_gradient(
            estimators.Reinforce(0.3), problem.prompt_weights, log_pi, problem.proxy_reward, drawn
        )
        total += pi[0, first] * pi[1, second] * np.asarray(policy.pull_back(problem, estimate))
    exact = oracles.complex_step(lambda x: oracles.value(setting, x, setting.proxy_reward), setting.start)
    np.testing.assert_allclose(total, exact, rtol=1e-11, atol=1e-14)


def test_one_estimate_is_the_score_times_the_advantage():
    problem = pgdyn.Problem.tabular([0.2, 0.3, 0.5], [1.0, 2.0, -4.0])
    log_pi = policy.log_policy(problem, problem.initial_params)

    def estimate(estimator, drawn):
        return estimators.logit_gradient(
            estimator, problem.prompt_weights, log_pi, problem.true_reward, jnp.asarray([drawn])
        )

    np.testing.assert_allclose(estimate(estimators.Reinforce(), [2]), [[0.8, 1.2, -2.0]], rtol=1e-13)
    np.testing.assert_allclose(estimate(estimators.Reinforce(1.0), [2]), [[1.0, 1.5, -2.5]], rtol=1e-13)
    # V = .2 + .6 - 2 = -1.2; advantages 2.2 and -2.8, averaged over the group of two.
    pair = estimate(estimators.Reinforce("value", group_size=2), [0, 2])
    np.testing.assert_allclose(pair, [[1.1 + 0.3 * 0.2, 0.3 * 0.3, -1.4 + 0.3 * 0.5]], rtol=1e-12)


def test_a_sample_shows_the_estimator_what_was_drawn():
    seen = []

    class Spy(estimators.Estimator):
        group_size: int = 2

        def advantages(self, sample):
            seen.append(sample)
            return jnp.zeros_like(sample.rewards)

    setting = make_setting(5, (3, 5, None))
    problem = setting.problem()
    log_pi = policy.log_policy(problem, problem.initial_params)
    drawn = np.array([[0, 4], [2, 2], [3, 1]])
    update = estimators.logit_gradient(Spy(), problem.prompt_weights, log_pi, problem.proxy_reward, jnp.asarray(drawn))
    np.testing.assert_array_equal(update, 0.0)
    rows = np.arange(3)[:, None]
    np.testing.assert_array_equal(seen[0].outputs, drawn)
    np.testing.assert_allclose(seen[0].rewards, setting.proxy_reward[rows, drawn], rtol=1e-14)
    np.testing.assert_allclose(seen[0].log_probs, np.asarray(log_pi)[rows, drawn], rtol=1e-14)
    pi = np.exp(np.asarray(log_pi))
    np.testing.assert_allclose(seen[0].values, (pi * setting.proxy_reward).sum(1), rtol=1e-12, atol=1e-15)


# ---------------------------------------------------------------- drawing outputs


@given(st.integers(0, 2**32 - 1), st.sampled_from((1, 2, 5, 10)), st.sampled_from((0.0, 1.0, 8.0)))
def test_draw_inverts_the_cumulative_distribution(seed, outputs, spread):
    """Oracle: numpy.searchsorted on the cumulative sums."""
    rng = np.random.default_rng(seed)
    log_pi = np.asarray(jax.nn.log_softmax(jnp.asarray(spread * rng.normal(size=(2, outputs))), axis=-1))
    uniforms = rng.uniform(size=(2, 8))
    drawn = np.asarray(estimators.draw(jnp.asarray(log_pi), jnp.asarray(uniforms)))
    for row, numbers, result in zip(np.exp(log_pi), uniforms, drawn, strict=True):
        cumulative = np.cumsum(row)
        lower = np.concatenate([[0.0], cumulative[:-1]])
        assert ((lower[result] <= numbers * cumulative[-1] + 1e-15) & (result < outputs)).all()
        expected = np.searchsorted(cumulative[:-1], numbers * cumulative[-1], side="right")
        certain = np.abs(cumulative[:, None] - numbers).min(axis=0) > 1e-14
        np.testing.assert_array_equal(result[certain], expected[certain])


def test_draw_gives_each_output_its_share_of_the_unit_interval():
    pi = np.array([[0.05, 0.5, 0.15, 0.15, 0.15]])
    grid = (np.arange(100_000)[None] + 0.5) / 100_000
    drawn = np.asarray(estimators.draw(jnp.log(jnp.asarray(pi)), jnp.asarray(grid)))
    np.testing.assert_allclose(np.bincount(drawn[0], minlength=5) / 100_000, pi[0], atol=1.1e-5)


@pytest.mark.parametrize("uniform", [0.0, np.nextafter(1.0, 0.0), 0.5])
def test_draw_never_takes_an_output_of_no_probability(uniform):
    """Probabilities that underflow to zero, first, last and in between, at both ends of the unit interval."""
    log_pi = jnp.asarray([[-2000.0, np.log(0.5), -2000.0, np.log(0.5), -2000.0]])
    assert estimators.draw(log_pi, jnp.asarray([[uniform]]))[0, 0] in (1, 3)


def test_draw_with_one_output():
    assert estimators.draw(jnp.zeros((1, 1)), jnp.asarray([[0.0, 0.99]])).tolist() == [[0, 0]]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"baseline": "mean"}, "baseline is 'mean'; it must be one of 'value', 'optimal', 'greedy'"),
        ({"baseline": np.nan}, "baseline is nan; every entry of baseline must be finite"),
        ({"baseline": True}, "baseline is True; every entry of baseline must be a real number"),
        ({"baseline": [1.0, 2.0]}, r"baseline must be a single number, got an array of shape \(2,\)"),
        ({"group_size": 0}, "group_size is 0; it must be at least 1"),
        ({"group_size": -2}, "group_size is -2; it must be at least 1"),
        ({"group_size": 1.5}, "group_size must be a whole number, got 1.5"),
        ({"group_size": True}, "group_size must be a whole number, got True"),
        ({"group_size": None}, "group_size must be a whole number, got None"),
    ],
)
def test_bad_estimators_are_refused_in_one_sentence(arguments, sentence):
    with pytest.raises(ValueError, match=f"^{sentence}$"):
        estimators.Reinforce(**arguments)
