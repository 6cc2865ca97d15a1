"""Every statement of the families of identities and paper bounds, on random problems of its own draw and on corners.

Oracle: the statement itself. That its check can fail is shown in test_mutations, its formulas are held against
independent ones in test_formulas.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from families import THEOREMS, drawn, named
from hypothesis import example, given
from hypothesis import settings as profile
from hypothesis import strategies as st
from oracles import Setting, flow, value_gradient
from strategies import settings

import pgdyn
from pgdyn.theory import THEOREMS as REGISTRY

SEEDS = st.integers(0, 2**32 - 1)
TRUE = [theorem for theorem in THEOREMS if theorem.kind != "known false"]
FALSE = [theorem for theorem in THEOREMS if theorem.kind == "known false"]


def ids(theorem):
    return theorem.name


def holds_on(theorem, problem, **parameters):
    """Whether the assumptions and the statement both hold on one problem, by the batched program."""
    batch = jax.tree.map(lambda leaf: jnp.asarray(leaf, float)[None], (problem, parameters))
    assert bool(theorem.batch_assumptions(batch[0], **batch[1])[0])
    return bool(theorem.batch_check(batch[0], **batch[1]).holds[0])


def test_every_theorem_is_registered_under_its_own_name():
    for theorem in THEOREMS:
        assert REGISTRY[theorem.name] is theorem
        assert theorem.statement.endswith((".", ")")) and theorem.source and theorem.unit
    assert len({theorem.name for theorem in THEOREMS}) == len(THEOREMS)


@pytest.mark.parametrize("theorem", TRUE, ids=ids)
@profile(max_examples=4)
@given(seed=SEEDS)
def test_holds_wherever_its_draw_leads(theorem, seed):
    problems, parameters = drawn(theorem, seed)
    assert np.all(theorem.batch_assumptions(problems, **parameters))
    check = theorem.batch_check(problems, **parameters)
    assert np.all(check.holds), np.min(check.slack)


@pytest.mark.parametrize("theorem", FALSE, ids=ids)
@profile(max_examples=4)
@given(seed=SEEDS)
def test_claims_known_to_be_false_fail_within_assumptions(theorem, seed):
    problems, parameters = drawn(theorem, seed)
    inside = np.asarray(theorem.batch_assumptions(problems, **parameters))
    check = theorem.batch_check(problems, **parameters)
    assert inside.all() and not np.all(check.holds)
    # Not by a hair: a false claim is not a matter of rounding.
    assert np.min(check.slack) < -0.01


@pytest.mark.parametrize("theorem", named("attraction", "instantaneous_error_effect"), ids=ids)
@profile(max_examples=20)
@given(setting=settings(shapes=((1, 5, None), (3, 5, 4))))
def test_identities_hold_on_every_problem(theorem, setting):
    assert holds_on(theorem, setting.problem())


PLAIN = settings(shapes=((1, 3, None), (1, 10, None)), temperatures=(1.0,))


@pytest.mark.parametrize("theorem", named("attraction_orthonormal", "log_ratio", "ratio_turning_point"), ids=ids)
@profile(max_examples=20)
@given(setting=PLAIN)
def test_identities_hold_on_every_plain_tabular_problem(theorem, setting):
    assert holds_on(theorem, setting.problem())


PROBABILITIES = st.one_of(st.sampled_from((1e-12, 1e-8, 1e-3)), st.floats(1e-6, 0.1))
SHARES = st.sampled_from((1e-6, 0.01, 0.5, 0.99, 1 - 1e-6))


@profile(max_examples=15)
@given(p=PROBABILITIES, share=SHARES, reach=SHARES, gap=st.sampled_from((1e-3, 2.0)))
def test_escape_without_a_mediocre_output_in_the_corners(p, share, reach, gap):
    # Nearly all the rest on one output (the lower end) or spread evenly (the upper end), to just above p or nearly 1.
    (theorem,) = named("no_mediocre_orthonormal")
    others = np.array([1.0, share])
    start = np.array([p, *((1 - p) * others / others.sum())])
    problem = pgdyn.Problem.tabular(start, np.array([gap, 0.0, 0.0]) - reach)
    assert holds_on(theorem, problem, rho=p + reach * (1 - p))


@profile(max_examples=15)
@given(
    p=st.sampled_from((1e-9, 1e-4, 0.999)),
    mass=st.sampled_from((1e-6, 0.01, 0.45)),
    share=SHARES,
    gaps=st.tuples(st.sampled_from((0.01, 1.0)), st.sampled_from((0.0, 1.0))),
    gain=st.sampled_from((0.01, 0.2, 3.0)),
    reach=SHARES,
)
@example(p=0.999, mass=0.45, share=0.5, gaps=(0.01, 0.0), gain=3.0, reach=1e-6)
def test_lower_bounds_of_the_escape_in_the_corners(p, mass, share, gaps, gain, reach):
    # p is a share of the largest that the assumptions allow, where V_0 = r_med.
    bad = mass * np.array([share, 1 - share]) * 0.999
    low = gaps[0] * (1 + gaps[1] * np.array([0.0, 1.0]))
    p = p * min(bad @ low / gain, 0.1)
    start = np.array([p, 1 - p - bad.sum(), *bad])
    problem = pgdyn.Problem.tabular(start, np.array([gain, 0.0, *-low]))
    for theorem in named("mediocre_lower", "mediocre_lower_simple"):
        assert holds_on(theorem, problem, v=reach * gain)


def test_the_paper_problem_is_one_that_stalls():
    # arXiv 2604.25872, appendix C, e = .05. Oracle of the time: SciPy's DOP853 at 1e-13.
    start, reward = np.array([[0.05, 0.5, 0.15, 0.15, 0.15]]), np.array([[1.0, 0.8, -1.0, -1.0, -1.0]])
    setting = Setting(None, reward, reward, np.log(start))
    _, time = flow(setting, np.array([4e4]), lambda z: value_gradient(setting, z, reward), target=0.9)
    for theorem in named("mediocre_lower", "mediocre_lower_simple"):
        assert theorem.assumptions(setting.problem(), v=0.9)
        check = theorem.check(setting.problem(), v=0.9)
        assert check.holds
        np.testing.assert_allclose(check.measured, time, rtol=1e-5)
    above_bad = pgdyn.Problem.tabular([0.05, 0.1, 0.25, 0.3, 0.3], [1.0, 0.8, -1.0, -1.0, -1.0])
    assert not theorem.assumptions(above_bad, v=0.9)  # y_med is not the likeliest but y*


def test_counterexamples_that_were_found_once():
    # Each is the simplest of its kind: a rare output beside a likely one that gains, and one beside one that loses.
    attracts, rises, unimodal = (
        REGISTRY[name]
        for name in ("positive_advantage_attracts", "benign_probability_never_rises", "any_ratio_unimodal")
    )
    assert not attracts.check(pgdyn.Problem.tabular([0.01, 0.59, 0.4], [1.0, 0.9, -1.0])).holds
    falling = pgdyn.Problem.tabular([0.05, 0.9, 0.05], [-0.9, -1.0, 1.0])
    assert rises.assumptions(falling, output=0, t1=10.0)
    assert not rises.check(falling, output=0, t1=10.0).holds
    assert REGISTRY["benign_never_attracts"].check(falling, output=0, t1=10.0).holds
    assert not unimodal.check(pgdyn.Problem.tabular([0.1, 0.5, 0.4], [1.0, 0.5, -1.0]), t1=1e4).holds
