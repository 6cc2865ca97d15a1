"""Maps of reward errors: the speed-up over the ground truth, where it is one, and the lines that theory draws."""

from __future__ import annotations

import matplotlib
import numpy as np
import xarray
from matplotlib.axes import Axes
from matplotlib.colors import BoundaryNorm
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from figures import style
from pgdyn.plot import labels, palette

_ONLY_PROXY, _ONLY_TRUTH, _NEITHER = "#001B3A", "#3D0010", "#DDDDDD"  # beyond either end of the colours; off them
_DASHED, _DOTTED = (0, (5, 2)), (0, (1, 1.6))
_MOST_DECADES = 10
_SINGLE = {  # colour, line and words of each output that is changed
    "y*": (style.output_color("y*"), "-", style.output_text("y*")),
    "y_med": (style.output_color("y_med"), "-", style.output_text("y_med")),
    "bad, rare": (palette.GREY, (0, (4, 2)), "a rare bad output"),
    "bad": (palette.PURPLE, "-", "a bad output"),
}


@style.styled
def draw(dataset: xarray.Dataset) -> Figure:
    """The map of `experiments.error_maps.probability_map` or `similarity_map`: speed-ups in decades, theory's lines."""
    similar = "inner_product" in dataset.dims
    name = "inner_product" if similar else "probability"
    figure = Figure(figsize=(style.WIDTH, 4.7 if similar else 4.4), layout="constrained")
    axes = figure.subplots()
    speedup = dataset["speedup"].transpose("mediocre_reward", name).values
    x, y = dataset[name].values, dataset["mediocre_reward"].values
    with np.errstate(divide="ignore"):
        field = np.log10(speedup)
    finite = field[np.isfinite(field)]
    decades = int(np.clip(np.ceil(abs(finite).max(initial=1.0)), 2, _MOST_DECADES))
    colors = matplotlib.colormaps["RdBu"].with_extremes(over=_ONLY_PROXY, under=_ONLY_TRUTH)
    # A finite speed-up beyond the scale is shown in its last colour; only "never" has the colour beyond.
    shown = np.where(np.isfinite(field), np.clip(field, 0.001 - decades, decades - 0.001), 2 * decades * np.sign(field))
    norm = BoundaryNorm(np.arange(-decades, decades + 1), colors.N)
    axes.set_facecolor(_NEITHER)
    mesh = axes.pcolormesh(x, y, shown, cmap=colors, norm=norm, shading="nearest", rasterized=True)
    bar = figure.colorbar(mesh, ax=axes, pad=0.02, ticks=np.arange(-decades, decades + 1, 2 if decades > 4 else 1))
    bar.ax.minorticks_off()
    bar.ax.yaxis.set_major_formatter(lambda decade, _: f"$10^{{{decade:.0f}}}$")
    bar.set_label("speed-up: time on the ground truth / time on the proxy")
    if np.isfinite(field).any() and np.nanmin(field) < 0 < np.nanmax(field):
        axes.contour(x, y, shown, [0.0], colors="black", linewidths=1.5)
    axes.set_ylabel(r"proxy reward of $y_{\mathrm{med}}$")
    if not similar:
        axes.set_xscale("log")
    axes.set_xlim(x[0], x[-1])
    axes.set_ylim(y[0], y[-1])
    if similar:
        axes.set_xlabel(r"inner product $\kappa = \langle\phi(y^{\!\ast}), \phi(y_{\mathrm{med}})\rangle$")
        _above(axes, -1 / 3, r"$\kappa = -H$: left of it the stall on the" + "\nground truth can be permanent")
        words = r"$\kappa = |\phi(y_{\mathrm{med}})|^2$: rating $y_{\mathrm{med}}$ as low as the bad" + "\n"
        _above(axes, 1.0, words + r"ones turns from help to harm, as $\pi_0(y^{\!\ast}) \to 0$")
        note = r"solid: speed-up 1, also at the true reward 0.8 of $y_{\mathrm{med}}$;  $H = 1/3$: three bad outputs"
        note += rf";  $\pi_0(y^{{\!\ast}}) = {_power(dataset.attrs['probability'])}$"
        note += rf";  arrives: by time ${_power(dataset.attrs['t1'])}$"
    else:
        axes.set_xlabel(r"initial probability of $y^{\!\ast}$")
        law = _law(axes, x, y, dataset["law_speedup"].transpose("mediocre_reward", name).values, dataset["unstalled"])
        note = r"solid: speed-up 1, at the true reward 0.8 of $y_{\mathrm{med}}$" + law
    figure.supxlabel(note, fontsize=8.5, color=palette.INK)
    handles = []
    for where, color, words in (
        (np.isposinf(field), _ONLY_PROXY, "only the proxy arrives"),
        (np.isneginf(field), _ONLY_TRUTH, "only the ground truth arrives"),
        (np.isnan(field), _NEITHER, "neither arrives"),
    ):
        if where.any():
            handles.append(Patch(color=color, label=words))
    if handles:
        figure.legend(handles=handles, loc="outside upper center", ncols=3, frameon=False, fontsize=8.5)
    labels.settle(figure)  # words along a curve need the final proportions of the axes
    if not similar:
        words = r"below: $y^{\!\ast}$ gains on $y_{\mathrm{med}}$ from the start"
        _along(axes, x, dataset["unstalled"].values, words, 0.8)
        words = r"below: $A_P(y_{\mathrm{med}}) < 0$ at the start"
        _along(axes, x, dataset["repelled"].values, words, 0.78)
    return figure


