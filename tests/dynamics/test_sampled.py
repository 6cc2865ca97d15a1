"""Sampled ascent: each update is one of the possible ones, with the right frequencies; runs are reproducible."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import oracles
import pytest
from compilations import Compilations
from oracles import Adam, Goal
from scipy import stats
from strategies import make_setting

import pgdyn
from pgdyn.estimators import Reinforce

TABULAR = (1, 5, None)
KEY = jax.random.key(0)


def possible_updates(setting, goal, params, reward, group, baseline):
    """Every update direction of REINFORCE from `params` with its probability, in the parameters, by enumeration.

    Scores are complex-step derivatives of log pi; the KL and entropy enter by their exact gradient.
    """
    prompts, outputs = setting.true_reward.shape
    pi = np.exp(oracles.log_policy(setting, params))
    scores = {
        (p, y): oracles.complex_step(lambda x, p=p, y=y: oracles.log_policy(setting, x)[p, y], params)
        for p, y in itertools.product(range(prompts), range(outputs))
    }
    bare = Goal(goal.reward)
    penalty = oracles.gradient(setting, goal, params) - oracles.gradient(setting, bare, params)
    for drawn in itertools.product(range(outputs), repeat=prompts * group):
        update, chance = penalty.copy(), 1.0
        for i, y in enumerate(drawn):
            p = i // group
            offset = (pi[p] * reward[p]).sum() if baseline == "value" else (baseline or 0.0)
            update = update + setting.prompt_weights[p] * (reward[p, y] - offset) * scores[p, y] / group
            chance *= pi[p, y]
        yield update, chance


@pytest.mark.parametrize(
    ("shape", "group", "baseline", "goal"),
    [
        (TABULAR, 1, None, Goal()),
        (TABULAR, 2, "value", Goal(kl=0.2)),
        ((2, 3, 7), 1, 0.4, Goal("true", kl=0.2, kl_direction="forward", entropy=0.1)),
    ],
    ids=str,
)
def test_one_update_has_the_enumerated_distribution(shape, group, baseline, goal):
    """Oracle: all possible updates and their probabilities; chi-square over 4,000 keys."""
    setting = make_setting(1, shape, temperature=1.4, weighted=True)
    reward = oracles.training_reward(setting, goal)
    table = list(possible_updates(setting, goal, setting.start, reward, group, baseline))
    problem, objective, estimator = setting.problem(), goal.objective(), Reinforce(baseline, group_size=group)

    def end(key):
        return pgdyn.ascend_sampled(
            problem, 1, key, estimator=estimator, optimizer=optax.sgd(1.0), objective=objective
        ).params[-1]

    ends = np.asarray(jax.vmap(end)(jax.random.split(KEY, 4000)))
    moves = (ends - setting.start).reshape(len(ends), -1)
    candidates = np.stack([update.ravel() for update, _ in table])
    distance = np.abs(moves[:, None] - candidates[None]).max(axis=2)
    assert distance.min(axis=1).max() < 1e-10
    kinds, owner = np.unique(np.round(candidates, 9), axis=0, return_inverse=True)
    expected = np.bincount(owner.ravel(), [chance for _, chance in table], minlength=len(kinds)) * len(ends)
    counted = np.bincount(owner.ravel()[distance.argmin(axis=1)], minlength=len(kinds))
    common = expected > 5
    statistic = ((counted[common] - expected[common]) ** 2 / expected[common]).sum()
    assert stats.chi2.sf(statistic, common.sum() - 1) > 1e-4


@pytest.mark.parametrize("shape", [TABULAR, (1, 5, 2)])
def test_every_update_of_a_long_run_is_a_possible_one(shape):
    """Beyond one block of random numbers; oracle: the outputs' scores, step by step from the saved parameters."""
    setting = make_setting(2, shape)
    rate = 1e-3  # so slow that equal random numbers would draw equal outputs
    run = pgdyn.ascend_sampled(setting.problem(), 600, KEY, optimizer=optax.sgd(rate))
    path = np.asarray(run.params)
    sequence = []
    expected = np.zeros(5)
    for before, after in itertools.pairwise(path):
        pi = np.exp(oracles.log_policy(setting, before))[0]
        scores = np.eye(5) - pi
        if setting.features is not None:
            scores = scores @ setting.features[0]
        moves = rate * setting.proxy_reward[0][:, None] * scores
        distance = np.abs(moves - (after - before).reshape(1, -1)).max(axis=1)
        assert distance.min() < 1e-12
        sequence.append(distance.argmin())
        expected += pi
    drawn = np.bincount(sequence, minlength=5)
    np.testing.assert_array_less(np.abs(drawn - expected), 4.5 * np.sqrt(expected) + 3)
    # No stretch of random numbers is used twice.
    agreement = [np.mean(np.equal(sequence[lag:], sequence[:-lag])) for lag in range(1, 400)]
    assert max(agreement) < 0.9


