"""The laws of the stall. Oracles: SciPy's DOP853 on the corner system, and slopes measured once and written down."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from claims import SEEDS, assert_as_claimed, mutated, scaled, violations
from hypothesis import given
from hypothesis import settings as profile
from hypothesis import strategies as st
from scipy.integrate import solve_ivp

import pgdyn
from pgdyn.theory import corner_laws, flows

SIZE = 2  # bad outputs; one size everywhere, so that compiled code is reused


@pytest.mark.parametrize("theorem", corner_laws.THEOREMS, ids=lambda theorem: theorem.name)
@profile(max_examples=3)
@given(seed=SEEDS)
def test_holds_wherever_its_draw_leads(theorem, seed):
    assert_as_claimed(theorem, seed, SIZE)


corner_state = jax.jit(corner_laws.corner_state)


def corner_system(u, w, until):
    """ln u and ln w_b at time `until` by DOP853 on d ln u = 2u - w, d ln w_b = u - w - w_b."""

    def slope(t, y):
        pull, bad = np.exp(y[0]), np.exp(y[1:])
        return np.append(2 * pull - bad.sum(), pull - bad.sum() - bad)

    start = np.log(np.append(u, w))
    return solve_ivp(slope, (0, until), start, method="DOP853", rtol=1e-12, atol=1e-12).y[:, -1] - start


@profile(max_examples=15)
@given(seed=SEEDS, bad=st.integers(1, 3), stage=st.floats(0.01, 0.95))
def test_the_closed_form_solves_the_corner_system(seed, bad, stage):
    rng = np.random.default_rng(seed)
    u, w = np.exp(rng.uniform(-3, 1)), np.exp(rng.uniform(-3, 1, bad))
    t, best, others = corner_state(jnp.asarray(u), jnp.asarray(w), jnp.asarray(stage))
    np.testing.assert_allclose(np.append(best, others), corner_system(u, w, float(t)), rtol=1e-7, atol=1e-8)


def test_the_minimum_is_that_of_the_closed_form():
    for n, s in ((1, 0.01), (2, 0.3), (3, 0.1), (2, 0.7)):
        w, x = np.full(n, 1 / n), np.linspace(0, 0.999, 20001)
        path = -2 * np.log1p(-x) - n * np.log1p(w[0] / s * x)
        np.testing.assert_allclose(corner_laws.minimum(jnp.asarray(s), n), path.min(), atol=1e-6)


def test_the_leading_term_is_the_product_of_gaps_and_masses():
    u, w = 1e-9, np.array([2e-3, 5e-3])
    leading = w.prod() / (3 * 4 * u**3)
    np.testing.assert_allclose(corner_laws.escape_time(jnp.asarray(u), jnp.asarray(w)), leading, rtol=1e-5)


@pytest.mark.parametrize(("bad", "start", "slope"), [(1, 1e-3, 2.003), (2, 1e-3, 3.004), (3, 1e-2, 4.054)])
def test_slopes_of_the_controlled_rewards_over_a_decade(bad, start, slope):
    policies = [[p, 0.5, *[(0.5 - p) / bad] * bad] for p in (start, start / 10)]
    times = flows.arrival_times(pgdyn.Batch.tabular(np.array(policies)[:, None], [1.0, 0.8, *[-1.0] * bad]), 0.9)
    assert abs(np.log10(times[1] / times[0]) - slope) < 5e-4


def later(original):
    """Replaces paths by those at later times."""
    return lambda batch, t1, *arguments, **options: original(batch, 1.003 * np.asarray(t1), *arguments, **options)


MUTATIONS = {
    "corner_path": (flows, "run", later),
    "corner_escape_time": (corner_laws, "time_to_escape", scaled(1.0002)),
    "corner_minimum": (
        corner_laws,
        "lowest",
        lambda original: lambda problem: original(problem) + 0.0004,
    ),
    "corner_law": (corner_laws, "make_rarer", lambda original: lambda batch: original(batch, factor=3.18)),
}


@pytest.mark.parametrize("name", MUTATIONS)
def test_every_check_can_fail(name, monkeypatch):
    mutated(monkeypatch, *MUTATIONS[name])
    assert violations(name, size=SIZE) > 0


def test_assumptions_tell_a_corner_from_a_start_far_off(paper_problem):
    rare = pgdyn.Problem.tabular([1e-5, 0.5, 0.2, 0.2, 0.1 - 1e-5], [1.0, 0.8, -1.0, -1.0, -1.0])
    assert corner_laws.corner_law.assumptions(rare) and not corner_laws.corner_law.assumptions(paper_problem)
    assert not corner_laws.corner_path.assumptions(paper_problem)
    assert not corner_laws.corner_law.assumptions(rare.with_proxy([1.0, -1.0, -1.0, -1.0, -1.0]))
