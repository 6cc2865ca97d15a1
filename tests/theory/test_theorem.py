"""`Check`, `Theorem`, `verify` and the search for counterexamples. Oracles: arithmetic by hand, NumPy loops."""

import dataclasses
import re
import textwrap

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import pgdyn
import pgdyn.theory
from pgdyn.theory import Check, Theorem, find_counterexample, verify


def draw(key, outputs):
    start, reward = jax.random.split(key)
    policy = jax.nn.softmax(jax.random.normal(start, (outputs,)))
    return pgdyn.Problem.tabular(policy, jax.random.uniform(reward, (outputs,))), {}


def spread(problem, scale):
    """Claim: the largest reward is at most `scale`."""
    return Check.at_most(jnp.max(problem.true_reward), scale)


CLAIM = Theorem(
    name="small_rewards",
    statement="Rewards are at most 1.",
    source="a test",
    kind="bound",
    draw=draw,
    claim=spread,
    sizes=(3, 4),
    defaults={"scale": 1.0},
)


def changed(**fields):
    return dataclasses.replace(CLAIM, **fields)


def test_checks_compare_in_both_directions():
    above, below = Check.at_most([1.0, 3.0, jnp.nan], 2.0), Check.at_least([1.0, 3.0, jnp.nan], 2.0)
    np.testing.assert_array_equal(above.holds, [True, False, False])
    np.testing.assert_array_equal(above.slack, [1.0, -1.0, jnp.nan])
    np.testing.assert_array_equal(below.holds, [False, True, False])
    np.testing.assert_array_equal(below.measured, [1.0, 3.0, jnp.nan])
    assert Check.at_most(2.1, 2.0, rounding=0.2).holds and not Check.at_most(2.1, 2.0, rounding=0.05).holds
    assert Check.at_least(jnp.inf, jnp.inf).slack == 0
    assert Check.ratio_at_most(10.0, 1000.0).slack == pytest.approx(2.0)
    assert not Check.ratio_at_least(10.0, 1000.0).holds
    assert Check.identity(-1e-3, 1e-2).holds and not Check.identity(-1e-1, 1e-2).holds


def test_worst_is_the_entry_of_least_slack_and_nan_is_the_least():
    assert Check.at_most([1.0, 3.0, 2.0], 4.0).worst().measured == 3.0
    assert np.isnan(Check.at_most([1.0, jnp.nan, 9.0], 4.0).worst().slack)
    # Of statements with different rounding, one that fails outranks one of less slack that holds.
    joined = Check.all_of(Check.at_most(1.5, 1.0, rounding=1.0), Check.at_most(1.1, 1.0))
    assert not joined.holds and joined.measured == 1.1


def test_one_problem_and_a_batch_agree():
    def whole(problems, scale):
        return Check.at_most(jnp.max(problems.true_reward, axis=(1, 2)), scale)

    for theorem in (CLAIM, changed(claim=None, batch_claim=whole)):
        problems, parameters = theorem.sample_batch(jax.random.key(0), 3)
        together = theorem.batch_check(problems, **parameters)
        for i in range(3):
            alone = theorem.check(problems[i], **{name: value[i] for name, value in parameters.items()})
            np.testing.assert_allclose(alone.measured, together.measured[i], rtol=1e-6)
    one, parameters = CLAIM.sample(jax.random.key(0))
    assert one.num_outputs == 3 and parameters == {"scale": 1.0}
    np.testing.assert_array_equal(
        CLAIM.batch_check(problems, scale=np.array([0.0, 9.0, 0.0])).holds, [False, True, False]
    )


def test_bad_input_is_answered_in_one_sentence():
    problem, _ = CLAIM.sample(jax.random.key(0))
    batch, _ = CLAIM.sample_batch(jax.random.key(0), 3)
    cases = {
        "kind is 'guess'; it must be one of 'exact', 'bound', 'law', 'known false'": lambda: changed(kind="guess"),
        "needs claim or batch_claim, and not both": lambda: changed(batch_claim=spread),
        "theorem 'small_rewards' has no sizes": lambda: changed(sizes=()),
        "theorem 'small_rewards': this is a batch of 3; use batch_check": lambda: CLAIM.check(batch),
        "problem is 3; theorem 'small_rewards' takes a pgdyn.Problem": lambda: CLAIM.check(3),
        "one problem where a batch is needed": lambda: CLAIM.batch_check(problem),
        "got an unexpected keyword argument 'scal'": lambda: CLAIM.check(problem, scal=1.0),
        "missing a required argument: 'scale'": lambda: changed(defaults={}).check(problem),
        "scale has 2 entries but the batch has 3 problems": lambda: CLAIM.batch_check(batch, scale=np.ones(2)),
        "problems is 0; it must be at least 1": lambda: verify(CLAIM, 0),
        "none of 5 drawn problems satisfies its assumptions": lambda: verify(
            changed(premise=lambda p, scale: False), 5
        ),
    }
    for sentence, act in cases.items():
        with pytest.raises(ValueError, match=re.escape(sentence)):
            act()


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


def test_the_example_of_the_documentation_finds_its_counterexample():
    text = pgdyn.theory.__doc__
    code = textwrap.dedent("\n".join(line for line in text.splitlines() if line.startswith("    ") or not line))
    names = {}
    exec(code, names)
    found = names["found"]
    assert not found.check.holds and found.check.slack < -0.01
    # The best output really loses: SciPy-free, by the sign of d ln pi / dt (attraction_orthonormal).
    path = pgdyn.flow(found.problem, 10.0, saves=16).policy[:, 0, int(jnp.argmax(found.problem.true_reward[0]))]
    assert path.min() < path[0]


def test_the_search_goes_where_random_problems_do_not():
    # Rewards drawn from [0, 1] never exceed 1.5, perturbed ones do; a premise still binds the search.
    conjecture = changed(sizes=(3,), defaults={"scale": 1.5})
    found = find_counterexample(conjecture, batch=50, batches=1)
    assert found is not None and float(found.problem.true_reward.max()) > 1.5 and not found.check.holds
    bounded = dataclasses.replace(conjecture, premise=lambda problem, scale: jnp.max(problem.true_reward) < scale)
    assert find_counterexample(bounded, batch=50, batches=1, rounds=5) is None
