"""Fisher's exact test and Wilson's interval. Oracle: SciPy."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from paper_repro import proportions


@given(st.integers(1, 60), st.integers(1, 60), st.data())
def test_fisher_is_that_of_scipy(trials, other_trials, data):
    successes = data.draw(st.integers(0, trials))
    other = data.draw(st.integers(0, other_trials))
    table = [[successes, trials - successes], [other, other_trials - other]]
    expected = stats.fisher_exact(table).pvalue
    assert proportions.fisher_exact(successes, trials, other, other_trials) == pytest.approx(
        expected, rel=1e-9, abs=1e-14
    )


def test_fisher_at_the_size_that_is_used():
    table = [[128, 72], [150, 50]]
    assert proportions.fisher_exact(128, 200, 150, 200) == pytest.approx(stats.fisher_exact(table).pvalue, rel=1e-9)


@given(st.integers(1, 300), st.data())
def test_wilson_is_that_of_scipy(trials, data):
    successes = data.draw(st.integers(0, trials))
    expected = stats.binomtest(successes, trials).proportion_ci(method="wilson")
    assert proportions.wilson_interval(successes, trials) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_acceptable_counts_are_those_not_rejected():
    low, high = proportions.acceptable(200, 150, 200, 1e-3 / 6)
    for found, kept in ((low - 1, False), (low, True), (high, True), (high + 1, False)):
        table = [[found, 200 - found], [150, 50]]
        assert bool(stats.fisher_exact(table).pvalue >= 1e-3 / 6) is kept


def test_refuses_more_successes_than_trials():
    with pytest.raises(ValueError, match="successes is 4"):
        proportions.fisher_exact(4, 3, 1, 2)
