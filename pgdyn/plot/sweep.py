"""A sweep's dataset as a picture: a line over one axis, a map over two, a grid of maps over three or four."""

from __future__ import annotations

import numpy as np
import xarray
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from pgdyn.plot import palette

_FONT = 8.0  # points
_INNER = ("prompt", "output", "feature", "time")
_MOST_FACETS = 4  # along the third axis, and along the fourth
_DECADES = 2.0  # positive values that span more have a logarithmic scale
_MARKED = 40  # up to so many points, a line shows each


def sweep(dataset: xarray.Dataset, variable: str | None = None) -> Figure:
    """Draws one variable of a sweep over the sweep's axes.

    One axis gives a line and two a map, the first axis from left to right. The third axis and the fourth give a grid of
    such maps, of up to 4 by 4 values, evenly chosen. Axes of one value are named in the title. Positive values over
    more than two decades have a logarithmic scale, and so have axes whose values are evenly spaced in their logarithm.
    Infinite values ("never", for a hitting time) and missing ones (not run yet, broken off) have colours of their own
    on a map, and are left out of a line.

    Args:
        dataset: what `pgdyn.sweep.open_sweep` gave, or a part of it.
        variable: name of one of its variables, with a single number at each point of the sweep; None for
            "hitting_time" or, where there is none, the first that has one.

    Returns:
        The figure.

    Raises:
        ValueError: if there is no such variable, if it has several numbers at a point, or if the dataset has no axis or
            more than four.

    Example:
        >>> import numpy as np, xarray
        >>> start = ("initial_policy[0]", np.geomspace(1e-3, 0.4, 5))
        >>> times = xarray.Dataset({"hitting_time": (start[0], 2 / start[1])}, dict([start]))
        >>> figure = sweep(times)
        >>> figure.axes[0].get_xlabel(), figure.axes[0].get_xscale(), figure.axes[0].get_ylabel()
        ('initial_policy[0]', 'log', 'hitting time')
    """
    data, fixed = _chosen(dataset, variable)
    draw = _line if data.ndim == 1 else _maps
    figure = draw(data)
    if fixed:
        figure.suptitle(", ".join(fixed), fontsize=_FONT + 1)
    return figure


def _chosen(dataset: xarray.Dataset, variable: str | None) -> tuple[xarray.DataArray, list[str]]:
    """The variable over the axes that have several values, sorted; what the others are."""
    drawable = [str(name) for name, data in dataset.items() if not _several(data)]
    if variable is None:
        variable = "hitting_time" if "hitting_time" in drawable else next(iter(drawable), "")
    if variable not in dataset.data_vars:
        raise ValueError(f"there is no variable {variable!r:.80}; the dataset has {', '.join(map(str, dataset))}")
    data = dataset[variable]
    if inner := _several(data):
        raise ValueError(
            f"variable {variable!r} has {data.sizes[inner]} numbers at every point, along {inner!r}; choose one, for "
            f"instance dataset.isel({inner}=0)"
        )
    data = data.squeeze([dim for dim in data.dims if dim in _INNER], drop=True)
    single = [str(dim) for dim in data.dims if data.sizes[dim] == 1][: data.ndim - 1]
    fixed = [f"{dim} = {_text(data[dim].values[0])}" for dim in single]
    data = data.squeeze(single, drop=True)
    if not 1 <= data.ndim <= 4:
        raise ValueError(f"variable {variable!r} has {data.ndim} axes; a picture takes one to four, see dataset.isel")
    return data.sortby([dim for dim in data.dims if data[dim].dtype.kind in "fiu"]).astype(float), fixed


def _several(data: xarray.DataArray) -> str:
    """The dimension along which a point of the sweep has several numbers, or an empty string."""
    return next((str(dim) for dim in data.dims if dim in _INNER and data.sizes[dim] > 1), "")


def _line(data: xarray.DataArray) -> Figure:
    figure = Figure(figsize=(6.0, 3.6), layout="constrained")
    axes = figure.subplots()
    (dim,) = data.dims
    places = _set_axis(axes, "x", data[dim])
    shown = np.where(np.isfinite(data.values), data.values, np.nan)
    marker = "o" if len(places) <= _MARKED else ""
    axes.plot(places, shown, color=palette.BLUE, linewidth=1.6, marker=marker, markersize=3)
    if isinstance(_norm(data.values), LogNorm):
        axes.set_yscale("log")
    axes.set_ylabel(_name(data), fontsize=_FONT + 1)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color=palette.GRID, linewidth=0.6)
    return figure


