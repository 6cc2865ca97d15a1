"""The numbers of a sweep. Oracles: problems built one at a time by hand, and `pgdyn.flow`, `ascend` and
`ascend_sampled` run on each of them alone.
"""

from __future__ import annotations

import itertools

import jax
import numpy as np
import optax
import pytest
from compilations import Compilations

import pgdyn
from pgdyn.sweep import Ascend, AscendSampled, Axis, Flow, Spec, engine

TRUE = np.asarray([1.0, 0.8, -1.0])
START = np.asarray([0.1, 0.6, 0.3])
EVERYTHING = ("true_value", "proxy_value", "hitting_time", "steps", "result", "log_policy", "params")


def points(spec):
    """The coordinates of every point, by a plain loop."""
    return itertools.product(*(axis.values.tolist() for axis in spec.axes))


def all_shards(spec):
    parts = [engine.compute_shard(spec, shard) for shard in range(spec.num_shards)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def built(spec):
    """The problems of all points of a spec, as one batch."""
    where = np.unravel_index(np.arange(spec.num_points), spec.shape)
    picked = {axis.field: axis.values[at] for axis, at in zip(spec.axes, where, strict=True)}
    entries = [(a.base, a.index, picked[a.field]) for a in spec.axes if a.base != "seed" and "." not in a.base]
    return spec.template.batch(spec.num_points, entries, picked.get("seed"))


def same_problems(batch, singles):
    assert len(batch) == len(singles)
    for i, single in enumerate(singles):
        for name in ("true_reward", "proxy_reward", "initial_params", "temperature", "prompt_weights"):
            expected = np.asarray(getattr(single, name))
            np.testing.assert_allclose(np.asarray(getattr(batch, name)[i]), expected, rtol=1e-12, atol=1e-12)
        if single.features is not None:
            np.testing.assert_array_equal(batch[i].features, single.features)


def test_points_become_the_problems_made_by_hand():
    spec = Spec(
        {"true_reward": TRUE, "initial_policy": START, "temperature": 2.0},
        [
            Axis.log("initial_policy[0]", 1e-3, 0.3, 3),
            Axis.listed("initial_policy[-1]", [0.2, 0.65]),
            Axis.linear("proxy_reward[1:]", -1, 1, 2),
            Axis.listed("true_reward[0]", [1.0, 3.0]),
            Axis.listed("temperature", [0.5, 1.5]),
        ],
        Flow(t1=1.0),
    )
    singles = []
    for first, last, proxy, true, temperature in points(spec):
        truth = TRUE.copy()
        truth[0] = true
        rewards = truth.copy()  # without a proxy in the template it is the truth, but for what the axis sets
        rewards[1:] = proxy
        start = [first, 1 - first - last, last]
        singles.append(pgdyn.Problem.tabular(start, truth, rewards, temperature=temperature))
    same_problems(built(spec), singles)


def test_the_rest_of_a_policy_keeps_its_proportions_prompt_by_prompt():
    policy = np.asarray([[0.1, 0.2, 0.3, 0.4], [0.25, 0.25, 0.25, 0.25]])
    spec = Spec(
        {"true_reward": np.zeros((2, 4)), "initial_policy": policy},
        [Axis.listed("initial_policy[0, 1]", [0.6, 0.01])],
        Flow(t1=1.0),
    )
    found = np.asarray(jax.nn.softmax(built(spec).initial_params))
    for i, value in enumerate((0.6, 0.01)):
        rest = (1 - value) / 0.8
        np.testing.assert_allclose(found[i, 0], [0.1 * rest, value, 0.3 * rest, 0.4 * rest], rtol=1e-12)
        np.testing.assert_allclose(found[i, 1], policy[1], rtol=1e-12)


def test_features_start_and_weights_of_a_linear_problem_with_two_prompts():
    rng = np.random.default_rng(1)
    phi, truth = rng.normal(size=(3, 2)), rng.normal(size=(2, 3))
    spec = Spec(
        {"features": phi, "true_reward": truth, "proxy_reward": -truth, "initial_params": [0.1, -0.2]},
        [
            Axis.listed("features[0, :]", [[1.0, 2.0], [3.0, -4.0]]),
            Axis.listed("initial_params[1]", [0.5, 0.7]),
            Axis.listed("prompt_weights", [[0.5, 0.5], [0.1, 0.9]]),
            Axis.listed("proxy_reward[1, 0]", [5.0, 6.0]),
        ],
        Flow(t1=1.0),
    )
    singles = []
    for row, start, weights, reward in points(spec):
        features, proxy = phi.copy(), -truth
        features[0] = row
        proxy[1, 0] = reward
        singles.append(
            pgdyn.Problem.linear(features, truth, proxy, initial_params=[0.1, start], prompt_weights=weights)
        )
    same_problems(built(spec), singles)


def test_a_policy_fitted_to_shared_features():
    phi = np.random.default_rng(2).normal(size=(3, 2))
    spec = Spec(
        {"features": phi, "true_reward": TRUE, "initial_policy": START},
        [Axis.listed("initial_policy[0]", [0.2, 0.5]), Axis.listed("temperature", [1.0, 3.0])],
        Flow(t1=1.0),
    )
    singles = [
        pgdyn.Problem.linear(phi, TRUE, initial_policy=[p, (1 - p) * 2 / 3, (1 - p) / 3], temperature=temperature)
        for p, temperature in points(spec)
    ]
    assert built(spec).shared == {"features", "true_reward", "proxy_reward", "prompt_weights"}  # kept once
    same_problems(built(spec), singles)


def test_random_problems_follow_their_distributions_and_their_seeds_alone():
    table = {
        "outputs": 4,
        "prompts": 2,
        "true_reward": {"uniform": [-1.0, 3.0]},
        "initial_params": {"normal": [2.0, 0.5]},
    }
    many = built(Spec(table, [Axis.seeds(5000)], Flow(t1=1.0)))
    rewards, start = np.asarray(many.true_reward), np.asarray(many.initial_params)
    assert rewards.shape == start.shape == (5000, 2, 4)
    count = rewards.size
    assert -1 <= rewards.min() < -0.99 and 2.99 < rewards.max() < 3
    assert abs(rewards.mean() - 1) < 5 * 4 / np.sqrt(12 * count)
    assert abs(start.mean() - 2) < 5 * 0.5 / np.sqrt(count)
    assert abs(start.std() - 0.5) < 5 * 0.5 / np.sqrt(2 * count)
    assert abs(np.corrcoef(rewards.ravel(), start.ravel())[0, 1]) < 5 / np.sqrt(count)
    assert abs(np.corrcoef(rewards[1:].ravel(), rewards[:-1].ravel())[0, 1]) < 5 / np.sqrt(count)
    np.testing.assert_array_equal(many.proxy_reward, rewards)
    few = built(Spec(table, [Axis.listed("seed", [4321, 7]), Axis.listed("temperature", [1.0, 2.0])], Flow(t1=1.0)))
    for i, seed in enumerate((4321, 4321, 7, 7)):
        np.testing.assert_array_equal(few.true_reward[i], rewards[seed])
        np.testing.assert_array_equal(few.initial_params[i], start[seed])


def compare(found, i, run, rtol):
    """Point i of a sweep against the end of one run."""
    assert int(found["result"][i]) == int(run.result)
    for name in ("true_value", "proxy_value", "log_policy", "params"):
        np.testing.assert_allclose(found[name][i], np.asarray(getattr(run, name))[-1], rtol=rtol, atol=rtol)
    np.testing.assert_allclose(found["hitting_time"][i], float(run.hitting_time), rtol=rtol)


def test_flows_are_those_of_single_problems():
    spec = Spec(
        {"true_reward": TRUE, "initial_policy": START},
        [
            Axis.listed("proxy_reward[1]", [-1.0, 0.9]),
            Axis.listed("objective.kl", [0.01, 0.2]),
            Axis.listed("dynamics.t1", [3.0, 40.0]),
            Axis.listed("dynamics.target", [0.6, 0.8]),
        ],
        Flow(t1=1.0, rtol=1e-9, atol=1e-12),
        objective=pgdyn.Objective(entropy=0.03),
        observables=EVERYTHING,
        shard_size=11,
    )
    found = all_shards(spec)
    problem = pgdyn.Problem.tabular(START, TRUE)
    for i, (reward, kl, t1, target) in enumerate(points(spec)):
        objective = pgdyn.Objective(kl=kl, entropy=0.03)
        compare(
            found, i, pgdyn.flow(problem.with_proxy([1.0, reward, -1.0]), t1, objective=objective, target=target), 1e-6
        )
    assert np.isinf(found["hitting_time"]).any() and np.isfinite(found["hitting_time"]).any()


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_ascents_are_those_of_single_problems(optimizer):
    spec = Spec(
        {"true_reward": TRUE, "initial_policy": START},
        [
            Axis.listed("proxy_reward[1]", [-1.0, 0.9]),
            Axis.listed("dynamics.learning_rate", [0.1, 0.4]),
            Axis.listed("dynamics.target", [0.6, 0.9]),
        ],
        Ascend(steps=60, optimizer=optimizer),
        observables=EVERYTHING,
        shard_size=3,
    )
    found = all_shards(spec)
    assert (found["steps"] == 60).all()
    problem = pgdyn.Problem.tabular(START, TRUE)
    for i, (reward, rate, target) in enumerate(points(spec)):
        rule = optax.sgd(rate) if optimizer == "sgd" else optax.adam(rate)
        run = pgdyn.ascend(problem.with_proxy([1.0, reward, -1.0]), 60, optimizer=rule, target=target)
        compare(found, i, run, 1e-11)


def test_sampled_ascents_are_those_of_their_seeds():
    spec = Spec(
        {"true_reward": TRUE, "initial_policy": START},
        [Axis.seeds(3, first=5), Axis.listed("proxy_reward[1]", [-1.0, 0.9])],
        AscendSampled(steps=60, target=0.7, estimator=pgdyn.estimators.Reinforce("value", group_size=2)),
        observables=EVERYTHING,
    )
    found = all_shards(spec)
    problem = pgdyn.Problem.tabular(START, TRUE)
    rule = pgdyn.estimators.Reinforce("value", group_size=2)
    for i, (seed, reward) in enumerate(points(spec)):
        single = problem.with_proxy([1.0, reward, -1.0])
        run = pgdyn.ascend_sampled(single, 60, jax.random.key(seed), estimator=rule, target=0.7)
        compare(found, i, run, 1e-11)
    assert len(np.unique(found["true_value"])) == 6


def test_without_an_axis_of_seeds_the_seed_of_the_dynamics_counts():
    axes = [Axis.listed("proxy_reward[1]", [-1.0, 0.9])]
    problem = {"true_reward": TRUE, "initial_policy": START}
    one, same, other = (
        engine.compute_shard(Spec(problem, axes, AscendSampled(steps=60, key=seed)), 0)["true_value"]
        for seed in (3, 3, 4)
    )
    np.testing.assert_array_equal(one, same)
    assert (one != other).all()


def test_a_second_shard_compiles_nothing():
    spec = Spec(
        {"true_reward": TRUE, "initial_policy": START},
        [Axis.linear("proxy_reward[1]", -1, 1, 10)],
        Ascend(steps=60),
        shard_size=4,
    )
    engine.compute_shard(spec, 0)
    engine.compute_shard(spec, 2)  # the last one is shorter, and small programs that slice it differ
    with Compilations() as made:
        engine.compute_shard(spec, 1)
    assert made.count == 0
