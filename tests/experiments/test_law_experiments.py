"""The experiments on escape laws, small. Oracles: exponents of `pgdyn.theory`, times by another integrator."""

import numpy as np
import pytest
from proxy_flows import failures

from experiments import corner_law, escape_times, feature_geometry, variance_time
from figures import corner_law as corner_law_figure
from figures import escape_times as escape_times_figure
from figures import feature_geometry as feature_geometry_figure
from figures import variance_time as variance_time_figure
from paper_repro.reproductions import corner_law as corner_law_claims
from paper_repro.reproductions import feature_geometry as feature_geometry_claims
from paper_repro.reproductions import variance_time as variance_time_claims


def text_of(figure):
    figure.draw_without_rendering()
    return " ".join(text.get_text() for axes in figure.axes for text in axes.texts)


def test_escape_times_are_the_golden_ones_and_lie_between_the_bounds():
    data = escape_times.run(bad_outputs=(1,), initial_probabilities=[1e-1, 1e-2, 1e-3, 1e-4])
    times = data["hitting_time"].sel(bad_outputs=1)
    # From pgdyn.flow (Dopri8, rtol 1e-8), another integrator than the engine's.
    golden = [111.122813, 17358.8667, 1860135.43, 187350161.0]
    np.testing.assert_allclose(times.sel(training_reward="ground truth"), golden, rtol=1e-6)
    assert (times.sel(training_reward="ground truth") >= data["lower_bound"]).all()
    assert (data["lower_bound"] >= data["simple_lower_bound"]).all()
    assert (times.sel(training_reward="proxy") <= data["upper_bound"]).all()
    slope = float(data["exponent"].sel(bad_outputs=1, training_reward="ground truth")[-1])
    assert abs(slope - 2.003) < 1e-3
    assert "slope 2.00" in text_of(escape_times_figure.draw(data))


def test_feature_geometry_follows_its_law_on_both_sides_of_the_threshold():
    data = feature_geometry.run(inner_products=[-1.0, -0.6, 0.1, 0.6, 1.1], bad_outputs=(2,))
    assert failures(feature_geometry_claims.REPRODUCTION, data) == []
    np.testing.assert_array_equal(np.isfinite(data["exponent"].values[0]), [False, False, True, True, True])
    np.testing.assert_array_equal(np.isfinite(data["decay"].values[0]), [True, True, False, False, False])
    assert "permanent" in text_of(feature_geometry_figure.draw(data))
    shifted = data.assign(exponent=data["exponent"] + 0.03)
    assert "exponent" in failures(feature_geometry_claims.REPRODUCTION, shifted)


def test_stalls_collapse_onto_one_curve():
    data = corner_law.run(bad_outputs=(2,), problems=6, stages=8)
    assert failures(corner_law_claims.REPRODUCTION, data) == []
    time, probability = corner_law.curve(2, np.linspace(0.01, 0.99, 99))
    assert abs(probability.min() - 1) < 1e-12 and np.all(np.diff(time) > 0)
    assert "n = 2" in text_of(corner_law_figure.draw(data))
    moved = data.assign(scaled_probability=1.1 * data["scaled_probability"])
    assert "collapse" in failures(corner_law_claims.REPRODUCTION, moved)


def test_variance_and_time_keep_within_the_bounds():
    data = variance_time.run(problems=600, slowness=[1.0, 1e3], rare=[1e-2, 1e-6])
    assert failures(variance_time_claims.REPRODUCTION, data) == []
    assert "bound" in text_of(variance_time_figure.draw(data))
    fast = data.assign(time=data["time"] / 1e4)
    assert {"tabular-bound", "general-bound"} <= set(failures(variance_time_claims.REPRODUCTION, fast))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: escape_times.run(initial_probabilities=[0.1, 0.6]), r"initial_probabilities\[1\] is 0.6"),
        (lambda: feature_geometry.run(inner_products=[0.0, 2.0]), r"inner_products\[1\] is 2"),
        (lambda: corner_law.run(problems=0), "problems is 0"),
        (lambda: variance_time.run(slowness=[0.5]), r"slowness\[0\] is 0.5"),
        (lambda: variance_time.run(rare=[0.7]), r"rare\[0\] is 0.7"),
    ],
)
def test_bad_settings_are_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()