@style.styled
def draw_single(dataset: xarray.Dataset) -> Figure:
    """Time to the target against the new reward, one curve an output, from `experiments.error_maps.single_errors`."""
    figure = Figure(figsize=(style.WIDTH, 4.2), layout="constrained")
    axes = figure.subplots()
    baseline = float(dataset["baseline_time"])
    finite = dataset["time"].values[np.isfinite(dataset["time"].values)]
    never = 10 ** (np.ceil(np.log10(finite.max())) + 0.8)
    value = dataset["value"].values
    curves = []
    for name, (color, dashes, words) in _SINGLE.items():
        one = dataset.sel(output=name)
        time = one["time"].values
        arrives = np.isfinite(time)
        (line,) = axes.plot(value, np.where(arrives, time, np.nan), color=color, linestyle=dashes)
        axes.plot(value, np.where(arrives, np.nan, never), color=color, linewidth=4, solid_capstyle="butt")
        axes.plot(float(one["true_reward"]), baseline, marker="o", markersize=5, color=color, markerfacecolor="white")
        curves.append((line, words))
    table = dataset[["table_value", "table_time"]].where(dataset["table_output"].isin(list(_SINGLE)))
    axes.plot(
        table["table_value"], table["table_time"].clip(max=never), linestyle="", marker="x", markersize=6,
        color="black", clip_on=False, zorder=5,
    )  # fmt: skip
    axes.set_yscale("log")
    axes.set_ylim(finite.min() / 2, never * 2.5)
    axes.set_xlim(value[0], value[-1])
    axes.annotate("never", (value[len(value) // 2], never), (0, 4), textcoords="offset points", size=8.5, ha="center")
    axes.set_xlabel("new proxy reward of one output")
    axes.set_ylabel(f"time to true value {dataset.attrs['target']:g}")
    figure.supxlabel(
        "circles: no error, the output's true reward;  crosses: theory C7", fontsize=8.5, color=palette.INK
    )
    labels.beside(axes, labels.settle(figure), curves)
    return figure


def _power(value: float) -> str:
    return f"10^{{{np.log10(value):.0f}}}"


def _above(axes: Axes, place: float, words: str) -> None:
    """A dashed vertical line at `place`, its words above the axes."""
    low, high = axes.get_xlim()
    if low < place < high:
        axes.axvline(place, color="black", linewidth=1.0, linestyle=_DASHED, path_effects=labels.HALO)
        axes.annotate(
            words, (place, 1), (0, 4), xycoords=("data", "axes fraction"), textcoords="offset points", ha="center",
            va="bottom", size=8.5,
        )  # fmt: skip


def _along(axes: Axes, x: np.ndarray, y: np.ndarray, words: str, share: float) -> None:
    """A dashed convex curve with words under it and along it, `share` of the way from its first point to its last."""
    axes.plot(x, y, color="black", linewidth=1.0, linestyle=_DASHED, path_effects=labels.HALO)
    place = round(share * (len(x) - 1))
    reach = len(x) // 20 + 1
    near = np.clip([place - reach, place + reach], 0, len(x) - 1)
    (x0, y0), (x1, y1) = axes.transData.transform(np.column_stack([x[near], y[near]]))
    axes.annotate(
        words, (x[place], y[place]), (0, -3), textcoords="offset points", ha="center", va="top", size=8.5,
        rotation=np.degrees(np.arctan2(y1 - y0, x1 - x0)),
        rotation_mode="anchor",
    )  # fmt: skip


def _law(axes: Axes, x: np.ndarray, y: np.ndarray, law: np.ndarray, unstalled: xarray.DataArray) -> str:
    """The law's decades where it speaks, where y* loses to y_med at first; what the lines are, in words."""
    with np.errstate(invalid="ignore"):
        field = np.where(y[:, None] > unstalled.values, np.log10(law), np.nan)
    known = field[np.isfinite(field)]
    levels = [level for level in (-2, 2, 4, 6, 8) if known.min(initial=0) < level < known.max(initial=0)]
    if not levels:
        return ""
    drawn = axes.contour(
        x, y, np.ma.masked_invalid(field), levels, colors="black", linewidths=1.0, linestyles=[_DOTTED]
    )
    texts = axes.clabel(drawn, fmt=lambda level: f"$10^{{{level:.0f}}}$", fontsize=8, inline_spacing=2)
    for text in texts:
        text.set_path_effects([*labels.HALO])
    return ";  dotted: speed-up by the corner law"
