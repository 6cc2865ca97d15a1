"""What is gained by preferences in order of importance and by a weighted sum, where one factor changes its units."""

from __future__ import annotations

import numpy as np
import xarray
from matplotlib.figure import Figure

from figures import style
from pgdyn.plot import palette


@style.styled
def draw(dataset: xarray.Dataset) -> Figure:
    """The figure of `experiments.factor_scales.run`'s dataset."""
    figure = Figure(figsize=(style.WIDTH * 0.6, 2.9), layout="constrained")
    axes = figure.subplots()
    mean = dataset["true_gain"].mean("seed")
    error = dataset["true_gain"].std("seed") / np.sqrt(dataset.sizes["seed"])
    for way, color in (("hierarchy", palette.BLUE), ("weighted sum", palette.VERMILLION)):
        one, bar = mean.sel(way=way), error.sel(way=way)
        axes.fill_between(dataset["scale"], one - bar, one + bar, color=color, alpha=0.2, linewidth=0)
        axes.plot(dataset["scale"], one, "o-", color=color, markersize=3.2, label=way)
    axes.axvline(1, color=palette.GREY, linewidth=0.7, linestyle=(0, (4, 2)))
    axes.set_xscale("log")
    axes.set_xlabel("scale of the second factor")
    axes.set_ylabel("true gain / best possible")
    axes.set_ylim(0, 1)
    axes.legend(frameon=False, fontsize=8.5, loc="lower left")
    return figure
