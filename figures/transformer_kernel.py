"""True values of small transformers beside their tangent kernels' linear policies, and how far apart they are."""

from __future__ import annotations

import numpy as np
import xarray
from matplotlib.figure import Figure

from figures import panels, style
from pgdyn.plot import labels, palette


@style.styled
def draw(dataset: xarray.Dataset) -> Figure:
    """The figure of `experiments.transformer_kernel.run`'s dataset."""
    figure = Figure(figsize=(style.WIDTH, 3.0), layout="constrained")
    value, distance = figure.subplots(1, 2)
    t = dataset["time"].values
    for reward in dataset["training_reward"].values:
        for i, scale in enumerate(dataset["scale"].values):
            one = dataset["true_value"].isel(seed=0).sel(scale=scale, training_reward=reward)
            look = {"linestyle": "-" if reward == "proxy" else (0, (4, 1.6))}
            if np.isinf(scale):
                value.plot(t[1:], one[1:], color=palette.BLACK, linewidth=0.9, **look)
            else:
                value.plot(t[1:], one[1:], color=palette.LINES[i], **look)
    value.axhline(dataset.attrs["target"], color=palette.GREY, linewidth=0.6, linestyle=(0, (1, 2)), zorder=0)
    value.set_ylabel("true value")
    lines = []
    apart = dataset["distance"].sel(training_reward="proxy").max("seed")
    for i, scale in enumerate(dataset["scale"].values[:-1]):
        one = apart.sel(scale=scale)
        lines.append((distance.plot(t[1:], one[1:], color=palette.LINES[i])[0], rf"$\alpha = {scale:g}$"))
    distance.set_yscale("log")
    distance.set_ylabel("distance from the linear policy, nats")
    for axes in (value, distance):
        axes.set_xscale("log")
        axes.set_xlim(t[1], t[-1])
        axes.set_xlabel("time")
    panels.letters([value, distance])
    panels.footnote(
        figure, "(a) solid: proxy,  dashed: ground truth,  black: linear policy;  (b) on the proxy, farthest seed"
    )
    renderer = labels.settle(figure)
    labels.beside(distance, renderer, lines)
    return figure
