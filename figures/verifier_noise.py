"""The mass on wrong answers after training under a verifier that errs, against its power."""

from __future__ import annotations

import numpy as np
import xarray
from matplotlib.figure import Figure

from figures import panels, style
from pgdyn.plot import palette


@style.styled
def draw(dataset: xarray.Dataset) -> Figure:
    """The figure of `experiments.verifier_noise.run`'s dataset."""
    figure = Figure(figsize=(style.WIDTH * 0.7, 3.0), layout="constrained")
    axes = figure.subplots()
    power = dataset["power"].values
    low, middle, high = np.quantile(dataset["wrong"].values, (0.05, 0.5, 0.95), axis=1)
    axes.errorbar(
        power,
        middle,
        [middle - low, high - middle],
        fmt="o",
        color=palette.BLUE,
        markersize=4,
        linewidth=1.0,
        capsize=2,
        label=f"GRPO, {dataset.sizes['seed']} seeds: median, 5 % and 95 %",
    )
    axes.plot(power, dataset["mean_field"], color=palette.VERMILLION, label="mean-field equations")
    axes.axhline(dataset.attrs["start"], color=palette.GREY, linewidth=0.7, linestyle=(0, (4, 2)), label="at the start")
    axes.axvline(0, color=palette.GREY, linewidth=0.5)
    axes.set_xlabel("power of the verifier, $J$ = TPR − FPR")
    axes.set_ylabel("mass on wrong answers")
    axes.set_ylim(-0.03, 1.03)
    axes.legend(frameon=False, fontsize=8.5, loc="lower left")
    panels.footnote(figure, "after 400 updates of 32 samples, learning rate 0.2")
    return figure
