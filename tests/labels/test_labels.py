"""Labels and fits. Oracles: the infinite limit, SciPy's optimiser, enumeration, closed forms, numbers worked
out by hand."""

import dataclasses

import numpy as np
import pytest
import scipy.optimize

import pgdyn
from pgdyn import labels
from pgdyn.labels import logs

RNG = np.random.default_rng


def centred(table):
    return table - table.mean(axis=1, keepdims=True)


# ------------------------------------------------------------ fits


def test_infinite_labels_give_the_truth():
    """r* up to a constant on each prompt, tabular and linear, to 1e-8."""
    truth = RNG(0).normal(size=(3, 4))
    pairs = labels.all_pairs(labels.win_probability(truth))
    found = labels.fit(pairs, (3, 4))
    assert found.converged and not found.separable
    np.testing.assert_allclose(found.reward, centred(truth), atol=1e-8)
    features = RNG(1).normal(size=(3, 4, 2))
    theta = np.array([0.7, -1.2])
    pairs = labels.all_pairs(labels.win_probability(features @ theta))
    np.testing.assert_allclose(labels.fit(pairs, features=features).params, theta, atol=1e-8)


def test_flips_shrink_a_difference_to_their_logit():
    """Bradley-Terry with flips: logit((1 - 2e) sigma(1) + e) = .4706 at e = 1/4."""
    found = labels.fit(labels.all_pairs(labels.win_probability([1.0, 0.0], flip=0.25)), (1, 2)).reward[0]
    assert found[0] - found[1] == pytest.approx(0.4706, abs=5e-5)
    gap = labels.population_logits(labels.win_probability([1.0, 0.0], flip=0.25))[0, 0, 1]
    assert found[0] - found[1] == pytest.approx(gap, abs=1e-8)


@pytest.mark.parametrize("linear", [False, True])
@pytest.mark.parametrize("setting", [{}, {"smoothing": 0.1}, {"centring": 0.01}, {"ridge": 0.3}])
def test_fits_minimise_their_loss(linear, setting):
    """Oracle: BFGS on the loss as it is written down, with margins, weights and soft labels."""
    truth = RNG(0).normal(size=(2, 3))
    features = RNG(1).normal(size=(2, 3, 2)) if linear else np.eye(6).reshape(2, 3, 6)
    pairs = labels.preferences(truth, 60, 3, flip=0.2)
    rng = RNG(2)
    pairs = dataclasses.replace(
        pairs,
        weight=rng.random(60) + 0.5,
        label=np.where(rng.random(60) < 0.5, 0.8, 1.0),
        margin=0.3 * rng.normal(size=60),
    )
    soft = setting.get("smoothing", 0.0)

    def loss(theta):
        reward = features @ theta
        high, low = reward[pairs.prompt, pairs.chosen], reward[pairs.prompt, pairs.rejected]
        right = pairs.label * (1 - soft) + (1 - pairs.label) * soft
        x = high - low - pairs.margin
        terms = right * np.log1p(np.exp(-x)) + (1 - right) * np.log1p(np.exp(x))
        terms += setting.get("centring", 0.0) * (high + low) ** 2
        return pairs.weight @ terms / pairs.weight.sum() + setting.get("ridge", 0.0) / 2 * theta @ theta

    best = scipy.optimize.minimize(loss, np.zeros(features.shape[-1]), tol=1e-12)
    found = labels.fit(pairs, None if linear else (2, 3), features=features if linear else None, **setting)
    assert (
        found.converged and found.loss <= best.fun + 1e-12 and loss(found.params.ravel()) == pytest.approx(found.loss)
    )
    np.testing.assert_allclose(found.params.ravel(), best.x, atol=2e-5)


def test_separable_labels_are_said_to_be():
    pairs = labels.Preferences.of([0, 0, 0], [0, 1, 2], [1, 0, 0])  # output 2 never loses
    found = labels.fit(pairs, (1, 3))
    assert found.separable and not found.converged and "separable" in found.message
    assert labels.fit(pairs, (1, 3), ridge=0.1).converged and labels.fit(pairs, (1, 3), smoothing=0.1).converged
    circle = labels.Preferences.of([0, 0, 0], [0, 1, 2], [1, 2, 0])
    assert not labels.fit(circle, (1, 3)).separable
    line = labels.fit(pairs, features=[[0.0, 0.0], [0.0, 0.0], [1.0, 0.0]])
    assert line.separable
    assert not labels.fit(circle, features=np.eye(3)).separable