def _maps(data: xarray.DataArray) -> Figure:
    x, y, *facets = data.dims
    picked = {dim: _evenly(data.sizes[dim]) for dim in facets}
    data = data.isel(picked)
    columns, rows = (data.sizes[facets[i]] if len(facets) > i else 1 for i in (0, 1))
    size = (6.0, 4.4) if not facets else (1.4 + 2.6 * columns, 0.8 + 2.3 * rows)
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    norm = _norm(data.values)
    never, missing = np.isinf(data.values).any(), np.isnan(data.values).any()
    for (row, column), axes in np.ndenumerate(panels):
        chosen = dict(zip(facets, (column, row), strict=False))
        part = data.isel(chosen).transpose(y, x)
        edges = [_edges(_set_axis(axes, which, part[dim]), axes, which) for which, dim in (("x", x), ("y", y))]
        finite = np.ma.masked_invalid(part.values)
        axes.set_facecolor(palette.GRID)
        mesh = axes.pcolormesh(*edges, finite, cmap=palette.SEQUENTIAL, norm=norm, rasterized=True)
        if never:
            beyond = np.ma.masked_where(~np.isinf(part.values), np.ones(part.shape))
            axes.pcolormesh(*edges, beyond, cmap=palette.solid(palette.GREY), rasterized=True)
        axes.label_outer()
        title = [f"{dim} = {_text(data[dim].values[i])}" for dim, i in chosen.items()]
        axes.set_title("\n".join(title), fontsize=_FONT)
        if row == column == 0:
            bar = figure.colorbar(mesh, ax=panels, pad=0.02)
            bar.set_label(_name(data), fontsize=_FONT + 1)
            bar.ax.tick_params(labelsize=_FONT)
    words = "never" if data.name == "hitting_time" else "infinite"
    patches = [(never, palette.GREY, words), (missing, palette.GRID, "no value")]
    handles = [Patch(color=color, label=text) for found, color, text in patches if found]
    if handles:
        figure.legend(handles=handles, loc="outside lower center", ncols=2, frameon=False, fontsize=_FONT)
    return figure


def _evenly(count: int) -> np.ndarray:
    return np.unique(np.linspace(0, count - 1, min(count, _MOST_FACETS)).round().astype(int))


def _norm(values: np.ndarray) -> Normalize:
    finite = values[np.isfinite(values)]
    low, high = (finite.min(), finite.max()) if finite.size else (0.0, 1.0)
    if low > 0 and np.log10(high / low) > _DECADES:
        return LogNorm(low, high)
    return Normalize(low, high)


def _set_axis(axes: Axes, which: str, coordinate: xarray.DataArray) -> np.ndarray:
    """Names and scales one axis; gives the places of the coordinate's values on it."""
    values = coordinate.values
    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_label_text(_name(coordinate, keep=True), fontsize=_FONT + 1)
    axes.tick_params(labelsize=_FONT)
    if values.dtype.kind not in "fiu":
        axis.set_ticks(np.arange(len(values)), [str(value) for value in values])
        return np.arange(len(values), dtype=float)
    if values.dtype.kind != "f":
        axis.set_major_locator(MaxNLocator(integer=True))
    elif _is_logarithmic(values):
        axes.set(**{f"{which}scale": "log"})
    return values.astype(float)


def _is_logarithmic(values: np.ndarray) -> bool:
    if len(values) < 3 or not (values > 0).all():
        return False
    steps = np.diff(np.log(values))
    return bool(np.allclose(steps, steps[0], rtol=1e-6) and not np.allclose(np.diff(values), values[1] - values[0]))


def _edges(places: np.ndarray, axes: Axes, which: str) -> np.ndarray:
    """[n + 1] borders half way between the places, on a logarithmic axis in the logarithm."""
    logarithmic = (axes.get_xscale() if which == "x" else axes.get_yscale()) == "log"
    scaled = np.log(places) if logarithmic else places
    middles = (scaled[1:] + scaled[:-1]) / 2
    edges = np.concatenate([[2 * scaled[0] - middles[0]], middles, [2 * scaled[-1] - middles[-1]]])
    return np.exp(edges) if logarithmic else edges


def _name(data: xarray.DataArray, *, keep: bool = False) -> str:
    """What an axis or a variable is called; `keep` for names that are to be read letter by letter."""
    name = str(data.name) if keep else str(data.name).replace("_", " ")
    unit = data.attrs.get("units", "1")
    return name if unit == "1" else f"{name} ({unit})"


def _text(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, np.number) else str(value)
