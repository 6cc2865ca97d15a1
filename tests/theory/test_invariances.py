"""What training leaves unchanged. Oracle: the statements; each dynamics and the clock are spoilt in turn."""

import dataclasses

import pytest
from claims import SEEDS, assert_as_claimed, mutated, violations, with_rewards
from hypothesis import given
from hypothesis import settings as profile

from pgdyn.theory import flows, invariances


@pytest.mark.parametrize("theorem", invariances.THEOREMS, ids=lambda theorem: theorem.name)
@profile(max_examples=3)
@given(seed=SEEDS)
def test_holds_wherever_its_draw_leads(theorem, seed):
    assert_as_claimed(theorem, seed)


@pytest.mark.parametrize("place", ["run", "ascend_many", "ascend_sampled_many"])
def test_conserved_sum_notices_a_drift_of_each_dynamics(place, monkeypatch):
    def drifting(original):
        def run(*arguments, **options):
            solution = original(*arguments, **options)
            return dataclasses.replace(solution, params=solution.params * (1 + 1e-9) + 1e-10)

        return run

    mutated(monkeypatch, flows if place == "run" else invariances, place, drifting)
    assert violations("conserved_sum") > 0


def test_perturbation_linearity_notices_a_clock_that_is_not_linear(monkeypatch):
    mutated(monkeypatch, flows, "run", with_rewards(lambda reward: reward + 1e-3 * reward**2))
    assert violations("perturbation_linearity") > 0
