"""Constructors of sequences: the tables of known numbers, whole outputs, and refusals."""

import jax.numpy as jnp
import numpy as np
import pytest
import sequence_oracle as oracle

import pgdyn
from pgdyn import mdp


@pytest.mark.parametrize(
    ("length", "right", "sparse", "dense"),
    [
        (2, 0.5, 14.79, 20.86),
        (3, 0.1, 254.4, 86.17),
        (3, 0.02, 22184, 276.6),
        (5, 0.1, 13162, 213.5),
        (5, 0.02, 3.288e7, 745.0),
    ],
)
def test_sparse_against_dense_rewards(length, right, sparse, dense):
    last, each = np.eye(length)[-1], np.full(length, 1 / length)
    problem = mdp.chain(length, last, initial_policy=right)
    both = problem.with_proxy(np.stack([np.stack([pays, 0 * pays], axis=1) for pays in (last, each)]))
    times = pgdyn.flow_many(both, 1e9, target=0.9, rtol=1e-9, atol=1e-11).hitting_time
    np.testing.assert_allclose(times, [sparse, dense], rtol=6e-4)


def test_position_features_are_independent_tokens():
    """A dense reward that no prefix changes, with logits shared over prefixes, trains every token by itself."""
    truth = [1.0, *np.zeros(7)]
    each = mdp.tree(
        2, 3, truth, np.zeros(8), step_proxy_reward=lambda tokens: float(tokens[-1] == 0) / 3,
        initial_policy=[0.1, 0.9], features="position",
    )  # fmt: skip
    time = pgdyn.flow(each, 1e4, target=0.9, saves=2).hitting_time
    np.testing.assert_allclose(time, 71.83, rtol=6e-4)


@pytest.mark.parametrize(
    ("sound", "ends"),
    [(0.1, {5: 0.047, 6: 0.999}), (0.3, {2: 0.935})],
)
def test_critiques_and_labels(sound, ends):
    for labels, expected in ends.items():
        right = np.array([[0.9, *[0.1 / (labels - 1)] * (labels - 1)], [1 / labels] * labels])
        outcome = np.zeros((2, labels))
        outcome[:, 0] = 1.0
        problem = mdp.two_stage([sound, 1 - sound], right, outcome)
        end = pgdyn.flow_many(problem, 1e5).log_policy[0, 0, 0]
        np.testing.assert_allclose(np.exp(end), expected, atol=0.005)


def test_leaves_are_whole_outputs_in_lexicographic_order():
    rewards = np.arange(8.0)
    policy = np.random.default_rng(0).dirichlet(np.ones(8))
    problem = mdp.tree(2, 3, rewards, -rewards, initial_policy=policy)
    found = mdp.leaves(problem)
    np.testing.assert_allclose(np.exp(found.log_policy), policy, rtol=1e-12)
    np.testing.assert_allclose(found.true_return, rewards)
    np.testing.assert_allclose(found.proxy_return, -rewards)
    assert found.actions.tolist() == [[i >> 2, i >> 1 & 1, i & 1] for i in range(8)]
    one_step = found.as_problem()
    np.testing.assert_allclose(one_step.true_reward[0], rewards)
    jacobian = np.zeros((8, 7, 2))
    probabilities = np.exp(np.asarray(pgdyn.policy.log_policy(problem, problem.initial_params)))
    for leaf, (points, actions) in enumerate(zip(found.points, found.actions, strict=True)):
        for s, y in zip(points, actions, strict=True):
            jacobian[leaf, s] = np.eye(2)[y] - probabilities[s]
    flat = jacobian.reshape(8, -1)
    np.testing.assert_allclose(found.kernel(problem), flat @ flat.T, atol=1e-13)


@pytest.mark.parametrize("stochastic", [False, True])
def test_leaves_of_a_random_process(stochastic):
    problem = mdp.random_mdp(4, states=2, actions=2, horizon=3, stochastic=stochastic, ending=0.2)
    weights = np.asarray(problem.prompt_weights)
    ways = oracle.episodes(np.asarray(problem.transitions), weights)
    log, reward = oracle.log_policy(np.asarray(problem.initial_params)), np.asarray(problem.true_reward)
    expected = sorted(
        (odds * np.exp(sum(log[s, y] for s, y in way)), sum(reward[s, y] for s, y in way)) for odds, way in ways
    )
    found = mdp.leaves(problem)
    mass = np.exp(np.asarray(found.log_policy)) * weights[found.start]
    np.testing.assert_allclose(sorted(zip(mass, np.asarray(found.true_return), strict=True)), expected, atol=1e-12)


def test_rewards_of_steps_and_of_whole_outputs_add_up():
    both = mdp.tree(3, 2, lambda tokens: float(tokens == (2, 2)), step_true_reward=lambda tokens: 0.1 * tokens[-1])
    found = mdp.leaves(both)
    expected = [float((a, b) == (2, 2)) + 0.1 * (a + b) for a in range(3) for b in range(3)]
    np.testing.assert_allclose(found.true_return, expected, atol=1e-15)


