"""The figures of reward errors, from made-up data: axes, scales, labels, and that what is drawn is the data."""

import functools
import itertools

import matplotlib
import numpy as np
import pytest
import xarray
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import QuadMesh
from matplotlib.contour import ContourSet
from PIL import Image

from figures import designed_proxy, error_confusion, error_maps, error_types, style
from pgdyn.plot import palette

OUTPUTS = np.array(["y*", "y_med", "bad 1", "bad 2", "bad, rare"], dtype=object)
TRUE = np.array([1.0, 0.8, -1.0, -1.0, -1.0])
TIME = np.concatenate([[0], np.geomspace(0.1, 1e6, 80)])


def objects(*names):
    return np.array(names, dtype=object)


def probability_map():
    p, r = np.geomspace(1e-3, 0.2, 40), np.linspace(-1.5, 0.99, 50)
    speedup = 10 ** (3 * (0.8 - r[None, :]) * (1 - np.log10(p[:, None] / 0.2) / 2))
    return xarray.Dataset(
        {
            "speedup": (("probability", "mediocre_reward"), speedup),
            "law_speedup": (("probability", "mediocre_reward"), np.where(r > -1, 1.2 * speedup, np.nan)),
            "repelled": ("probability", -1 + 4 * p),
            "unstalled": ("probability", -1 + 7 * p),
        },
        {"probability": p, "mediocre_reward": r},
        {"target": 0.9, "t1": 1e18},
    )


def similarity_map():
    k, r = np.linspace(-1.4, 1.4, 40), np.linspace(-1.5, 0.99, 50)
    speedup = 10 ** (3 * (0.8 - r[None, :]) * (0.6 - k[:, None]))
    speedup[:10, 20:] = np.nan
    speedup[:10, :20] = np.inf
    speedup[-5:, :8] = 0
    return xarray.Dataset(
        {"speedup": (("inner_product", "mediocre_reward"), speedup)},
        {"inner_product": k, "mediocre_reward": r},
        {"target": 0.9, "t1": 1e30, "probability": 1e-3},
    )


def single_errors():
    value = np.linspace(-2, 2, 81)
    times = {
        "y*": np.where(value > 0.8, 40 / np.maximum(value - 0.8, 1e-3) ** 2, np.inf),
        "y_med": np.where(value < 1, 15 / np.maximum(1 - value, 1e-3) ** 2, np.inf),
        "bad": np.where(value < 1, 5000 * np.exp(-value), np.inf),
        "bad, rare": np.full(81, 4821.0),
    }
    return xarray.Dataset(
        {
            "time": (("output", "value"), np.array(list(times.values()))),
            "baseline_time": 4821.0,
            "true_reward": ("output", [1.0, 0.8, -1.0, -1.0]),
            "table_output": ("entry", objects("y*", "bad")),
            "table_value": ("entry", [2.0, 1.5]),
            "table_time": ("entry", [41.0, np.inf]),
        },
        {"output": objects(*times), "value": value},
        {"target": 0.9},
    )


def confusion():
    rng = np.random.default_rng(0)
    mechanisms = ("reward hacking", "stalling", "never attracts", "none", "escapes mediocrity")
    implied = dict(zip(mechanisms, ("harmful", "harmful", "benign", "benign", "beneficial"), strict=True))
    mechanism = rng.choice(objects(*mechanisms), 500)
    mechanism[0] = "negligible probability"
    category = rng.choice(("harmful", "benign", "beneficial"), 500)
    told = np.array([implied.get(name, "benign") for name in mechanism])
    names = {"mechanism": mechanism, "category": category, "mechanism_category": told, "predicted": category}
    return xarray.Dataset({name: ("problem", values.astype(object)) for name, values in names.items()})


def path(escape, winner):
    """Probabilities [S, 5] that go from a spread-out start to `winner` at the time `escape`."""
    late = 1 / (1 + (escape / np.maximum(TIME, 1e-3)) ** 3)
    start = np.array([0.05, 0.5, 0.22, 0.23 - 1e-8, 1e-8])
    return (1 - late)[:, None] * start + late[:, None] * np.eye(5)[winner]


