"""`Check`, on the host and traced. Oracle: arithmetic by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compilations import Compilations

from pgdyn.theory import Check


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


def test_a_law_has_the_tolerance_left_over_as_slack():
    found = Check.near([1.02, 3.0, np.inf, np.nan], [1.0, 1.0, np.inf, 1.0], 0.05)
    np.testing.assert_array_equal(found.holds, [True, False, True, False])
    np.testing.assert_allclose(found.slack, [0.03, -1.95, 0.05, np.nan])


def test_statements_about_each_problem_are_joined_problem_by_problem():
    joined = Check.each_of(Check.at_most([1.5, 1.0, np.nan], 1.0, rounding=1.0), Check.at_most([1.1, 0.0, 0.0], 1.0))
    np.testing.assert_array_equal(joined.holds, [False, True, False])
    np.testing.assert_array_equal(joined.measured, [1.1, 1.0, np.nan])


def test_traced_and_host_checks_agree_and_the_latter_compile_nothing():
    def both(measured, bound):
        joined = Check.each_of(Check.ratio_at_most(measured, bound), Check.at_least(bound, measured, rounding=1e-3))
        return Check.all_of(joined, Check.identity(measured, 10.0), Check.near(measured, bound, 9.0)), joined

    measured, bound = np.array([1.0, 4.0, 0.5, np.inf]), np.array([2.0, 3.0, 0.5, np.inf])
    traced = jax.jit(both)(measured, bound)
    with Compilations() as made:
        host = both(measured, bound)
    assert made.count == 0
    jax.tree.map(np.testing.assert_allclose, host, jax.tree.map(np.asarray, traced))
