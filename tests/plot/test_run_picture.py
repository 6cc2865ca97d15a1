"""Pictures of runs. Oracles: the arrays of the run against the lines drawn, the drawn boxes of labels against each
other, SciPy's constrained least squares against the spreading of labels.
"""

import io

import jax.numpy as jnp
import matplotlib
import matplotlib.text
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize

import pgdyn
from pgdyn.plot import labels, palette


def make(prompts=1, outputs=5, t=None, seed=0, broken_at=None, hit=np.nan, dynamics="flow", flat=False, weights=None):
    """A path of policies that need not come from any dynamics."""
    rng = np.random.default_rng(seed)
    t = np.expm1(np.linspace(0, np.log(1e4), 40)) if t is None else np.asarray(t)
    ends = np.zeros((2, prompts, outputs)) if flat else 4 * rng.normal(size=(2, prompts, outputs))
    mix = np.linspace(0, 1, len(t))[:, None, None]
    logits = (1 - mix) * ends[0] + mix * ends[1]
    log_policy = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    if broken_at is not None:
        log_policy[broken_at:] = np.nan
    reward = rng.normal(size=(prompts, outputs))
    problem = pgdyn.Problem.tabular(None, reward, reward[:, ::-1], prompt_weights=weights)
    value = (np.exp(log_policy) * reward).sum(-1).mean(-1)
    proxy = (np.exp(log_policy) * reward[:, ::-1]).sum(-1).mean(-1)
    arrays = (t, logits, log_policy, value, proxy, value, value, hit, 0, 1)
    settings = pgdyn.Flow(t1=float(t[-1])) if dynamics == "flow" else pgdyn.Ascend(steps=len(t))
    return pgdyn.Solution(*map(jnp.asarray, arrays), problem, settings)


def curves(axis):
    """Every line that follows the whole run."""
    return [line for line in axis.get_lines() if len(line.get_xdata()) > 2]


def texts(axis):
    return [text for text in axis.texts if not text.get_text().startswith("target")]


def test_the_lines_are_the_run():
    run = make()
    top, bottom = run.plot().axes
    np.testing.assert_array_equal([line.get_ydata() for line in curves(top)], [run.true_value, run.proxy_value])
    for line in (*curves(top), *curves(bottom)):
        np.testing.assert_array_equal(line.get_xdata(), run.t)
    drawn = {tuple(line.get_ydata()): line.get_color() for line in curves(bottom)}
    written = {text.get_text(): text.get_color() for text in texts(bottom)}
    for y in range(5):
        assert drawn[tuple(np.exp(run.log_policy[:, 0, y]))] == palette.LINES[y] == written[f"output {y}"]
    assert bottom.get_xlabel() == "gradient-flow time t" and bottom.get_ylabel() == "probability"
    assert {text.get_text() for text in texts(top)} == {"true value", "proxy value"}
    assert make(dynamics="ascend").plot().axes[-1].get_xlabel() == "updates made"


def places(run):
    """Where the saved points lie along the time axis, as a fraction of its width."""
    axis = run.plot().axes[-1]
    pixels = axis.transData.transform(np.column_stack([run.t, np.zeros(len(run.t))]))
    return axis.transAxes.inverted().transform(pixels)[:, 0]


@pytest.mark.parametrize("end", [30, 1e4, 1e15])
def test_the_points_of_a_long_flow_are_evenly_spaced_over_the_whole_axis(end):
    run = make(t=np.expm1(np.linspace(0, np.log1p(end), 256)))
    np.testing.assert_allclose(places(run), np.linspace(0, 1, 256), atol=1e-9)


@pytest.mark.parametrize("end", [1e-9, 0.5, 3, 9.9])
def test_no_stretch_of_a_short_flow_is_a_polygon(end):
    """Its saves are as even as log(1 + t) makes them; a logarithm of t would spread the first over half the axis."""
    run = make(t=np.expm1(np.linspace(0, np.log1p(end), 40)))
    np.testing.assert_allclose(places(run), np.asarray(run.t) / end, atol=1e-9)
    assert np.diff(places(run)).max() < 0.07


def test_the_first_stretch_of_an_ascent_saved_now_and_then_is_short():
    run = make(t=np.arange(0, 5001, 5), dynamics="ascend")
    assert places(run)[1] < 0.11


@pytest.mark.parametrize(
    ("end", "ticks"),
    [(1e4, [0, 1, 10, 100, 1000, 10000]), (400, [0, 1, 10, 100]), (30, [0, 1, 2, 5, 10, 20]), (3, [0, 1, 2, 3])],
)
def test_ticks_of_the_time_axis(end, ticks):
    axis = make(t=np.expm1(np.linspace(0, np.log1p(end), 200))).plot().axes[-1]
    assert axis.get_xlim() == (0.0, pytest.approx(end))
    if end == 3:
        assert set(ticks) <= set(axis.get_xticks().tolist())
    else:
        np.testing.assert_allclose(axis.get_xticks(), ticks)


def test_no_more_than_nine_ticks_up_to_t_of_1e15():
    axis = make(t=np.expm1(np.linspace(0, np.log(1e15), 40))).plot().axes[-1]
    assert 4 <= len(axis.get_xticks()) <= 9


