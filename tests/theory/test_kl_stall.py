"""A KL penalty in a stall. Oracles: times measured once and written down, the statement."""

import numpy as np
import pytest
from claims import SEEDS, assert_as_claimed, mutated, violations
from hypothesis import given
from hypothesis import settings as profile

import pgdyn
from pgdyn.theory import flows, kl_stall

TIMES = {0.0: 33552.62, 0.001: 30264.60, 0.003: 24974.03, 0.01: 14264.08, 0.03: 4897.52}


@pytest.mark.parametrize("bad", [1, 3])
@profile(max_examples=3)
@given(seed=SEEDS)
def test_holds_wherever_its_draw_leads(bad, seed):
    assert_as_claimed(kl_stall.kl_shortens_stall, seed, bad)


def test_the_controlled_problem_by_weight():
    batch = pgdyn.Batch.tabular(np.array([[[0.05, 0.5, 0.15, 0.15, 0.15]]]), [1, 0.8, -1, -1, -1])
    every = batch[np.zeros(len(TIMES), int)]
    found = flows.arrival_times(every, 0.85, pgdyn.Objective(kl=np.array([*TIMES])))
    np.testing.assert_allclose(found, [*TIMES.values()], rtol=1e-6)


def test_the_check_can_fail(monkeypatch):
    mutated(monkeypatch, kl_stall, "penalised_times", lambda original: lambda *rest: original(*rest)[::-1])
    assert violations("kl_shortens_stall", size=3) == 64


def test_without_a_stall_a_penalty_only_delays():
    theorem = kl_stall.kl_shortens_stall
    quick = pgdyn.Problem.tabular([0.24, 0.24, 0.32, 0.2], [-0.56, -0.78, -1.48, -2.15])
    assert not theorem.assumptions(quick, weight=0.005)
    assert not theorem.check(quick, weight=0.005).holds
