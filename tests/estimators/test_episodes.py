"""Estimators on sequences. Oracles: every group of episodes with its probability, NumPy loops, the one-step case."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import log_softmax

import pgdyn
from pgdyn import estimators as e
from pgdyn.dynamics.optimizer import trace
from pgdyn.estimators.episodes import Episodes, roll_out
from pgdyn.estimators.step import Draws, update

RNG = np.random.default_rng(0)
REWARD = RNG.normal(size=(3, 2))
START = RNG.normal(size=(3, 2))
TREE = pgdyn.mdp.tree(2, 2, [0.0, 0.5, -0.3, 1.0])
TREE = TREE.with_proxy(REWARD)  # rewards on every decision
AT = jnp.asarray(START)
WAYS = [((0, a), (1 + a, b)) for a in range(2) for b in range(2)]  # (point, action) of both decisions


def episodes(group):
    points = [[[s for s, _ in way] for way in group]]
    actions = [[[a for _, a in way] for way in group]]
    return Episodes(jnp.asarray(points), jnp.asarray(actions), jnp.ones((1, len(group), 2), bool))


def every_update(estimator, to_go=False, rate=1.0):
    """(probability, change of the parameters) of every group of two episodes."""
    optimizer, objective = trace("sgd", rate, AT), pgdyn.Objective()
    reference = objective.reference_log_policy(TREE)
    logs = log_softmax(START, axis=1)
    groups = list(itertools.product(WAYS, repeat=2))
    batch = jax.tree.map(lambda *parts: jnp.stack(parts), *[episodes(group) for group in groups])

    def change(way):
        memory = optimizer.init(AT)
        return update(estimator, TREE, objective, optimizer, reference, AT, memory, Draws(way), to_go).params - AT

    chance = np.exp([sum(logs[s, a] for way in group for s, a in way) for group in groups])
    return chance, np.asarray(jax.jit(jax.vmap(change))(batch))


def test_expected_updates_are_the_gradient_with_and_without_reward_to_go():
    """RLOO over all 16 groups; rewards-to-go have less variance here."""
    exact = np.asarray(pgdyn.Objective().gradient(TREE, AT))
    spread = []
    for to_go in (False, True):
        chance, moves = every_update(e.RLOO(2), to_go)
        assert chance.sum() == pytest.approx(1, abs=1e-12)
        np.testing.assert_allclose(np.tensordot(chance, moves, 1), exact, rtol=0, atol=1e-12)
        spread.append(chance @ ((moves - exact) ** 2).sum(axis=(1, 2)))
    assert spread[1] < spread[0]


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
        chance, moves = every_update(e.compose(e.Centred(2), surrogate), rate=1.5)
        for group, weight, move in zip(itertools.product(WAYS, repeat=2), chance, moves, strict=True):
            np.testing.assert_allclose(START + move, by_hand(group, level, 1.5, 3), rtol=0, atol=1e-12)
            assert weight == pytest.approx(np.exp(sum(logs[s, a] for way in group for s, a in way)))
        found[level] = moves
    assert np.abs(found["sequence"] - found["token"]).max() > 0.01


def test_one_decision_is_the_one_step_problem():
    """The same uniform numbers give the same run."""
    bandit = pgdyn.Problem.tabular([[0.2, 0.3, 0.5]], [[1.0, 0.0, 0.5]])
    sequence = pgdyn.mdp.tree(3, 1, [1.0, 0.0, 0.5], initial_policy=[[0.2, 0.3, 0.5]])
    estimator = e.compose(e.GRPO(4), e.KLPenalty("k3", "loss", 0.1), e.Surrogate(epochs=2, level="token"))
    runs = [pgdyn.ascend_sampled(one, 60, 1, estimator=estimator, save_every=60) for one in (bandit, sequence)]
    np.testing.assert_allclose(runs[1].params, runs[0].params, rtol=0, atol=1e-12)


def test_episodes_are_drawn_with_their_probabilities():
    """Chance on transitions and an early end; oracle: frequencies, within five standard errors."""
    chance = np.zeros((3, 2, 3))
    chance[0, 0, 1:] = [0.3, 0.5]  # else the end
    chance[0, 1, 1] = 1.0
    problem = pgdyn.Problem.tabular(np.full((3, 2), 0.5), np.ones((3, 2)), transitions=chance, prompt_weights=[1, 0, 0])
    logs = np.log(np.array([[0.7, 0.3], [0.5, 0.5], [0.5, 0.5]]))
    uniforms = jax.random.uniform(jax.random.key(0), (1, 20_000, 2, 2))
    way = roll_out(problem, jnp.asarray(logs), jnp.zeros(1, int), uniforms)
    second = np.where(way.present[0, :, 1], way.points[0, :, 1], -1)
    for point, expected in ((-1, 0.7 * 0.2), (1, 0.7 * 0.3 + 0.3), (2, 0.7 * 0.5)):
        assert np.mean(second == point) == pytest.approx(expected, abs=5 * np.sqrt(expected / 20_000))


@pytest.mark.parametrize("call", [e.outcomes, e.expected_update, e.mean_field, e.diagnose])
def test_enumeration_takes_problems_of_one_step(call):
    with pytest.raises(ValueError, match=r"takes problems of one step; pgdyn\.mdp\.leaves gives"):
        call(e.RLOO(2), TREE)
