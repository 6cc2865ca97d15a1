"""The walk over the lower hull, small. Oracle: SciPy's convex hull."""

import itertools

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from proxy_flows import failures
from scipy.spatial import ConvexHull

from experiments import lower_hull
from figures import lower_hull as figure
from figures import style
from paper_repro.reproductions import lower_hull as claims


@pytest.fixture(scope="module")
def data():
    return lower_hull.run(problems=20)


def test_the_claims_hold_and_can_fail(data):
    assert failures(claims.REPRODUCTION, data) == []
    ranks = data["leader_rank"].values.copy()
    ranks[0, -1] = -1
    wrong = {
        "one-plane": {"height": data["height"] * (1 + 1e-5 * data["reward"])},
        "exact-solution": {"exact_error": data["exact_error"] + 1e-6},
        "staircase": {"probability": data["probability"][:, ::-1]},
        "take-over": {"take_over_tau": 1.01 * data["take_over_tau"]},
        "random-problems": {"leader_rank": (("problem", "look"), ranks)},
    }
    for name, change in wrong.items():
        assert name in failures(claims.REPRODUCTION, data.assign(change))


def test_the_vertices_are_those_of_the_convex_hull():
    rng = np.random.default_rng(0)
    for _ in range(30):
        x, y = rng.normal(size=(2, 9))
        y = np.exp(y)
        hull = ConvexHull(np.column_stack([x, y]))
        below = {
            int(i) for simplex, line in zip(hull.simplices, hull.equations, strict=True) for i in simplex if line[1] < 0
        }
        rising = [i for i in sorted(below, key=lambda i: x[i]) if x[i] >= x[np.argmin(y)]]
        assert lower_hull.lower_hull(x, y) == rising


def test_the_figure_covers_nothing_and_is_small(data, tmp_path):
    drawn = figure.draw(data)
    renderer = FigureCanvasAgg(drawn).get_renderer()
    for axes in drawn.axes:
        assert axes.get_xlabel() and axes.get_ylabel()
        boxes = [text.get_window_extent(renderer) for text in axes.texts if text.get_text()]
        assert not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))
    style.save(drawn, tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size < 200_000
    assert len(figure.take_overs(data)) == 3
