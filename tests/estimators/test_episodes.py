"""Estimators on sequences. Oracles: NumPy sums over every group of episodes, finite differences, the one-step case.

The one problem of most tests has chance on its transitions, early ends, a temperature, and two starts with different
numbers of episodes.
"""

import itertools

import group_oracles as oracles
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sequence_oracle
from scipy.integrate import solve_ivp
from scipy.special import log_softmax

import pgdyn
from pgdyn import estimators as e
from pgdyn.estimators import episode_sample
from pgdyn.estimators.episodes import roll_out

RNG = np.random.default_rng(0)
REWARD = RNG.normal(size=(3, 2))
START = RNG.normal(size=(3, 2))
TREE = pgdyn.mdp.tree(2, 2, [0.0, 0.5, -0.3, 1.0]).with_proxy(REWARD)  # rewards on every decision
AT = jnp.asarray(START)
WAYS = [((0, a), (1 + a, b)) for a in range(2) for b in range(2)]  # (point, action) of both decisions

CHANCE = np.zeros((4, 2, 4))
CHANCE[0, 0, 2:] = [0.3, 0.5]  # else the end
CHANCE[0, 1, 3] = 1.0
CHANCE[1, 0, 3] = 0.6
PAID = np.array([[0.5, -0.2], [0.0, 1.0], [1.0, -1.0], [0.3, 0.9]])
Z = RNG.normal(size=(4, 2))
WEIGHTS, TEMPERATURE = np.array([0.7, 0.3, 0.0, 0.0]), 0.8
CHANCY = pgdyn.Problem.tabular(
    np.full((4, 2), 0.5), PAID, transitions=CHANCE, prompt_weights=WEIGHTS, temperature=TEMPERATURE
)
THERE = jnp.asarray(TEMPERATURE * Z)


def by_start(transitions, weights, z, reward):
    """For every start its weight and ways, their probabilities and returns."""
    logs = log_softmax(z, axis=1)
    found = []
    for start in np.nonzero(weights)[0]:
        alone = (np.arange(len(z)) == start).astype(float)
        ways = sequence_oracle.episodes(transitions, alone)
        pi = np.array([odds * np.exp(sum(logs[s, y] for s, y in way)) for odds, way in ways])
        table = np.array([sum(reward[s, y] for s, y in way) for _, way in ways])
        found.append((weights[start], [way for _, way in ways], pi, table))
    return found


def scores(way, pi):
    """grad log pi of an episode in the logits, [P, K]."""
    total = np.zeros_like(pi)
    for s, y in way:
        total[s] += (np.arange(pi.shape[1]) == y) - pi[s]
    return total


def by_groups(z, size, advantages, transitions=CHANCE, weights=WEIGHTS, reward=PAID, temperature=TEMPERATURE):
    """E[ghat] in the parameters, start by start, group by group, episode by episode."""
    pi = np.exp(log_softmax(z, axis=1))
    total = np.zeros_like(z)
    for weight, ways, chances, table in by_start(transitions, weights, z, reward):
        assert chances.sum() == pytest.approx(1, abs=1e-12)
        for group, chance in oracles.enumerate_groups(chances, size):
            for m, a in zip(group, advantages(group, table[group], chances, table), strict=True):
                total += weight * chance / size * a * scores(ways[m], pi) / temperature
    return total


GROUPED = e.compose(e.GRPO(2, 0, 0.1), e.Unlikeliness(0.25, filter=None))


def unlikely_by_hand(group, r, chances, table):
    """Ranks are those of what the policy says of an episode; chance does not count."""
    ways, logs = by_start(CHANCE, WEIGHTS, Z, PAID), log_softmax(Z, axis=1)
    own = next(ways for _, ways, pi, _ in ways if len(pi) == len(chances))
    said = np.array([np.exp(sum(logs[s, y] for s, y in own[m])) for m in range(len(own))])
    return oracles.unlikeliness(0.25, "paper", True, oracles.grpo(0, 0.1))(group, r, said, table)


def robust_by_hand(group, r, chances, table):
    """The bonus goes to the episode of the largest r - 8 p."""
    best = int(np.argmax(table - 8 * chances))
    return oracles.rloo(group, r + 8 * (group == best), chances, table)


