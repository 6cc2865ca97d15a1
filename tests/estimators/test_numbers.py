"""Numbers of the papers and of the derivations, to the digits given; expectations by enumeration of every group."""

import itertools
import math
from statistics import NormalDist

import group_oracles as oracles
import jax.numpy as jnp
import numpy as np
import pytest

import pgdyn
import pgdyn.dynamics.flow
from pgdyn import estimators as e
from pgdyn.estimators import extremes

EIGHT = jnp.asarray([[1.0, 1, 1, 0, 0, 0, 0, 0]])
SAMPLE = e.Sample(jnp.zeros((1, 8), int), EIGHT, jnp.zeros((1, 8)), jnp.zeros(1))


@pytest.mark.parametrize(
    ("estimator", "right", "wrong"),
    [
        (e.GRPO(8, ddof=1, eps=0.0), 1.2076, -0.7246),
        (e.Centred(8), 0.625, -0.375),
        (e.RLOO(8), 0.7143, -0.4286),
        (e.MaxRL(8), 1.667, -1.0),
    ],
    ids=["grpo", "centred", "rloo", "maxrl"],
)
def test_three_right_of_eight(estimator, right, wrong):
    found = estimator.advantages(SAMPLE)[0]
    np.testing.assert_allclose(found, [right] * 3 + [wrong] * 5, rtol=0, atol=5e-4 if right > 1.5 else 5e-5)


def test_presets_are_what_training_libraries_do():
    known = {"open_instruct": (0, 1e-8), "trl": (1, 1e-4), "verl": (1, 1e-6)}
    made = {name: e.GRPO.preset(name, 4) for name in e.PRESETS}
    assert {name: (one.ddof, float(one.eps)) for name, one in made.items()} == known


def test_a_single_sample_counts_as_one_of_unit_spread_under_ddof_1():
    single = e.Sample(jnp.zeros((1, 1), int), jnp.ones((1, 1)), jnp.zeros((1, 1)), jnp.zeros(1))
    assert float(e.GRPO.preset("verl", 1).advantages(single)[0, 0]) == pytest.approx(1 / (1 + 1e-6), rel=1e-12)


def test_dropped_groups_give_their_weight_to_the_others():
    rewards = jnp.asarray([[1.0, 0.0], [1.0, 1.0]])
    weights = jnp.asarray([0.3, 0.7])
    sample = e.Sample(jnp.zeros((2, 2), int), rewards, jnp.zeros((2, 2)), jnp.zeros(2), weights)
    kept, dropped = (e.GRPO(2, eps=0.0, zero_std=how).advantages(sample) for how in ("keep", "drop"))
    np.testing.assert_allclose(kept, [[1, -1], [0, 0]], atol=1e-15)
    np.testing.assert_allclose(dropped, np.array([[1, -1], [0, 0]]) / 0.3, rtol=1e-14)


# ---------------------------------------------------------------- expectations

PI = np.array([0.2, 0.1, 0.7])
BINARY = pgdyn.Problem.tabular(PI, [1.0, 1.0, 0.0])
GRADED = pgdyn.Problem.tabular(PI, [1.0, 0.4, 0.0])


def test_binary_grpo_is_a_reweighted_gradient():
    """E[GRPO] = w_G(q) grad q, to 1e-12, and the values of w_G; the limit is 1/sqrt(q (1 - q))."""
    found = e.expected_update(e.GRPO(4, eps=0.0), BINARY)[0]
    np.testing.assert_allclose(found, [0.22884253, 0.11442126, -0.34326379], rtol=0, atol=5e-9)
    exact = pgdyn.Objective().gradient(BINARY, BINARY.initial_params)[0]
    for size, ddof in ((4, 0), (4, 1), (2, 0)):
        found = e.expected_update(e.GRPO(size, ddof, eps=0.0), BINARY)[0]
        np.testing.assert_allclose(found, e.binary_weight(0.3, size, ddof) * exact, rtol=0, atol=1e-12)
        brute = oracles.expected_update(PI, np.array([1.0, 1.0, 0.0]), size, oracles.grpo(ddof, 0.0))
        np.testing.assert_allclose(found, brute, rtol=0, atol=1e-12)
    weights = [float(e.binary_weight(0.05, size)) for size in (96, 8, 4, 2)]
    np.testing.assert_allclose(weights, [4.44, 2.47, 1.71, 1.0], rtol=0, atol=5e-3)
    assert float(e.binary_weight(0.05, 20_000)) == pytest.approx(1 / math.sqrt(0.05 * 0.95), rel=1e-3)
    assert 1 / math.sqrt(0.05 * 0.95) == pytest.approx(4.59, abs=5e-3)


