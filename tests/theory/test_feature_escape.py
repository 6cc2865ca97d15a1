"""The stall under any features. Oracles: SciPy's quadratic programme, the laws that it contains."""

import numpy as np
import pytest
from claims import SEEDS, assert_as_claimed, drawn, mutated, violations
from hypothesis import given
from hypothesis import settings as profile
from scipy.optimize import minimize
from test_feature_geometry import trap

import pgdyn
from pgdyn.theory import feature_escape, feature_geometry, permanent_stall


@pytest.mark.parametrize("theorem", feature_escape.THEOREMS, ids=lambda theorem: theorem.name)
@profile(max_examples=3)
@given(seed=SEEDS)
def test_holds_wherever_its_draw_leads(theorem, seed):
    assert_as_claimed(theorem, seed, 3)


def nearest(point, others):
    """The nearest point of a hull, by SLSQP over its weights."""
    count = len(others)
    sum_to_one = {"type": "eq", "fun": lambda x: x.sum() - 1}
    found = minimize(
        lambda x: np.sum((x @ others - point) ** 2),
        np.full(count, 1 / count),
        bounds=[(0, 1)] * count,
        constraints=[sum_to_one],
        options={"ftol": 1e-16, "maxiter": 500},
    )
    return found.x @ others


def test_h_is_that_of_the_nearest_point():
    rng = np.random.default_rng(0)
    for _ in range(12):
        features = rng.normal(size=(5, 5))
        problem = pgdyn.Problem.linear(features, [1, 0.5, -1, -1, -1])
        best, mediocre = features[:2]
        v = nearest(mediocre, features[2:]) - mediocre
        expected = (best - mediocre) @ v / (v @ v)
        np.testing.assert_allclose(feature_escape.pull_along(problem), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("inner", [-0.2, 0.0, 0.4])
def test_it_contains_the_law_of_orthogonal_bad_features(inner):
    problem = trap(inner, best=1.4, mediocre=0.9, bad=(0.7, 1.6))
    np.testing.assert_allclose(feature_escape.escape_exponent(problem), feature_geometry.exponent(problem), rtol=1e-9)
    stalled = trap(-0.9, best=2.0, mediocre=0.9, bad=(0.7, 1.6))
    h = feature_escape.pull_along(stalled)
    np.testing.assert_allclose(-h, permanent_stall.stall_exponent(stalled), rtol=1e-9)


def test_a_bad_output_behind_the_face_does_not_count():
    batch, _ = drawn(feature_escape.general_feature_escape, 0, 3)
    one = batch[0]
    fewer = pgdyn.Problem.linear(np.asarray(one.features)[0, :4], np.asarray(one.true_reward)[0, :4])
    np.testing.assert_allclose(feature_escape.pull_along(fewer), feature_escape.pull_along(one), rtol=1e-9)


@pytest.mark.parametrize(
    ("name", "function", "more"),
    [("general_feature_escape", "escape_exponent", 0.016), ("general_feature_stall", "pull_along", 0.0035)],
)
def test_every_check_can_fail(name, function, more, monkeypatch):
    mutated(monkeypatch, feature_escape, function, lambda original: lambda problem: original(problem) + more)
    assert violations(name, size=3) > 32


def test_the_premise_asks_for_a_start_near_the_mediocre_output():
    theorem = feature_escape.general_feature_escape
    near, far = ([1e-9, 1 - off - 1e-9, off / 2, off / 2] for off in (0.05, 0.5))
    assert theorem.assumptions(trap(0.4, start=near)) and not theorem.assumptions(trap(0.4, start=far))
    assert not theorem.assumptions(trap(-0.8, best=2.0, start=near))
