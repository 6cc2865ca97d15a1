"""Lower bounds of the escape. Oracles: the formulas in NumPy, SciPy's DOP853, the statements in the corners."""

import jax.numpy as jnp
import numpy as np
import pytest
from claims import SEEDS, assert_as_claimed, holds_on, mutated, violations
from hypothesis import example, given
from hypothesis import settings as profile
from hypothesis import strategies as st
from oracles import Setting, flow, value_gradient
from test_no_mediocre_output import SHARES, at_speed

import pgdyn
from pgdyn.theory import flows, mediocre_lower_bounds
from pgdyn.theory.mediocre_lower_bounds import simple_lower_bound, stall_lower_bound

BOUNDS = (mediocre_lower_bounds.mediocre_lower, mediocre_lower_bounds.mediocre_lower_simple)


@pytest.mark.parametrize("theorem", mediocre_lower_bounds.THEOREMS, ids=lambda theorem: theorem.name)
@profile(max_examples=4)
@given(seed=SEEDS)
def test_holds_wherever_its_draw_leads(theorem, seed):
    assert_as_claimed(theorem, seed)


def test_bounds_against_their_formulas():
    # Oracle: the formulas once more, in NumPy, with y* at index 1 and y_med at index 3.
    start, reward = np.array([0.1, 0.02, 0.08, 0.8]), np.array([-0.5, 1.0, -0.9, 0.6])
    problem, v = pgdyn.Problem.tabular(start, reward), 0.95
    p, m, q = 0.02, 0.8, start[[0, 2]]
    gaps, value = 0.6 - reward[[0, 2]], start @ reward
    reached = (v - 0.6) / 0.4
    simple = (1 / p - 1 / reached) / (2 * (1 - value))
    a = (1 + 0.9) / gaps.min()
    mu = 1 / (1 + np.e * p / m + np.sqrt(np.e) * q.sum() / m)
    w = (gaps * q).sum() / m
    stall = m / (np.e * p) * (1 + (a + 1) * mu * w / (4 * (1 - value) * p)) ** (mu / (a + 1)) - 1 / reached
    np.testing.assert_allclose(simple_lower_bound(problem, jnp.asarray(v)), simple, rtol=1e-12)
    np.testing.assert_allclose(stall_lower_bound(problem, jnp.asarray(v)), stall / (2 * (1 - value)), rtol=1e-12)


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
def test_bounds_in_the_corners(p, mass, share, gaps, gain, reach):
    # p is a share of the largest that the assumptions allow, where V_0 = r_med.
    bad = mass * np.array([share, 1 - share]) * 0.999
    low = gaps[0] * (1 + gaps[1] * np.array([0.0, 1.0]))
    p = p * min(bad @ low / gain, 0.1)
    start = np.array([p, 1 - p - bad.sum(), *bad])
    problem = pgdyn.Problem.tabular(start, np.array([gain, 0.0, *-low]))
    for theorem in BOUNDS:
        assert holds_on(theorem.name, problem, v=reach * gain)


def test_the_paper_problem_is_one_that_stalls():
    # arXiv 2604.25872, appendix C, e = .05. Oracle of the time: SciPy's DOP853 at 1e-13.
    start, reward = np.array([[0.05, 0.5, 0.15, 0.15, 0.15]]), np.array([[1.0, 0.8, -1.0, -1.0, -1.0]])
    setting = Setting(None, reward, reward, np.log(start))
    _, time = flow(setting, np.array([4e4]), lambda z: value_gradient(setting, z, reward), target=0.9)
    for theorem in BOUNDS:
        assert theorem.assumptions(setting.problem(), v=0.9)
        check = theorem.check(setting.problem(), v=0.9)
        assert check.holds
        np.testing.assert_allclose(check.measured, time, rtol=1e-5)
    above_bad = pgdyn.Problem.tabular([0.05, 0.1, 0.25, 0.3, 0.3], [1.0, 0.8, -1.0, -1.0, -1.0])
    assert not theorem.assumptions(above_bad, v=0.9)  # y_med is not the likeliest but y*


def test_the_exponent_is_the_papers_and_the_search_comes_near_it():
    # Found by the search for the least slope; 1.1726 there.
    start = np.array([0.24239081263450163, 0.38190849153505774, 0.3757006958304405])
    reward = np.array([-0.05717336600836643, -1.0377623618900798, -2.303093974204328])
    theorem, problem = mediocre_lower_bounds.escape_exponent, pgdyn.Problem.tabular(start, reward)
    assert theorem.assumptions(problem, v=-0.3023213024269168)
    check = theorem.check(problem, v=-0.3023213024269168)
    np.testing.assert_allclose([check.measured, check.bound], [1.1726, 14 / 13], rtol=1e-4)
    # At r* the last approach takes over: false without its condition.
    near = pgdyn.Problem.tabular([0.0075, 0.9911, 0.0014], [0.426, -0.255, -4.856])
    assert not theorem.assumptions(near, v=0.4253) and not theorem.check(near, v=0.4253).holds


# How much faster the flow may run before the tightest of 64 random problems notices.
@pytest.mark.parametrize(("name", "speed"), [("mediocre_lower_simple", 2.0), ("mediocre_lower", 6.0)])
def test_bounds_notice_another_speed(name, speed, monkeypatch):
    mutated(monkeypatch, flows, "run", at_speed(speed))
    assert violations(name, seed=1) > 0


def test_the_exponent_notices_a_reward_without_mediocre_output(monkeypatch):
    def exchanged(original):
        def run(batch, *arguments, **options):
            order = np.argsort(np.argsort(-batch.true_reward, axis=-1, kind="stable"), axis=-1)
            return original(batch.replace(proxy_reward=np.array([1.0, -1.0, -1.0])[order]), *arguments, **options)

        return run

    mutated(monkeypatch, flows, "run", exchanged)
    assert violations("escape_exponent", seed=1) > 0
