"""`verify` and the search for counterexamples. Oracles: NumPy loops, conjectures made to fail in one place."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conjecture import changed

from pgdyn.theory import THEOREMS, Check, find_counterexample, verify


def test_verify_counts_what_a_loop_counts():
    theorem = changed(premise=lambda problem, scale: problem.true_reward[0, 0] < 0.5, defaults={"scale": 0.9})
    ticks = []
    result = verify(theorem, 41, seed=3, progress=lambda done, total: ticks.append((done, total)))
    slack = []
    for i, (size, count) in enumerate([(3, 21), (4, 20)]):
        problems, _ = theorem.sample_batch(jax.random.fold_in(jax.random.key(3), i), count, size)
        reward = np.asarray(problems.true_reward)[:, 0]
        slack.extend((0.9 - reward.max(axis=1))[reward[:, 0] < 0.5])
    assert ticks == [(21, 41), (41, 41)]
    assert result.problems == len(slack) < 41
    assert result.violations == sum(s < 0 for s in slack) > 0
    assert not result.as_expected and changed(kind="known false").kind == "known false"
    np.testing.assert_allclose(result.smallest_slack, min(slack))
    np.testing.assert_allclose(result.median_slack, np.median(slack))
    np.testing.assert_allclose(result.tightest.problem.true_reward.max(), 0.9 - min(slack))
    assert verify(theorem, 41, seed=3).smallest_slack == result.smallest_slack


def test_each_kind_is_judged_by_its_own_promise():
    broken, sound = (verify(changed(sizes=(3,), defaults={"scale": scale}), 20) for scale in (0.5, 2.0))
    for kind, with_violations, without in (
        ("exact", False, True),
        ("bound", False, True),
        ("law", False, True),
        ("known false", True, False),
    ):
        assert dataclasses.replace(broken, theorem=changed(kind=kind)).as_expected is with_violations
        assert dataclasses.replace(sound, theorem=changed(kind=kind)).as_expected is without


def test_a_measurement_that_fails_is_a_violation():
    failing = changed(claim=lambda problem, scale: Check.at_most(jnp.nan * problem.true_reward[0, 0], scale))
    result = verify(failing, 4)
    assert result.violations == 4 and np.isnan(result.smallest_slack)


def test_the_search_goes_where_random_problems_do_not():
    # Rewards drawn from [0, 1] never exceed 1.5, perturbed ones do; a premise still binds the search.
    conjecture = changed(sizes=(3,), defaults={"scale": 1.5})
    found = find_counterexample(conjecture, batch=50, batches=1)
    assert found is not None and float(found.problem.true_reward.max()) > 1.5 and not found.check.holds
    bounded = dataclasses.replace(conjecture, premise=lambda problem, scale: jnp.max(problem.true_reward) < scale)
    assert find_counterexample(bounded, batch=50, batches=1, rounds=5) is None


def test_a_batch_outside_the_assumptions_hides_no_later_one():
    key = jax.random.fold_in(jax.random.fold_in(jax.random.key(0), 0), 0)
    first, _ = changed(sizes=(3,)).sample_batch(key, 8)
    least = float(first.true_reward[:, 0, 0].max())  # all of the first batch is outside

    def claim(problem, scale):
        # The slack outside is smaller than any within, where a perturbation breaks the bound.
        return Check.at_most(problem.true_reward[0, 1], jnp.where(problem.true_reward[0, 0] > least, 1.2, 0.0))

    conjecture = changed(sizes=(3,), claim=claim, premise=lambda problem, scale: problem.true_reward[0, 0] > least)
    assert find_counterexample(conjecture, batch=8, batches=1) is None
    found = find_counterexample(conjecture, batch=8, batches=6)
    assert found is not None and float(found.problem.true_reward[0, 0]) > least and found.check.slack < 0
    # Likewise where the first size has nothing within: the tightest problem is one within.
    other = dataclasses.replace(conjecture, sizes=(3, 4), premise=lambda problem, scale: problem.num_outputs == 4)
    assert verify(other, 16).tightest.problem.num_outputs == 4


def test_a_claim_on_batches_sees_problems_within_the_assumptions_alone():
    def claim(batch, scale):
        reward = batch.true_reward.max(axis=(1, 2))
        if (reward > scale).any():
            raise ValueError("outside")
        return Check.at_most(reward, scale)

    theorem = changed(
        claim=None, batch_claim=claim, sizes=(3,), premise=lambda problem, scale: jnp.max(problem.true_reward) <= scale
    )
    batch, parameters = theorem.sample_batch(jax.random.key(0), 40)
    parameters["scale"] = np.full(40, 0.8)
    check, inside = theorem.examine(batch, **parameters)
    np.testing.assert_array_equal(inside, batch.true_reward.max(axis=(1, 2)) <= 0.8)
    np.testing.assert_array_equal(np.isnan(check.slack), ~inside)
    nothing, inside = theorem.examine(batch, scale=-1.0)
    assert not inside.any() and np.isnan(nothing.slack).all()
    assert find_counterexample(dataclasses.replace(theorem, defaults={"scale": 0.8}), batch=30, rounds=3) is None


LONG = ("reinforce_escape",)  # runs for longer than it compiles
NAMES = [pytest.param(name, marks=pytest.mark.optimized) if name in LONG else name for name in THEOREMS]


@pytest.mark.parametrize("name", NAMES)
def test_the_search_leaves_the_assumptions_without_an_error_and_finds_what_is_false_alone(name):
    theorem = dataclasses.replace(THEOREMS[name], sizes=THEOREMS[name].sizes[:1])
    found = find_counterexample(theorem, batch=16, batches=1, rounds=3)
    assert (found is None) is (theorem.kind != "known false")
