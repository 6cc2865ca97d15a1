"""Speed-ups foretold and measured, small. Oracle: `pgdyn.flow`, another integrator than the engine's."""

import numpy as np
import pytest
from proxy_flows import failures

import pgdyn
from experiments import controlled_problems as paper
from experiments import speedups
from figures import speedups as figure
from paper_repro.reproductions import speedups as claims


@pytest.fixture(scope="module")
def data():
    return speedups.run(300)


def test_the_claims_hold_and_can_fail(data):
    assert failures(claims.REPRODUCTION, data) == []
    late = data.assign(exact_time=data["exact_time"] * (1 + 2e-6))
    assert failures(claims.REPRODUCTION, late) == ["times"]
    never = data.assign(measured_time=data["measured_time"].where(data["error"] != 0, np.inf))
    never = never.assign(exact_time=never["exact_time"].where(never["error"] != 0, 1.0))
    assert "never" in failures(claims.REPRODUCTION, never)


def test_the_first_order_is_that_of_small_errors():
    data = speedups.run(40, strength=1e-4)
    speedup = float(data["baseline_time"]) / data["measured_time"].values
    np.testing.assert_allclose(np.log(data["first_order"]), np.log(speedup), atol=1e-4)


def test_the_baseline_is_that_of_one_flow(data):
    problem = pgdyn.Problem.tabular(paper.INITIAL_POLICIES[0], paper.TRUE_REWARD)
    alone = pgdyn.flow(problem, 1e6, target=paper.TARGET, saves=2).hitting_time
    np.testing.assert_allclose(float(data["baseline_time"]), alone, rtol=1e-6)


def test_the_figure_labels_its_axes(data):
    drawn = figure.draw(data)
    drawn.draw_without_rendering()
    assert all(axes.get_xlabel() for axes in drawn.axes[:2]) and drawn.axes[0].get_ylabel()
