"""Designed proxies against hand-made ones. Oracles: SciPy DOP853, and an exhaustive search in a loop."""

import numpy as np
import pytest
from proxy_flows import scipy_flow

from experiments import designed_proxy
from paper_repro.reproductions import designed_proxy as design_claims

PAPER_START = np.log([0.05, 0.5, 0.15, 0.15, 0.15])
TRUTH = np.array([1, 0.8, -1, -1, -1])


@pytest.fixture(scope="module")
def designed():
    task = designed_proxy.Task("highest at t = 4", -2.0, 1.0, horizon=4.0)
    return designed_proxy.run((task,), (2.0, 20.0), grid=7, steps=40, saves=30, t1=100.0)


def test_candidates(designed):
    one = designed["proxy_reward"].isel(task=0)
    np.testing.assert_allclose(one.sel(candidate="truth, stretched"), [1, 0.7, -2, -2, -2])
    np.testing.assert_allclose(one.sel(candidate="paper's proxy, stretched"), [1, -2, -2, -2, -2])
    centred = one.sel(candidate="truth, centred")
    assert float(centred.sum()) == pytest.approx(0) and np.ptp(centred.values - TRUTH) < 1e-12
    inside = one.sel(candidate="designed").values
    assert inside.min() >= -2 - 1e-12 and inside.max() <= 1 + 1e-12


def test_achieved_values_and_times(designed):
    """Oracle: SciPy DOP853."""
    for name in designed["candidate"].values:
        one = designed.isel(task=0).sel(candidate=name)
        policies, hit = scipy_flow(PAPER_START, TRUTH, one["proxy_reward"].values, np.array([0.0, 4.0, 100.0]), 0.9)
        assert float(one["achieved"]) == pytest.approx(policies[1] @ TRUTH, abs=1e-6)
        assert float(one["true_value"][-1]) == pytest.approx(policies[-1] @ TRUTH, abs=1e-6)
        assert float(one["hitting_time"]) == (pytest.approx(hit, rel=1e-6) if np.isfinite(hit) else np.inf)


def test_best_single_error_is_that_of_a_loop(designed):
    """Oracle: every output with each of the 7 rewards, one after another by SciPy DOP853."""
    values = {}
    for output in range(5):
        for reward in np.linspace(-2, 1, 7):
            proxy = TRUTH.copy()
            proxy[output] = reward
            policies, _ = scipy_flow(PAPER_START, TRUTH, proxy, np.array([0.0, 4.0]))
            values[output, reward] = policies[-1] @ TRUTH
    # The bad outputs are alike, so that several errors are the best.
    best = max(values.values())
    chosen = int(designed["single_output"][0]), float(designed["single_reward"][0])
    assert values[chosen] == pytest.approx(best, abs=1e-9)
    single = designed["achieved"].isel(task=0).sel(candidate="best single error")
    assert float(single) == pytest.approx(best, abs=1e-6)
    assert float(designed["achieved"].isel(task=0).sel(candidate="designed")) > float(single)


def test_designs_for_horizons(designed):
    """Oracle: SciPy DOP853; and no hand-made proxy does better."""
    for i, horizon in enumerate((2.0, 20.0)):
        one = designed.isel(design_horizon=i)
        policies, _ = scipy_flow(PAPER_START, TRUTH, one["design_proxy"].values, np.array([0.0, horizon]))
        assert float(one["design_value"]) == pytest.approx(policies[-1] @ TRUTH, abs=1e-6)
        by_hand = [
            scipy_flow(PAPER_START, TRUTH, p, np.array([0.0, horizon]))[0][-1] @ TRUTH for p in (TRUTH, [1, *[-1] * 4])
        ]
        assert float(one["handmade_value"]) == pytest.approx(max(by_hand), abs=1e-6)
        assert float(one["design_value"]) >= max(by_hand) - 1e-6


def test_claims_on_the_design_can_fail(designed):
    turns = {claim.name: claim for claim in design_claims.REPRODUCTION.claims}["turns-with-the-horizon"]
    assert turns.judge(designed).verdict.value == "passed"
    assert turns.judge(designed.isel(design_horizon=[1, 0])).verdict.value == "failed"
    never_worse = {claim.name: claim for claim in design_claims.REPRODUCTION.claims}["never-worse"]
    assert never_worse.judge(designed).verdict.value == "passed"
    poorer = designed.assign(design_value=designed["design_value"] - 0.01)
    assert never_worse.judge(poorer.isel(design_horizon=[1])).verdict.value == "failed"


@pytest.mark.parametrize(
    ("sentence", "call"),
    [
        ("tasks is empty", lambda: designed_proxy.run(())),
        ("horizons is empty", lambda: designed_proxy.run(horizons=())),
        ("grid", lambda: designed_proxy.run(grid=1)),
    ],
)
def test_refusals(sentence, call):
    with pytest.raises(ValueError, match=sentence):
        call()