@pytest.mark.parametrize(
    ("estimator", "definition"),
    [
        (e.GRPO(3, 0, 0.1), oracles.grpo(0, 0.1)),
        (e.BestOfN(3, 1), oracles.best_of_n(3)),
        (GROUPED, unlikely_by_hand),
        (e.compose(e.RLOO(2), e.RobustBonus(8.0, "policy")), robust_by_hand),
    ],
    ids=["of rewards", "of the policy", "of the group", "of all episodes"],
)
def test_expected_updates_are_sums_over_every_group_of_episodes(estimator, definition):
    expected = by_groups(Z, estimator.group_size, definition)
    np.testing.assert_allclose(e.expected_update(estimator, CHANCY, THERE), expected, rtol=0, atol=1e-12)


def test_the_expected_update_of_reinforce_is_the_gradient_of_the_value():
    """Oracles: complex steps of the sum over episodes; JAX's derivative of the objective, KL and entropy included."""
    objective = pgdyn.Objective(kl=0.3, entropy=0.2)
    found = e.expected_update(e.Reinforce(0.7), CHANCY, THERE, objective=objective)
    np.testing.assert_allclose(found, jax.grad(lambda at: objective.value(CHANCY, at))(THERE), rtol=0, atol=1e-13)
    ways = sequence_oracle.episodes(CHANCE, WEIGHTS)
    exact = sequence_oracle.gradient(Z, PAID, ways, np.zeros((4, 2)), 0.3, 0.2) / TEMPERATURE
    np.testing.assert_allclose(found, exact, rtol=0, atol=1e-13)


def test_outcomes_are_all_updates_with_and_without_reward_to_go():
    """The mean of both is the gradient, rewards-to-go have less variance here; one group by hand."""
    exact = np.asarray(pgdyn.Objective().gradient(TREE, AT))
    found = e.outcomes(e.RLOO(2), TREE, AT)
    to_go = e.outcomes(e.RLOO(2), TREE, AT, reward_to_go=True)
    spread = []
    for one in (found, to_go):
        assert float(one.probability.sum()) == pytest.approx(1, abs=1e-12)
        moves = np.asarray(one.params) - START
        np.testing.assert_allclose(one.mean(jnp.asarray(moves)), exact, rtol=0, atol=1e-12)
        spread.append(np.asarray(one.probability) @ ((moves - exact) ** 2).sum(axis=(1, 2)))
    assert spread[1] < spread[0]
    pi = np.exp(log_softmax(START, axis=1))
    returns = [sum(REWARD[s, a] for s, a in way) for way in WAYS]
    i = int(np.argmax((np.asarray(found.outputs)[:, 0] == [1, 2]).all(axis=1)))
    gap = returns[1] - returns[2]
    by_hand = gap / 2 * (scores(WAYS[1], pi) - scores(WAYS[2], pi))
    np.testing.assert_allclose(found.params[i] - AT, by_hand, rtol=0, atol=1e-13)
    later = by_hand.copy()
    for m in (1, 2):  # the second decisions lose what the first ones paid
        (s, a), (t, _) = WAYS[m]
        later[t] -= REWARD[s, a] / 2 * scores(WAYS[m], pi)[t]
    np.testing.assert_allclose(to_go.params[i] - AT, later, rtol=0, atol=1e-13)
    rises = e.uplift_rate(found)[0]
    assert rises.shape == (4,) and rises[int(np.argmax(returns))] > 0.5 > rises[int(np.argmin(returns))]


def by_hand(group, level, rate, epochs):
    """Logits [3, 2] after all epochs of a clipped surrogate on centred returns, decision by decision."""
    z, old = START.copy(), log_softmax(START, axis=1)
    returns = np.array([sum(REWARD[s, a] for s, a in way) for way in group])
    for _ in range(epochs):
        logs, step = log_softmax(z, axis=1), np.zeros_like(z)
        for way, advantage in zip(group, returns - returns.mean(), strict=True):
            ratios = [np.exp(logs[s, a] - old[s, a]) for s, a in way]
            for t, (s, a) in enumerate(way):
                ratio = ratios[t] if level == "token" else np.prod(ratios)
                kept = ratio * advantage <= np.clip(ratio, 0.8, 1.2) * advantage
                step[s] += ratio * advantage * kept * ((np.arange(2) == a) - np.exp(logs[s])) / len(group)
        z = z + rate * step
    return z


