"""`ascend_sampled` with composed estimators, and flows along mean fields.

Oracles: the inner loop of a clipped surrogate written out in NumPy; SciPy for mean fields; frequencies.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp
from scipy.special import comb, log_softmax

import pgdyn
from pgdyn import estimators as e
from pgdyn.dynamics.optimizer import trace
from pgdyn.estimators.step import Draws, update

PROBLEM = pgdyn.Problem.tabular([[0.2, 0.3, 0.5], [0.6, 0.3, 0.1]], [[1.0, 0.0, 0.5], [0.0, 1.0, 2.0]])
OUTPUTS = np.array([[0, 1, 2, 1], [0, 0, 1, 2]])


def by_hand(outputs, prompts, weights, low, high, dual, kind, epochs, minibatches, rate, kl):
    """Logits [2, 3] after all epochs; rewards centred in the group, k3 in the loss towards the start."""
    z = np.asarray(PROBLEM.initial_params)
    reference = log_softmax(z, axis=1)
    reward = np.asarray(PROBLEM.proxy_reward)[prompts[:, None], outputs]
    advantage = reward - reward.mean(axis=1, keepdims=True)
    old = reference[prompts[:, None], outputs]
    length = outputs.shape[1] // minibatches
    for _ in range(epochs):
        for m in range(minibatches):
            logs = log_softmax(z, axis=1)
            step = np.zeros_like(z)
            for row, p in enumerate(prompts):
                for i in range(m * length, (m + 1) * length):
                    y, a = outputs[row, i], advantage[row, i]
                    ratio = np.exp(logs[p, y] - old[row, i])
                    if kind == "cispo":
                        c = np.clip(ratio, 1 - low, 1 + high) * a
                    else:
                        clipped = np.clip(ratio, 1 - low, 1 + high)
                        c = ratio * a if ratio * a <= clipped * a else 0.0
                        c = 0.0 if a < 0 and dual and ratio > dual else c
                    c -= kl * (1 - np.exp(-(logs[p, y] - reference[p, y])))
                    step[p] += weights[row] / length * c * ((np.arange(3) == y) - np.exp(logs[p]))
            z = z + rate * step
    return z


@pytest.mark.parametrize(
    ("low", "high", "dual", "kind", "epochs", "minibatches", "drawn"),
    [
        (0.1, 0.3, None, "ppo", 3, 2, None),
        (0.2, 0.1, 1.3, "ppo", 4, 1, None),
        (0.1, 0.3, None, "cispo", 3, 2, [1, 1]),
    ],
)
def test_the_inner_loop_keeps_what_the_samples_were_drawn_with(low, high, dual, kind, epochs, minibatches, drawn):
    """Rates so large that every clip is in force; a prompt drawn twice counts twice."""
    surrogate = e.Surrogate(low, high, dual, epochs, minibatches, kind)
    parts = e.compose(e.Centred(4), surrogate, e.KLPenalty("k3", "loss", 0.1))
    objective, start = pgdyn.Objective(), PROBLEM.initial_params
    optimizer = trace("sgd", 3.0, start)
    prompts = np.arange(2) if drawn is None else np.array(drawn)
    draws = Draws(jnp.asarray(OUTPUTS), None if drawn is None else jnp.asarray(prompts))
    reference = objective.reference_log_policy(PROBLEM)
    found = update(parts, PROBLEM, objective, optimizer, reference, start, optimizer.init(start), draws)
    expected = by_hand(OUTPUTS, prompts, [0.5, 0.5], low, high, dual, kind, epochs, minibatches, 3.0, 0.1)
    np.testing.assert_allclose(found.params, expected, rtol=0, atol=1e-12)
    free = by_hand(OUTPUTS, prompts, [0.5, 0.5], 9.0, 9e9, None, kind, epochs, minibatches, 3.0, 0.1)
    assert np.abs(free - expected).max() > 1e-2 and float(found.clipped.sum()) > 0


def test_one_epoch_is_the_policy_gradient_and_clips_nothing():
    problem = pgdyn.Problem.tabular([0.2, 0.1, 0.7], [1.0, 0.4, 0.0])
    plain, clipped = e.RLOO(4), e.compose(e.RLOO(4), e.Surrogate())
    one, other = (pgdyn.ascend_sampled(problem, 40, 3, estimator=estimator) for estimator in (plain, clipped))
    np.testing.assert_allclose(other.params, one.params, rtol=0, atol=1e-12)
    assert float(e.diagnose(clipped, problem).clip_low + e.diagnose(clipped, problem).clip_high) == 0


def test_whitened_training_does_not_know_the_scale_of_the_rewards():
    """G1.1: paths are the same for r and 7 r + 3 (to the 1e-8 under the root)."""
    rloo = e.compose(e.RLOO(4), e.Whiten("batch", keep_mean=True), e.KLPenalty("k1", "reward", 0.01))
    reward = np.array([[1.0, 0.0, 0.5], [0.0, 1.0, 2.0]])
    runs = [
        pgdyn.ascend_sampled(PROBLEM.with_proxy(proxy), 300, 1, estimator=rloo).params
        for proxy in (reward, 7 * reward + 3)
    ]
    np.testing.assert_allclose(runs[1], runs[0], rtol=0, atol=1e-5)
    assert np.abs(runs[0][-1] - runs[0][0]).max() > 0.5


def test_drawn_prompts_have_their_weights():
    """One drawn prompt an update moves its logits alone; how often each moves is binomial."""
    problem = pgdyn.Problem.tabular([[0.5, 0.5], [0.5, 0.5]], [[1.0, -1.0], [1.0, -1.0]], prompt_weights=[0.8, 0.2])
    run = pgdyn.ascend_sampled(problem, 2000, 0, prompts=1, learning_rate=1e-6)
    moved = np.abs(np.diff(np.asarray(run.params), axis=0)).sum(axis=2) > 0
    assert (moved.sum(axis=1) == 1).all()
    assert moved[:, 0].sum() == pytest.approx(1600, abs=4.5 * np.sqrt(2000 * 0.8 * 0.2))
    np.testing.assert_allclose(np.abs(np.diff(np.asarray(run.params[:, :, 0]), axis=0)).max(), 0.5e-6, rtol=1e-2)


@pytest.mark.parametrize("draw", [e.RandomReward(0.3), e.NoisyVerifier(0.9, 0.2)], ids=str)
def test_rewards_are_drawn_for_every_sample(draw):
    """Sampled moments agree with enumerated ones, within five standard errors."""
    problem = pgdyn.Problem.tabular([0.3, 0.7], [1.0, 0.0])
    estimator = e.compose(e.Centred(4), draw)
    exact, drawn = e.diagnose(estimator, problem), e.diagnose(estimator, problem, key=0, samples=4000)
    error = np.sqrt(float(exact.gradient_variance) / 4000)
    np.testing.assert_allclose(drawn.mean, exact.mean, rtol=0, atol=5 * error)
    assert float(drawn.zero_variance) == pytest.approx(float(exact.zero_variance), abs=0.04)
    assert float(drawn.gradient_variance) == pytest.approx(float(exact.gradient_variance), rel=0.15)
    np.testing.assert_allclose(e.expected_update(estimator, problem), exact.mean, rtol=0, atol=1e-12)
    key = jax.random.key(1)
    run = pgdyn.ascend_sampled(problem, 3000, key, estimator=estimator, learning_rate=1e-6)
    moved = (run.params[-1] - run.params[0]) / 1e-6 / 3000
    np.testing.assert_allclose(moved, exact.mean, rtol=0, atol=5 * error * np.sqrt(4000 / 3000))


def test_a_mean_field_flows():
    """Oracle: SciPy along E[GRPO] with the sum over the binomial written out."""
    pi = np.array([0.05, 0.15, 0.8])
    problem = pgdyn.Problem.tabular(pi, [1.0, 1.0, 0.0])
    field = e.mean_field(e.GRPO(4, eps=0.0), problem)

    def velocity(t, z):
        pi = np.exp(log_softmax(z))
        q = pi[:2].sum()
        weight = sum(comb(4, k) * q**k * (1 - q) ** (4 - k) * np.sqrt(k * (4 - k)) for k in range(5)) / (
            4 * q * (1 - q)
        )
        return weight * pi * (np.array([1, 1, 0]) - q)

    path = solve_ivp(velocity, (0, 4), np.log(pi), rtol=1e-9, atol=1e-11)
    found = pgdyn.flow(problem, 4.0, objective=field, saves=9)
    np.testing.assert_allclose(found.params[-1, 0], path.y[:, -1], rtol=0, atol=1e-6)
    with pytest.raises(ValueError, match="is no gradient, so there is no value"):
        field.value(problem, problem.initial_params)
    assert "grpo" in str(found.to_dataset().attrs)


def test_mean_fields_of_several_prompts_and_penalties():
    """Levels of the reward that differ between prompts; a penalty in the loss; oracle: all outcomes of both prompts."""
    problem = pgdyn.Problem.tabular([[0.5, 0.3, 0.2], [0.6, 0.3, 0.1]], [[1.0, 0.0, 0.0], [0.0, 1.0, 2.0]])
    for estimator in (e.GRPO(2, eps=0.1), e.compose(e.RLOO(2), e.KLPenalty("k3", "loss", 0.3))):
        at = problem.initial_params + jnp.asarray([[0.3, 0.0, -0.2], [0.0, 0.5, 0.0]])
        found = e.outcomes(estimator, problem, at)
        np.testing.assert_allclose(e.expected_update(estimator, problem, at), found.mean(found.params) - at, atol=1e-12)


@pytest.mark.parametrize(
    ("estimator", "sentence"),
    [
        (e.ReinforcePP(4), "the advantages of a prompt depend on the samples of the others; take one prompt"),
        (e.compose(e.RLOO(4), e.Surrogate(minibatches=2)), "a surrogate of several updates a batch has no mean field"),
        (e.BestOfN(2, 11), "3 outcomes of a sample make more than 131072 groups of 11 to enumerate"),
    ],
)
def test_what_has_no_mean_field_is_refused(estimator, sentence):
    with pytest.raises(ValueError, match=sentence):
        e.mean_field(estimator, PROBLEM)
