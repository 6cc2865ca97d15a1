"""How well metrics of a reward model foretell the true value after training: by family, for 13 models, and for RLOO."""

from __future__ import annotations

import numpy as np
import xarray
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures import panels, style
from pgdyn.plot import palette

_SHOWN = {
    "Acc": (palette.BLUE, "o"),
    "HAcc": (palette.VERMILLION, "o"),
    "EPIC, pi_0": (palette.GREEN, "D"),
    "Acc, 1 pair": (palette.SKY, "s"),
    "HAcc, 1 pair": (palette.ORANGE, "s"),
}


@style.styled
def draw(dataset: xarray.Dataset) -> Figure:
    """The figure of `experiments.metric_study.run`'s dataset."""
    families = [str(name) for name in dataset["family"].values]
    figure = Figure(figsize=(style.WIDTH * 1.15, 0.9 + 0.36 * len(families)), layout="constrained")
    each, some, against = figure.subplots(1, 3, width_ratios=(1.5, 1, 0.9))
    _families(each, dataset, families)
    _subsamples(some, dataset)
    _predictors(against, dataset)
    panels.letters([each, some, against])
    return figure


def _label(name: str) -> str:
    return name.replace("pi_0", r"$\pi_0$")


def _families(axes: Axes, dataset: xarray.Dataset, families: list[str]) -> None:
    places = np.arange(len(families))[::-1]
    for i, (name, (color, marker)) in enumerate(_SHOWN.items()):
        one = dataset.sel(metric=name)
        at = places + 0.3 - 0.15 * i
        axes.hlines(at, one["low"], one["high"], color=color, linewidth=1.1)
        axes.plot(one["mean_spearman"], at, marker, color=color, markersize=3.4, label=_label(name), linestyle="")
    axes.set_yticks(places, families)
    axes.tick_params(axis="y", length=0)
    axes.axvline(0, color=palette.GREY, linewidth=0.5)
    axes.set_xlim(-0.15, 1)
    axes.set_xlabel("Spearman with the true value after training")
    axes.grid(axis="x", color=palette.GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.legend(
        loc="upper center", bbox_to_anchor=(0.4, -0.15), ncols=3, fontsize=7.5, frameon=False, handletextpad=0.2
    )  # fmt: skip


def _subsamples(axes: Axes, dataset: xarray.Dataset) -> None:
    for i, (name, (color, _)) in enumerate(_SHOWN.items()):
        drawn = dataset["subsample"].sel(metric=name).values.ravel()
        low, first, middle, third, high = np.quantile(drawn, [0.05, 0.25, 0.5, 0.75, 0.95])
        axes.hlines(-i, low, high, color=color, linewidth=1)
        axes.hlines(-i, first, third, color=color, linewidth=4)
        axes.plot([middle], [-i], "o", color="white", markersize=2.6, zorder=3)
    axes.set_yticks(-np.arange(len(_SHOWN)), [_label(name) for name in _SHOWN])
    axes.tick_params(axis="y", length=0)
    axes.axvline(0, color=palette.GREY, linewidth=0.5)
    axes.set_xlabel("Spearman over 13 models")
    axes.set_ylim(-len(_SHOWN) + 0.5, 0.5)


def _predictors(axes: Axes, dataset: xarray.Dataset) -> None:
    names = [*_SHOWN, "forecast", "forecast, held out"]
    colors = [*(color for color, _ in _SHOWN.values()), palette.BLACK, palette.GREY]
    found = dataset["spearman_rloo"].mean(("policy", "truth"))
    values = [float(found.sel(predictor=name)) for name in names]
    axes.barh(-np.arange(len(names)), values, height=0.55, color=colors)
    axes.set_yticks(-np.arange(len(names)), [_label(name) for name in names])
    axes.tick_params(axis="y", length=0)
    axes.set_xlim(0, 1)
    axes.set_xlabel("Spearman after RLOO")