def test_ratios_of_sequences_and_of_tokens():
    """Three epochs at a rate so large that clips are in force."""
    logs = log_softmax(START, axis=1)
    found = {}
    for level in ("sequence", "token"):
        surrogate = e.Surrogate(epochs=3, level=level)
        one = e.outcomes(e.compose(e.Centred(2), surrogate), TREE, AT, learning_rate=1.5)
        for group, weight, after in zip(itertools.product(WAYS, repeat=2), one.probability, one.params, strict=True):
            np.testing.assert_allclose(after, by_hand(group, level, 1.5, 3), rtol=0, atol=1e-12)
            assert float(weight) == pytest.approx(np.exp(sum(logs[s, a] for way in group for s, a in way)))
        found[level] = one.params
    assert np.abs(found["sequence"] - found["token"]).max() > 0.01


def test_a_kl_in_the_loss_counts_tokens_or_sequences():
    """k3 towards the start: of sequences grad KL(ref || pi) of episodes, of tokens that of decisions, as visited."""
    pi, ref = (np.exp(log_softmax(z, axis=1)) for z in (START, np.zeros((3, 2))))
    both = {}
    for level in ("sequence", "token"):
        parts = (e.KLPenalty("k3", "loss", 0.5), e.Surrogate(level=level))
        unpaid = TREE.with_proxy(np.zeros((3, 2)))
        both[level] = np.asarray(e.expected_update(e.compose(e.Reinforce(), *parts), unpaid, AT))
    visits = {kind: np.array([1.0, *chances[0]]) for kind, chances in (("pi", pi), ("ref", ref))}
    np.testing.assert_allclose(both["sequence"], 0.5 * visits["ref"][:, None] * (ref - pi), rtol=0, atol=1e-12)
    np.testing.assert_allclose(both["token"], 0.5 * visits["pi"][:, None] * (ref - pi), rtol=0, atol=1e-12)


# ---------------------------------------------------------------- what a simulator knows of whole episodes


def test_the_optimal_and_the_greedy_baseline_are_those_of_whole_episodes():
    """Oracles: sums over episodes with the squared norm of the whole score; rewards along the likeliest actions."""
    features = RNG.normal(size=(4, 2, 3))  # shared by all decisions, so that scores of an episode are not orthogonal
    shared = pgdyn.Problem.linear(
        features,
        PAID,
        transitions=CHANCE,
        prompt_weights=WEIGHTS,
        temperature=TEMPERATURE,
        initial_params=np.array([0.5, -1.0, 0.3]),
    )
    for problem, at in ((CHANCY, THERE), (shared, shared.initial_params)):
        logs = pgdyn.policy.log_policy(problem, at)
        pi, phi = np.exp(np.asarray(logs)), None if problem is CHANCY else features
        seen = episode_sample.optimal_baselines(problem, logs, problem.proxy_reward, at)
        for start, (_, ways, chances, table) in enumerate(by_start(CHANCE, WEIGHTS, np.log(pi), PAID)):
            own = [scores(way, pi) / TEMPERATURE for way in ways]
            own = [g.ravel() if phi is None else np.tensordot(phi, g, ((0, 1), (0, 1))) for g in own]
            weight = chances * [g @ g for g in own]
            assert float(seen[start]) == pytest.approx(weight @ table / weight.sum(), rel=1e-12)
    likeliest = np.argmax(Z, axis=1)
    value = np.zeros(4)
    for s in reversed(range(4)):
        value[s] = PAID[s, likeliest[s]] + CHANCE[s, likeliest[s]] @ value
    logs = jnp.asarray(log_softmax(Z, axis=1))
    np.testing.assert_allclose(episode_sample.greedy_values(CHANCY, logs, CHANCY.proxy_reward), value, rtol=1e-14)


