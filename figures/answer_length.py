"""Times to the good thought against the length of the answer, by the reward made of the answer's likelihood."""

from __future__ import annotations

import xarray
from matplotlib.figure import Figure

from figures import panels, style
from pgdyn.plot import labels, palette

_WORDS = {"probability": "probability", "log_probability": "log-probability", "mean_log": "mean log"}


@style.styled
def draw(dataset: xarray.Dataset) -> Figure:
    """The figure of `experiments.answer_length.run`'s dataset."""
    figure = Figure(figsize=(style.WIDTH, 3.0), layout="constrained")
    frozen, trained = figure.subplots(1, 2, sharey=True)
    length = dataset["length"].values
    curves = []
    for axes, name, title in (
        (frozen, "frozen_time", "answers frozen"),
        (trained, "trained_time", "answers trained too"),
    ):
        for i, kind in enumerate(dataset["transform"].values):
            time = dataset[name].sel(transform=kind)
            (line,) = axes.plot(length, time, color=palette.LINES[i], marker="o", markersize=3)
            if axes is frozen:
                curves.append((line, _WORDS[kind]))
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlim(0.9 * length[0], 1.1 * length[-1])
        axes.set_xticks(length, [str(size) for size in length])
        axes.minorticks_off()
        axes.set_title(title)
        axes.set_xlabel("tokens of the answer, $L$")
    frozen.set_ylabel(f"time until $\\pi$(good thought) $= {dataset.attrs['target']:g}$")
    frozen.set_ylim(bottom=0.03)
    panels.letters([frozen, trained])
    renderer = labels.settle(figure)
    labels.beside(frozen, renderer, curves)
    return figure
