"""One mathematics: on arrays [P, K, *lanes] `policy` and `objective` give what each lane gives alone.

The oracle is the same function of one problem at a time, under `jax.vmap`; `test_policy` and `test_objective` hold it
to plain sums and complex steps. Shapes reach both ways of `pgdyn.reduction` to add up: whole, and written out.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as profile
from hypothesis import strategies as st
from oracles import Goal
from strategies import make_setting

import pgdyn
from pgdyn import policy

SMALL, MANY_OUTPUTS, PROMPTS = (1, 3, None), (1, 20, None), (3, 5, None)
FEATURES, WIDE, MANY_FEATURES = (3, 5, 4), (2, 3, 7), (2, 9, 6)


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def compute(function, lanes, shared, problems, points, rows):
    """`function` of arrays with the lanes last, and of each problem of arrays with a leading axis."""

    def last(tree):
        return jax.tree.map(lambda leaf: jnp.moveaxis(leaf, 0, -1).reshape(*leaf.shape[1:], *lanes), tree)

    alone = jax.vmap(function)(problems, points, rows)
    problem = last(problems)
    if shared:
        features = None if problems.features is None else problems.features[0]
        problem = dataclasses.replace(problem, features=features, temperature=problems.temperature[0])
    return function(problem, last(points), last(rows)), last(alone)


def assert_lanes_are_alone(function, shape, lanes, shared, seed, corner="uniform", rtol=1e-12, weights=None):
    rng, count = np.random.default_rng(seed), int(np.prod(lanes))
    drawn = []
    for i in range(count):
        temperature = 1.3 if shared else (1.0, 0.5, 2.5)[i % 3]
        drawn.append(make_setting(seed + i, shape, corner, temperature=temperature, weighted=i % 2 == 1))
    if shape[2] is not None and shared:
        drawn = [dataclasses.replace(setting, features=drawn[0].features) for setting in drawn]
    problems = jax.tree.map(jnp.asarray, pgdyn.stack([setting.problem() for setting in drawn]).problems)
    points = problems.initial_params + rng.normal(size=problems.initial_params.shape)
    rows = rng.dirichlet(np.ones(shape[1]), (count, shape[0])) if weights is None else weights(rng, count)
    found, expected = compute(function, lanes, shared, problems, points, rows)
    for (path, one), other in zip(jax.tree.leaves_with_path(found), jax.tree.leaves(expected), strict=True):
        assert one.shape == other.shape, path
        np.testing.assert_allclose(one, other, rtol=rtol, atol=rtol * float(np.abs(other).max()), err_msg=str(path))


def policy_quantities(problem, point, other):
    log_pi, reward = policy.log_policy(problem, point), problem.proxy_reward
    return {
        "logits": policy.logits(problem, point),
        "log_policy": log_pi,
        "pull_back": policy.pull_back(problem, reward),
        "advantage": policy.advantage(log_pi, reward),
        "prompt_values": policy.prompt_values(log_pi, reward),
        "value": policy.value(problem, log_pi, reward),
        "prompt_variances": policy.prompt_variances(log_pi, reward),
        "reward_variance": policy.reward_variance(problem, log_pi, reward),
        "entropies": policy.entropies(log_pi),
        "kl": policy.kl_divergences(log_pi, jnp.log(other)),
        "visits": policy.visits(problem, log_pi),
        "action_values": policy.action_values(problem, log_pi, reward),
        "natural": policy.natural_direction(problem, log_pi, policy.advantage(log_pi, reward)),
    }


@pytest.mark.parametrize(
    ("shape", "lanes", "shared"),
    [
        (PROMPTS, (), False),
        (SMALL, (4,), False),
        (PROMPTS, (2, 2), True),
        (MANY_OUTPUTS, (3,), False),
        (FEATURES, (3,), True),
        (FEATURES, (2, 2), False),
        (WIDE, (2, 2), True),
        (MANY_FEATURES, (3,), False),
        (MANY_FEATURES, (2, 2), True),
    ],
    ids=str,
)
@profile(max_examples=5)
@given(st.integers(0, 2**32 - 9))
def test_policy_quantities(shape, lanes, shared, seed):
    # The least squares of the natural gradient lose the digits of its condition number.
    assert_lanes_are_alone(policy_quantities, shape, lanes, shared, seed, rtol=1e-9 if shape[2] else 1e-12)


@functools.cache
def objective_quantities(goal):
    """Everything that an objective tells; the weights are those of the lanes."""
    plain = goal.objective()

    def observe(problem, point, weights):
        objective = plain.with_weights(weights["kl"] if goal.kl else None, weights["entropy"] if goal.entropy else None)
        reference, logits = objective.reference_log_policy(problem), policy.logits(problem, point)
        nearby = objective.anchor(problem, logits + 0.1, reference, with_value=True)
        probabilities = jnp.exp(policy.normalize(logits))
        return {
            "reference": reference,
            "divergence": objective.divergence(problem, policy.normalize(logits), reference),
            "value": objective.value(problem, point),
            "gradient": objective.gradient(problem, point),
            "logit_gradient": objective.logit_gradient(problem, logits, reference),
            "anchored": objective.logit_gradient(problem, logits, reference, nearby),
            "regularizer": objective.regularizer_gradient(problem, logits, reference),
            "signal": objective.natural_signal(problem, logits, reference),
            "reward_signal": objective.reward_signal(problem, probabilities),
            "true_value": nearby.true_value(problem, policy.weights(logits, nearby.peak)),
        }

    return observe


@pytest.mark.parametrize(
    ("goal", "shape", "lanes", "shared"),
    [
        (Goal(), PROMPTS, (2, 2), False),
        (Goal("true", kl=0.3), MANY_OUTPUTS, (3,), False),
        (Goal(kl=0.3, reference="uniform", entropy=0.2), WIDE, (3,), True),
        (Goal(kl=0.3, kl_direction="forward", normalize_by_std=True), FEATURES, (2, 2), True),
        (Goal("true", kl=0.3, reference="uniform", kl_direction="forward", entropy=0.2), MANY_FEATURES, (3,), False),
        (Goal("true", entropy=-0.1, normalize_by_std="detached"), FEATURES, (3,), False),
        (Goal(entropy=0.2, normalize_by_std=True), PROMPTS, (3,), False),
        (Goal(kl=0.3, kl_direction="forward", normalize_by_std="detached"), MANY_OUTPUTS, (2, 2), False),
        (Goal("true", kl=0.3, entropy=0.2, normalize_by_std=True), SMALL, (4,), False),
        (Goal(kl=0.3, reference="uniform", normalize_by_std="detached"), MANY_FEATURES, (2, 2), True),
    ],
    ids=str,
)
@profile(max_examples=5)
@given(st.integers(0, 2**32 - 9), st.sampled_from(("uniform", "ties", "gap")))
def test_objectives(goal, shape, lanes, shared, seed, corner):
    """Every option, with weights of their own for each lane."""

    def weights(rng, count):
        return {"kl": rng.uniform(0.1, 1, count), "entropy": rng.uniform(-0.1, 0.5, count)}

    options = {"corner": corner, "rtol": 1e-8 if goal.normalize_by_std is True else 1e-10, "weights": weights}
    assert_lanes_are_alone(objective_quantities(goal), shape, lanes, shared, seed, **options)
