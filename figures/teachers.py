"""Teachers: the true value against time for each, and what foretells how fast the proxy rises."""

from __future__ import annotations

import numpy as np
import xarray
from matplotlib.figure import Figure

from figures import panels, style
from pgdyn.plot import palette


@style.styled
def draw(dataset: xarray.Dataset) -> Figure:
    """The figure of `experiments.teachers.run`'s dataset."""
    figure = Figure(figsize=(style.WIDTH * 1.1, 2.9), layout="constrained")
    gain, accuracy, variance = figure.subplots(1, 3, width_ratios=(1.25, 1, 1))
    names = [str(name) for name in dataset["teacher"].values]
    colors = [*palette.LINES[: len(names) - 1], palette.BLACK]
    mean = dataset["true_gain"].mean("seed")
    for name, color in zip(names, colors, strict=True):
        gain.plot(dataset["time"], mean.sel(teacher=name), "o-", color=color, markersize=2.6, label=name)
    gain.set_xscale("log")
    gain.set_xlabel("time of each prompt")
    gain.set_ylabel("true gain / best possible")
    gain.legend(frameon=False, fontsize=7.5)
    # Within each problem, so that what differs between problems does not show.
    early = dataset["proxy_gain"].isel(time=0)
    centred = early - early.mean("teacher")
    both = (dataset["on_policy_accuracy"] + dataset["off_policy_accuracy"]) / 2
    for axes, measure, label in ((accuracy, both, "accuracy"), (variance, dataset["variance"], "reward variance")):
        for name, color in zip(names[:-1], colors, strict=False):
            shift = measure - measure.sel(teacher=names[:-1]).mean("teacher")
            axes.plot(shift.sel(teacher=name), centred.sel(teacher=name), ".", color=color, markersize=3.5)
        axes.set_xlabel(f"{label}, centred")
    accuracy.set_ylabel("early rise of the proxy, centred")
    variance.set_yticklabels([])
    shown = centred.sel(teacher=names[:-1])
    low, high = float(shown.min()), float(shown.max())
    for axes in (accuracy, variance):
        axes.set_ylim(low - 0.1 * np.ptp([low, high]), high + 0.1 * np.ptp([low, high]))
    panels.letters([gain, accuracy, variance])
    return figure
