"""Times on dense and sparse rewards against the probability of a right token, and on a misleading dense reward."""

from __future__ import annotations

import xarray
from matplotlib.figure import Figure

from figures import panels, style
from pgdyn.plot import labels, palette

_LOOKS = {"sparse": {"linewidth": 1.8}, "dense": {"linewidth": 1.5, "linestyle": (0, (5, 1.6))}}
_SHOWN = (2, 3, 5, 9)


@style.styled
def draw(dataset: xarray.Dataset) -> Figure:
    """The figure of `experiments.dense_reward.run`'s dataset."""
    figure = Figure(figsize=(style.WIDTH, 3.1), layout="constrained")
    chance, height = figure.subplots(1, 2)
    s = dataset["probability"].values
    sparse, dense = [], []
    for i, length in enumerate(size for size in _SHOWN if size in dataset["length"]):
        one = dataset["hitting_time"].sel(length=length)
        color = palette.LINES[i]
        sparse.append((chance.plot(s, one.sel(reward="sparse"), color=color, **_LOOKS["sparse"])[0], f"$H = {length}$"))
        dense += chance.plot(s, one.sel(reward="dense"), color=color, **_LOOKS["dense"])
    chance.set_xscale("log")
    chance.set_yscale("log")
    chance.set_xlim(s[0], s[-1])
    chance.set_xticks([0.02, 0.05, 0.1, 0.2, 0.5], ["0.02", "0.05", "0.1", "0.2", "0.5"])
    chance.minorticks_off()
    chance.set_xlabel("initial probability $s$ of a right token")
    target = dataset.attrs["target"]
    chance.set_ylabel(rf"time until $\pi$(all right) $= {target:g}$")

    misled = []
    for i, start in enumerate(dataset["misled_probability"].values):
        color, one = palette.LINES[i], dataset.isel(misled_probability=i)
        misled.append((height.plot(dataset["height"], one["misled_time"], color=color)[0], f"s = {start:g}"))
        height.axhline(float(one["sparse_time"]), color=color, linewidth=0.8, linestyle=(0, (1, 2)), zorder=0)
    height.set_yscale("log")
    height.set_xlim(0, 1)
    height.set_xlabel("reward $h$ of a wrong first token")
    height.set_ylabel(rf"time until $\pi$(all right) $= {target:g}$")
    height.set_title(f"a misleading dense reward, $H = {dataset.attrs['misled_length']}$")
    chance.set_title("$H$ right tokens in a row")
    panels.letters([chance, height])
    panels.footnote(figure, "(a) solid: sparse,  dashed: dense reward;  (b) dotted: the sparse reward alone")
    labels.at_ends({height: misled})
    labels.beside(chance, labels.settle(figure), sparse, avoid=dense)
    return figure
