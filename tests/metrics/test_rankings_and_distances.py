"""Rankings, teachers, consistency and distances. Oracles: SciPy, enumeration, closed forms, published
values."""

import itertools
import json
import pathlib

import numpy as np
import pytest
import scipy.integrate
import scipy.optimize
import scipy.stats

import pgdyn
from pgdyn import metrics
from pgdyn.metrics import distance
from pgdyn.metrics.exact import draw

TRUTH, POLICY = [1, 0.8, -1, -1, -1], [0.05, 0.5, 0.15, 0.15, 0.15]


def test_spearman_is_scipys():
    rng = np.random.default_rng(0)
    table = rng.integers(0, 5, (20, 13)).astype(float)
    outcome = rng.normal(size=13)
    want = [scipy.stats.spearmanr(row, outcome).statistic for row in table]
    np.testing.assert_allclose(metrics.spearman(table, outcome), want, rtol=1e-12)
    assert np.isnan(metrics.spearman([1.0, 1.0], [0.0, 1.0]))
    # Of 13 unrelated models: a standard error of .29, and 5 % of correlations beyond .56.
    chance = metrics.spearman(rng.permuted(np.tile(np.arange(13.0), (40_000, 1)), axis=1), np.arange(13.0))
    assert chance.std() == pytest.approx(0.29, abs=0.005) and np.mean(np.abs(chance) >= 0.56) == pytest.approx(
        0.05, abs=0.005
    )


def test_best_of_n_by_enumeration():
    """All 4^3 draws, ties decided by lot."""
    truth, proxy, start = (
        np.array([1.0, 0.5, -1.0, 2.0]),
        np.array([0.0, 1.0, 1.0, -1.0]),
        np.array([0.1, 0.2, 0.3, 0.4]),
    )
    want = 0.0
    for drawn in itertools.product(range(4), repeat=3):
        best = [y for y in drawn if proxy[y] == max(proxy[list(drawn)])]
        want += np.prod(start[list(drawn)]) * np.mean(truth[best])
    assert float(metrics.best_of_n_value(truth, proxy, start, 3)) == pytest.approx(want, rel=1e-12)


# RewardMATH's setting: Gaussian scores of separation d: pairwise and one-versus-nine accuracy, by quadrature.
@pytest.mark.parametrize(
    ("d", "pair", "nine"), [(0.5, 0.638, 0.199), (1, 0.760, 0.341), (2, 0.921, 0.674), (3, 0.983, 0.902)]
)
def test_one_versus_nine(d, pair, nine):
    x = np.linspace(-9, 12, 4001)
    density = scipy.stats.norm.pdf(x - d)
    assert np.trapezoid(density * scipy.stats.norm.cdf(x), x) == pytest.approx(pair, abs=6e-4)
    assert np.trapezoid(density * scipy.stats.norm.cdf(x) ** 9, x) == pytest.approx(nine, abs=6e-4)
    rng = np.random.default_rng(0)
    chosen, rejected = d + rng.standard_normal(40_000), rng.standard_normal((40_000, 9))
    assert float(metrics.accuracy(chosen, rejected, one_vs_many=True)) == pytest.approx(nine, abs=0.01)
    assert float(metrics.accuracy(chosen[:, None], rejected[:, :1])) == pytest.approx(pair, abs=0.01)


def test_reward_variance_is_unbiased_and_scale_free():
    rng = np.random.default_rng(0)
    policy, scores = rng.dirichlet(np.ones(4), 3), rng.normal(size=(3, 4))
    exact = float(metrics.reward_variance(scores, policy))
    squares = [np.dot(p, r**2) - np.dot(p, r) ** 2 for p, r in zip(policy, scores, strict=True)]
    assert exact == pytest.approx(np.mean(squares), rel=1e-12)
    seen = np.take_along_axis(scores, draw(policy, 60_000, rng), axis=1).reshape(3, -1, 3)
    mean = np.mean([float(metrics.reward_variance(seen[:, i])) for i in range(0, 20_000, 4)])
    assert mean == pytest.approx(exact, rel=0.02)
    one = float(metrics.reward_variance(scores, standardize=True))
    assert float(metrics.reward_variance(7 * scores + 3, standardize=True)) == pytest.approx(one, rel=1e-12)


