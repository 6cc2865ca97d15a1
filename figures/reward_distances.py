"""Distances against worst-case regret, and EPIC against the time that training on the proxy takes."""

from __future__ import annotations

import numpy as np
import xarray
from matplotlib.figure import Figure

from figures import panels, style
from pgdyn.plot import palette

_NEVER = 0.5  # decades beyond the longest time
_SHOWN = ("EPIC", "STARC, value")
_NAMED = ("the truth", "beneficial, far", "a hack, near")


@style.styled
def draw(dataset: xarray.Dataset) -> Figure:
    """The figure of `experiments.reward_distances.run`'s dataset."""
    figure = Figure(figsize=(style.WIDTH * 1.1, 2.9), layout="constrained")
    axes = figure.subplots(1, 3, width_ratios=(1, 1, 1.35))
    for panel, name in zip(axes[:2], _SHOWN, strict=True):
        one = dataset.sel(measure=name)
        panel.plot(one["distance"], dataset["regret"], ".", markersize=2.2, color=palette.BLUE, alpha=0.6)
        panel.set_xlabel(f"{name}")
        panel.set_xlim(left=0)
        panel.set_ylim(0, 1.02)
        panel.set_title(f"Spearman {float(one['correlation']):.2f}", size=9)
    axes[0].set_ylabel("worst-case regret / range")
    axes[1].set_yticklabels([])
    _times(axes[2], dataset)
    panels.letters(list(axes))
    return figure


def _times(axes: object, dataset: xarray.Dataset) -> None:
    far, time = dataset["epic_uniform"].values, dataset["hitting_time"].values
    arrived = np.isfinite(time)
    never = 10 ** (np.log10(time[arrived].max()) + 2 * _NEVER)
    shown = np.where(arrived, time, never)
    axes.semilogy(far[3:], shown[3:], ".", markersize=1.8, color=palette.PALE, zorder=1)  # pyright: ignore
    colors = (palette.BLACK, palette.GREEN, palette.VERMILLION)
    for i, (name, color) in enumerate(zip(_NAMED, colors, strict=True)):
        axes.plot([far[i]], [shown[i]], "o", markersize=6, color=color, label=name, zorder=3)  # pyright: ignore
    axes.set_xlim(left=-0.03)  # pyright: ignore
    axes.set_xlabel("EPIC from the truth, uniform coverage")  # pyright: ignore
    axes.set_ylabel("time to a true value of .9")  # pyright: ignore
    ticks = [value for value in 10.0 ** np.arange(0, 12, 2) if value < never / 3]
    axes.set_yticks([*ticks, never], [*(f"$10^{{{round(np.log10(t))}}}$" for t in ticks), "never"])  # pyright: ignore
    axes.minorticks_off()  # pyright: ignore
    axes.legend(loc="lower right", frameon=False, fontsize=8)  # pyright: ignore
