"""The size of the gradient. Oracle: the statements."""

import numpy as np
import pytest
from claims import SEEDS, assert_as_claimed, mutated, scaled, violations
from hypothesis import given
from hypothesis import settings as profile

import pgdyn
from pgdyn.theory import gradient_bounds


@pytest.mark.parametrize("theorem", gradient_bounds.THEOREMS, ids=lambda theorem: theorem.name)
@profile(max_examples=2)
@given(seed=SEEDS)
def test_holds_wherever_its_draw_leads(theorem, seed):
    assert_as_claimed(theorem, seed, theorem.sizes[-1])


def test_bounds_by_their_formulas():
    # Var = .25 * .75 * .64 = .12, J = the larger singular value of the features over the temperature.
    problem = pgdyn.Problem.linear([[3.0, 0.0], [0.0, 4.0]], [0.8, 0.0], initial_policy=[0.25, 0.75], temperature=2.0)
    np.testing.assert_allclose(gradient_bounds.vanishing_bound(problem), 6 * 2.0 * 0.12 ** (1 / 3))
    np.testing.assert_allclose(gradient_bounds.sharp_vanishing_bound(problem), 2.0 * 0.12**0.5)


MUTATIONS = {
    "gradient_gap": ("Objective", lambda original: lambda: original(entropy=1e-9)),
    "vanishing_gradient": ("initial_variance", scaled(0.1)),
}


@pytest.mark.parametrize("name", MUTATIONS)
def test_every_check_can_fail(name, monkeypatch):
    mutated(monkeypatch, gradient_bounds, *MUTATIONS[name])
    assert violations(name, size=gradient_bounds.gradient_gap.sizes[0]) > 0
