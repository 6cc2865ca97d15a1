"""What a learning rate does to ascent. Oracles: updates counted one by one, SciPy's DOP853 on the plane of the x."""

import numpy as np
import pytest
from claims import SEEDS, assert_as_claimed, mutated, violations
from hypothesis import given
from hypothesis import settings as profile
from scipy.integrate import solve_ivp

import pgdyn
from pgdyn.theory import flows, learning_rate_shift

START, REWARD = np.array([0.1, 0.5, *[0.4 / 3] * 3]), np.array([1.0, 0.8, -1.0, -1.0, -1.0])


@pytest.mark.parametrize("bad", [2, 3])
@profile(max_examples=3)
@given(seed=SEEDS)
def test_holds_wherever_its_draw_leads(bad, seed):
    assert_as_claimed(learning_rate_shift.learning_rate_shift, seed, bad)


def test_the_controlled_problem_gains_what_is_stated():
    batch = pgdyn.Batch.tabular(START[None, None], REWARD)
    flow = flows.arrival_times(batch, 0.9)[0]
    updates = float(pgdyn.ascend_many(batch, 11_000, learning_rate=0.1, target=0.9, save_every=11_000).hitting_time[0])
    stated = learning_rate_shift.shifted_time(batch, np.array([0.9]), 0.1)[0]
    np.testing.assert_allclose([updates * 0.1 / flow - 1, stated / flow - 1], [-7.34e-3, -7.32e-3], atol=1.5e-5)


def test_it_is_the_equation_on_the_plane():
    # dx/dtau = dnu/dtau - r + (eta/2) pi A^2, with nu such that the product of all x stays; eta N = S - (eta/2) ln Z.
    eta = 0.3

    def slope(tau, state):
        x = state[:-1]
        mass = (1 / x).sum()
        policy = 1 / x / mass
        moved = -REWARD + eta / 2 * policy * (REWARD - policy @ REWARD) ** 2
        return np.append(moved - (moved / x).sum() / mass, mass)

    def arrived(tau, state):
        policy = 1 / state[:-1] / (1 / state[:-1]).sum()
        return policy @ REWARD - 0.9

    arrived.terminal = True
    run = solve_ivp(slope, (0, 1e3), np.append(1 / START, 0), "DOP853", events=arrived, rtol=1e-11, atol=1e-11)
    expected = run.y[-1, -1] - eta / 2 * np.log((1 / run.y[:-1, -1]).sum())
    batch = pgdyn.Batch.tabular(START[None, None], REWARD)
    np.testing.assert_allclose(learning_rate_shift.shifted_time(batch, np.array([0.9]), eta), expected, atol=5e-3)


@pytest.mark.parametrize("factor", [0.8, 1.2])
def test_the_check_can_fail(factor, monkeypatch):
    def changed(original):
        return lambda batch, target, eta: original(batch, target, factor * eta)

    mutated(monkeypatch, learning_rate_shift, "shifted_time", changed)
    assert violations("learning_rate_shift", size=3) > 16