def types():
    names = ("reward hacking", "stalling", "never attracts", "negligible probability", "escapes mediocrity")
    low = np.where(np.arange(5) == 0, 1.0, -1.0)
    truth = np.array([low, low, low, low, TRUE])
    proxy = truth.copy()
    changed = [2, 2, 2, 4, 1]
    for row, (output, value) in enumerate(zip(changed, (1.5, 0.8, -2.0, 1.5, -1.0), strict=True)):
        proxy[row, output] = value
    ends = [(18, 0, 20, 2), (18, 0, 2500, 0), (18, 0, 18, 0), (18, 0, 18, 0), (4800, 0, 15, 0)]
    policies = np.array([[path(*end[:2]), path(*end[2:])] for end in ends])
    hits = np.array([[18.4, np.inf], [18.4, 2532], [18.4, 17.8], [18.4, 18.4], [4821, 15.5]])
    labels = objects("harmful", "harmful", "benign", "benign", "beneficial")
    return xarray.Dataset(
        {
            "label": ("type", labels),
            "mechanism": ("type", objects(*names)),
            "mechanism_category": ("type", labels),
            "category": ("type", labels),
            "speedup": ("type", [0, 0.007, 1.03, 1, 311.5]),
            "other_category": ("type", objects("harmful", "beneficial", "harmful", "benign", "")),
            "other_speedup": ("type", [0, 17.7, 0.65, 1, np.nan]),
            "changed_output": ("type", changed),
            "true_reward": (("type", "output"), truth),
            "proxy_reward": (("type", "output"), proxy),
            "initial_probability": ("output", [0.05, 0.5, 0.22, 0.23, 1e-8]),
            "hitting_time": (("type", "training_reward"), hits),
            "true_value": (("type", "training_reward", "time"), np.einsum("trso,to->trs", policies, truth)),
            "log_policy": (("type", "training_reward", "time", "output"), np.log(policies)),
        },
        {"type": objects(*names), "training_reward": objects("ground truth", "proxy"), "output": OUTPUTS, "time": TIME},
        {"target": 0.9, "tolerance": 0.05},
    )


def designs():
    names = ("ground truth", "truth, stretched", "paper's proxy", "best single error", "designed")
    one = [TRUE, TRUE, [1, -1, -1, -1, -1], [1, 1, -1, -1, -1], [-1, 1, -1, -1, -1]]
    two = [TRUE, [1, 0.7, -2, -2, -2], [1, -1, -1, -1, -1], [1, -2, -1, -1, -1], [1, -2, -2, -2, -2]]
    escapes = np.array([[3e4, 3e4, 16, np.inf, np.inf], [3e4, 2e4, 16, 15, 11]])
    policies = np.array([[path(min(t, 1e9), 0) for t in row] for row in escapes])
    return xarray.Dataset(
        {
            "proxy_reward": (("task", "candidate", "output"), np.array([one, two])),
            "hitting_time": (("task", "candidate"), escapes),
            "achieved": (("task", "candidate"), np.array([[0.7061, 0.7061, 0.4493, 0.718, 0.7261], escapes[1]])),
            "true_value": (("task", "candidate", "time"), policies @ TRUE),
            "horizon": ("task", [10.0, np.nan]),
            "lower": ("task", [-1.0, -2.0]),
            "upper": ("task", [1.0, 1.0]),
            "design_value": ("design_horizon", [0.4, 0.72, 0.9]),
        },
        {
            "task": objects("highest", "soonest"),
            "candidate": objects(*names),
            "output": OUTPUTS,
            "time": TIME,
            "design_horizon": [2.0, 10.0, 20.0],
        },
        {"target": 0.9},
    )


DRAWN = {
    "probability map": (error_maps.draw, probability_map),
    "similarity map": (error_maps.draw, similarity_map),
    "single errors": (error_maps.draw_single, single_errors),
    "confusion": (error_confusion.draw, confusion),
    "types": (error_types.draw, types),
    "designs": (designed_proxy.draw, designs),
}


