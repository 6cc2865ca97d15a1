"""Exponents of arrival times. Oracles: odds by hand, and times of a known power."""

import numpy as np
import pytest
from strategies import make_setting

import pgdyn
from pgdyn.theory import flows, rarity


@pytest.mark.parametrize("shape", [(1, 3, None), (1, 3, 3)], ids=str)
def test_odds_of_one_output_fall_by_the_factor(shape):
    batch = pgdyn.stack([make_setting(seed, shape, temperature=2.5).problem() for seed in range(3)])
    before, after = (np.exp(flows.start_log_policy(each))[:, 0] for each in (batch, rarity.make_rarer(batch, 1, 7.0)))
    odds = [p[:, 1] / (1 - p[:, 1]) for p in (before, after)]
    np.testing.assert_allclose(odds[0] / odds[1], 7.0, rtol=1e-9)
    np.testing.assert_allclose(after[:, 0] / after[:, 2], before[:, 0] / before[:, 2], rtol=1e-9)


def test_exponents_are_those_of_the_times(monkeypatch):
    batch = pgdyn.Batch.tabular([[[1e-3, 0.5, 0.499]], [[1e-2, 0.3, 0.69]]], [1.0, 0.8, -1.0])

    def power_law(starts, target):
        return target * np.exp(-2.5 * flows.start_log_policy(starts)[:, 0, 0])

    monkeypatch.setattr(rarity, "arrival_times", power_law)
    rarer = rarity.make_rarer(batch, factor=10.0)
    shrunk = np.exp(flows.start_log_policy(batch) - flows.start_log_policy(rarer))[:, 0, 0]
    expected = 2.5 * np.log10(shrunk)
    np.testing.assert_allclose(rarity.arrival_exponent(batch, rarer, 0.9, factor=10.0), expected, rtol=1e-9)
    best = np.zeros(2, int)
    np.testing.assert_allclose(rarity.exponent_over_a_decade(batch, best, np.array([0.9, 0.8])), 2.5, rtol=1e-9)