def test_the_optimiser_sees_the_sampled_gradient():
    """Adam's first update has size lr in every coordinate, up to eps; its second is the textbook's."""
    setting = make_setting(3, TABULAR)
    plain = np.asarray(pgdyn.ascend_sampled(setting.problem(), 1, KEY, optimizer=optax.sgd(1.0)).params)
    run = pgdyn.ascend_sampled(setting.problem(), 1, KEY, optimizer=optax.adam(0.01))
    np.testing.assert_allclose(run.params[1] - run.params[0], Adam(0.01).step(plain[1] - plain[0]), rtol=1e-9)


@pytest.mark.parametrize("save_every", [1, 7, 100, 300, 1000])
def test_what_is_saved_does_not_change_the_run(save_every):
    problem = make_setting(4, TABULAR).problem()
    full = pgdyn.ascend_sampled(problem, 300, KEY, target=0.3)
    part = pgdyn.ascend_sampled(problem, 300, KEY, target=0.3, save_every=save_every)
    expected = sorted({*range(0, 300, save_every), 300})
    np.testing.assert_array_equal(part.t, expected)
    np.testing.assert_array_equal(part.params, np.asarray(full.params)[expected])
    assert part.hitting_time == full.hitting_time


def test_a_longer_run_begins_as_the_shorter_one():
    problem = make_setting(4, TABULAR).problem()
    short = pgdyn.ascend_sampled(problem, 270, KEY)
    long = pgdyn.ascend_sampled(problem, 300, KEY)
    np.testing.assert_array_equal(short.params, long.params[:271])


def test_same_key_same_run_other_key_other_run():
    problem = make_setting(4, TABULAR).problem()
    first, second = (pgdyn.ascend_sampled(problem, 300, KEY).params for _ in range(2))
    np.testing.assert_array_equal(first, second)
    other = pgdyn.ascend_sampled(problem, 300, jax.random.key(1)).params
    assert np.abs(first - other).max() > 1e-3
    for same in (jax.random.PRNGKey(0), 0, np.int64(0)):
        np.testing.assert_array_equal(first, pgdyn.ascend_sampled(problem, 300, same).params)


def test_vmap_over_keys_is_the_single_runs():
    problem = make_setting(4, TABULAR).problem()
    keys = jax.random.split(KEY, 4)
    batch = jax.vmap(lambda key: pgdyn.ascend_sampled(problem, 300, key, target=0.3))(keys)
    for i, key in enumerate(keys):
        alone = pgdyn.ascend_sampled(problem, 300, key, target=0.3)
        np.testing.assert_allclose(batch.params[i], alone.params, rtol=0, atol=1e-12)
        assert batch.hitting_time[i] == alone.hitting_time


def test_a4_sum_of_tabular_logits_is_conserved():
    setting = make_setting(5, (3, 5, None))
    run = pgdyn.ascend_sampled(
        setting.problem(), 200, KEY, objective=pgdyn.Objective(kl=0.1), estimator=Reinforce("value", 3)
    )
    sums = np.asarray(run.params.sum(-1))
    np.testing.assert_allclose(sums, np.broadcast_to(sums[0], sums.shape), rtol=0, atol=1e-12)


def test_mean_update_of_a_large_group_is_the_exact_gradient():
    """Law of large numbers over G = 200,000: within five standard errors of the complex-step gradient."""
    setting = make_setting(6, TABULAR)
    run = pgdyn.ascend_sampled(
        setting.problem(), 1, KEY, estimator=Reinforce("value", 200_000), optimizer=optax.sgd(1.0)
    )
    exact = oracles.gradient(setting, Goal(), setting.start)
    spread = np.abs(setting.proxy_reward).max() * 2 / np.sqrt(200_000)
    np.testing.assert_allclose(run.params[1] - run.params[0], exact, rtol=0, atol=5 * spread)