def test_sampled_metrics_lie_around_the_exact_ones():
    """Pairs drawn evenly and not tied: in expectation the exact accuracy of a problem of one prompt."""
    prompts = 4000
    problem = pgdyn.Problem.tabular([POLICY] * prompts, [TRUTH] * prompts, [[1, -0.95, -0.9, -0.8, -1]] * prompts)
    found = metrics.sampled(problem, 0, samples=2)
    assert found["accuracy"] == pytest.approx(5 / 7, abs=0.03)
    proxy = np.array([1, -0.95, -0.9, -0.8, -1])
    assert found["reward_variance"] == pytest.approx(np.dot(POLICY, (proxy - np.dot(POLICY, proxy)) ** 2), rel=0.1)
    # Few samples blur V_P: that is sampling error of the harm-aware metric.
    blurred = [metrics.sampled(problem, seed, samples=n)["harm_aware_accuracy"] for seed, n in ((1, 1), (1, 400))]
    assert abs(blurred[1] - 6 / 7) < 0.03 < abs(blurred[0] - 6 / 7)


def test_win_rate_and_pairwise_accuracy_by_loops():
    rng = np.random.default_rng(1)
    pi, start = rng.dirichlet(np.ones(4), (2, 3))
    reward, proxy = rng.integers(0, 3, (2, 3, 4)).astype(float)
    beats = lambda a, b: (a > b) + 0.5 * (a == b)  # noqa: E731
    want = [
        sum(pi[p, i] * start[p, j] * beats(reward[p, i], reward[p, j]) for i in range(4) for j in range(4))
        for p in range(3)
    ]
    assert float(metrics.win_rate(pi, start, reward)) == pytest.approx(np.mean(want), rel=1e-12)
    full = np.array([[[beats(a, b) for b in row] for a in row] for row in reward])
    assert float(metrics.win_rate(pi, start, full)) == pytest.approx(np.mean(want), rel=1e-12)
    alike = [
        np.sign(reward[p, i] - reward[p, j]) == np.sign(proxy[p, i] - proxy[p, j])
        for p in range(3)
        for i, j in itertools.combinations(range(4), 2)
    ]
    assert float(metrics.pairwise_accuracy(reward, proxy)) == pytest.approx(np.mean(alike), rel=1e-12)


def test_consistency_of_a_reward_that_ignores_the_instruction():
    """1/2; 0 with strict comparisons, 1 without."""
    scores = np.tile(np.random.default_rng(0).normal(size=5), (3, 5, 1))
    assert float(metrics.response_consistency(scores)) == 0.5
    assert float(metrics.instruction_consistency(scores)) == 0.0
    assert float(metrics.instruction_consistency(scores, strict=False)) == 1.0


# EPIC by hand on the plateau problem.
@pytest.mark.parametrize(
    ("proxy", "uniform", "initial"), [([1, -1, -1, -1, -1], 0.4095, 0.6110), ([0.2, 0.8, -1, -1, -1], 0.1596, 0.0965)]
)
def test_epic_of_the_plateau_problem(proxy, uniform, initial):
    problem = pgdyn.Problem.tabular(POLICY, TRUTH, proxy)
    assert distance.epic(problem) == pytest.approx(uniform, abs=5e-5)
    assert distance.epic(TRUTH, proxy, policy=POLICY) == pytest.approx(initial, abs=5e-5)
    half = distance.starc(TRUTH, proxy, canonical="value", norm="weighted", policy=POLICY) / 2
    assert half == pytest.approx(initial, abs=5e-5)


def test_epic_of_the_published_program():
    """Oracle: values of the tabular program of Gleave et al. (HumanCompatibleAI/evaluating-rewards), 20 random cases of
    rewards on (s, a, s')."""
    for case in json.loads(pathlib.Path(__file__).with_name("epic_cases.json").read_text()):
        true = np.array(case["true_reward"])
        states, actions, _ = true.shape
        dynamics = distance.Dynamics(np.full((states, actions, states), 1 / states), case["discount"])
        found = distance.epic(true, case["proxy_reward"], policy=case["policy"], dynamics=dynamics)
        assert found == pytest.approx(case["epic"], abs=1e-9)


