"""Maps of reward errors: the speed-up over the ground truth, where it is one, and the lines that theory draws."""

from __future__ import annotations

import matplotlib
import numpy as np
import xarray
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, TwoSlopeNorm
from matplotlib.figure import Figure

from figures import style

_NEVER = "#3B3B3B"  # the ground truth arrives and the proxy does not
_NEITHER = "#DDDDDD"


@style.styled
def draw(dataset: xarray.Dataset) -> Figure:
    """The map of `experiments.error_maps.probability_map` or `similarity_map`: log10 speed-up, its zero as a line."""
    similar = "inner_product" in dataset.dims
    name = "inner_product" if similar else "probability"
    figure = Figure(figsize=(style.WIDTH, 4.0), layout="constrained")
    axes = figure.subplots()
    speedup = dataset["speedup"].transpose("mediocre_reward", name).values
    x, y = dataset[name].values, dataset["mediocre_reward"].values
    with np.errstate(divide="ignore"):
        field = np.log10(speedup)
    only = np.isposinf(field)
    finite = field[np.isfinite(field)]
    low, high = min(-1.0, finite.min(initial=0.0)), max(1.0, finite.max(initial=0.0))
    colors = matplotlib.colormaps["RdBu"].copy()
    mesh = axes.pcolormesh(
        x, y, np.where(only, high, np.where(np.isfinite(field), field, np.nan)), cmap=colors,
        norm=TwoSlopeNorm(0.0, low, high), shading="nearest", rasterized=True,
    )  # fmt: skip
    axes.set_facecolor(_NEITHER)
    _patch(axes, x, y, np.isneginf(field), _NEVER)
    bar = figure.colorbar(mesh, ax=axes, pad=0.02)
    bar.set_label(r"$\log_{10}$ speed-up over the ground truth")
    if np.isfinite(field).any() and np.nanmin(field) < 0 < np.nanmax(field):
        crossing = np.where(np.isneginf(field), low, np.where(only, high, field))
        axes.contour(x, y, crossing, [0.0], colors="black", linewidths=1.3)
    axes.axhline(0.8, color="black", linewidth=0.7, linestyle=(0, (1, 2)))
    axes.set_ylabel(r"proxy reward of $y_{\mathrm{med}}$ (ground truth: 0.8)")
    if similar:
        axes.set_xlabel(r"inner product $\langle\phi(y^{\!\ast}), \phi(y_{\mathrm{med}})\rangle$")
        _line(axes, 1.0, r"$|\phi(y_{\mathrm{med}})|^2$", "below it, lowering helps in the limit")
        _line(axes, -1 / 3, r"$-H$", "below it, the stall can be permanent")
    else:
        axes.set_xscale("log")
        axes.set_xlabel(r"initial probability of $y^{\!\ast}$")
        axes.plot(x, dataset["repelled"].values, color="black", linewidth=1.0, linestyle=(0, (5, 2)))
        middle = len(x) // 2
        axes.annotate(
            r"below: $A_P(y_{\mathrm{med}}) < 0$ at the start", (x[middle], dataset["repelled"].values[middle]), (0, 5),
            textcoords="offset points", ha="center", va="bottom", size=8.5, path_effects=style.HALO,
        )  # fmt: skip
    notes = ["solid: speed-up 1; dotted: the true reward of $y_{\\mathrm{med}}$"]
    if np.isneginf(field).any():
        notes.append("dark: only the ground truth arrives")
    if only.any():
        notes.append("darkest blue: only the proxy arrives")
    if np.isnan(field).any():
        notes.append("grey: neither does")
    figure.supxlabel("; ".join(notes), fontsize=8.5, color="#444444")
    return figure


@style.styled
def draw_single(dataset: xarray.Dataset) -> Figure:
    """Time to the target against the new reward, one curve an output, from `experiments.error_maps.single_errors`."""
    figure = Figure(figsize=(style.WIDTH, 3.8), layout="constrained")
    axes = figure.subplots()
    baseline = float(dataset["baseline_time"])
    finite = dataset["time"].values[np.isfinite(dataset["time"].values)]
    top = 10 ** (np.ceil(np.log10(finite.max())) + 0.8)
    looks = {
        "y*": (style.output_color("y*"), "-"),
        "y_med": (style.output_color("y_med"), "-"),
        "bad": (style.VERMILLION, "-"),
        "bad, rare": (style.GREY, (0, (4, 2))),
    }
    value = dataset["value"].values
    for name, (color, dashes) in looks.items():
        one = dataset.sel(output=name)
        time = one["time"].values
        arrives = np.isfinite(time)
        axes.plot(value, np.where(arrives, time, np.nan), color=color, linestyle=dashes, label=style.output_text(name))
        axes.plot(value[~arrives], np.full((~arrives).sum(), top), color=color, marker="|", linestyle="", markersize=5)
        axes.plot(float(one["true_reward"]), baseline, marker="o", markersize=5, color=color, markerfacecolor="white")
    axes.axhline(baseline, color="black", linewidth=0.7, linestyle=(0, (1, 2)))
    axes.set_yscale("log")
    axes.set_ylim(finite.min() / 2, top * 2.5)
    axes.annotate("never", (value[0], top), (4, 5), textcoords="offset points", size=8.5, color="#444444")
    axes.annotate(
        "no error", (value[0], baseline), (4, -4), textcoords="offset points", size=8.5, color="#444444", va="top"
    )
    axes.set_xlabel("new proxy reward of the output (circle: its true reward)")
    axes.set_ylabel(f"time to true value {dataset.attrs['target']:g}")
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5), title="output changed")
    return figure


def _patch(axes: Axes, x: np.ndarray, y: np.ndarray, where: np.ndarray, color: str) -> None:
    if where.any():
        axes.pcolormesh(
            x, y, np.where(where, 1.0, np.nan), cmap=ListedColormap([color]), shading="nearest",
            rasterized=True,
        )  # fmt: skip


def _line(axes: Axes, place: float, name: str, words: str) -> None:
    low, high = axes.get_xlim()
    if low < place < high:
        axes.axvline(place, color="black", linewidth=1.0, linestyle=(0, (5, 2)))
        axes.annotate(
            f"{name}: {words}", (place, axes.get_ylim()[0]), (-4, 6), textcoords="offset points", rotation=90,
            ha="right", va="bottom", size=8.5, path_effects=style.HALO,
        )  # fmt: skip