@pytest.mark.parametrize("policy", [[1.0], [1e-300, 0.5, 0.5], [0.005] * 200])
@pytest.mark.parametrize("scale", [1.0, 1e6])
def test_extremes_stay_finite(policy, scale):
    reward = scale * np.linspace(-1, 1, len(policy))
    run = pgdyn.ascend_sampled(pgdyn.Problem.tabular(policy, reward), 50, KEY)
    assert np.isfinite(run.log_policy).all() and run.result == pgdyn.Result.completed


def test_equal_rewards_and_an_exact_baseline_stand_still():
    problem = pgdyn.Problem.tabular([0.2, 0.3, 0.5], [0.4, 0.4, 0.4])
    run = pgdyn.ascend_sampled(problem, 20, KEY, estimator=Reinforce("value"))
    np.testing.assert_allclose(run.params, np.broadcast_to(run.params[0], run.params.shape), rtol=0, atol=1e-15)


def test_solution_says_what_it_is():
    run = pgdyn.ascend_sampled(make_setting(0, (3, 5, 4)).problem(), 3, KEY, estimator=Reinforce(group_size=2))
    assert run.dynamics == "ascend_sampled" and run.params.shape == (4, 4)
    assert run.settings == pgdyn.AscendSampled(3, KEY, Reinforce(group_size=2))


def test_new_values_compile_nothing():
    first, second = (make_setting(seed, TABULAR).problem() for seed in (1, 2))

    def run(problem, key, target, baseline, kl):
        return pgdyn.ascend_sampled(
            problem,
            9,
            key,
            estimator=Reinforce(baseline),
            optimizer=optax.sgd(0.1),
            objective=pgdyn.Objective(kl=kl),
            target=target,
        )

    run(first, KEY, 0.3, 0.5, 0.1)
    other = jax.random.key(7)
    with Compilations() as made:
        run(second, other, 0.7, 0.1, 0.2)
    assert made.count == 0


PROBLEM = make_setting(0, (1, 2, None)).problem()
REFUSED = [
    ((PROBLEM, 0, KEY), {}, "steps is 0; it must be at least 1"),
    ((PROBLEM, 1.5, KEY), {}, "steps must be a whole number, got 1.5"),
    ((PROBLEM, True, KEY), {}, "steps must be a whole number, got True"),
    ((PROBLEM, 5, KEY), {"save_every": -3}, "save_every is -3; it must be at least 1"),
    ((PROBLEM, 5, KEY), {"target": np.nan}, "target is nan; every entry of target must be finite"),
    ((PROBLEM, 5, -1), {}, "key is -1; a seed is a whole number from 0 to 2^63 - 1"),
    ((PROBLEM, 5, None), {}, "key must be a jax.random key, for instance jax.random.key(0), or a seed, got None"),
    ((PROBLEM, 5, 0.0), {}, "key must be a jax.random key, for instance jax.random.key(0), or a seed, got 0.0"),
    (
        (PROBLEM, 5, jax.random.split(KEY, 3)),
        {},
        "key has shape (3,); one run takes one key, use jax.vmap over keys for more",
    ),
    ((PROBLEM, 5, jnp.zeros(2)), {}, "key must be one jax.random key, got float64 of shape (2,)"),
    (
        (PROBLEM, 5, KEY),
        {"estimator": "reinforce"},
        "estimator must be a pgdyn.estimators.Estimator, got 'reinforce'",
    ),
    (
        (PROBLEM, 5, KEY),
        {"optimizer": "SGD"},
        "optimizer must be an optax gradient transformation, or one of 'sgd', 'adam', got 'SGD'",
    ),
    ((PROBLEM, 5, KEY), {"objective": {}}, "objective is {}; ascend_sampled takes a pgdyn.Objective"),
    ((3, 5, KEY), {}, "problem is 3; ascend_sampled takes a pgdyn.Problem"),
    (
        (PROBLEM.with_proxy(np.zeros((3, 1, 2))), 5, KEY),
        {},
        "ascend_sampled takes one problem and this is a batch of 3; use pgdyn.ascend_sampled_many",
    ),
]


@pytest.mark.parametrize(("arguments", "options", "sentence"), REFUSED, ids=[row[2] for row in REFUSED])
def test_bad_input_is_refused_in_one_sentence(arguments, options, sentence):
    with pytest.raises(ValueError) as refusal:
        pgdyn.ascend_sampled(*arguments, **options)
    assert str(refusal.value) == sentence