def test_ways_of_labelling():
    truth = [[2.0, 0.0, -1.0]]
    for votes, sharpness in ((1, 1.0), (3, 1.0), (1, [0.5])):
        pairs = labels.preferences(truth, 60_000, 0, sharpness=sharpness, flip=0.1, votes=votes)
        pick = (pairs.chosen + pairs.rejected) == 1
        chance = labels.win_probability(truth, sharpness=sharpness, flip=0.1)[0, 0, 1]
        want = chance if votes == 1 else chance**3 + 3 * chance**2 * (1 - chance)
        assert np.mean(pairs.chosen[pick] == 0) == pytest.approx(want, abs=0.01)
    drawn = labels.preferences(truth, 1000, 0, policy=[0.5, 0.5, 0.0])
    assert set((drawn.chosen + drawn.rejected).tolist()) == {1}
    with pytest.raises(ValueError, match="must be odd"):
        labels.preferences(truth, 10, votes=2)


# ------------------------------------------------------------ cleaning


def test_strength_finds_flipped_labels_and_cleaning_helps():
    """Secrets of RLHF, part II: 25 % flips, D = 8, n = 2000, M = 10. Over seeds: clean >= flip > plain in held-out
    accuracy."""
    accuracies = {"plain": [], "flip": [], "margin": [], "clean": []}
    aucs = []
    for seed in range(4):
        rng = RNG(seed)
        features = rng.normal(size=(40, 8, 8))
        truth = features @ (2 * rng.normal(size=8))
        pairs = labels.preferences(truth, 2000, rng, sharpness=np.inf, flip=0.25)
        mean, spread = labels.preference_strength(pairs, features=features, seed=rng, ridge=1e-4, models=10)
        assert np.all(spread > 0)
        ranks = np.argsort(np.argsort(mean))
        wrong = pairs.wrong
        aucs.append(1 - (ranks[wrong].mean() - (wrong.sum() - 1) / 2) / (~wrong).sum())
        lowest = np.argsort(mean)[:400]
        assert wrong[lowest].mean() > 0.9  # against 25 %
        held, _ = labels.preference_strength(pairs, features=features, seed=rng, ridge=1e-4, models=20, held_out=True)
        assert np.nanmean(held) < mean.mean() + 0.2 and abs(np.corrcoef(np.nan_to_num(held), mean)[0, 1]) > 0.9
        test = labels.preferences(truth, 4000, rng, sharpness=np.inf)
        ways = {
            "plain": pairs,
            "flip": labels.clean(pairs, mean, flip=0.2),
            "margin": labels.clean(pairs, mean, margin=True),
            "clean": pairs.swapped(pairs.wrong),
        }
        for name, given in ways.items():
            gap = features @ labels.fit(given, features=features, ridge=1e-4).params
            accuracies[name].append(np.mean(gap[test.prompt, test.chosen] > gap[test.prompt, test.rejected]))
    assert np.mean(aucs) > 0.9
    mean = {name: np.mean(found) for name, found in accuracies.items()}
    assert mean["plain"] < mean["flip"] < mean["clean"]


def test_kinds_of_bad_labels_and_relabelling():
    clean = labels.preferences([[3.0, 1.0, 0.0]], 20_000, 0, sharpness=np.inf)
    noisy, kinds = labels.taxonomy(clean, {"opposite": 0.2, "vague": 0.1, "empty": 0.1}, 1)
    assert np.mean(noisy.wrong) == pytest.approx(0.2 + 0.1, abs=0.01)
    again = labels.relabel(noisy, kinds)
    assert len(again) == pytest.approx(16_000, rel=0.02) and not again.wrong.any()
    with pytest.raises(ValueError, match="unknown key 'same'"):
        labels.taxonomy(clean, {"same": 1.0})


