"""When to reward partial credit: maps of the time ratio, and trajectories."""

from __future__ import annotations

from typing import Any

import matplotlib
import numpy as np
import xarray
from matplotlib.axes import Axes
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.figure import Figure

from figures import panels, style
from pgdyn.plot import labels, palette

_CREDITS = (
    ("binary", palette.BLACK, "-"),
    ("partial", palette.VERMILLION, "-"),
    ("adaptive", palette.BLUE, (0, (4, 2))),
)
_SLOWER = 1.05  # what the solid lines mark
_MARKS = ("A", "B", "C", "D")


@style.styled
def draw_maps(dataset: xarray.Dataset) -> Figure:
    """The maps of `experiments.partial_credit.run`: flow, adaptive and withdrawn credit, GRPO of every group size."""
    groups = dataset["group"].values
    maps = [("flow", dataset["flow_ratio"]), ("flow, adaptive", dataset["adaptive_ratio"])]
    maps += [("flow, withdrawn", dataset["withdrawn_ratio"])]
    maps += [(f"GRPO, G = {size}", dataset["grpo_ratio"].sel(group=size)) for size in groups]
    figure = Figure(figsize=(style.WIDTH, 4.9), layout="constrained")
    axes = figure.subplots(2, 3, sharex=True, sharey=True)
    mesh = None
    for panel, (words, values) in zip(axes.flat, maps, strict=False):
        mesh = _map(panel, dataset["full"].values, dataset["half"].values, values.values, -0.5, 4.0)
        _boundary(panel, dataset)
        panel.set_title(words)
    for panel in axes.flat[len(maps) :]:
        panel.set_visible(False)
    for letter, (f, g) in zip(_MARKS, dataset.attrs["marked"], strict=True):
        for panel in axes.flat[: len(maps)]:
            panel.plot([f], [g], "o", color="white", markeredgecolor="black", markersize=4, clip_on=False, zorder=5)
        axes.flat[0].annotate(letter, (f, g), (4, 3), textcoords="offset points", size=8, path_effects=labels.HALO)
    for panel in (axes[0, 0], axes[1, 0]):
        panel.set_ylabel("probability of half credit, $g$")
    for panel in axes[1]:
        panel.set_xlabel("probability of full credit, $f$")
        panel.tick_params(labelbottom=True)
    _bar(figure, mesh, axes, 0, 4, "time with partial, adaptive or withdrawn / with binary credit")
    note = "solid: 5 % slower than binary;  dashed: left of it half success first gains on full success (theory C3)"
    panels.footnote(figure, note)
    return figure


def _map(axes: Axes, x: np.ndarray, y: np.ndarray, ratio: np.ndarray, low: float, high: float) -> Any:
    """Half decades from 10^low to 10^high, red where partial credit is slower; white within a tenth of a decade."""
    levels = np.concatenate([np.arange(low, -0.4, 0.5), [-0.1, 0.1], np.arange(0.5, high + 0.1, 0.5)])
    middle = (levels[1:] + levels[:-1]) / 2
    shades = 0.5 + 0.5 * middle / max(high, -low)
    colors = ListedColormap(matplotlib.colormaps["RdBu_r"](shades))
    field = np.log10(ratio)
    shown = np.clip(field, low + 1e-6, high - 1e-6)
    norm = BoundaryNorm(levels, colors.N)
    mesh = axes.pcolormesh(x, y, shown, cmap=colors, norm=norm, shading="nearest", rasterized=True)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_facecolor("#DDDDDD")
    known = np.nan_to_num(field, nan=np.nanmax(field))
    axes.contour(x, y, known, [np.log10(_SLOWER)], colors="black", linewidths=1.2)
    return mesh


def _bar(figure: Any, mesh: Any, axes: Any, low: int, high: int, words: str) -> None:
    bar = figure.colorbar(mesh, ax=axes, pad=0.02, ticks=range(low, high + 1), spacing="proportional", aspect=30)
    bar.ax.minorticks_off()
    bar.ax.set_yticklabels([f"$10^{{{k}}}$" for k in range(low, high + 1)])
    bar.set_label(words)


def _boundary(axes: Axes, dataset: xarray.Dataset) -> None:
    f, g = np.meshgrid(np.geomspace(1e-3, 0.4, 200), np.geomspace(1e-3, 0.85, 200))
    rises = f * (1 - f - g / 2) - g * (1 - 2 * f - g) / 2
    axes.contour(
        f, g, np.where(f + g < 0.97, rises, np.nan), [0.0], colors="black", linewidths=1.0, linestyles="dashed"
    )
    axes.set_xlim(*dataset["full"].values[[0, -1]])
    axes.set_ylim(*dataset["half"].values[[0, -1]])


@style.styled
def draw_paths(dataset: xarray.Dataset) -> Figure:
    """Success over time at the marked points, and the maps of two constraints with one logit each."""
    figure = Figure(figsize=(style.WIDTH, 5.0), layout="constrained")
    parts: Any = figure.subfigures(2, 1, height_ratios=[1, 1.25])
    top, bottom = parts
    axes = top.subplots(1, 4, sharey=True)
    for i, panel in enumerate(axes):
        one = dataset.isel(point=i)
        for j, (words, color, dashes) in enumerate(_CREDITS):
            t = one["time"].values[j]
            panel.plot(t, one["success"].values[j], color=color, linestyle=dashes, label=words, linewidth=1.4)
        f, g = dataset.attrs["marked"][i]
        panel.set_title(f"{_MARKS[i]}: $f = {f:g}$, $g = {g:g}$", size=9)
        panel.set_xscale("log")
        panel.set_xlim(max(float(one["time"].values[0, 1]), 1e-1), float(one["time"].values[0, -1]))
        panel.set_ylim(-0.03, 1.05)
        panel.set_xlabel("time")
    axes[0].set_ylabel("probability of full success")
    axes[0].legend(frameon=False, fontsize=8, loc="upper left")
    maps = bottom.subplots(1, 2, sharey=True)
    mesh = None
    for panel, name, words in zip(
        maps, ("compositional_ratio", "compositional_adaptive"), ("partial credit", "adaptive credit"), strict=True
    ):
        mesh = _map(panel, dataset["second"].values, dataset["first"].values, dataset[name].values, -2.5, 0.5)
        panel.set_title(f"one logit a constraint: {words}", size=9.5)
        panel.set_xlabel("probability to meet the second constraint")
        panel.set_aspect("equal")
    maps[0].set_ylabel("to meet the first")
    _bar(bottom, mesh, maps, -2, 0, "time / time with binary credit")
    return figure
