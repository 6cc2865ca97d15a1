"""Identities at a point. Oracle: the statements, on random problems of their draws and on corners."""

import pytest
from claims import SEEDS, assert_as_claimed, holds_on, mutated, scaled, violations
from hypothesis import given
from hypothesis import settings as profile
from strategies import settings

import pgdyn
from pgdyn.theory import attraction, starts

TRUE = [theorem.name for theorem in attraction.THEOREMS if theorem.kind == "exact"]


@pytest.mark.parametrize("theorem", attraction.THEOREMS, ids=lambda theorem: theorem.name)
@profile(max_examples=4)
@given(seed=SEEDS)
def test_as_claimed_wherever_its_draw_leads(theorem, seed):
    assert_as_claimed(theorem, seed)


@pytest.mark.parametrize("name", ["attraction", "instantaneous_error_effect"])
@profile(max_examples=20)
@given(setting=settings(shapes=((1, 5, None), (3, 5, 4))))
def test_identities_hold_on_every_problem(name, setting):
    assert holds_on(name, setting.problem())


@pytest.mark.parametrize("name", ["attraction_orthonormal", "log_ratio", "ratio_turning_point"])
@profile(max_examples=20)
@given(setting=settings(shapes=((1, 3, None), (1, 10, None)), temperatures=(1.0,)))
def test_identities_hold_on_every_plain_tabular_problem(name, setting):
    assert holds_on(name, setting.problem())


@pytest.mark.parametrize("name", TRUE)
def test_notices_a_velocity_off_by_one_part_in_ten_billion(name, monkeypatch):
    mutated(monkeypatch, starts, "velocity", scaled(1 + 1e-10))
    assert violations(name) > 0


def test_a_rare_output_of_positive_advantage_loses():
    # The simplest of its kind: beside a likely one that gains.
    assert not attraction.positive_advantage_attracts.check(
        pgdyn.Problem.tabular([0.01, 0.59, 0.4], [1.0, 0.9, -1.0])
    ).holds