def test_noisy_accuracy_is_a_line():
    """CHH-RLHF: slope 1 - 2e, exactly."""
    accuracy = np.linspace(0, 1, 5)
    np.testing.assert_allclose(np.diff(labels.noisy_accuracy(accuracy, 0.3)), 0.25 * 0.4, rtol=1e-12)


def test_contrastive_map_and_meta_step():
    rng = RNG(0)
    features = rng.normal(size=(20, 6, 3)) * [5.0, 1.0, 0.2]
    pairs = labels.preferences(features[:, :, 1], 400, rng)
    mapped = features @ labels.contrastive_map(pairs, features, noise=1e-6)
    gap = mapped[pairs.prompt, pairs.chosen] - mapped[pairs.prompt, pairs.rejected]
    np.testing.assert_allclose(np.cov(gap.T, bias=True) + np.outer(gap.mean(0), gap.mean(0)), np.eye(3), atol=0.01)
    # Oracle: finite differences of the two functions of the module.
    theta, policy = rng.normal(size=3), rng.dirichlet(np.ones(6), 20)

    def differences(at):
        reward = features @ at
        gaps = np.abs(reward[:, :, None] - reward[:, None, :])
        return np.mean(np.einsum("pk,pl,pkl->p", policy, policy, np.log1p(gaps)))

    def loss(at):
        reward = features @ at
        return np.mean(np.logaddexp(0, reward[pairs.prompt, pairs.rejected] - reward[pairs.prompt, pairs.chosen]))

    def slope(function, at):
        return np.array([(function(at + step) - function(at - step)) / 2e-6 for step in 1e-6 * np.eye(3)])

    want = theta - 0.2 * slope(loss, theta + 0.3 * slope(differences, theta))
    found = labels.meta_step(theta, pairs, features, policy, rate=0.2, meta_rate=0.3)
    np.testing.assert_allclose(found, want, atol=1e-7)


# ------------------------------------------------------------ factors, judges, contexts


def named(pairs):
    return {(int(a), int(b)) for a, b in zip(pairs.chosen, pairs.rejected, strict=True)}


def test_factors_in_order():
    """HERON: by hand; no change under scales, nor at threshold 0 under increasing maps."""
    factors = np.array([[1.0, 0.0], [0.9, 5.0], [0.2, 9.0]])
    assert named(labels.hierarchical_preferences(factors, thresholds=0.5)) == {(1, 0), (0, 2), (1, 2)}
    assert named(labels.hierarchical_preferences(factors)) == {(0, 1), (0, 2), (1, 2)}
    assert named(labels.hierarchical_preferences(factors, order=[1, 0])) == {(2, 1), (2, 0), (1, 0)}
    # The first factor's threshold is sigma .5 times a deviation of .4359: .9 is no worse than 1, .2 is.
    assert factors[:, 0].std(ddof=1) == pytest.approx(0.4359, abs=5e-5)
    # A fit to labels in lexicographic order keeps that order.
    whole = labels.hierarchical_preferences(np.round(RNG(1).normal(size=(2, 6, 2)), 1))
    reward = labels.fit(whole, (2, 6), ridge=1e-3).reward
    assert np.all(reward[whole.prompt, whole.chosen] > reward[whole.prompt, whole.rejected]) and len(whole) > 25
    two = np.array([[0.0], [1.0]])  # of standard deviation sqrt(1 / 2) where one divides by n - 1
    assert [len(labels.hierarchical_preferences(two, thresholds=t)) for t in (1.4, 1.5)] == [1, 0]
    table = RNG(0).normal(size=(3, 5, 2)).round(1)
    base = labels.hierarchical_preferences(table, thresholds=[0.7, 0.2])
    for scale in (1e-2, 1.0, 64.0):
        moved = labels.hierarchical_preferences(table * [1.0, scale], thresholds=[0.7, 0.2])
        np.testing.assert_array_equal(moved.chosen, base.chosen)
        np.testing.assert_array_equal(moved.rejected, base.rejected)
    plain, mapped = (labels.hierarchical_preferences(one) for one in (table, np.exp(table)))
    np.testing.assert_array_equal(plain.chosen, mapped.chosen)
    circle = labels.hierarchical_preferences([[0.0, 0], [1.0, 0], [2.0, 0]], thresholds=1.5)
    assert named(circle) == {(2, 0)}  # 0 like 1, 1 like 2, and yet 2 above 0