def test_no_constant_baseline_has_less_variance_than_the_optimal_one():
    """One start, where it is one number; all baselines have the same mean."""
    exact = pgdyn.Objective().gradient(TREE, AT)
    logs = pgdyn.policy.log_policy(TREE, AT)
    best = float(episode_sample.optimal_baselines(TREE, logs, TREE.proxy_reward)[0])
    chances = np.exp([sum(float(logs[s, a]) for s, a in way) for way in WAYS])
    spread = {}
    for baseline in ("optimal", "greedy", best - 0.05, best + 0.05):
        found = e.diagnose(e.Reinforce(baseline), TREE, AT)
        np.testing.assert_allclose(found.mean, exact, rtol=0, atol=1e-13)
        spread[baseline] = float(found.gradient_variance)
        assert float(found.entropy) == pytest.approx(-chances @ np.log(chances), rel=1e-12)
    assert spread["optimal"] < min(spread["greedy"], spread[best - 0.05], spread[best + 0.05])


def test_best_of_n_climbs_the_best_of_n_whole_outputs():
    """Oracle: central differences of the expected best of three returns, over every sequence of draws."""

    def value(z):
        return sum(w * oracles.expected_best(pi, table, 3) for w, _, pi, table in by_start(CHANCE, WEIGHTS, z, PAID))

    found = np.asarray(e.expected_update(e.BestOfN(3, 1), CHANCY, THERE)) * TEMPERATURE
    for index in ((0, 1), (2, 0), (3, 1)):
        step = 1e-5 * (np.arange(8).reshape(4, 2) == np.ravel_multi_index(index, (4, 2)))
        assert found[index] == pytest.approx((value(Z + step) - value(Z - step)) / 2e-5, abs=1e-9)


# ---------------------------------------------------------------- runs


def test_runs_follow_their_mean_on_average():
    """Drawn episodes against enumerated ones, within five standard errors: moments, and the way of a run."""
    estimator = e.compose(e.GRPO(2, 0, 0.1), e.NoisyVerifier(0.8, 0.3))
    coins = pgdyn.Problem.tabular(
        np.exp(log_softmax(Z, axis=1)), [[0, 0], [0, 0], [0, 0], [1.0, 0]], transitions=CHANCE, prompt_weights=WEIGHTS
    )
    exact = e.diagnose(estimator, coins)
    drawn = e.diagnose(estimator, coins, key=0, samples=4000)
    error = np.sqrt(float(exact.gradient_variance) / 4000)
    np.testing.assert_allclose(drawn.mean, exact.mean, rtol=0, atol=5 * error)
    assert float(drawn.gradient_variance) == pytest.approx(float(exact.gradient_variance), rel=0.15)
    assert float(drawn.zero_variance) == pytest.approx(float(exact.zero_variance), abs=0.04)
    run = pgdyn.ascend_sampled(coins, 4000, 1, estimator=estimator, learning_rate=1e-6, save_every=4000)
    moved = (run.params[-1] - run.params[0]) / 1e-6 / 4000
    np.testing.assert_allclose(moved, exact.mean, rtol=0, atol=5 * error)
    np.testing.assert_allclose(e.expected_update(estimator, coins), exact.mean, rtol=0, atol=1e-12)


def test_episodes_that_begin_where_others_lead_to():
    """Starts are drawn by their weights; the mean update is the enumerated one, within five standard errors."""
    paid = np.array([[0.5, -1.0], [1.0, 0.0]])
    weights, reach = np.array([0.6, 0.4]), np.zeros((2, 2, 2))
    reach[0, 0, 1] = 1
    problem = pgdyn.Problem.tabular([[0.5, 0.5], [0.3, 0.7]], paid, transitions=reach, prompt_weights=weights)
    z = np.asarray(problem.initial_params)
    expected = by_groups(z, 1, oracles.best_of_n(3), reach, weights, paid, 1.0)
    np.testing.assert_allclose(e.expected_update(e.BestOfN(3), problem), expected, rtol=0, atol=1e-12)
    run = pgdyn.ascend_sampled(problem, 4000, 1, estimator=e.BestOfN(3), learning_rate=1e-6, prompts=2)
    moves = np.diff(np.asarray(run.params), axis=0) / 1e-6
    error = moves.std(axis=0) / np.sqrt(len(moves))
    assert (np.abs(moves.mean(axis=0) - expected) < 5 * error).all()


