"""`Theorem`. Oracles: arithmetic by hand, the same problems one by one."""

import re
import textwrap

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conjecture import CLAIM, changed, spread

import pgdyn
import pgdyn.theory
from pgdyn.theory import Check, verify


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
