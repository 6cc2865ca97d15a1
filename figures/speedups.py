"""Measured speed-ups of many reward errors against those foretold: by the exact solution, and to first order."""

from __future__ import annotations

import numpy as np
import xarray
from matplotlib.figure import Figure

from figures import panels, style
from pgdyn.plot import palette

_LIMITS = (1e-8, 1e5)


@style.styled
def draw(dataset: xarray.Dataset) -> Figure:
    """The figure of `experiments.speedups.run`'s dataset."""
    figure = Figure(figsize=(style.WIDTH, 3.4), layout="constrained")
    exact, first = figure.subplots(1, 2, sharey=True)
    base = float(dataset["baseline_time"])
    measured = base / dataset["measured_time"].values
    reached = measured > _LIMITS[0]
    first_order = dataset["first_order"].values
    foretold = {
        exact: ("by the exact solution", base / dataset["exact_time"].values),
        first: ("to first order in the error", first_order),
    }
    for axes, (title, values) in foretold.items():
        shown = reached & (values > _LIMITS[0]) & (values < _LIMITS[1])
        axes.plot(_LIMITS, _LIMITS, color=palette.GREY, linewidth=0.6, zorder=0)
        bins = axes.hexbin(
            values[shown], measured[shown], gridsize=60, xscale="log", yscale="log", bins="log",
            extent=(*np.log10(_LIMITS), *np.log10(_LIMITS)), mincnt=1, cmap=palette.SEQUENTIAL, linewidths=0.1,
        )  # fmt: skip
        axes.set_xlim(_LIMITS)
        axes.set_ylim(_LIMITS)
        axes.set_title(title)
        axes.set_xlabel("speed-up foretold")
        if axes is first:
            figure.colorbar(bins, ax=axes, label="errors")
    exact.set_ylabel("speed-up measured on the flow")
    panels.letters([exact, first])
    words = f"{measured.size:,} reward errors; {int((measured == 0).sum()):,} of them never reach the target"
    beyond = int((reached & ~((first_order > _LIMITS[0]) & (first_order < _LIMITS[1]))).sum())
    panels.footnote(figure, f"{words};  {beyond:,} lie beyond the range of (b)")
    return figure