def test_opposite_rewards():
    rng = np.random.default_rng(0)
    reward = rng.normal(size=6)
    assert distance.epic(reward, -reward) == pytest.approx(1, rel=1e-12)
    assert distance.starc(reward, -reward) == pytest.approx(2, rel=1e-12)
    assert distance.epic(reward, np.zeros(6)) == pytest.approx(0.5) and distance.starc(reward, np.zeros(6)) == 1.0
    assert distance.epic(reward, 3 * reward + 2) == pytest.approx(0, abs=1e-12)


def test_regret_of_random_bandits_lies_between_its_bounds():
    """L d <= regret <= U d with L = 1 / sqrt(2 K), U = sqrt(K / 2); both are nearly met. Oracle: linear programmes."""
    rng = np.random.default_rng(0)
    lower, upper = np.inf, 0.0
    for i in range(600):
        outputs = int(rng.integers(2, 7))
        truth, proxy = rng.normal(size=(2, outputs))
        if i % 3 == 0:
            proxy = truth + 0.1 * proxy
        d, regret = distance.starc(truth, proxy), distance.worst_case_regret(truth, proxy)
        assert d / np.sqrt(2 * outputs) - 1e-9 <= regret <= np.sqrt(outputs / 2) * d + 1e-9
        if d > 1e-9:
            lower, upper = min(lower, regret / d * np.sqrt(2 * outputs)), max(upper, regret / d / np.sqrt(outputs / 2))
        if i < 15:
            even = {
                "A_eq": np.kron(np.eye(2), np.ones(outputs)),
                "b_eq": [1, 1],
                "A_ub": [np.r_[proxy, -proxy]],
                "b_ub": [0],
            }
            best = scipy.optimize.linprog(-np.r_[truth, -truth], bounds=(0, 1), **even)
            assert regret == pytest.approx(-best.fun / np.ptp(truth), abs=1e-8)
    assert lower < 1.5 and upper > 0.7


def test_forecast_is_the_flow():
    """Oracle: SciPy's flow of the softmax policy, to the forecast's own accuracy; KL is met; padding changes
    nothing."""
    rng = np.random.default_rng(0)
    start, score, truth = rng.dirichlet(np.ones(5)), rng.normal(size=5), rng.normal(size=5)

    def slope(_, z):
        pi = np.exp(z - z.max()) / np.exp(z - z.max()).sum()
        return pi * (score - pi @ score)

    end = scipy.integrate.solve_ivp(slope, (0, 9.0), np.log(start), rtol=1e-10, atol=1e-12).y[:, -1]
    want = np.exp(end) / np.exp(end).sum()
    rows = np.array([0, 1, 0, 0, 0, 0, 1])  # a second prompt of two responses in between
    scores, true = np.r_[score[:1], 1.0, score[1:], 0.0], np.r_[truth[:1], 1.0, truth[1:], 0.0]
    initial = np.r_[start[:1], 0.5, start[1:], 0.5]
    found = metrics.forecast(rows, scores, true, initial=initial, kl=None, time=9.0)
    np.testing.assert_allclose(found.probability[rows == 0], want, atol=2e-3)
    assert found.true_value[0] == pytest.approx(want @ truth, abs=2e-3)
    assert found.kl[0] == pytest.approx(want @ np.log(want / start), abs=4e-3)
    assert scores[found.leader[1]] == 1.0
    met = metrics.forecast(rows, scores, true, initial=initial, kl=0.3)
    assert met.kl.mean() == pytest.approx(0.3, abs=1e-5) and met.reached
    scaled = metrics.forecast(rows, 100 * scores, true, initial=initial, kl=0.3)
    np.testing.assert_allclose(scaled.probability, met.probability, atol=1e-5)  # matched KL does not see the scale
    assert not metrics.forecast(rows, scores, kl=50.0).reached
    extreme = metrics.forecast(np.repeat([0, 1], 40), np.r_[1e6 * rng.normal(size=40), np.ones(40)], kl=1.0)
    assert np.all(np.isfinite(extreme.probability)) and extreme.kl.mean() == pytest.approx(1.0, abs=1e-4)
    assert extreme.kl[1] == pytest.approx(0, abs=1e-9)
    for settings, words in (
        ({"kl": None}, "not neither"),
        ({"kl": -1.0}, "positive"),
        ({"held_out": True}, "at least four"),
    ):
        with pytest.raises(ValueError, match=words):
            metrics.forecast(np.zeros(3, int), [1.0, 0.0, 2.0], **settings)


