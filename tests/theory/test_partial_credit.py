"""Partial credit against binary, tabular. Oracles: the statements, ratios written down once."""

import numpy as np
import pytest
from claims import SEEDS, assert_as_claimed, mutated, scaled, violations
from hypothesis import given
from hypothesis import settings as profile

import pgdyn
from pgdyn.theory import flows, partial_credit, starts


@pytest.mark.parametrize("theorem", partial_credit.THEOREMS, ids=lambda theorem: theorem.name)
@profile(max_examples=3)
@given(seed=SEEDS)
def test_holds_wherever_its_draw_leads(theorem, seed):
    assert_as_claimed(theorem, seed, 2)


def test_ratios_of_times_for_two_outputs_without_credit():
    table = {
        (0.1, 0.1): 1.18,
        (0.1, 0.3): 1.47,
        (0.05, 0.3): 1.97,
        (0.01, 0.5): 51.9,
        (0.003, 0.5): 703,
        (0.001, 0.001): 0.90,
    }
    batch = pgdyn.stack([partial_credit.credit_problem(full, half, 2) for full, half in table])
    binary = flows.arrival_times(batch, 0.95, pgdyn.Objective(reward="true"))
    np.testing.assert_allclose(flows.arrival_times(batch, 0.95) / binary, list(table.values()), rtol=0.005)


MUTATIONS = {
    "partial_credit_rise": (starts, "velocity", scaled(1 + 1e-9)),
    "partial_credit_exponent": (partial_credit, "make_rarer", lambda f: lambda batch: f(batch, factor=3.18)),
    "binary_credit_exponent": (partial_credit, "make_rarer", lambda f: lambda batch: f(batch, factor=3.18)),
}


@pytest.mark.parametrize("name", MUTATIONS)
def test_every_check_can_fail(name, monkeypatch):
    mutated(monkeypatch, *MUTATIONS[name])
    assert violations(name, size=2) > 0