def test_one_decision_is_the_one_step_problem():
    """The same uniform numbers give the same run; the same groups the same expectations."""
    bandit = pgdyn.Problem.tabular([[0.2, 0.3, 0.5]], [[1.0, 0.0, 0.5]])
    sequence = pgdyn.mdp.tree(3, 1, [1.0, 0.0, 0.5], initial_policy=[[0.2, 0.3, 0.5]])
    estimator = e.compose(e.GRPO(4), e.KLPenalty("k3", "loss", 0.1), e.Surrogate(epochs=2, level="token"))
    runs = [pgdyn.ascend_sampled(one, 60, 1, estimator=estimator, save_every=60) for one in (bandit, sequence)]
    np.testing.assert_allclose(runs[1].params, runs[0].params, rtol=0, atol=1e-12)
    for one in (e.Reinforce("optimal"), e.compose(e.GRPO(3), e.RobustBonus(0.7, "policy"))):
        first, second = (e.diagnose(one, problem) for problem in (bandit, sequence))
        for name in ("mean", "gradient_variance", "entropy_change", "zero_variance"):
            np.testing.assert_allclose(getattr(second, name), getattr(first, name), rtol=0, atol=1e-13, err_msg=name)


def test_a_mean_field_of_episodes_flows():
    """Oracle: SciPy along the sum over every group of episodes; `flow_many` computes it for lanes."""
    estimator = e.GRPO(2, 0, 0.1)
    field = e.mean_field(estimator, TREE)
    reach = sequence_oracle.dense(TREE.transitions)

    def velocity(t, z):
        given = (reach, np.array([1.0, 0, 0]), REWARD, 1.0)
        return by_groups(z.reshape(3, 2), 2, oracles.grpo(0, 0.1), *given).ravel()

    start = np.asarray(TREE.initial_params)
    path = solve_ivp(velocity, (0, 3), start.ravel(), rtol=1e-8, atol=1e-10)
    found = pgdyn.flow(TREE, 3.0, objective=field, saves=2)
    np.testing.assert_allclose(found.params[-1].ravel(), path.y[:, -1], rtol=0, atol=1e-6)
    many = pgdyn.flow_many(pgdyn.stack([TREE, TREE]), 3.0, objective=field)
    np.testing.assert_allclose(many.params, np.stack([found.params[-1]] * 2), rtol=0, atol=1e-5)


def test_episodes_are_drawn_with_their_probabilities():
    """Chance on transitions and an early end; oracle: frequencies, within five standard errors."""
    logs = np.log(np.array([[0.7, 0.3], [0.5, 0.5], [0.5, 0.5], [0.5, 0.5]]))
    uniforms = jax.random.uniform(jax.random.key(0), (1, 20_000, 2, 2))
    way = roll_out(CHANCY, jnp.asarray(logs), jnp.zeros(1, int), uniforms)
    second = np.where(way.present[0, :, 1], way.points[0, :, 1], -1)
    for point, expected in ((-1, 0.7 * 0.2), (3, 0.7 * 0.5 + 0.3), (2, 0.7 * 0.3)):
        assert np.mean(second == point) == pytest.approx(expected, abs=5 * np.sqrt(expected / 20_000))


# ---------------------------------------------------------------- sentences

LONG = pgdyn.mdp.tree(2, 15, lambda tokens: float(sum(tokens) == 15))
SHIFTED = pgdyn.Problem.tabular(
    np.full((2, 2), 0.5), np.zeros((2, 2)), transitions=[[1, -1], [-1, -1]], prompt_weights=[0.5, 0.5]
)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (
            lambda: e.outcomes(e.RLOO(11), TREE),
            "4 outcomes of a sample and 11 samples make more than 1048576 groups to enumerate; take fewer outputs or a "
            "smaller group",
        ),
        (
            lambda: e.expected_update(e.RLOO(2), LONG),
            "the problem has 32768 episodes, more than the 16384 that are enumerated at most",
        ),
        (
            lambda: e.outcomes(e.RLOO(2), SHIFTED),
            "episodes may begin at decision points that others lead to; their groups are not visited at every update, "
            "and are not enumerated",
        ),
        (
            lambda: pgdyn.ascend_sampled(LONG, 1, 0, estimator=e.BestOfN(4)),
            "BestOfN needs reward_table, the table of every output, which this sample does not have; of sequences it "
            "is there for at most 4096 episodes",
        ),
    ],
)
def test_too_many_groups_are_refused_in_one_sentence(call, sentence):
    with pytest.raises(ValueError) as refusal:
        call()
    assert str(refusal.value) == sentence