@functools.cache
def figure_of(name):
    """Drawn once, for all tests that look at it."""
    draw, data = DRAWN[name]
    return draw(data())


@pytest.fixture(params=DRAWN, scope="module")
def drawn(request):
    return request.param, figure_of(request.param)


def test_axes_are_labelled_and_times_logarithmic(drawn):
    name, figure = drawn
    for axes in figure.axes:
        # The confusion table's rows are named one by one; a table of rewards likewise.
        rows_named = any(any(c.isalpha() for c in text.get_text()) for text in axes.get_yticklabels())
        assert axes.get_ylabel() or rows_named
    scales = {
        "probability map": [("log", "linear")],
        "similarity map": [("linear", "linear")],
        "single errors": [("linear", "log")],
        "confusion": [("linear", "linear")],
        "types": [("linear", "linear"), ("log", "linear"), ("log", "linear")] * 5,
        "designs": [("linear", "linear"), ("log", "linear")] * 2,
    }[name]
    panels = [axes for axes in figure.axes if axes.get_label() != "<colorbar>"]
    assert [(axes.get_xscale(), axes.get_yscale()) for axes in panels] == scales
    bottom = min(axes.get_position().y0 for axes in panels)
    assert all(axes.get_xlabel() for axes in panels if axes.get_position().y0 < bottom + 0.02)


def test_nothing_is_cut_off(drawn):
    _, figure = drawn
    with matplotlib.rc_context(style.RC):
        figure.draw_without_rendering()
        box = figure.get_tightbbox(FigureCanvasAgg(figure).get_renderer())
        texts = [text for axes in figure.axes for text in axes.texts]
        extents = [text.get_window_extent(FigureCanvasAgg(figure).get_renderer()) for text in texts]
    width, height = figure.get_size_inches()
    assert box.x0 >= -0.02 and box.y0 >= -0.02 and box.x1 <= width + 0.02 and box.y1 <= height + 0.02
    for text, extent in zip(texts, extents, strict=True):  # also those that the layout does not count
        assert extent.x0 >= -2 and extent.x1 <= width * figure.dpi + 2, text.get_text()


def test_words_do_not_overlap(drawn):
    name, figure = drawn
    with matplotlib.rc_context(style.RC):
        figure.draw_without_rendering()
        renderer = FigureCanvasAgg(figure).get_renderer()
        for axes in figure.axes:
            level = [text for text in axes.texts if text.get_text() and text.get_rotation() == 0]
            for one, other in itertools.combinations(level, 2):
                overlap = one.get_window_extent(renderer).overlaps(other.get_window_extent(renderer))
                assert not overlap, (name, one.get_text(), other.get_text())


def test_files_are_small_and_reproducible(drawn, tmp_path):
    _, figure = drawn
    for name in ("a.png", "b.png"):
        style.save(figure, tmp_path / name)
    assert (tmp_path / "a.png").stat().st_size < 200_000
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    with Image.open(tmp_path / "a.png") as image:
        assert image.width >= style.WIDTH * style.DPI - 1


def mesh(figure):
    (found,) = (child for child in figure.axes[0].get_children() if isinstance(child, QuadMesh))
    return found


def test_cells_have_the_colours_of_their_speed_ups():
    """Blue is faster, red slower, dark beyond; nothing where neither arrives."""
    data = similarity_map()
    found = mesh(figure_of("similarity map"))
    colors = found.to_rgba(found.get_array()).reshape(50, 40, 4)
    speedup = data["speedup"].values.T
    red, blue = colors[..., 0], colors[..., 2]
    proper = np.isfinite(speedup) & (speedup > 0)
    assert (blue[proper & (speedup > 1.01)] > red[proper & (speedup > 1.01)]).all()
    assert (red[proper & (speedup < 0.99)] > blue[proper & (speedup < 0.99)]).all()
    np.testing.assert_allclose(
        colors[np.isinf(speedup)], [matplotlib.colors.to_rgba("#001B3A")] * np.isinf(speedup).sum()
    )
    np.testing.assert_allclose(colors[speedup == 0], [matplotlib.colors.to_rgba("#3D0010")] * (speedup == 0).sum())
    assert np.ma.getmaskarray(found.get_array()).reshape(50, 40)[np.isnan(speedup)].all()
    decades = found.norm(np.log10([2.0, 5.0, 20.0]))
    assert decades[0] == decades[1] < decades[2]


