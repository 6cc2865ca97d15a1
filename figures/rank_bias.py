"""Which right answers GRPO makes likelier, and what that does to pass@N."""

from __future__ import annotations

import xarray
from matplotlib.figure import Figure

from figures import panels, style
from pgdyn.plot import labels, palette

_COLORS = (palette.BLUE, palette.ORANGE, palette.VERMILLION)


@style.styled
def draw(dataset: xarray.Dataset) -> Figure:
    """The figure of `experiments.rank_bias.run`'s dataset."""
    figure = Figure(figsize=(style.WIDTH, 5.0), layout="constrained")
    (left, middle), (epochs, right) = figure.subplots(2, 2)
    names = [str(name) for name in dataset["variant"].values]
    answer = dataset["answer"].values
    for name, color in zip(names, _COLORS, strict=True):
        one = dataset.sel(variant=name)
        for passes, dashes in ((1, "-"), (4, (0, (2, 1.5)))):
            left.plot(answer, one["change"].sel(epochs=passes), color=color, linestyle=dashes, marker="o", markersize=3)
        middle.plot(answer, one["uplift"], color=color, marker="o", markersize=3, label=name)
        right.plot(dataset["N"], one["pass_at_n"], color=color, marker="o", markersize=3)
    for panel in (left, middle):
        panel.set_xscale("log")
        panel.set_xticks(answer, [f"{p:g}" for p in answer])
        panel.minorticks_off()
        panel.set_xlabel("initial probability of a right answer")
    left.set_ylim(0, None)
    left.set_ylabel(r"expected change of $\log\pi$, one batch")
    middle.set_ylabel("raised, given that it was drawn")
    right.plot(dataset["N"], dataset["base"], color=palette.GREY, linestyle=(0, (4, 2)), linewidth=1.4)
    right.annotate(
        "before training",
        (float(dataset["N"][4]), float(dataset["base"][4])),
        (-4, 4),
        textcoords="offset points",
        size=8,
        ha="right",
        color=palette.INK,
        path_effects=labels.HALO,
    )
    for size, marker in zip(dataset["size"].values, ("s", "o"), strict=True):
        change = dataset["sampled_change"].sel(size=size)
        ratio = change[:, 0] / change[:, -1]
        epochs.plot(dataset["passes"], ratio, color=palette.BLUE, marker=marker, markersize=4)
        epochs.annotate(
            f"groups of {size}",
            (float(dataset["passes"][-2]), float(ratio[-2])),
            (6, 4) if size > 10 else (-6, 4),
            textcoords="offset points",
            size=8,
            ha="left" if size > 10 else "right",
            path_effects=labels.HALO,
        )
    epochs.set_xscale("log", base=2)
    epochs.set_yscale("log")
    epochs.set_xticks(dataset["passes"].values, [str(one) for one in dataset["passes"].values])
    epochs.set_yticks([1, 2, 5, 10, 20], ["1", "2", "5", "10", "20"])
    epochs.minorticks_off()
    epochs.set_ylim(1, None)
    epochs.set_xlabel("epochs through a batch, GRPO, clip 0.2")
    epochs.set_ylabel(r"change of $\log\pi$: likeliest / least likely")
    right.set_xscale("log", base=2)
    right.set_xticks([1, 4, 16, 64, 256], ["1", "4", "16", "64", "256"])
    right.set_xlabel("samples $N$")
    right.set_ylabel("pass@$N$, 50 prompts")
    panels.letters([left, middle, epochs, right])
    handles, words = middle.get_legend_handles_labels()
    figure.legend(handles, words, loc="outside upper center", ncols=3, frameon=False, fontsize=8.5)
    panels.footnote(figure, "(a) solid: one epoch;  dotted: four epochs, clip 0.2")
    return figure
