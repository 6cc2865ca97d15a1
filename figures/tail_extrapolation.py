"""The tail-extrapolated estimator: bias against samples, direction under other tails, and training."""

from __future__ import annotations

import xarray
from matplotlib.figure import Figure

from figures import panels, style
from pgdyn.estimators.extremes import expected_normal_maximum
from pgdyn.plot import palette

_COLORS = (palette.GREY, palette.GREEN, palette.BLUE, palette.VERMILLION)
_NAMES = {1: "TEA", 2: "Prefix-TEA"}


@style.styled
def draw(dataset: xarray.Dataset) -> Figure:
    """The figure of `experiments.tail_extrapolation.run`'s dataset."""
    figure = Figure(figsize=(style.WIDTH, 3.1), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    exact = {"location": 1.0, "scale": expected_normal_maximum(int(dataset.attrs["best_of"]))}
    size = dataset["size"].values
    for order, color in zip(dataset["order"].values, _COLORS[2:], strict=True):
        for direction, dashes in (("scale", "-"), ("location", (0, (2, 1.5)))):
            one = dataset.sel(order=order, direction=direction)
            height, error = (one[name] / exact[direction] for name in ("slope", "slope_error"))
            left.errorbar(size, height, error, color=color, linestyle=dashes, marker="o", markersize=3, capsize=2)
    left.axhline(1, color=palette.INK, linewidth=0.8)
    left.set_xscale("log", base=2)
    left.set_xticks(size, [str(one) for one in size])
    left.set_xlabel("samples $m$")
    left.set_ylabel("mean estimate / exact, normal rewards")
    names = [str(name) for name in dataset["estimator"].values]
    tails = [str(name) for name in dataset["tail"].values]
    for i, (name, color) in enumerate(zip(names, _COLORS, strict=True)):
        one = dataset.sel(estimator=name)
        places = [j + 0.16 * (i - 1.5) for j in range(len(tails))]
        middle.bar(places, one["cosine"], 0.15, color=color, label=name)
        if name in dataset["trained"].values:
            one = dataset.sel(trained=name)
            right.errorbar(dataset["rate"], one["best"], one["best_error"], color=color, marker="o", markersize=3)
    middle.set_xticks(range(len(tails)), [name.replace(", 2 degrees", "$_2$") for name in tails])
    middle.set_ylim(0, 1.02)
    middle.set_xlabel("rewards")
    middle.set_ylabel("cosine to the exact gradient")
    right.set_xscale("log")
    right.set_xlabel(r"learning rate $\eta$")
    right.set_ylabel("expected best of 64 after training")
    panels.letters([left, middle, right])
    handles, words = middle.get_legend_handles_labels()
    figure.legend(handles, words, loc="outside upper center", ncols=4, frameon=False, fontsize=8.5)
    panels.footnote(figure, "(a) solid: per unit of scale;  dashed: of location")
    return figure