def test_averaged_judges():
    """The Gaussian law by its table, and draws."""
    table = {1: 0.6342, 4: 0.7365, 16: 0.8413, 64: 0.8970}
    for k, want in table.items():
        assert labels.NoisyJudge(2.0, 0.5, k).accuracy(1.0) == pytest.approx(want, abs=5e-5)
    assert labels.NoisyJudge(2.0, 0.5, 10**9).accuracy(1.0) == pytest.approx(0.9214, abs=5e-5)
    # A gain of 4 to 7 points of accuracy takes two opinions, or three.
    first, second, third = (100 * labels.NoisyJudge(2.0, 0.5, k).accuracy(1.0) for k in (1, 2, 3))
    assert 4 < second - first < 7 < third - first < 8
    scores = labels.NoisyJudge(2.0, 0.5, 4).scores(np.tile([1.0, 0.0], (40_000, 1)), 0)
    assert np.mean(scores[:, 0] > scores[:, 1]) == pytest.approx(0.7365, abs=0.01)


def test_fusion_divides_noise_by_the_sum_of_squares():
    angle = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    similarity = np.cos(angle[:, None] - angle[None, :])
    weights = labels.fusion_weights(similarity, neighbours=4, threshold=0.9)
    np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=1e-12)
    assert np.all((weights > 0).sum(axis=1) <= 5) and np.all(weights[similarity < 0.9] == 0)
    noise = RNG(0).standard_normal((24, 20_000))
    fused = labels.fuse(noise, similarity, neighbours=4)
    np.testing.assert_allclose(fused.var(axis=1), np.sum(weights**2, axis=1), rtol=0.05)


def test_convex_augmentation_keeps_the_hull():
    """Oracle: SciPy's hull of the two principal components."""
    points = RNG(0).normal(size=(30, 6)) * [4, 3, 0.1, 0.1, 0.1, 0.1]
    _, _, axes = np.linalg.svd(points - points.mean(0), full_matrices=False)
    hull = scipy.spatial.ConvexHull((points - points.mean(0)) @ axes[:2].T)
    assert labels.convex_augmentation(points).tolist() == sorted(hull.vertices.tolist())
    assert labels.convex_augmentation([[0.0, 1.0], [1.0, 2.0], [2.0, 3.0]]).tolist() == [0, 2]


# ------------------------------------------------------------ supervised steps, logs


def test_supervised_steps_carry_over_through_shared_features():
    """Oracle: the logits before and after, and the gradient of log pi by a complex step, exact to rounding; a tabular
    policy carries nothing, and one of shared features in proportion to their inner product."""
    features = RNG(0).normal(size=(2, 3, 4))
    problem = pgdyn.Problem.linear(features, np.zeros((2, 3)), initial_params=RNG(1).normal(size=4), temperature=0.5)

    def logits(theta):
        return features @ theta / 0.5

    theta = np.asarray(problem.initial_params)
    moved = np.asarray(labels.sft_step(problem, 0, 2, rate=0.3).initial_params)
    change = labels.sft_change(problem, 0, 2, rate=0.3)
    np.testing.assert_allclose(logits(moved) - logits(theta), change, rtol=1e-12, atol=1e-14)

    def log_policy(at):
        z = logits(at)[0]
        return z[2] - np.log(np.sum(np.exp(z)))

    slope = np.array([log_policy(theta + 1e-30j * e).imag / 1e-30 for e in np.eye(4)])
    np.testing.assert_allclose(moved - theta, 0.3 * slope, atol=1e-12)
    # A held-out context whose hack has a feature of cosine c with the direction that is learned changes by c.
    learned = features[0, 2] - np.exp(logits(theta)[0] - np.logaddexp.reduce(logits(theta)[0])) @ features[0]
    side = np.array([learned[1], -learned[0], learned[3], -learned[2]])
    for cosine in (-1.0, -0.5, 0.0, 0.8):
        hack = cosine * learned + np.sqrt(1 - cosine**2) * side
        other = pgdyn.Problem.linear(
            np.stack([features[0], [hack, 0 * hack, 0 * hack]]), np.zeros((2, 3)), initial_params=theta, temperature=0.5
        )
        found = labels.sft_change(other, 0, 2, rate=0.3)[1]
        np.testing.assert_allclose(found, [0.3 / 0.25 * cosine * learned @ learned, 0, 0], atol=1e-12)
    tabular = pgdyn.Problem.tabular([[0.2, 0.8], [0.5, 0.5]], np.zeros((2, 2)))
    assert np.all(labels.sft_change(tabular, 0, 1, rate=1.0)[1] == 0)


