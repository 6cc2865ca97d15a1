"""A KL penalty and REINFORCE's baseline in a stall, small. Oracle: what the claims expect, which the data can fail."""

import numpy as np
import pytest
from proxy_flows import failures

from experiments import kl_stall, reinforce_escape
from figures import kl_stall as kl_stall_figure
from figures import reinforce_escape as reinforce_escape_figure
from paper_repro.reproductions import kl_stall as kl_stall_claims
from paper_repro.reproductions import reinforce_escape as reinforce_escape_claims

pytestmark = pytest.mark.optimized


def labelled(figure):
    figure.draw_without_rendering()
    return all(axes.get_xlabel() and axes.get_ylabel() for axes in figure.axes)


def test_a_penalty_shortens_the_stall_and_costs_value_in_the_end():
    data = kl_stall.run(weights=(0.0, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3))
    assert failures(kl_stall_claims.REPRODUCTION, data) == []
    assert labelled(kl_stall_figure.draw(data))
    for name, change in {
        "time-0.01": {"hitting_time": data["hitting_time"] * 1.001},
        "shorter": {"hitting_time": 1 / data["hitting_time"]},
        "never": {"optimal_value": data["optimal_value"] - 0.1},
        "end": {"true_value": data["true_value"] - 1e-4},
    }.items():
        assert name in failures(kl_stall_claims.REPRODUCTION, data.assign(change))


@pytest.fixture(scope="module")
def spread():
    return reinforce_escape.run(initial_probability=0.002, seeds=300, updates=50_000, paper_seeds=40)


def test_escape_times_have_their_law(spread):
    # Fewer seeds and a likelier output than in the claims: wider by their noise and the next order in p_0.
    found, at = spread["hitting_time"].values, spread["update"].values
    apart = np.abs((found[:, :, None] <= at).mean(axis=1) - spread["law"].values).max(axis=1)
    assert (apart < 0.13).all()
    assert labelled(reinforce_escape_figure.draw(spread))


def test_the_baseline_is_what_spreads_them(spread):
    assert {"spread", "controlled-verdict"}.isdisjoint(failures(reinforce_escape_claims.REPRODUCTION, spread))
    turned = spread.assign(
        hitting_time=spread["hitting_time"][::-1].drop_vars("baseline"),
        escaped=spread["escaped"][::-1].drop_vars("initial_probability"),
    )
    assert {"law", "spread", "controlled-verdict"} <= set(failures(reinforce_escape_claims.REPRODUCTION, turned))