def test_last_token_features_share_logits():
    problem = mdp.tree(2, 3, np.arange(8.0), features="last_token", initial_policy=[[0.3, 0.7], [0.6, 0.4], [0.6, 0.4]])
    params = jnp.arange(6.0)
    z = pgdyn.policy.logits(problem, params)
    rows = {prefix: z[i] for i, prefix in enumerate(mdp.prefixes(2, 3))}
    np.testing.assert_array_equal(rows[(0, 1)], rows[(1, 1)])
    np.testing.assert_array_equal(rows[(0,)], rows[(1, 0)])
    assert not np.array_equal(rows[(0,)], rows[(1,)])


@pytest.mark.parametrize("slip", [0.0, 0.3])
def test_gridworld_is_a_walk(slip):
    pays = np.array([[0.0, 1.0, 0.0], [2.0, 0.0, 5.0]])
    problem = mdp.gridworld(pays, horizon=4, slip=slip, start=(0, 1))
    # The value of the uniform policy by powers of the walk's matrix: slips do not change it, all moves being alike.
    cells = [(r, c) for r in range(2) for c in range(3)]
    walk = np.zeros((6, 6))
    for i, (r, c) in enumerate(cells):
        for down, right in ((-1, 0), (1, 0), (0, -1), (0, 1)):
            walk[i, cells.index((min(max(r + down, 0), 1), min(max(c + right, 0), 2)))] += 0.25
    at, expected = np.eye(6)[1], 0.0
    for _ in range(4):
        at = at @ walk
        expected += at @ pays.ravel()
    value = pgdyn.policy.value(problem, pgdyn.policy.log_policy(problem, problem.initial_params), problem.true_reward)
    np.testing.assert_allclose(value, expected, rtol=1e-13)


def test_gridworld_ends_at_terminal_cells():
    problem = mdp.gridworld([[0, 0, 1.0]], horizon=5, terminal=np.array([[False, False, True]]))
    found = mdp.leaves(problem)
    assert float(jnp.max(found.true_return)) == 1.0
    shared = mdp.gridworld([[0, 0, 1.0]], horizon=5, features="cell")
    assert shared.params_shape == (12,)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: mdp.tree(2, 3, np.zeros(7)), r"true_reward has shape \(7,\); it must be \(8,\)"),
        (lambda: mdp.tree(2, 0, [1.0]), "length is 0; it must be at least 1"),
        (lambda: mdp.tree(10, 9, lambda t: 0.0), "vocabulary.length is 1000000000"),
        (lambda: mdp.tree(2, 2, np.zeros(4), initial_policy=[1, 2, 3]), r"initial_policy has shape \(3,\)"),
        (lambda: mdp.tree(2, 2, np.zeros(4), features="suffix"), "features is 'suffix'"),
        (lambda: mdp.chain(3, [1.0, 2.0]), r"true_reward has shape \(2,\)"),
        (lambda: mdp.chain(3, [0, 0, 1], initial_policy=1.5), "initial_policy is 1.5"),
        (lambda: mdp.two_stage([0.5, 0.5], [[0.5, 0.5]] * 3, np.eye(2)), r"second_policy has shape \(3, 2\)"),
        (lambda: mdp.gridworld([[0, 1]], horizon=2, start=(0, 2)), r"start is \(0, 2\)"),
        (lambda: mdp.gridworld([0, 1], horizon=2), r"true_reward has shape \(2,\)"),
        (lambda: mdp.gridworld([[0, 1]], horizon=2, slip=1.0), "slip is 1"),
        (lambda: mdp.random_mdp(0, ending=1.0), "ending is 1"),
        (lambda: mdp.leaves(mdp.tree(3, 14, lambda t: 0.0)), "vocabulary.length"),
    ],
)
def test_refusals(make, sentence):
    with pytest.raises(ValueError, match=sentence):
        make()


@pytest.mark.parametrize("seed", range(20))
def test_every_point_of_a_random_process_is_reached(seed):
    for stochastic in (True, False):
        problem = mdp.random_mdp(seed, states=3, actions=2, horizon=4, stochastic=stochastic, ending=0.3)
        assert len(problem.transitions.unreachable(np.asarray(problem.prompt_weights))) == 0


def test_shared_logits_are_a_product_policy():
    """theory C4: two tokens with a single logit each, right with probability .01; binary against partial credit."""
    phi = np.zeros((3, 2, 2))
    phi[0, 0, 0], phi[1:, 0, 1] = 1.0, 1.0
    both = [1.0, 0.0, 0.0, 0.0]
    binary = mdp.tree(2, 2, both, both, features=phi, initial_params=np.full(2, np.log(0.01 / 0.99)))
    partial = mdp.tree(2, 2, both, [1.0, 0.5, 0.5, 0.0], features=phi, initial_params=np.full(2, np.log(0.01 / 0.99)))
    times = pgdyn.flow_many(pgdyn.stack([binary, partial]), 1e5, target=0.95).hitting_time
    np.testing.assert_allclose(times, [5261, 308], rtol=1e-3)
