"""The time to the target against the weight of a KL penalty, and the value that is left in the end."""

from __future__ import annotations

import numpy as np
import xarray
from matplotlib.figure import Figure

from figures import panels, style
from pgdyn.plot import labels, palette


@style.styled
def draw(dataset: xarray.Dataset) -> Figure:
    """The figure of `experiments.kl_stall.run`'s dataset."""
    figure = Figure(figsize=(style.WIDTH, 3.0), layout="constrained")
    time, value = figure.subplots(1, 2)
    penalised = dataset.isel(weight=slice(1, None))
    weights = penalised["weight"].values
    lines = []
    for i, start in enumerate(dataset["initial_probability"].values):
        color, one = palette.LINES[i], penalised.isel(initial_probability=i)
        hits = one["hitting_time"].values
        (line,) = time.plot(weights, np.where(np.isfinite(hits), hits, np.nan), color=color)
        free = float(dataset["hitting_time"].isel(initial_probability=i, weight=0))
        time.axhline(free, color=color, linewidth=0.7, linestyle=(0, (1, 2)), zorder=0)
        lines.append((line, rf"$\pi_0(y^{{\!\ast}}) = {start:.2f}$"))
        value.plot(weights, one["optimal_value"], color=color, linewidth=1.2)
        value.plot(weights, one["true_value"], color=color, linestyle="", marker="o", markersize=3, markeredgewidth=0)
    target = dataset.attrs["target"]
    time.set_yscale("log")
    time.set_ylabel(f"time until $V = {target:g}$")
    value.axhline(target, color=palette.GREY, linewidth=0.6, linestyle=(0, (1, 2)), zorder=0)
    value.set_ylabel("true value in the end")
    for axes in (time, value):
        axes.set_xscale("log")
        axes.set_xlim(weights[0], weights[-1])
        axes.set_xlabel(r"weight $\beta$ of the KL penalty")
    panels.letters([time, value])
    panels.footnote(figure, r"(a) dotted: without penalty;  (b) dots: flow,  lines: the optimum $\pi_0 e^{r/\beta}$")
    labels.beside(time, labels.settle(figure), lines)
    return figure