def test_a_group_of_96_with_three_levels_has_a_mean_field():
    """Oracle: the multinomial sum over counts, written out."""
    problem = pgdyn.Problem.tabular([0.1, 0.3, 0.6], [1.0, 0.5, 0.0])
    found = e.expected_update(e.GRPO(96), problem)[0]
    total, size, pi = np.zeros(3), 96, np.array([0.1, 0.3, 0.6])
    for a in range(size + 1):
        for b in range(size + 1 - a):
            counts = np.array([a, b, size - a - b])
            if (counts == size).any():
                continue
            logs = math.lgamma(size + 1) - sum(math.lgamma(c + 1) for c in counts) + (counts * np.log(pi)).sum()
            mean = (a + b / 2) / size
            std = math.sqrt((counts * (np.array([1, 0.5, 0]) - mean) ** 2).sum() / size)
            scaled = counts / size * (np.array([1, 0.5, 0]) - mean) / (std + 1e-8)
            total += math.exp(logs) * (scaled - pi * scaled.sum())
    np.testing.assert_allclose(found, total, rtol=0, atol=1e-11)


@pytest.mark.parametrize(
    ("estimator", "factor"),
    [
        (e.RLOO(4), 1.0),
        (e.Centred(4), 0.75),
        (e.Reinforce("optimal", 2), 1.0),
        (e.Reinforce("greedy", 2), 1.0),
        (e.Reinforce(-3.0, 2), 1.0),
    ],
    ids=str,
)
def test_unbiased_estimators(estimator, factor):
    exact = pgdyn.Objective().gradient(GRADED, GRADED.initial_params)
    np.testing.assert_allclose(e.expected_update(estimator, GRADED), factor * exact, rtol=0, atol=1e-12)


def test_the_optimal_baseline_has_the_least_variance():
    """Oracle: E|ghat|^2 as a parabola in a constant baseline, whose vertex is E[w r]/E[w]."""
    scores = np.eye(3) - PI
    weight, reward = (scores**2).sum(1), np.array([1.0, 0.4, 0.0])
    np.testing.assert_allclose(weight, 1 - 2 * PI + (PI**2).sum(), rtol=1e-14)
    best = (PI * weight) @ reward / (PI @ weight)
    variances = {}
    for baseline in ("optimal", "value", best + 0.05, best - 0.05, best):
        variances[baseline] = float(e.diagnose(e.Reinforce(baseline), GRADED).gradient_variance)
    assert variances["optimal"] == pytest.approx(variances[best], rel=1e-12)
    assert variances["optimal"] < min(variances["value"], variances[best + 0.05], variances[best - 0.05])
    second = PI @ (weight * (reward - best) ** 2)
    mean = np.asarray(pgdyn.Objective().gradient(GRADED, GRADED.initial_params))
    assert variances["optimal"] == pytest.approx(second - (mean**2).sum(), rel=1e-12)


@pytest.mark.parametrize("n", [2, 3])
@pytest.mark.parametrize("kind", ["maxatk loo", "maxatk subset", "maxatk", "bestofn"])
def test_best_of_n_gradients(n, kind):
    """Oracle: central differences of the expected best of n, over every sequence of draws."""
    reward = np.array([1.0, 0.4, 0.0])

    def value(z):
        pi = np.exp(z) / np.exp(z).sum()
        return oracles.expected_best(pi, reward, n)

    z = np.log(PI)
    slopes = [(value(z + step) - value(z - step)) / 2e-5 for step in 1e-5 * np.eye(3)]
    baseline = {"maxatk loo": "loo", "maxatk subset": "subset"}.get(kind)
    estimator = e.BestOfN(n, 2) if kind == "bestofn" else e.MaxAtK(4, n, baseline)
    np.testing.assert_allclose(e.expected_update(estimator, GRADED)[0], slopes, rtol=0, atol=1e-9)


# ---------------------------------------------------------------- the tail


def test_expected_maxima_of_normals():
    found = [extremes.expected_normal_maximum(n) for n in (4, 16, 64, 256)]
    np.testing.assert_allclose(found, [1.02938, 1.76599, 2.34373, 2.82686], rtol=0, atol=5e-6)
    quantiles = [NormalDist().inv_cdf(1 - 1 / n) for n in (4, 16, 64, 256)]
    np.testing.assert_allclose(quantiles, [0.674, 1.534, 2.154, 2.660], rtol=0, atol=5e-4)