@pytest.mark.parametrize(
    ("prompts", "outputs", "flat"), [(1, 1, False), (1, 7, True), (1, 8, False), (3, 200, False), (2, 30, True)]
)
def test_labels_stay_apart_and_inside_the_picture(prompts, outputs, flat):
    run = make(prompts, outputs, flat=flat)
    figure = run.plot([f"a name of some length, {y}" for y in range(outputs)])
    figure.savefig(io.BytesIO(), format="png")
    page = figure.bbox
    boxes = [matplotlib.text.Text.get_window_extent(text) for axis in figure.axes for text in axis.texts]
    for i, box in enumerate(boxes):
        assert page.x0 <= box.x0 and box.x1 <= page.x1 and page.y0 <= box.y0 and box.y1 <= page.y1
        assert not any(box.overlaps(other) for other in boxes[:i])


def test_of_many_outputs_the_highest_are_coloured_and_the_rest_grey():
    run = make(2, 200)
    _, *panels = run.plot().axes
    peak = np.exp(run.log_policy).max((0, 1))
    best = set(np.argsort(-peak)[:6])
    for prompt, panel in enumerate(panels):
        assert {text.get_text() for text in texts(panel)} == {f"output {y}" for y in best} | {"194 other outputs"}
        grey = [line for line in curves(panel) if line.get_color() == palette.GREY]
        assert len(grey) == 194 and len(curves(panel)) == 200
        assert panel.get_ylabel() == f"probability, prompt {prompt}"
        coloured = {line.get_color() for line in curves(panel)} - {palette.GREY}
        assert coloured == set(palette.LINES[:6])


def test_more_than_four_prompts_are_averaged_with_their_weights():
    weights = np.array([1.0, 2, 3, 4, 0]) / 10
    run = make(5, 3, weights=weights)
    _, panel = run.plot().axes
    expected = sum(weight * np.exp(run.log_policy[:, p]) for p, weight in enumerate(weights))
    np.testing.assert_allclose(np.transpose([line.get_ydata() for line in curves(panel)]), expected, rtol=1e-12)
    assert panel.get_ylabel() == "probability, mean over prompts"


def test_curves_that_coincide_share_one_line_of_dashes():
    _, panel = make(flat=True).plot().axes
    offsets = [line._unscaled_dash_pattern for line in curves(panel)]
    assert offsets == [(5 * i, (5, 20)) for i in range(5)]


def test_the_hitting_time_is_marked_where_there_is_one():
    figure = make(hit=50.0).plot()
    assert [text.get_text() for text in figure.axes[0].texts if "target" in text.get_text()] == ["target reached at 50"]
    for axis in figure.axes:
        assert any(list(line.get_xdata()) == [50, 50] for line in axis.get_lines())
    for hit in (np.nan, np.inf):
        assert not any("target" in text.get_text() for text in make(hit=hit).plot().axes[0].texts)


def test_a_run_that_broke_off_is_labelled_where_it_did():
    run = make(broken_at=10)
    figure = run.plot()
    for axis, ends in ((figure.axes[0], [run.true_value[9], run.proxy_value[9]]), (figure.axes[1], None)):
        continued = [line for line in axis.get_lines() if len(line.get_xdata()) == 2]
        ends = np.exp(run.log_policy[9, 0]) if ends is None else ends
        np.testing.assert_array_equal([line.get_ydata() for line in continued], np.transpose([ends, ends]))
        np.testing.assert_array_equal([line.get_xdata() for line in continued], [[run.t[9], run.t[-1]]] * len(ends))


def test_names_are_shown_as_they_are_and_long_ones_cut():
    names = ["y*", "$y_{med}$ \\frac", "x" * 50, "", "ä"]
    figure = make().plot(names)
    figure.savefig(io.BytesIO(), format="pdf")
    shown = {text.get_text() for text in texts(figure.axes[1])}
    assert shown == {"y*", "$y_{med}$ \\frac", "x" * 27 + "…", "", "ä"}
    assert not any(text.get_parse_math() for text in texts(figure.axes[1]))


def test_nothing_global_changes():
    before = dict(matplotlib.rcParams)
    make().plot().savefig(io.BytesIO(), format="png")
    assert dict(matplotlib.rcParams) == before
    assert not matplotlib._pylab_helpers.Gcf.get_all_fig_managers()


@pytest.mark.parametrize("names", [["a"], ["a"] * 6, "abcde", [1, 2, 3, 4, 5]])
def test_names_that_do_not_fit(names):
    with pytest.raises(ValueError, match="output_names"):
        make().plot(names)


def test_many_runs_and_ends_alone_are_refused(paper_problem):
    many = pgdyn.ascend_many(pgdyn.stack([paper_problem]), 3, save_every=1)
    with pytest.raises(ValueError, match=r"plot takes one run and this is a batch of shape \(1,\)"):
        many.plot()
    with pytest.raises(ValueError, match="plot needs the path of the run and this solution holds its end alone"):
        make().end.plot()


@given(
    places=st.lists(st.floats(-0.2, 1.2, allow_subnormal=False), min_size=1, max_size=6),
    gap=st.floats(0.0, 0.19, allow_subnormal=False),
)
def test_labels_move_as_little_as_they_can(places, gap):
    places = np.sort(places)
    count = len(places)
    moved = labels.spread(places, gap)
    assert (np.diff(moved) >= gap - 1e-9).all() and moved.min() >= 0 and moved.max() <= 1 + 1e-9
    apart = [optimize.LinearConstraint(np.diff(np.eye(count), axis=0), gap, np.inf)] if count > 1 else []
    best = optimize.minimize(
        lambda x: ((x - places) ** 2).sum(),
        np.linspace(0, 1, count),
        method="SLSQP",
        bounds=[(0, 1)] * count,
        constraints=apart,
        options={"ftol": 1e-14, "maxiter": 500},
    )
    assert ((moved - places) ** 2).sum() <= best.fun + 1e-7
