"""Judges that average more opinions: accuracy against its law, reward variance, and what they teach."""

from __future__ import annotations

import numpy as np
import xarray
from matplotlib.figure import Figure

from figures import panels, style
from pgdyn.plot import palette

_TICKS = (0.02, 0.05, 0.1, 0.2, 0.5)


@style.styled
def draw(dataset: xarray.Dataset) -> Figure:
    """The figure of `experiments.averaged_judges.run`'s dataset."""
    figure = Figure(figsize=(style.WIDTH, 2.7), layout="constrained")
    right, spread, taught = figure.subplots(1, 3)
    count = dataset["samples"].values
    mean = dataset.mean("seed")
    error = dataset.std("seed") / np.sqrt(dataset.sizes["seed"])
    right.plot(count, mean["expected_accuracy"], color=palette.GREY, label="law")
    right.errorbar(
        count, mean["accuracy"], error["accuracy"], fmt="o", color=palette.BLUE, markersize=3.4, label="measured"
    )
    right.set_ylabel("accuracy over all pairs")
    spread.errorbar(count, mean["variance"], error["variance"], fmt="o-", color=palette.VERMILLION, markersize=3.4)
    spread.set_ylabel("reward variance, initial policy")
    spread.set_ylim(0)
    for time, marker in zip(dataset["time"].values, ("s", "o"), strict=False):
        for scaling, color in (("raw", palette.VERMILLION), ("normalised", palette.BLUE)):
            one = {"time": time, "scaling": scaling}
            gain, bar = mean["true_gain"].sel(one), error["true_gain"].sel(one)
            label = f"{scaling}, time {time:g}"
            taught.errorbar(count, gain, bar, fmt=f"{marker}-", color=color, markersize=3.2, linewidth=1, label=label)
    taught.set_yscale("log")
    taught.set_yticks(_TICKS, [f"{tick:g}" for tick in _TICKS])
    taught.set_ylabel("true gain / best possible")
    taught.legend(frameon=False, fontsize=7, loc="center right", bbox_to_anchor=(1.0, 0.42))
    right.legend(frameon=False, fontsize=8)
    for axes in (right, spread, taught):
        axes.set_xscale("log")
        axes.set_xticks(count, [str(k) for k in count])
        axes.minorticks_off()
        axes.set_xlabel("opinions averaged, $k$")
    panels.letters([right, spread, taught])
    return figure