@pytest.mark.parametrize("center", ["emax", "quantile"])
def test_the_influence_function_is_exact_for_a_normal_population(center):
    """d/dmu = 1 and d/dsigma = c_N: integrals of A times the scores of the normal distribution."""
    n, alpha = 64, 0.2
    q = NormalDist().inv_cdf(1 - alpha)
    x = np.linspace(q, 12, 200_001)
    density = np.exp(-(x**2) / 2) / math.sqrt(2 * math.pi)
    mu = np.trapezoid(x * density, x) / alpha
    sigma = math.sqrt(np.trapezoid((x - mu) ** 2 * density, x) / alpha)
    c = extremes.tail_constant(n, alpha, center)
    influence = ((x - q) + c / (2 * sigma) * ((x - mu) ** 2 - (q - mu) ** 2)) / alpha
    wanted = extremes.expected_normal_maximum(n) if center == "emax" else NormalDist().inv_cdf(1 - 1 / n)
    assert np.trapezoid(influence * x * density, x) == pytest.approx(1, abs=1e-8)
    assert np.trapezoid(influence * (x**2 - 1) * density, x) == pytest.approx(wanted, abs=1e-7)
    assert mu + sigma * c == pytest.approx(wanted, abs=1e-8)


def test_prefix_weights_cancel_orders_of_the_bias():
    for orders, prefixes in extremes.PREFIXES.items():
        parts, weights = np.array(prefixes).T
        assert weights.sum() == pytest.approx(1)
        for order in range(1, orders):
            assert (weights * parts**order).sum() == pytest.approx(0, abs=1e-12)


# ---------------------------------------------------------------- unlikeliness, random rewards

PAPER = pgdyn.Problem.tabular([0.35, 0.2, 0.1, 0.05, 0.3], [1.0, 1.0, 1.0, 1.0, 0.0])
FILTERED = e.Unlikeliness(0.25, variant="code")
KEPT = e.Unlikeliness(0.25, variant="code", filter=None)


@pytest.mark.parametrize(
    ("parts", "epochs", "expected", "uplift"),
    [
        ((), 1, [0.0840, 0.0484, 0.0246, 0.0128], [0.816, 0.796, 0.779, 0.770]),
        ((FILTERED,), 2, [0.1071, 0.1022, 0.0553, 0.0309], None),
        ((KEPT,), 1, [0.0458, 0.0753, 0.0521, 0.0335], [0.816, 0.971, 0.998, 1.000]),
    ],
)
def test_rank_bias_and_unlikeliness(parts, epochs, expected, uplift):
    """All 3,125 groups of five; GRPO with ddof 1 and eps 1e-6, learning rate .5, clip .2. The study has the rest."""
    estimator = e.compose(e.GRPO(5, 1, 1e-6), *parts, e.Surrogate(epochs=epochs))
    found = e.outcomes(estimator, PAPER, learning_rate=0.5)
    assert float(found.probability.sum()) == pytest.approx(1, abs=1e-12)
    change = found.mean(found.change)[0, :4]
    np.testing.assert_allclose(change, expected, rtol=0, atol=5.1e-5)
    if uplift is not None:
        np.testing.assert_allclose(e.uplift_rate(found)[0, :4], uplift, rtol=0, atol=5.1e-4)


@pytest.mark.parametrize(("chance", "expected"), [(0.5, -5.859e-5), (0.7, -2.733e-5), (0.9, 5.754e-6)])
def test_random_rewards_change_the_entropy_to_second_order(chance, expected):
    """Oracle: (eta^2/2) tr(Hess H Cov), Cov = (1/4)(1/G)(1 - 1/G)(diag pi - pi pi^T), to .1 %."""
    problem = pgdyn.Problem.tabular([chance, 1 - chance], [1.0, 0.0])
    found = e.diagnose(e.compose(e.Centred(4), e.RandomReward()), problem, learning_rate=0.1)
    np.testing.assert_allclose(found.mean, 0, atol=1e-15)
    pi = np.array([chance, 1 - chance])
    cov = (np.diag(pi) - np.outer(pi, pi)) / 4 / 4 * (1 - 1 / 4)

    def entropy(z):
        p = np.exp(z) / np.exp(z).sum()
        return -(p * np.log(p)).sum()

    z, h = np.log(pi), 1e-4 * np.eye(2)
    corners = [[[z + s * a + t * b for s in (1, -1) for t in (1, -1)] for a in h] for b in h]
    hessian = [[np.dot([1, -1, -1, 1], [entropy(x) for x in cell]) for cell in row] for row in corners]
    assert 0.1**2 / 2 * np.trace(np.array(hessian) / 4e-8 @ cov) == pytest.approx(expected, rel=1e-3)
    assert float(found.entropy_change) == pytest.approx(expected, rel=2e-3)


