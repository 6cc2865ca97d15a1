"""Pictures of sweeps. Oracle: the dataset's own numbers against what is drawn."""

import io

import numpy as np
import pytest
import xarray
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LogNorm

import pgdyn

START = ("initial_policy[0]", np.geomspace(1e-3, 0.4, 6), {"units": "1"})
PROXY = ("proxy_reward[1]", np.linspace(-1, 1, 5), {"units": "reward"})
HEAT = ("temperature", np.array([0.1, 1.0, 10.0, 50.0, 70.0]), {})
RULE = ("optimizer", np.array(["sgd", "adam"]), {})


def make(*axes, spoilt=True):
    coords = {name: (name, values, attrs) for name, values, attrs in axes}
    names = tuple(coords)
    shape = tuple(len(values) for _, values, _ in axes)
    rng = np.random.default_rng(0)
    times = 10 ** rng.uniform(0, 5, shape)
    if spoilt:
        times.flat[0], times.flat[1] = np.inf, np.nan
    values = rng.uniform(-1, 1, shape)
    chances = ((*names, "prompt", "output"), rng.uniform(-9, 0, (*shape, 1, 2)))
    return xarray.Dataset(
        {"true_value": (names, values, {"units": "reward"}), "hitting_time": (names, times), "log_policy": chances},
        coords,
    )


def inside(figure):
    figure.savefig(io.BytesIO(), format="png")
    box = figure.get_tightbbox(FigureCanvasAgg(figure).get_renderer())
    width, height = figure.get_size_inches()
    return box.x0 >= -0.01 and box.y0 >= -0.01 and box.x1 <= width + 0.01 and box.y1 <= height + 0.01


def maps(figure):
    """Those of numbers; a map of "never" has one colour."""
    panels = [axes for axes in figure.axes if axes.get_label() != "<colorbar>"]
    return [mesh for axes in panels for mesh in axes.collections if mesh.get_cmap().name == "viridis"]


def test_one_axis_is_a_line():
    dataset = make(START)
    figure = pgdyn.plot.sweep(dataset)
    (axes,) = figure.axes
    (line,) = axes.get_lines()
    np.testing.assert_array_equal(line.get_xdata(), START[1])
    np.testing.assert_array_equal(line.get_ydata()[2:], dataset.hitting_time[2:])
    assert np.isnan(line.get_ydata()[:2]).all()
    assert (axes.get_xscale(), axes.get_yscale(), axes.get_ylabel()) == ("log", "log", "hitting time")
    assert inside(figure)
    figure = pgdyn.plot.sweep(make(RULE, spoilt=False), "true_value")
    assert [text.get_text() for text in figure.axes[0].get_xticklabels()] == ["sgd", "adam"]
    assert figure.axes[0].get_yscale() == "linear" and figure.axes[0].get_ylabel() == "true value (reward)"
    assert inside(figure)


def test_two_axes_are_a_map_the_first_from_left_to_right():
    dataset = make(START, PROXY)
    figure = pgdyn.plot.sweep(dataset)
    axes, bar = figure.axes
    (mesh,) = maps(figure)
    drawn = mesh.get_array().reshape(5, 6)
    np.testing.assert_array_equal(drawn.filled(np.nan), dataset.hitting_time.where(dataset.hitting_time < np.inf).T)
    assert isinstance(mesh.norm, LogNorm) and bar.get_ylabel() == "hitting time"
    assert (axes.get_xlabel(), axes.get_xscale()) == ("initial_policy[0]", "log")
    assert (axes.get_ylabel(), axes.get_yscale()) == ("proxy_reward[1] (reward)", "linear")
    # Every point lies in a cell of its own.
    columns = mesh.get_coordinates()[0, :, 0]
    assert (columns[:-1] < START[1]).all() and (START[1] < columns[1:]).all()
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["never", "no value"]
    assert inside(figure)
    figure = pgdyn.plot.sweep(dataset, "true_value")
    assert not isinstance(maps(figure)[0].norm, LogNorm) and not figure.legends and inside(figure)


def test_rows_of_an_axis_that_is_not_in_order_are_sorted():
    dataset = make(START, PROXY).isel({PROXY[0]: [3, 0, 4, 1, 2]})
    ordered, shuffled = (maps(pgdyn.plot.sweep(one))[0].get_array() for one in (make(START, PROXY), dataset))
    np.testing.assert_array_equal(ordered, shuffled)


@pytest.mark.parametrize(("more", "shape"), [((HEAT,), (1, 4)), ((HEAT, RULE), (2, 4)), ((RULE,), (1, 2))])
def test_further_axes_are_facets(more, shape):
    dataset = make(START, PROXY, *more)
    figure = pgdyn.plot.sweep(dataset)
    drawn = maps(figure)
    assert len(drawn) == shape[0] * shape[1] and len({id(mesh.norm) for mesh in drawn}) == 1
    last = dataset.hitting_time.isel({name: -1 for name, _, _ in more}).values.T
    np.testing.assert_array_equal(drawn[-1].get_array().reshape(5, 6), last)
    title = figure.axes[len(drawn) - 1].get_title()
    assert title == "\n".join(f"{name} = {values[-1]}".removesuffix(".0") for name, values, _ in more)
    assert inside(figure)


def test_axes_of_one_value_are_named_above():
    dataset = make(START, PROXY, HEAT).isel(temperature=[1])
    figure = pgdyn.plot.sweep(dataset)
    assert figure.get_suptitle() == "temperature = 1" and len(maps(figure)) == 1
    alone = pgdyn.plot.sweep(make(HEAT).isel(temperature=[2]))
    np.testing.assert_array_equal(alone.axes[0].get_lines()[0].get_xdata(), [10])


def test_what_cannot_be_drawn():
    dataset = make(START, PROXY)
    with pytest.raises(
        ValueError, match="there is no variable 'hiting_time'; the dataset has true_value, hitting_time"
    ):
        pgdyn.plot.sweep(dataset, "hiting_time")
    with pytest.raises(ValueError, match=r"2 numbers at every point, along 'output'; choose one.*isel\(output=0\)"):
        pgdyn.plot.sweep(dataset, "log_policy")
    one = pgdyn.plot.sweep(dataset.isel(output=0), "log_policy")
    np.testing.assert_array_equal(maps(one)[0].get_array().reshape(5, 6), dataset.log_policy[..., 0, 0].T)
    with pytest.raises(ValueError, match="has 0 axes; a picture takes one to four"):
        pgdyn.plot.sweep(dataset.isel({START[0]: 0, PROXY[0]: 0}))
    with pytest.raises(ValueError, match="has 5 axes; a picture takes one to four"):
        pgdyn.plot.sweep(make(START, PROXY, HEAT, RULE, ("seed", np.arange(3), {})))


def test_a_store_is_drawn_as_it_comes(tmp_path):
    spec = pgdyn.sweep.Spec(
        {"true_reward": [1.0, 0.8, -1.0], "initial_policy": [0.1, 0.6, 0.3]},
        [pgdyn.sweep.Axis.linear("proxy_reward[1]", -1, 1, 3), pgdyn.sweep.Axis.seeds(2)],
        pgdyn.sweep.AscendSampled(steps=5, target=0.9),
        observables=["true_value", "hitting_time", "log_policy"],
    )
    pgdyn.sweep.run_sweep(spec, tmp_path / "store")
    figure = pgdyn.plot.sweep(pgdyn.sweep.open_sweep(tmp_path / "store"), "true_value")
    assert figure.axes[0].get_ylabel() == "seed" and inside(figure)
