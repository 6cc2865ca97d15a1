"""Escape without a mediocre output. Oracles: quadrature, the statements in the corners, flows at another speed."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
from claims import SEEDS, assert_as_claimed, holds_on, mutated, violations
from hypothesis import given
from hypothesis import settings as profile
from hypothesis import strategies as st
from scipy.integrate import quad

import pgdyn
from pgdyn.theory import flows, no_mediocre_output

PROBABILITIES = st.one_of(st.sampled_from((1e-12, 1e-8, 1e-3)), st.floats(1e-6, 0.1))
SHARES = st.sampled_from((1e-6, 0.01, 0.5, 0.99, 1 - 1e-6))


def at_speed(speed):
    """Replaces a run by one whose flow is `speed` times as fast."""

    def change(original):
        def run(batch, t1, *arguments, **options):
            solution = original(batch, np.asarray(t1) * max(1.0, speed), *arguments, **options)
            return dataclasses.replace(solution, hitting_time=solution.hitting_time / speed)

        return run

    return change


@pytest.mark.parametrize("theorem", no_mediocre_output.THEOREMS, ids=lambda theorem: theorem.name)
@profile(max_examples=4)
@given(seed=SEEDS)
def test_holds_wherever_its_draw_leads(theorem, seed):
    assert_as_claimed(theorem, seed)


@pytest.mark.parametrize(("p", "rho"), [(1e-4, 0.5), (0.05, 0.9), (0.3, 0.999)])
def test_escape_integral_is_the_integral(p, rho):
    # Oracle: quadrature, in log p where the integrand is smooth.
    expected, _ = quad(lambda s: np.exp(-s) / (1 - np.exp(s)) ** 2, np.log(p), np.log(rho), epsrel=1e-12)
    found = no_mediocre_output.escape_integral(jnp.asarray(p), jnp.asarray(rho))
    np.testing.assert_allclose(found, expected, rtol=1e-9)


@profile(max_examples=15)
@given(p=PROBABILITIES, share=SHARES, reach=SHARES, gap=st.sampled_from((1e-3, 2.0)))
def test_orthonormal_escape_in_the_corners(p, share, reach, gap):
    # Nearly all the rest on one output (the lower end) or spread evenly (the upper end), to just above p or nearly 1.
    others = np.array([1.0, share])
    start = np.array([p, *((1 - p) * others / others.sum())])
    problem = pgdyn.Problem.tabular(start, np.array([gap, 0.0, 0.0]) - reach)
    assert holds_on("no_mediocre_orthonormal", problem, rho=p + reach * (1 - p))


def test_two_outputs_reach_the_upper_bound():
    # K = 2: p' = p^2 (1 - p)^2 D |phi_1 - phi_2|^2, so that the bound is the time itself.
    problem = pgdyn.Problem.linear([[1.0, 0.5, 0.0], [-0.3, 0.2, 0.7]], [0.4, -0.1], initial_policy=[0.02, 0.98])
    check = no_mediocre_output.no_mediocre_upper.check(problem, rho=0.9)
    assert check.holds and abs(check.slack) < 1e-6


@pytest.mark.parametrize(
    ("name", "speed"),
    [("no_mediocre_upper", 0.8), ("no_mediocre_orthonormal", 0.99), ("no_mediocre_orthonormal", 1.01)],
)
def test_bounds_on_times_notice_another_speed(name, speed, monkeypatch):
    mutated(monkeypatch, flows, "run", at_speed(speed))
    assert violations(name, seed=1) > 0


def test_the_exponent_notices_another_reward(monkeypatch):
    def exchanged(original):
        def run(batch, *arguments, **options):
            order = np.argsort(np.argsort(-batch.true_reward, axis=-1, kind="stable"), axis=-1)
            levels = np.array([1.0, 0.8, -1.0, -1.0, -1.0])
            return original(batch.replace(proxy_reward=levels[order]), *arguments, **options)

        return run

    mutated(monkeypatch, flows, "run", exchanged)
    assert violations("no_mediocre_exponent", seed=1) > 0