def test_two_outputs_gain_entropy_above_the_threshold():
    """(2 p - 1) logit(p) > 1, that is p > .82396."""
    for chance, sign in ((0.82, -1), (0.828, 1)):
        problem = pgdyn.Problem.tabular([chance, 1 - chance], [1.0, 0.0])
        found = e.diagnose(e.compose(e.Centred(4), e.RandomReward()), problem, learning_rate=0.01)
        assert np.sign(float(found.entropy_change)) == sign
        assert np.sign((2 * chance - 1) * math.log(chance / (1 - chance)) - 1) == sign
    p = 0.82396
    assert (2 * p - 1) * math.log(p / (1 - p)) == pytest.approx(1, abs=2e-5)


@pytest.mark.parametrize(
    ("chance", "epochs", "changes", "digits"),
    [
        (0.9, 2, {"none": 0.0148, "both": 0.0036, "high": -0.0023, "low": 0.0208}, 5e-5),
        (0.5, 2, {"none": -0.080, "both": -0.024}, 5e-4),
        (0.9, 4, {"none": -0.0023, "both": 0.0076}, 5e-5),
    ],
)
def test_clips_and_the_entropy(chance, epochs, changes, digits):
    """Random rewards, one batch gone through several times at learning rate 1."""
    problem = pgdyn.Problem.tabular([chance, 1 - chance], [1.0, 0.0])
    for clip, expected in changes.items():
        low, high = (0.2 if clip in ("both", side) else None for side in ("low", "high"))
        estimator = e.compose(e.GRPO(4, eps=0.0), e.RandomReward(), e.Surrogate(low, high, epochs=epochs))
        found = e.diagnose(estimator, problem)
        assert float(found.entropy_change) == pytest.approx(expected, abs=digits * 1.02)
        assert (float(found.clip_low) > 0, float(found.clip_high) > 0) == (low is not None, high is not None)


def test_random_rewards_cost_right_samples_what_they_would_have_gained():
    """3 of 5 right: the sum of their advantages less that under random rewards has mean n_c n_i/G, var n_c n_i/4G."""
    coins = np.array(list(itertools.product([0.0, 1.0], repeat=5)))
    nothing = jnp.zeros_like(jnp.asarray(coins))
    sample = e.Sample(nothing.astype(int), jnp.asarray(coins), nothing, nothing[:, 0])
    random = np.asarray(e.Centred(5).advantages(sample))[:, :3].sum(axis=1)
    gained = np.asarray(e.Centred(5).advantages(sample.with_rewards(nothing + jnp.asarray([[1.0, 1, 1, 0, 0]]))))
    damage = gained[:, :3].sum(axis=1) - random
    assert damage.mean() == pytest.approx(3 * 2 / 5) and damage.var() == pytest.approx(3 * 2 / 20)


@pytest.mark.parametrize(("right", "sign"), [(0, 1), (1, -1)])
def test_less_entropy_is_not_enough(right, sign):
    """An entropy penalty alone sharpens the mode: the true value rises where the mode is right, and else falls."""
    problem = pgdyn.Problem.tabular([0.6, 0.3, 0.1], np.eye(3)[right], np.zeros(3))
    moved = pgdyn.Objective(entropy=-1.0).gradient(problem, problem.initial_params)[0]
    pi = np.array([0.6, 0.3, 0.1])
    by_hand = pi * (np.log(pi) - pi @ np.log(pi))
    np.testing.assert_allclose(moved, by_hand, rtol=0, atol=1e-14)
    assert np.sign(by_hand[right] - pi @ by_hand) == sign


def test_groups_that_teach_but_miss_the_tail():
    """Oracle: enumeration of the kinds of samples for G = 4; the values of the lemma."""
    found = [float(e.tail_miss(0.7, 0.05, size)) for size in (4, 8, 16, 32, 64)]
    np.testing.assert_allclose(found, [0.6279, 0.6315, 0.4391, 0.1937, 0.0375], rtol=0, atol=5.1e-5)
    total = 0.0
    for group, chance in oracles.enumerate_groups(np.array([0.05, 0.65, 0.3]), 4):
        total += chance * (0 not in group and 1 in group and 2 in group)
    assert found[0] == pytest.approx(total, rel=1e-12)


# ---------------------------------------------------------------- KL

REFERENCE = np.array([0.3, 0.3, 0.4])
TOWARDS = pgdyn.Problem.tabular(REFERENCE, [0.0, 0.0, 0.0])
AT = jnp.log(jnp.asarray(PI))[None]


