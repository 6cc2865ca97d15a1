"""The stall under correlated features. Oracles: SciPy on the corner system, `corner_laws`, slopes written down once."""

import jax.numpy as jnp
import numpy as np
import pytest
from claims import SEEDS, assert_as_claimed, mutated, scaled, violations
from hypothesis import given
from hypothesis import settings as profile
from scipy.integrate import quad

import pgdyn
from pgdyn.theory import corner_laws, feature_geometry, flows, permanent_stall, starts
from pgdyn.theory.mediocre_trap import pulls
from pgdyn.theory.trap_features import geometry, harmonic, trap_features

SIZE = 3
THEOREMS = [*feature_geometry.THEOREMS, *permanent_stall.THEOREMS]


@pytest.mark.parametrize("theorem", THEOREMS, ids=lambda theorem: theorem.name)
@profile(max_examples=3)
@given(seed=SEEDS)
def test_holds_wherever_its_draw_leads(theorem, seed):
    assert_as_claimed(theorem, seed, SIZE)


def trap(inner, best=1.0, mediocre=1.0, bad=(1.0, 1.0), start=(1e-8, 0.5, 0.25, 0.25), rewards=(1.0, 0.8, -1.0, -1.0)):
    features = np.asarray(trap_features(best, mediocre, inner, jnp.asarray(bad)))
    start = np.asarray(start) / np.sum(start)
    return pgdyn.Problem.linear(features, rewards, initial_params=np.linalg.solve(features, np.log(start)))


@pytest.mark.parametrize(("inner", "slope"), [(0.3, 1.878), (0.6, 1.365), (0.9, 1.067)])
def test_slopes_for_two_bad_outputs_of_unit_norm_over_a_decade(inner, slope):
    rows = [trap(inner, start=(p, 0.5, (0.5 - p) / 2, (0.5 - p) / 2)) for p in (1e-3, 1e-4)]
    times = flows.arrival_times(pgdyn.stack(rows), 0.9)
    assert abs(np.log10(times[1] / times[0]) - slope) < 1e-3


def test_features_have_the_norms_and_the_inner_product_asked_for():
    problem = trap(-0.7, best=2.25, mediocre=1.3, bad=(0.5, 1.7))
    best, mediocre, inner, bad = geometry(problem)
    np.testing.assert_allclose([best, mediocre, inner, *bad], [2.25, 1.3, -0.7, 0.5, 1.7], atol=1e-12)
    np.testing.assert_allclose(harmonic(bad), 1 / (1 / 0.5 + 1 / 1.7))


def test_the_escape_time_of_orthonormal_features_is_that_of_the_corner_law():
    problem = trap(0.0, start=(1e-6, 1.0, 3e-5, 3e-5))
    expected = corner_laws.escape_time(*pulls(problem))
    np.testing.assert_allclose(feature_geometry.escape_time(problem), expected, rtol=1e-9)


@pytest.mark.parametrize("inner", [-0.2, 0.4, 0.85])
def test_the_escape_time_is_the_integral_of_the_reduced_system(inner):
    problem = trap(inner, best=1.4, mediocre=0.9, bad=(1.0, 1.0), start=(2e-5, 1.0, 3e-5, 3e-5))
    (best, mediocre, inner, _), (u, w) = geometry(problem), pulls(problem)
    alpha, beta, mu = float(best - inner), float(inner + 0.5), float(mediocre - inner)
    total, start = float(w.sum()), float(u / w.sum())
    # dt = ds / (s w (alpha s + beta)) with d ln w / d ln s = (mu s - mu - beta) / (alpha s + beta).
    power = (mu + beta) / beta

    def pace(x):
        s = np.exp(x)
        log_w = -power * (x - np.log(start))
        log_w += (mu / alpha + power) * np.log((alpha * s + beta) / (alpha * start + beta))
        return np.exp(-log_w) / (alpha * s + beta)

    expected = quad(pace, np.log(start), 60.0, limit=500, epsabs=0, epsrel=1e-10)[0] / total
    np.testing.assert_allclose(feature_geometry.escape_time(problem), expected, rtol=1e-7)


MUTATIONS = {
    "feature_geometry_gain": (starts, "velocity", scaled(1 + 1e-10)),
    "feature_geometry_law": (
        feature_geometry,
        "exponent",
        lambda original: lambda problem: original(problem) + 0.011,
    ),
    "feature_geometry_time": (feature_geometry, "escape_time", scaled(1.0002)),
    "permanent_stall": (permanent_stall, "stall_exponent", scaled(1.001)),
}


@pytest.mark.parametrize("name", MUTATIONS)
def test_every_check_can_fail(name, monkeypatch):
    mutated(monkeypatch, *MUTATIONS[name])
    assert violations(name, size=SIZE) > 0


def test_above_the_threshold_even_an_opposed_feature_lets_go():
    start = (0.05, 0.5, 0.225, 0.225)
    rows = [trap(inner, best=2.0, start=start) for inner in (-0.3, -0.9)]
    times = flows.arrival_times(pgdyn.stack(rows), 0.9)
    assert np.isfinite(times[0]) and np.isinf(times[1])
