"""The size of the gradient. Oracle: the statements."""

import pytest
from claims import SEEDS, assert_as_claimed, mutated, scaled, violations
from hypothesis import given
from hypothesis import settings as profile

from pgdyn.theory import gradient_bounds


@pytest.mark.parametrize("theorem", gradient_bounds.THEOREMS, ids=lambda theorem: theorem.name)
@profile(max_examples=2)
@given(seed=SEEDS)
def test_holds_wherever_its_draw_leads(theorem, seed):
    assert_as_claimed(theorem, seed, theorem.sizes[-1])


MUTATIONS = {
    "gradient_gap": ("Objective", lambda original: lambda: original(entropy=1e-9)),
    "vanishing_gradient": ("initial_variance", scaled(1e-6)),
}


@pytest.mark.parametrize("name", MUTATIONS)
def test_every_check_can_fail(name, monkeypatch):
    mutated(monkeypatch, gradient_bounds, *MUTATIONS[name])
    assert violations(name, size=gradient_bounds.gradient_gap.sizes[0]) > 0
