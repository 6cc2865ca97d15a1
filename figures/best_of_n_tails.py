"""What the best of N by a noisy proxy is worth."""

from __future__ import annotations

import numpy as np
import xarray
from matplotlib.figure import Figure

from experiments.best_of_n_tails import law
from figures import panels, style
from pgdyn.plot import palette


@style.styled
def draw(dataset: xarray.Dataset) -> Figure:
    """The figure of `experiments.best_of_n_tails.run`'s dataset."""
    figure = Figure(figsize=(style.WIDTH, 3.0), layout="constrained")
    left, right = figure.subplots(1, 2)
    count, distance = dataset["N"].values, dataset["distance"].values
    for noise, color in zip(dataset["noise"].values, (palette.BLUE, palette.VERMILLION, palette.GREEN), strict=True):
        one = dataset.sel(noise=noise)
        left.errorbar(count, one["gold"], one["gold_error"], color=color, marker="o", markersize=3, capsize=2)
        alpha, beta = law(dataset, str(noise))
        curve = np.linspace(0, distance[-1], 200)
        right.plot(distance, one["gold"], "o", color=color, markersize=4, label=str(noise))
        right.plot(curve, curve * (alpha - beta * curve), color=color, linewidth=1.2)
    left.set_xscale("log", base=4)
    left.set_xticks(count, [f"{one:,}" for one in count])
    left.minorticks_off()
    left.set_xlabel("$N$")
    left.set_ylabel("true reward of the best of $N$ by the proxy")
    right.set_xlabel(r"$d = \sqrt{\log N - (N - 1)/N}$")
    right.legend(frameon=False, fontsize=8.5, loc="lower left")
    panels.letters([left, right])
    panels.footnote(figure, r"(b) lines: least squares of $d\,(\alpha - \beta d)$")
    return figure
