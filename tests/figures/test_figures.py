"""Every figure draws without a warning, labels every axis, keeps everything inside and covers nothing."""

import importlib
import itertools

import matplotlib
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from figures import panels, style
from pgdyn.plot import labels, palette

FIGURES = {
    "controlled": "controlled_dataset",
    "readme": "controlled_dataset",
    "feature_similarity": "features_dataset",
    "reinforce": "reinforce_dataset",
}


@pytest.fixture(params=FIGURES, scope="module")
def drawn(request):
    dataset = request.getfixturevalue(FIGURES[request.param])
    return importlib.import_module(f"figures.{request.param}").draw(dataset)


def test_every_axis_is_labelled(drawn):
    for axes in drawn.axes:
        row = [other for other in drawn.axes if other.get_shared_y_axes().joined(axes, other)]
        column = [other for other in drawn.axes if other.get_shared_x_axes().joined(axes, other)]
        beside = [other for other in drawn.axes if abs(other.get_position().y0 - axes.get_position().y0) < 0.02]
        assert any(other.get_ylabel() for other in [*row, *beside])
        assert any(other.get_xlabel() for other in [axes, *column])


def test_nothing_is_cut_off(drawn):
    with matplotlib.rc_context(style.RC):
        box = drawn.get_tightbbox(FigureCanvasAgg(drawn).get_renderer())
    width, height = drawn.get_size_inches()
    assert box.x0 >= -0.01 and box.y0 >= -0.01 and box.x1 <= width + 0.01 and box.y1 <= height + 0.01


def test_labels_do_not_overlap(drawn):
    renderer = FigureCanvasAgg(drawn).get_renderer()
    for axes in drawn.axes:
        boxes = [text.get_window_extent(renderer) for text in axes.texts if text.get_text()]
        for one, other in itertools.combinations(boxes, 2):
            assert not one.overlaps(other)


def test_files_are_small_and_reproducible(drawn, tmp_path):
    for name in ("a.png", "a.pdf", "b.png", "b.pdf"):
        style.save(drawn, tmp_path / name)
    assert (tmp_path / "a.png").stat().st_size < 200_000
    for ending in ("png", "pdf"):
        assert (tmp_path / f"a.{ending}").read_bytes() == (tmp_path / f"b.{ending}").read_bytes()
    with Image.open(tmp_path / "a.png") as image:
        assert image.width >= style.WIDTH * style.DPI - 1


def test_no_pyplot_state(drawn):
    import matplotlib.pyplot as plt

    assert isinstance(drawn, Figure)
    assert plt.get_fignums() == []


def test_drawing_leaves_the_callers_settings_alone(controlled_dataset):
    before = dict(matplotlib.rcParams)
    importlib.import_module("figures.readme").draw(controlled_dataset)
    assert dict(matplotlib.rcParams) == before


def test_colours_are_fixed_by_name():
    assert style.output_color("y*", 4) == style.output_color("y*") == palette.BLUE
    assert style.output_color("bad 1") == style.output_color("bad 3")
    assert len({style.output_color(name) for name in ("y*", "y_med", "bad 1")}) == 3
    assert style.reward_color("ground truth") != style.reward_color("proxy")


def test_labels_stand_clear_of_the_curves():
    figure = Figure(figsize=(3, 2.5), layout="constrained")
    axes = figure.subplots()
    x = np.linspace(0, 1, 200)
    rising, falling = axes.plot(x, x**2)[0], axes.plot(x, 1 - x**2)[0]
    axes.set_xlim(0, 1)
    renderer = labels.settle(figure)
    labels.beside(axes, renderer, [(rising, "rising"), (falling, "falling")])
    assert [text.get_text() for text in axes.texts] == ["rising", "falling"]
    for text in axes.texts:
        box = text.get_window_extent(renderer)
        for line in (rising, falling):
            points = axes.transData.transform(np.column_stack(line.get_data()))
            inside = (
                (points[:, 0] > box.x0) & (points[:, 0] < box.x1) & (points[:, 1] > box.y0) & (points[:, 1] < box.y1)
            )
            assert not inside.any()


def test_a_label_without_a_clear_place_is_left_out():
    figure = Figure(figsize=(1.2, 1.2), layout="constrained")
    axes = figure.subplots()
    lines = [axes.plot([0, 1], [height, height])[0] for height in np.linspace(0, 1, 25)]
    renderer = labels.settle(figure)
    labels.beside(axes, renderer, [(lines[12], "crowded out")], avoid=lines, optional=True)
    assert not axes.texts
    labels.beside(axes, renderer, [(lines[12], "insists")], avoid=lines)
    assert len(axes.texts) == 1


def test_hits_are_numbered_where_they_happen():
    figure = Figure()
    axes = figure.subplots()
    style.update_axis(axes, 50_000)
    panels.mark_hits(axes, [np.inf, 168.0, 10_690.0], 0.9, ["k", "r", "b"])
    assert sorted(text.get_text() for text in axes.texts) == ["10,690", "168"]
