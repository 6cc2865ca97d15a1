"""Clocks in closed form. Oracle: the statements, a golden time, and rewards that are spoilt a little."""

import numpy as np
import pytest
from claims import SEEDS, assert_as_claimed, mutated, violations, with_rewards
from hypothesis import given
from hypothesis import settings as profile

import pgdyn
from pgdyn.theory import closed_forms, flows


@pytest.mark.parametrize("theorem", closed_forms.THEOREMS, ids=lambda theorem: theorem.name)
@profile(max_examples=4)
@given(seed=SEEDS)
def test_holds_wherever_its_draw_leads(theorem, seed):
    assert_as_claimed(theorem, seed)


@pytest.mark.parametrize("theorem", closed_forms.THEOREMS, ids=lambda theorem: theorem.name)
def test_notices_rewards_off_by_one_part_in_ten_million(theorem, monkeypatch):
    mutated(monkeypatch, flows, "run", with_rewards(lambda reward: reward * (1 + 1e-7)))
    assert violations(theorem.name) > 0


def test_two_level_closed_form_knows_its_golden_time():
    # K = 5, p_0 = .05, D = 2: F(u_t) - F(u_0) = D K t / (K - 1) reaches p = .9 at t = 15.2478337688.
    start = np.array([0.05, *[0.95 / 4] * 4])
    problem = pgdyn.Problem.tabular(start, [1.0, -1, -1, -1, -1])
    run = pgdyn.flow(problem, 15.2478337688, saves=2, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(run.policy[-1, 0, 0], 0.9, rtol=1e-8)
    assert closed_forms.two_level_closed_form.check(problem, t1=15.2478337688).holds
