"""The pictures of the ensemble benchmark, drawn from made-up timings."""

import itertools

import numpy as np
import pandas
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from figures import ensemble_benchmark

PEERS = {
    "pgdyn engine": 0.05,
    "diffrax Tsit5": 0.7,
    "diffrax Dopri8": 1.6,
    "plain engine": 0.1,
    "Numba order 5": 0.22,
    "Numba order 8": 0.35,
    "SciPy loop": 18.0,
}


def made_up():
    rows = []
    for peer, seconds in PEERS.items():
        for exponent in range(3, 10):
            slower = 1.3 ** (exponent - 6)
            rows.append(["standard-1e4", "standard", peer, 10_000, 10.0**-exponent, seconds * slower])
        for size in (100, 1_000, 10_000, 100_000):
            rows.append(["scaling", "standard", peer, size, 1e-6, seconds * size / 1e4 * (1 + 300 / size)])
    rows.append(["standard-1e4", "standard", "ascent scan", 10_000, np.nan, 6.0])
    rows.append(["standard-1e4", "standard", "SciPy DOP853 at 1e-13", 10_000, 1e-13, np.nan])
    table = pandas.DataFrame(rows, columns=["case", "workload", "peer", "problems", "rtol", "warm_s"])
    return table.assign(error_p99=10 * table["rtol"].fillna(1e-3))


@pytest.fixture(scope="module", params=["work_precision", "scaling"])
def drawn(request):
    return getattr(ensemble_benchmark, request.param)(made_up())


def test_axes_are_logarithmic_and_have_units(drawn):
    (axes,) = drawn.axes
    assert axes.get_xscale() == axes.get_yscale() == "log"
    assert axes.get_ylabel().endswith((", s", r"$\mu$s")) and axes.get_xlabel()


def test_every_peer_is_named_once_and_nothing_overlaps(drawn):
    (axes,) = drawn.axes
    renderer = FigureCanvasAgg(drawn).get_renderer()
    names = [text.get_text() for text in axes.texts]
    assert set(PEERS) <= set(names) and len(set(names)) == len(names)
    boxes = [text.get_window_extent(renderer) for text in axes.texts]
    assert not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))
    frame = axes.get_window_extent(renderer)
    assert all(box.x0 >= frame.x0 - 1 and box.x1 <= frame.x1 + 1 for box in boxes)


def test_curves_show_the_table():
    """Oracle: the table itself."""
    (axes,) = ensemble_benchmark.scaling(made_up()).axes
    shown = [line.get_xydata() for line in axes.lines]
    expected = [[size, 0.05 * (1 + 300 / size) * 100] for size in (100, 1_000, 10_000, 100_000)]
    assert any(np.shape(curve) == (4, 2) and np.allclose(curve, expected) for curve in shown)


def test_only_pictures_of_cases_that_were_run_are_written(tmp_path):
    table = made_up()
    table[table["case"] == "scaling"].to_csv(tmp_path / "ensemble_timings.csv", index=False)
    assert [path.name for path in ensemble_benchmark.write(tmp_path)] == ["ensemble_scaling.png"]