def test_held_out_forecasts_do_not_flatter():
    """Proxies that are noise gain nothing on held-out responses, and those that are the truth nearly as much as in
    sample."""
    rng = np.random.default_rng(0)
    rows = np.repeat(np.arange(300), 12)
    truth = rng.normal(size=len(rows))
    noise = metrics.forecast(rows, rng.normal(size=len(rows)), truth, held_out=True)
    assert abs(noise.true_gain.mean()) < 4 * noise.true_gain.std() / np.sqrt(300)
    whole, half = (metrics.forecast(rows, truth, truth, held_out=way).true_gain.mean() for way in (False, True))
    assert 0.5 * whole < half < whole


@pytest.fixture
def chain():
    """A random decision process: transitions [5, 3, 5], a reward on (s, a, s'), a potential."""
    rng = np.random.default_rng(3)
    follow = rng.dirichlet(np.ones(5), (5, 3))
    return rng, distance.Dynamics(follow, 0.9), rng.normal(size=(5, 3, 5)), rng.normal(size=5)


def test_distances_do_not_see_shaping_and_scale(chain):
    rng, dynamics, reward, potential = chain
    shaped = 3 * (reward + dynamics.discount * potential - potential[:, None, None])
    for measure in (distance.epic, distance.dard):
        assert measure(reward, shaped, dynamics=dynamics) == pytest.approx(0, abs=1e-9)
        assert measure(reward, rng.normal(size=reward.shape), dynamics=dynamics) > 0.1
    # What is taken from one next state and given to another in the same expectation: STARC alone does not see it.
    moved = rng.normal(size=reward.shape)
    moved -= np.sum(dynamics.transitions * moved, axis=2, keepdims=True)
    for form in ("value", "minimal"):
        assert distance.starc(reward, shaped + moved, canonical=form, dynamics=dynamics) == pytest.approx(0, abs=1e-9)
    assert distance.epic(reward, shaped + moved, dynamics=dynamics) > 0.1
    assert distance.worst_case_regret(reward, shaped + moved, dynamics=dynamics) == pytest.approx(0, abs=1e-6)
    assert distance.worst_case_regret(reward, -reward, dynamics=dynamics) == pytest.approx(1, abs=1e-9)


def test_canonical_rewards_by_loops(chain):
    """EPIC and DARD term by term, over every state, action and next state."""
    _, dynamics, reward, _ = chain
    other = np.random.default_rng(5).normal(size=reward.shape)
    follow, g = dynamics.transitions, dynamics.discount
    states, actions = range(5), range(3)

    def epic(r, s, a, t):
        mean = np.mean([g * r[t, b, u] - r[s, b, u] - g * r[v, b, u] for b in actions for u in states for v in states])
        return r[s, a, t] + mean

    def dard(r, s, a, t):
        total = 0.0
        for b, u, v in itertools.product(actions, states, states):  # u follows s, v follows t
            total += follow[s, b, u] * follow[t, b, v] * (g * r[t, b, v] - r[s, b, u] - g * r[u, b, v]) / 3
        return r[s, a, t] + total

    for canonical, weight, found in (
        (epic, np.full(reward.shape, 1 / 75), distance.epic(reward, other, dynamics=dynamics)),
        (dard, follow / 15, distance.dard(reward, other, dynamics=dynamics)),
    ):
        one, two = (
            np.array([[[canonical(r, s, a, t) for t in states] for a in actions] for s in states])
            for r in (reward, other)
        )
        cov = np.cov(one.ravel(), two.ravel(), aweights=weight.ravel())
        want = np.sqrt((1 - cov[0, 1] / np.sqrt(cov[0, 0] * cov[1, 1])) / 2)
        assert found == pytest.approx(want, rel=1e-9)


