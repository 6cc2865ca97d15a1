"""The sharp lower bound. Oracles: SciPy's quadrature, the limit of its ratio to the closed form of the corner."""

import numpy as np
import pytest
from claims import SEEDS, assert_as_claimed, mutated, scaled, violations
from hypothesis import given
from hypothesis import settings as profile
from hypothesis import strategies as st
from scipy.integrate import quad

import pgdyn
from pgdyn.theory import flows, mediocre_sharp
from pgdyn.theory.mediocre_lower_bounds import simple_lower_bound, stall_lower_bound


@pytest.mark.parametrize("bad", [1, 3])
@profile(max_examples=3)
@given(seed=SEEDS)
def test_holds_wherever_its_draw_leads(bad, seed):
    assert_as_claimed(mediocre_sharp.mediocre_lower_sharp, seed, bad)


@profile(max_examples=20)
@given(seed=SEEDS, bad=st.sampled_from((1, 2, 3)))
def test_the_bound_is_the_integral_of_the_statement(seed, bad):
    rng = np.random.default_rng(seed)
    p, gain, gaps = np.exp(rng.uniform(-9, -3)), rng.uniform(0.1, 1), rng.uniform(0.1, 2, bad)
    q = rng.dirichlet(np.ones(bad)) * 0.4
    m = 1 - p - q.sum()
    a, b, mean = 1 / p - 1 / m, 1 / q - 1 / m, np.mean(1 / (gaps * q))
    length = bad / (bad + 1) * max(a / gain - mean / bad, 0)
    height = lambda tau: (a - gain * tau) * np.prod(b + gaps * tau)  # noqa: E731
    expected = m * p * q.prod() * quad(height, 0, length, epsrel=1e-12)[0]
    problem = pgdyn.Problem.tabular([p, m, *q], [gain, 0, *-gaps])
    np.testing.assert_allclose(mediocre_sharp.sharp_lower_bound(problem), expected, rtol=1e-10)


@pytest.mark.parametrize("bad", [1, 2, 3])
def test_it_misses_the_time_by_a_constant_that_only_n_decides(bad):
    # From prod D_b q_b / [(n+1)(n+2) (D* p)^(n+1)] and the bound's leading term.
    x = bad / (bad + 1)
    expected = 1 / ((bad + 2) * x ** (bad + 1) - (bad + 1) * x ** (bad + 2))
    start, reward = (
        np.array([1e-7, 1 - 1e-7 - 0.003 * bad, *[0.003] * bad]),
        np.array([0.7, 0, *-np.linspace(1, 2, bad)]),
    )
    batch = pgdyn.Batch.tabular(start[None, None], reward)
    ratio = flows.arrival_times(batch, 0.3)[0] / mediocre_sharp.sharp_lower_bound(batch[0])
    np.testing.assert_allclose(ratio, expected, rtol=0.02)


def test_it_is_far_above_the_other_bounds_where_the_best_output_is_rare():
    problem = pgdyn.Problem.tabular([1e-4, 0.5, 0.2, 0.2, 0.0999], [1, 0.8, -1, -1, -1])
    others = max(float(bound(problem, np.asarray(0.9))) for bound in (simple_lower_bound, stall_lower_bound))
    assert float(mediocre_sharp.sharp_lower_bound(problem)) > 1e9 * others


def test_it_notices_a_bound_twice_as_large(monkeypatch):
    mutated(monkeypatch, mediocre_sharp, "sharp_lower_bound", scaled(2.02))
    assert violations("mediocre_lower_sharp", size=3) > 16


def test_assumptions():
    theorem = mediocre_sharp.mediocre_lower_sharp
    stalled = pgdyn.Problem.tabular([0.05, 0.5, 0.15, 0.15, 0.15], [1, 0.8, -1, -1, -1])
    assert theorem.assumptions(stalled, v=0.9) and not theorem.assumptions(stalled, v=0.8)
    assert not theorem.assumptions(stalled.with_proxy([1, -1, -1, -1, -1]), v=0.9)
    assert not theorem.assumptions(pgdyn.Problem.tabular([0.05, 0.4, 0.45, 0.1], [1, 0.8, -1, -1]), v=0.9)
    assert not theorem.assumptions(pgdyn.Problem.tabular([0.9, 0.05, 0.05], [1, 0.8, -1]), v=0.9)
