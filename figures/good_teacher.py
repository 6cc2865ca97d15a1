"""Time to teach against accuracy and against reward variance, for three initial policies."""

from __future__ import annotations

import numpy as np
import xarray
from matplotlib.figure import Figure

from experiments.good_teacher import rank_correlation
from figures import panels, style
from pgdyn.plot import palette


@style.styled
def draw(dataset: xarray.Dataset) -> Figure:
    """The figure of `experiments.good_teacher.run`'s dataset."""
    names = dataset["policy"].values
    figure = Figure(figsize=(style.WIDTH, 4.4), layout="constrained")
    axes = figure.subplots(2, len(names), sharey="col")
    for i, name in enumerate(names):
        one = dataset.sel(policy=name)
        time = one["time"].values
        for row, (x, words) in enumerate(
            ((one["variance"].values, "reward variance at the start"), (one["accuracy"].values, "accuracy"))
        ):
            panel = axes[row, i]
            panel.scatter(x, time, s=7, color=palette.BLUE, alpha=0.45, linewidths=0)
            panel.scatter(x[:1], time[:1], s=60, marker="*", color=palette.VERMILLION, zorder=3)
            panel.set_yscale("log")
            panel.set_xlabel(words)
            panel.text(
                0.97,
                0.95,
                f"rank corr. {rank_correlation(x, time):+.2f}",
                size=8,
                ha="right",
                va="top",
                transform=panel.transAxes,
            )
            if row == 0:
                panel.set_xscale("log")
                panel.set_title(f"{name} start: {np.isfinite(time).mean():.0%} arrive", size=9.5)
        axes[0, i].set_ylim(None, float(np.nanmax(time[np.isfinite(time)])) * 8)
    for panel in axes[:, 0]:
        panel.set_ylabel("time until the true value has risen")
    panels.footnote(figure, "dots: proxies;  star: the ground truth itself as the reward trained on")
    return figure