def test_regret_of_a_process_by_enumeration(chain):
    """Oracle: pairs of deterministic policies, and mixtures of two along the proxy's level."""
    rng, dynamics, _, _ = chain
    follow = rng.dirichlet(np.ones(3), (3, 2))
    process = distance.Dynamics(follow, 0.8)
    truth, proxy = rng.normal(size=(2, 3, 2))
    points = []
    for plan in itertools.product(range(2), repeat=3):
        rows = np.arange(3)
        flow = np.linalg.inv(np.eye(3) - 0.8 * follow[rows, plan])
        points.append([np.mean(flow @ reward[rows, plan]) for reward in (truth, proxy)])
    gaps = np.array([[a - b for a, b in zip(p, q, strict=True)] for p in points for q in points])
    # max of x over the hull of the differences with y <= 0: a vertex, or a crossing of a segment between two.
    best = gaps[gaps[:, 1] <= 0, 0].max()
    for (x, y), (u, v) in itertools.product(gaps[gaps[:, 1] > 0], gaps[gaps[:, 1] <= 0]):
        best = max(best, (x * -v + u * y) / (y - v))
    want = best / np.ptp(np.array(points)[:, 0])
    assert distance.worst_case_regret(truth, proxy, dynamics=process) == pytest.approx(want, abs=1e-5)


@pytest.mark.parametrize(
    ("sentence", "call"),
    [
        ("proxy_reward is missing", lambda: distance.epic([1.0, 0.0])),
        ("proxy_reward has shape (1, 3) but true_reward (1, 2)", lambda: distance.epic([1.0, 0.0], [1.0, 0, 0])),
        ("canonical is 'x'", lambda: distance.starc([1.0, 0.0], [1.0, 0.0], canonical="x")),
        ("sums to 2", lambda: metrics.win_rate([1.0, 1.0], [0.5, 0.5], [1.0, 0.0])),
        ("at least two", lambda: metrics.reward_variance([[1.0]])),
        ("all scores are equal", lambda: metrics.reward_variance([[1.0, 1.0]], standardize=True)),
        ("n at least 2", lambda: metrics.response_consistency([[1.0]])),
        ("orders no two outputs", lambda: metrics.exact(pgdyn.Problem.tabular([0.5, 0.5], [1.0, 1.0]))),
    ],
)
def test_refusals(sentence, call):
    with pytest.raises(ValueError) as caught:
        call()
    assert sentence in str(caught.value)


def test_metrics_of_a_sequence_are_those_of_its_whole_outputs():
    """Oracle: the one-step problem of the whole outputs."""
    rng = np.random.default_rng(0)
    problem = pgdyn.mdp.tree(2, 2, rng.normal(size=4), rng.normal(size=4), initial_policy=rng.dirichlet(np.ones(4)))
    whole = pgdyn.mdp.leaves(problem).as_problem()
    assert metrics.exact(problem) == pytest.approx(metrics.exact(whole), rel=1e-9)
    with pytest.raises(ValueError, match="as_problem"):
        metrics.sampled(problem)
    assert distance.worst_case_regret(problem) == pytest.approx(distance.worst_case_regret(whole), abs=1e-6)


def test_distances_of_a_sequence():
    """Shaping by a potential changes no distance of sequences, and opposite rewards are as far as can be."""
    problem = pgdyn.mdp.random_mdp(0, states=2, actions=2, horizon=2)
    truth = np.asarray(problem.true_reward)
    potential = np.random.default_rng(1).normal(size=4)
    shaped = problem.with_proxy(truth + np.asarray(pgdyn.mdp.rewards.potential_shaping(problem, potential)))
    for form in ("value", "minimal"):
        assert distance.starc(shaped, canonical=form) == pytest.approx(0, abs=1e-9)
    assert distance.worst_case_regret(shaped) == pytest.approx(0, abs=1e-6)
    opposite = problem.with_proxy(-truth)
    assert [distance.epic(opposite), distance.dard(opposite)] == pytest.approx([1, 1])
    assert distance.starc(opposite) == pytest.approx(2) and distance.worst_case_regret(opposite) == pytest.approx(1)
    with pytest.raises(ValueError, match="episodes need not end"):
        distance.epic([[1.0], [0.0]], [[0.0], [1.0]], dynamics=distance.Dynamics(np.full((2, 1, 2), 0.5), 1.0))
