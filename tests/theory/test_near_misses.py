"""Premises from outside: what just misses one is told apart. Oracle: problems made to break a single assumption."""

import pytest
from claims import drawn
from near_misses import NEAR_MISSES, near_misses

from pgdyn.theory import THEOREMS
from pgdyn.theory.theorem import always

SEED = 5
# Where the first size leaves out what is to be missed: some correlations need two bad outputs.
SIZES = {
    "mediocre_lower": 5,
    "mediocre_lower_simple": 5,
    "escape_exponent": 5,
    "corner_law": 2,
    "corner_minimum": 2,
    "feature_geometry_law": 2,
    "feature_geometry_time": 3,
    "exact_features": 5,
    "reinforce_escape": 5,
}


def test_every_premise_is_tested():
    assert {name for name, theorem in THEOREMS.items() if theorem.premise is not always} == set(NEAR_MISSES)


@pytest.mark.parametrize("name", NEAR_MISSES)
def test_what_just_misses_a_premise_is_outside(name):
    theorem = THEOREMS[name]
    size = SIZES.get(name, theorem.sizes[0])
    batch, parameters = drawn(theorem, SEED, size)
    assert theorem.assumptions(batch[0], **{key: value[0] for key, value in parameters.items()})
    for missed, problem, own in near_misses(theorem, SEED, size):
        assert not theorem.assumptions(problem, **own), missed