@pytest.fixture
def users():
    rng = RNG(0)
    return logs.Users(
        kinds=np.array([0.5, 0.5]),
        choice=np.array([[0.2, 0.8], [0.8, 0.2]]),
        taste=np.array([[0.0, 0.0], [0.3, 0.3]]),
        prompts=np.array([0.5, 0.3, 0.2]),
        policies=rng.dirichlet(np.ones(3), (2, 3)),
        quality=rng.random((3, 3)),
        noise=0.3,
    )


def test_users_who_choose_reverse_a_ranking():
    """Two models by hand: truth .65 < .75, naive .74 > .66, bias +-.09, exactly."""
    even = np.array([0.5, 0.5])
    users = logs.Users(
        even, np.array([[0.2, 0.8], [0.8, 0.2]]), np.array([[0.5, 0.6], [0.8, 0.9]]), np.ones(1), np.ones((2, 1, 1)),
        np.zeros((1, 1)),
    )  # fmt: skip
    np.testing.assert_allclose(users.values(), [0.65, 0.75], atol=1e-15)
    np.testing.assert_allclose(users.naive_values(), [0.74, 0.66], atol=1e-15)
    np.testing.assert_allclose(users.bias(), [0.09, -0.09], atol=1e-15)


def test_estimates_from_logs(users):
    """All but the naive one centre on the values; the naive one on its own limit."""
    rng = RNG(1)
    found = {name: [] for name in logs.ESTIMATORS}
    for _ in range(200):
        rows = logs.estimates(users, users.log(2000, rng), users.log(300, rng, randomised=True))
        for name, value in rows.items():
            found[name].append(value)
    for name, values in found.items():
        want = users.naive_values() if name == "naive" else users.values()
        error = 4 * np.std(values, axis=0) / np.sqrt(200) + 0.004
        assert np.all(np.abs(np.mean(values, axis=0) - want) < error), name
    spread = {name: np.std(values, axis=0).mean() for name, values in found.items()}
    assert spread["control_variate"] < spread["mean"] and spread["ipw"] < spread["mean"]


@pytest.mark.parametrize(
    ("sentence", "call"),
    [
        ("either shape or features", lambda: labels.fit(labels.Preferences.of([0], [0], [1]))),
        ("chosen[0] is 5; it must be from 0 to 1", lambda: labels.fit(labels.Preferences.of([0], [5], [1]), (1, 2))),
        ("smoothing is 0.5", lambda: labels.fit(labels.Preferences.of([0], [0], [1]), (1, 2), smoothing=0.5)),
        ("have no weight", lambda: labels.fit(labels.Preferences.of([0], [0], [1], [0.0]), (1, 2))),
        ("flip is 2", lambda: labels.clean(labels.Preferences.of([0], [0], [1]), np.zeros(1), flip=2)),
        ("thresholds[0] is -1", lambda: labels.hierarchical_preferences([[1.0], [2.0]], thresholds=[-1.0])),
        ("similarity has shape (2, 1)", lambda: labels.fusion_weights([[1.0], [1.0]])),
        ("samples is 0", lambda: labels.NoisyJudge(1.0, samples=0)),
    ],
)  # fmt: skip
def test_refusals(sentence, call):
    with pytest.raises(ValueError) as caught:
        call()
    assert sentence in str(caught.value)