@pytest.mark.parametrize(("form", "direction"), [("k1", None), ("k2", "reverse"), ("k3", "forward")])
def test_the_gradient_of_a_kl_in_the_loss(form, direction):
    """Expected 0, grad KL(pi || ref), grad KL(ref || pi); oracle: the exact gradients in closed form."""
    estimator = e.compose(e.Reinforce(None, 2), e.KLPenalty(form, "loss", 0.5))
    found = e.expected_update(estimator, TOWARDS, AT)[0]
    logs = np.log(PI / REFERENCE)
    gradients = {None: 0 * PI, "reverse": PI * (logs - PI @ logs), "forward": PI - REFERENCE}
    np.testing.assert_allclose(found, -0.5 * gradients[direction], rtol=0, atol=1e-12)


def test_only_k1_in_the_reward_has_the_right_gradient():
    logs = np.log(PI / REFERENCE)
    right = -0.5 * PI * (logs - PI @ logs)
    for form, same in (("k1", True), ("k2", False), ("k3", False)):
        found = e.expected_update(e.compose(e.RLOO(2), e.KLPenalty(form, "reward", 0.5)), TOWARDS, AT)[0]
        assert (np.abs(np.asarray(found) - right).max() < 1e-12) == same


def test_kl_estimates():
    """E k1 = E k3 = KL, k2 is biased."""
    logs = np.log(PI / REFERENCE)
    means = [PI @ np.asarray(e.KLPenalty(form, weight=1.0).value(jnp.asarray(logs))) for form in ("k1", "k2", "k3")]
    assert means[0] == pytest.approx(means[2], rel=1e-12) == pytest.approx(PI @ logs, rel=1e-12)
    assert abs(means[1] - means[0]) > 1e-3


def test_pass_at_n():
    q = np.array([0.5, 0.1, 0.0, 1.0])
    expected = [np.mean([1 - (1 - one) ** n for one in q]) for n in (1, 4, 256)]
    np.testing.assert_allclose(e.pass_at_n(q, [1, 4, 256]), expected, rtol=1e-12)
    assert float(e.pass_at_n(q, 4, [1, 0, 0, 0])) == pytest.approx(1 - 0.5**4)


# ---------------------------------------------------------------- policies


def test_the_policy_of_the_best_of_n():
    """The plateau problem: its policy, value and KL for N = 4, and values of choosing by a proxy."""
    pi, true = jnp.asarray([[0.05, 0.5, 0.15, 0.15, 0.15]]), jnp.asarray([[1.0, 0.8, -1.0, -1.0, -1.0]])
    best = e.best_of_n_policy(true, pi, 4)
    np.testing.assert_allclose(best[0], [0.18549, 0.77350, 0.01367, 0.01367, 0.01367], rtol=0, atol=5.1e-6)
    assert float(jnp.sum(best * true)) == pytest.approx(0.76329, abs=5.1e-6)
    kl = float(jnp.sum(best * jnp.log(best / pi)))
    assert kl == pytest.approx(0.4824, abs=5.1e-5)
    assert kl <= math.log(4) - 3 / 4 == pytest.approx(0.6363, abs=5.1e-5)
    proxy = jnp.asarray([[1.0, -1.0, -1.0, -1.0, -1.0]])
    values = [float(jnp.sum(e.best_of_n_policy(proxy, pi, n) * true)) for n in (4, 16, 64)]
    np.testing.assert_allclose(values, [0.14262, 0.5367, 0.9605], rtol=0, atol=5.1e-5)
    assert float(jnp.sum(e.best_of_n_policy(true, pi, 64) * true)) == pytest.approx(0.9925, abs=5.1e-5)


def test_the_regularised_natural_gradient_contracts_by_one_factor():
    """A step of size eta shrinks the centred logit error to (1 - eta beta) of itself; oracle: pi_ref e^{r/beta}."""
    reward, beta, eta = np.array([1.0, 0.4, 0.0]), 0.5, 0.3
    objective = pgdyn.Objective(kl=beta)
    at = np.array([[0.3, -1.0, 0.2]])
    problem = pgdyn.Problem.tabular(PI, reward)
    step = pgdyn.dynamics.flow.velocity(
        problem, objective, jnp.asarray(at), objective.reference_log_policy(problem), "natural"
    )
    optimum = np.log(PI) + reward / beta
    before, after = (z[0] - optimum - np.mean(z[0] - optimum) for z in (at, at + eta * np.asarray(step)))
    np.testing.assert_allclose(after, (1 - eta * beta) * before, rtol=0, atol=1e-13)