def test_the_border_is_where_the_speed_up_is_one():
    figure = figure_of("probability map")
    contours = [child for child in figure.axes[0].get_children() if isinstance(child, ContourSet)]
    (one,) = (child for child in contours if list(child.levels) == [0.0])
    points = np.concatenate([path.vertices for path in one.get_paths()])
    np.testing.assert_allclose(points[:, 1], 0.8, atol=0.01)
    (law,) = (child for child in contours if child is not one)
    assert 2 in law.levels and not set(law.levels) & {0}


def test_words_of_a_similarity_map():
    figure = figure_of("similarity map")
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == ["only the proxy arrives", "only the ground truth arrives", "neither arrives"]
    assert "10^{30}" in figure.get_supxlabel() and "10^{-3}" in figure.get_supxlabel()
    assert sum("permanent" in text.get_text() for text in figure.axes[0].texts) == 1


def test_a_map_where_all_arrive_has_no_legend():
    assert not figure_of("probability map").legends


def test_confusion_bars_are_the_shares():
    """Oracle: counts in a loop."""
    data = confusion()
    axes = figure_of("confusion").axes[0]
    widths = np.array([bar.get_width() for bar in axes.patches]).reshape(-1, 3)
    np.testing.assert_allclose(widths.sum(axis=1), 1)
    rows = [label.get_text().split("\n")[0] for label in axes.get_yticklabels()]
    for row, shares in zip(rows, widths, strict=True):
        own = [c for m, c in zip(data["mechanism"].values, data["category"].values, strict=True) if m == row]
        np.testing.assert_allclose(shares, [own.count(c) / len(own) for c in ("harmful", "benign", "beneficial")])
    totals = [
        int(text.get_text().replace(",", ""))
        for text in axes.texts
        if text.get_position()[0] == 5 and text.get_text() != "errors"
    ]
    assert sum(totals) == 500


def test_rows_of_types_say_what_was_found():
    figure = figure_of("types")
    words = "\n".join(text.get_text() for axes in figure.axes for text in axes.texts)
    for said in (
        "Harmful I: reward hacking", "Harmful II: stalling", "Benign I: never attracts",
        "Benign II: negligible probability", "Beneficial: escapes mediocrity", "never arrives", "143 times slower",
        "1.03 times faster", "same time", "312 times faster", "2,532", "beneficial, 18 times faster",
    ):  # fmt: skip
        assert said in words, said
    colors = {line.get_color() for line in figure.axes[14].lines}
    assert {style.output_color("y*"), style.output_color("y_med"), palette.GREY} == colors
    values = figure.axes[4].lines
    assert {style.reward_color("ground truth"), style.reward_color("proxy")} <= {line.get_color() for line in values}


@pytest.mark.parametrize(
    ("speedup", "words"),
    [
        (0.0, "never arrives"),
        (np.inf, "arrives where the truth never does"),
        (1.0001, "same time"),
        (0.5, "2.00 times slower"),
        (17.7, "18 times faster"),
    ],
)
def test_speed_ups_in_words(speedup, words):
    assert error_types.speed_text(speedup) == words


def test_rewards_alike_share_a_row():
    data = designs()
    rows = designed_proxy.alike(data.isel(task=0))
    assert rows[0] == ["ground truth", "truth, stretched"] and len(rows) == 4
    assert len(designed_proxy.alike(data.isel(task=1))) == 5
    shifted = data.assign(proxy_reward=data["proxy_reward"] + 0.3)
    assert designed_proxy.alike(shifted.isel(task=0)) == rows
    texts = [text.get_text() for axes in figure_of("designs").axes for text in axes.texts]
    assert "$V(10) = 0.7261$" in texts and "$T = 11.00$" in texts
