"""Visits, action values, gradients and flows of sequences against lists of all episodes."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sequence_oracle as oracle
from hypothesis import example, given, settings
from hypothesis import strategies as st

import pgdyn
from pgdyn import mdp
from pgdyn.transitions import END, Transitions

OBJECTIVES = {
    "plain": {},
    "reverse": {"kl": 0.3, "entropy": 0.2},
    "forward": {"kl": 0.3, "direction": "forward", "entropy": -0.1},
    "normalized": {"normalize": True, "kl": 0.1},
}


def objective_of(options):
    return pgdyn.Objective(
        kl=options.get("kl", 0.0),
        entropy=options.get("entropy", 0.0),
        kl_direction=options.get("direction", "reverse"),
        normalize_by_std=options.get("normalize", False),
    )


def random_problem(seed, stochastic):
    return mdp.random_mdp(seed, states=2, actions=2, horizon=3, stochastic=stochastic, ending=0.2)


def random_graph(seed, points, actions):
    """Transitions forward to anywhere, levels mixed."""
    draw = np.random.default_rng(seed)
    table = np.full((points, actions), END)
    for s in range(points - 1):
        table[s] = np.where(draw.random(actions) < 0.7, draw.integers(s + 1, points, actions), END)
    return table


@pytest.mark.parametrize("name", OBJECTIVES)
@pytest.mark.parametrize("stochastic", [False, True])
@given(seed=st.integers(0, 10**6))
@example(seed=0)
@settings(max_examples=12)
def test_gradient_is_that_of_all_episodes(name, stochastic, seed):
    draw, base = np.random.default_rng(seed), random_problem(3, stochastic)
    start, reward = 2 * draw.normal(size=(6, 2)), draw.normal(size=(6, 2))
    weights = np.r_[draw.dirichlet(np.ones(2)), np.zeros(4)]
    problem = eqx.tree_at(
        lambda p: (p.initial_params, p.proxy_reward, p.prompt_weights),
        base,
        tuple(map(jnp.asarray, (start, reward, weights))),
    )
    options = OBJECTIVES[name]
    ways = oracle.episodes(np.asarray(problem.transitions), weights)
    z = start + draw.normal(size=start.shape)
    expected = oracle.gradient(z, reward, ways, start, weights=weights, **options)
    value = oracle.objective(z, reward, ways, start, weights=weights, **options)
    found_value, found = value_and_gradient(problem, objective_of(options), jnp.asarray(z))
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(found_value, value, rtol=1e-12, atol=1e-12)


@eqx.filter_jit
def value_and_gradient(problem, objective, params):
    return objective.value(problem, params), objective.gradient(problem, params)


@given(seed=st.integers(0, 10**6), points=st.integers(1, 9))
@example(seed=1, points=40)
@settings(max_examples=12)
def test_visits_and_values_of_any_graph(seed, points):
    table = random_graph(seed, points, 3)
    transitions, draw = Transitions(table), np.random.default_rng(seed)
    policy, reward = draw.dirichlet(np.ones(3), points), draw.normal(size=(points, 3))
    weights, chance = draw.dirichlet(np.ones(points)), oracle.dense(table)
    visits, worth, value = weights.copy(), np.zeros((points, 3)), np.zeros(points)
    for s in range(points):
        visits = visits + visits[s] * policy[s] @ chance[s]
    for s in reversed(range(points)):
        worth[s] = reward[s] + chance[s] @ value
        value[s] = policy[s] @ worth[s]
    found_visits, found_worth = visits_and_values(transitions, *map(jnp.asarray, (weights, policy, reward)))
    np.testing.assert_allclose(found_visits, visits, atol=1e-14)
    np.testing.assert_allclose(found_worth, worth, rtol=1e-13, atol=1e-13)


@eqx.filter_jit
def visits_and_values(transitions, start, policy, reward):
    return transitions.visits(start, policy), transitions.action_values(policy, reward)


@pytest.mark.parametrize("stochastic", [False, True])
def test_many_levels_are_looped_over_with_the_same_numbers(stochastic, monkeypatch):
    problem = mdp.random_mdp(3, states=3, horizon=4, stochastic=stochastic)
    transitions, lanes = problem.transitions, 2
    draw = np.random.default_rng(0)
    policy = jnp.asarray(draw.dirichlet(np.ones(3), (12, lanes)).transpose(0, 2, 1))
    reward = jnp.asarray(draw.normal(size=(12, 3, lanes)))
    start = jnp.asarray(draw.dirichlet(np.ones(12), lanes).T)

    def compute():  # compiled anew by each call
        return jax.jit(lambda: (transitions.visits(start, policy), transitions.action_values(policy, reward)))()

    plain = compute()
    monkeypatch.setattr("pgdyn.transitions._UNROLLED", 1)
    looped = compute()
    for one, other in zip(plain, looped, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-14, atol=1e-15)


@pytest.mark.parametrize("stochastic", [False, True])
def test_variance_of_the_return(stochastic):
    problem = random_problem(7, stochastic)
    weights, start = np.asarray(problem.prompt_weights), np.asarray(problem.initial_params)
    expected = 0.0
    for s in np.nonzero(weights)[0]:
        ways = oracle.episodes(np.asarray(problem.transitions), np.eye(len(weights))[s])
        log, reward = oracle.log_policy(start), np.asarray(problem.proxy_reward)
        mass = np.array([odds * np.exp(sum(log[s, y] for s, y in way)) for odds, way in ways])
        returns = np.array([sum(reward[s, y] for s, y in way) for _, way in ways])
        assert abs(mass.sum() - 1) < 1e-12
        expected += weights[s] * (mass @ returns**2 - (mass @ returns) ** 2)
    log_policy = pgdyn.policy.log_policy(problem, problem.initial_params)
    found = pgdyn.policy.reward_variance(problem, log_policy, problem.proxy_reward)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize("name", ["plain", "reverse", "forward"])
def test_flow_and_engine_follow_scipy(name):
    problem, options = random_problem(11, stochastic=name == "reverse"), OBJECTIVES[name]
    weights, start = np.asarray(problem.prompt_weights), np.asarray(problem.initial_params)
    ways = oracle.episodes(np.asarray(problem.transitions), weights)
    expected = oracle.log_policy(oracle.flow(start, 6.0, np.asarray(problem.proxy_reward), ways, start, **options))
    objective = objective_of(options)
    truth = np.asarray(problem.true_reward)
    begin, end = (oracle.objective(z, truth, ways, start) for z in (start, expected))
    settings = {"objective": objective, "target": (begin + end) / 2, "rtol": 1e-11, "atol": 1e-12}
    flow = pgdyn.flow(problem, 6.0, saves=2, **settings)
    np.testing.assert_allclose(flow.log_policy[-1], expected, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(flow.true_value, [begin, end], rtol=1e-9)
    many = pgdyn.flow_many(problem, 6.0, **settings)
    np.testing.assert_allclose(many.log_policy[0], expected, rtol=1e-8, atol=1e-8)
    for field in ("true_value", "proxy_value", "reward_variance", "kl"):
        np.testing.assert_allclose(getattr(many, field)[0], getattr(flow, field)[-1], rtol=1e-8, atol=1e-9)
    assert np.isfinite(flow.hitting_time)
    np.testing.assert_allclose(many.hitting_time[0], flow.hitting_time, rtol=1e-7)


def test_one_decision_is_the_problem_without_transitions():
    draw = np.random.default_rng(5)
    policy, truth, proxy = draw.dirichlet(np.ones(4), 2), draw.normal(size=(2, 4)), draw.normal(size=(2, 4))
    plain = pgdyn.Problem.tabular(policy, truth, proxy)
    sequence = pgdyn.Problem.tabular(policy, truth, proxy, transitions=np.full((2, 4), END))
    for options in ({}, {"kl": 0.2, "entropy": 0.1, "kl_direction": "forward"}):
        objective = pgdyn.Objective(**options)
        one, other = (pgdyn.ascend(p, 50, objective=objective, save_every=50) for p in (plain, sequence))
        for field in ("params", "true_value", "proxy_value", "reward_variance", "kl"):
            np.testing.assert_allclose(getattr(one, field), getattr(other, field), rtol=1e-12, atol=1e-12)
    one, other = (pgdyn.flow_many(p, 20.0, target=float(truth.max(1).mean()) - 0.3) for p in (plain, sequence))
    np.testing.assert_allclose(one.log_policy, other.log_policy, rtol=1e-10)
    np.testing.assert_allclose(one.hitting_time, other.hitting_time, rtol=1e-9)


def test_a_mask_is_a_problem_with_fewer_outputs():
    policy = [[0.5, 0.3, 0.2, 0.0], [0.1, 0.2, 0.3, 0.4]]
    reward = np.array([[1.0, 0.5, 0.0, 9.0], [0.0, 0.0, 1.0, 0.5]])
    mask = np.array([[True, True, True, False], [True] * 4])
    both = pgdyn.Problem.tabular(policy, reward, mask=mask, prompt_weights=[0.5, 0.5])
    alone = pgdyn.Problem.tabular(policy[0][:3], reward[0, :3])
    objective = pgdyn.Objective(kl=0.1, entropy=0.2, reference="uniform")
    for geometry in ("euclidean", "natural"):
        clock = 2.0 if geometry == "euclidean" else 1.0  # a weight of one half slows a prompt down
        masked = pgdyn.flow(both, 3.0 * clock, objective=objective, geometry=geometry, saves=2)
        single = pgdyn.flow(alone, 3.0, objective=objective, geometry=geometry, saves=2)
        np.testing.assert_allclose(masked.log_policy[-1, 0, :3], single.log_policy[-1, 0], rtol=1e-7)
        assert np.exp(masked.log_policy[-1, 0, 3]) == 0
        assert np.isfinite(masked.kl).all() and np.isfinite(masked.params).all()


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"transitions": [[1, 0], [-1, -1]]}, r"transitions\[0, 1\] is 0; it must lead to a later decision point"),
        ({"transitions": [[2, -1], [-1, -1]]}, r"transitions\[0, 0\] is 2; it must be from 0 to 1"),
        ({"transitions": [[-2, -1], [-1, -1]]}, r"transitions\[0, 0\] is -2; it must be from 0 to 1"),
        ({"transitions": [[0.5, -1], [-1, -1]]}, r"transitions\[0, 0\] is 0.5; it must be the number"),
        ({"transitions": [[np.nan, -1], [-1, -1]]}, r"transitions\[0, 0\] is nan"),
        ({"transitions": [[1, -1]]}, r"transitions\[0, 0\] is 1; it must be from 0 to 0"),
        ({"transitions": [1, -1]}, r"transitions has shape \(2,\)"),
        ({"transitions": np.full((2, 2, 2), 0.4)}, r"transitions\[0, 0, 0\] is 0.4; only later decision points"),
        ({"transitions": [[[0, 0.7], [0, 1.2]], [[0, 0], [0, 0]]]}, r"transitions\[0, 1\] sums to 1.2"),
        ({"transitions": [[-1, -1], [-1, -1]], "prompt_weights": [1, 0]}, "decision point 1 is never reached"),
        ({"mask": [[True, True], [False, False]]}, r"mask\[1\] has no true entry"),
        ({"mask": [[True, True]] * 3}, r"mask has shape \(3, 2\)"),
        ({"mask": [[1, 2], [1, 1]]}, r"mask\[0, 1\] is 2"),
        ({"transitions": np.full((3, 2), -1)}, "true_reward has shape"),
    ],
)
def test_bad_transitions_get_one_sentence(given, sentence):
    with pytest.raises(ValueError, match=sentence) as caught:
        pgdyn.Problem.tabular(None, [[1.0, 0.0], [0.0, 1.0]], **given)
    assert "\n" not in str(caught.value)


def test_policies_are_zero_where_there_is_no_output():
    mask = [[True, True, False]]
    with pytest.raises(ValueError, match=r"initial_policy\[0, 2\] is 0.2"):
        pgdyn.Problem.tabular([0.5, 0.3, 0.2], [1.0, 0.0, 0.0], mask=mask)
    assert pgdyn.Problem.tabular([0.5, 0.5, 0.0], [1.0, 0.0, 0.0], mask=mask).transitions.mask.tolist() == mask
