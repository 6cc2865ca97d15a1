"""Shares of REINFORCE runs that have found the best output, by baseline, beside the inverse gamma law."""

from __future__ import annotations

import numpy as np
import xarray
from matplotlib.figure import Figure

from figures import panels, style
from pgdyn.plot import labels, palette


@style.styled
def draw(dataset: xarray.Dataset) -> Figure:
    """The figure of `experiments.reinforce_escape.run`'s dataset."""
    figure = Figure(figsize=(style.WIDTH * 0.75, 3.1), layout="constrained")
    axes = figure.subplots()
    lines, steps = [], []
    last = float(dataset["update"][-1])
    for i, baseline in enumerate(dataset["baseline"].values):
        one, color = dataset.isel(baseline=i), palette.LINES[i]
        found = np.sort(one["hitting_time"].values)
        share = np.arange(1, found.size + 1) / found.size
        seen = found <= last
        steps += axes.step(found[seen], share[seen], where="post", color=color, alpha=0.4, linewidth=2.6)
        (line,) = axes.plot(dataset["update"], one["law"], color=color, linewidth=1.0)
        lines.append((line, f"$b = {baseline:g}$"))
    flow = float(dataset["flow_time"])
    axes.axvline(flow, color=palette.BLACK, linewidth=1.0, linestyle=(0, (4, 2.2)))
    axes.text(flow * 0.96, 1.02, "flow, any $b$", size=9, ha="right", va="top")
    axes.set_xscale("log")
    axes.set_xlim(float(dataset["update"][0]), last)
    axes.set_ylim(0, 1.05)
    axes.set_yticks([0, 0.5, 1])
    axes.set_xlabel("updates")
    axes.set_ylabel(r"share of runs with $\pi(y^{\!\ast}) \geq 1/2$")
    seeds = dataset.sizes["seed"]
    panels.footnote(figure, f"broad: {seeds} seeds for each baseline $b$;  thin: inverse gamma law")
    labels.beside(axes, labels.settle(figure), lines, avoid=steps)
    return figure
