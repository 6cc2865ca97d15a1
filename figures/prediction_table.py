"""How often each way tells what a reward error does, family by family."""

from __future__ import annotations

import numpy as np
import xarray
from matplotlib.figure import Figure

from figures import panels, style
from pgdyn.plot import palette

_LOOKS = {
    "exact": ("by the exact solution", "o", palette.BLUE),
    "mechanism": ("by the type of the error", "s", palette.VERMILLION),
    "initial slope": ("by the slope at the start", "^", palette.ORANGE),
    "commonest": ("always the commonest category", "|", palette.GREY),
}


@style.styled
def draw(dataset: xarray.Dataset) -> Figure:
    """The figure of `experiments.prediction_table.run`'s dataset."""
    families, covered = dataset["family"].values, dataset["covered"].values
    figure = Figure(figsize=(style.WIDTH, 1.0 + 0.3 * len(families)), layout="constrained")
    axes = figure.subplots()
    rows = np.arange(len(families))
    axes.hlines(rows, 0, 1, color=palette.GREY, linewidth=0.3, zorder=0)
    for way in reversed(dataset["way"].values.tolist()):
        words, marker, color = _LOOKS[way]
        axes.plot(
            dataset["share"].sel(way=way), rows, marker, color=color, label=words, markersize=7, markeredgewidth=1.4,
            clip_on=False,
        )  # fmt: skip
    names = [name if own else f"{name}*" for name, own in zip(families, covered, strict=True)]
    axes.set_yticks(rows, names)
    axes.set_ylim(len(families) - 0.5, -0.5)
    axes.set_xlim(0, 1)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.set_xlabel("share of the simulated categories that are told")
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    figure.legend(loc="outside upper center", ncols=2, frameon=False, reverse=True)
    if not covered.all():
        panels.footnote(figure, "* no exact solution: the nearest kernel that has one stands in")
    return figure
