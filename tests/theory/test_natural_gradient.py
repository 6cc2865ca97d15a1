"""Natural flows in closed form. Oracle: the statements, and rewards that are spoilt a little."""

import pytest
from claims import SEEDS, assert_as_claimed, mutated, violations, with_rewards
from hypothesis import given
from hypothesis import settings as profile

from pgdyn.theory import flows, natural_gradient


@pytest.mark.parametrize("theorem", natural_gradient.THEOREMS, ids=lambda theorem: theorem.name)
@profile(max_examples=4)
@given(seed=SEEDS)
def test_holds_wherever_its_draw_leads(theorem, seed):
    assert_as_claimed(theorem, seed)


@pytest.mark.parametrize("theorem", natural_gradient.THEOREMS, ids=lambda theorem: theorem.name)
def test_notices_rewards_off_by_one_part_in_ten_thousand(theorem, monkeypatch):
    mutated(monkeypatch, flows, "run", with_rewards(lambda reward: reward * 1.0001))
    assert violations(theorem.name) > 0
