"""Random rewards: the entropy law, and where clips raise or lower the entropy."""

from __future__ import annotations

import numpy as np
import xarray
from matplotlib.figure import Figure

from figures import panels, style
from pgdyn.plot import palette

_COLORS = {"none": palette.BLACK, "both": palette.BLUE, "high": palette.VERMILLION, "low": palette.GREEN}
_WORDS = {"none": "no clip", "both": "both clips", "high": "clip above alone", "low": "clip below alone"}


@style.styled
def draw(dataset: xarray.Dataset) -> Figure:
    """The figure of `experiments.random_rewards.run`'s dataset."""
    epochs = dataset["epochs"].values
    figure = Figure(figsize=(style.WIDTH, 2.9), layout="constrained")
    axes = figure.subplots(1, 1 + len(epochs))
    p = dataset["probability"].values
    first = axes[0]
    first.plot(p, 1e5 * dataset["law"], color=palette.GREY, linewidth=3.5, alpha=0.6)
    first.plot(p, 1e5 * dataset["change"], color=palette.BLACK, linewidth=1.0)
    first.set_ylabel(r"change of the entropy ($10^{-5}$ nat)")
    first.set_title("one small step, no clip", size=9.5)
    first.annotate(
        f"$p = {dataset.attrs['threshold']:.3f}$",
        (dataset.attrs["threshold"], 0),
        (-8, 14),
        textcoords="offset points",
        size=8,
        ha="right",
        arrowprops={"arrowstyle": "-", "linewidth": 0.6},
    )
    shown = dataset["clipped_change"].values
    for i, panel in enumerate(axes[1:]):
        for j, name in enumerate(dataset["clip"].values):
            panel.plot(p, shown[i, j], color=_COLORS[str(name)], label=_WORDS[str(name)], linewidth=1.3)
        panel.set_title(f"{epochs[i]} epochs, clip 0.2", size=9.5)
        panel.set_ylim(np.min(shown) * 1.05, np.max(shown) * 1.2)
        if i:
            panel.tick_params(labelleft=False)
    axes[1].set_ylabel("change of the entropy (nat)")
    for panel in axes:
        panel.axhline(0, color=palette.GREY, linewidth=0.5)
        panel.set_xlim(0.5, 1.0)
        panel.set_xlabel("likelier output, $p$")
        panel.xaxis.label.set_size(8.5)
    handles, words = axes[1].get_legend_handles_labels()
    figure.legend(handles, words, loc="outside upper center", ncols=4, frameon=False, fontsize=8.5)
    panels.letters(axes)
    return figure
