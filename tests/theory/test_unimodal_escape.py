"""The escape turns once. Oracles: the statements, every triple of times, flows of another reward."""

import numpy as np
import pytest
from claims import SEEDS, assert_as_claimed, mutated, scaled, violations, with_rewards
from hypothesis import given
from hypothesis import settings as profile

import pgdyn
from pgdyn.theory import flows, starts, unimodal_escape


@pytest.mark.parametrize("theorem", unimodal_escape.THEOREMS, ids=lambda theorem: theorem.name)
@profile(max_examples=4)
@given(seed=SEEDS)
def test_as_claimed_wherever_its_draw_leads(theorem, seed):
    assert_as_claimed(theorem, seed)


def test_bump_of_a_path():
    # Oracle: every triple of times.
    rng = np.random.default_rng(1)
    for path in [*rng.normal(size=(4, 9)), np.abs(np.arange(9.0) - 4)]:
        rises = [min(path[b] - path[a], path[b] - path[c]) for b in range(9) for a in range(b) for c in range(b, 9)]
        np.testing.assert_allclose(unimodal_escape.bump(path), max(0.0, *rises), atol=1e-15)


def test_the_turning_point_notices_a_velocity_off_by_one_part_in_ten_billion(monkeypatch):
    mutated(monkeypatch, starts, "velocity", scaled(1 + 1e-10))
    assert violations("ratio_turning_point") > 0


def test_unimodal_escape_notices_the_flow_of_another_reward(monkeypatch):
    mutated(monkeypatch, flows, "run", with_rewards(lambda reward: np.roll(reward, 1, -1)))
    assert violations("unimodal_escape", seed=1) > 0


def test_a_likely_output_falls_faster_than_a_rare_one():
    problem = pgdyn.Problem.tabular([0.1, 0.5, 0.4], [1.0, 0.5, -1.0])
    assert not unimodal_escape.any_ratio_unimodal.check(problem, t1=1e4).holds
