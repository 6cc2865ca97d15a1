"""Escape times against the initial probability of the best output, under both rewards, with their local exponents."""

from __future__ import annotations

import numpy as np
import xarray
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures import panels, style
from pgdyn.plot import labels, palette

PAPER_EXPONENT = 14 / 13
_COUNTS = (palette.BLUE, palette.GREEN, palette.PURPLE, palette.ORANGE)


def count_color(index: int) -> str:
    """The colour of the index-th number of bad outputs."""
    return _COUNTS[index % len(_COUNTS)]


def count_text(count: int) -> str:
    """A number of bad outputs as it is set in a figure."""
    return f"$n = {count}$"


@style.styled
def draw(dataset: xarray.Dataset) -> Figure:
    """The figure of `experiments.escape_times.run`'s dataset: times with bounds above, local exponents below."""
    figure = Figure(figsize=(style.WIDTH, 5.6), layout="constrained")
    axes = figure.subplots(2, 2, height_ratios=(1.75, 1), sharex=True)
    p = dataset["initial_probability"].values
    counts = [int(n) for n in dataset["bad_outputs"].values]
    labelled = []
    for column, reward in enumerate(str(name) for name in dataset["training_reward"].values):
        times, slopes = axes[:, column]
        lines, tracks = [], []
        for i, n in enumerate(counts):
            run = dataset.sel(bad_outputs=n, training_reward=reward)
            (line,) = times.plot(p, run["hitting_time"], color=count_color(i), marker="o", markersize=2.2)
            lines.append((line, f"{count_text(n)}, slope {float(run['exponent'][-1]):.2f}"))
            last = f"{float(run['exponent'][-1]):.2f}"
            (track,) = slopes.plot(p, run["exponent"], color=count_color(i))
            tracks.append((track, count_text(n)))
        bounds = _lower(times, dataset, p) if column == 0 else _upper(times, dataset, p)
        if column:
            # The curves all but coincide: one label speaks for all of them.
            lines = [(lines[0][0], f"$n = {', '.join(map(str, counts))}$, slope {last}")]
            tracks = [(tracks[0][0], f"$n = {', '.join(map(str, counts))}$")]
        references = _exponents(slopes, counts if column == 0 else [0])
        times.set_title("trained on the ground truth" if column == 0 else "trained on the proxy")
        times.set_yscale("log")
        labelled += [(times, lines + bounds, []), (slopes, tracks, references)]
    axes[0, 0].set_ylabel(f"time until $V \\geq {dataset.attrs['target']:g}$")
    axes[1, 0].set_ylabel(r"$-\,\mathrm{d}\ln T \,/\, \mathrm{d}\ln \pi_0(y^{\!\ast})$")
    for panel in axes[1]:
        panel.set_xscale("log")
        panel.set_xlim(p.min() / 1.25, p.max() * 1.25)
        panel.set_xlabel(r"initial probability $\pi_0(y^{\!\ast})$")
    for column, panel in enumerate(axes[1]):
        shown = dataset["exponent"].isel(training_reward=column)
        panel.set_ylim(float(shown.min()) - 0.15 * (1 + max(counts) * (column == 0)), float(shown.max()) + 0.25)
    panels.letters(list(axes.ravel()))
    panels.footnote(figure, "gradient flow;  $n$: number of bad outputs;  black lines: rigorous bounds")
    renderer = labels.settle(figure)
    for panel, curves, avoid in labelled:
        labels.beside(panel, renderer, curves, avoid=avoid, size=8.5)
    return figure


def _lower(axes: Axes, dataset: xarray.Dataset, p: np.ndarray) -> list:
    """The lower bound for the fewest bad outputs, and a line of the paper's exponent through its end."""
    bound = dataset["lower_bound"].isel(bad_outputs=0).values
    (lower,) = axes.plot(p, bound, color=palette.BLACK, linewidth=1.0)
    axes.fill_between(p, 0.5, bound, color=palette.GREY, alpha=0.12, linewidth=0)
    (power,) = axes.plot(
        p,
        3 * bound[0] * (p / p[0]) ** -PAPER_EXPONENT,
        color=palette.VERMILLION,
        linewidth=1.0,
        linestyle=(0, (4, 2.2)),
    )
    axes.set_ylim(0.5, float(dataset["hitting_time"].max()) * 30)
    return [(lower, "lower bound, $n = 1$"), (power, "paper's exponent 14/13")]


def _upper(axes: Axes, dataset: xarray.Dataset, p: np.ndarray) -> list:
    """The upper bound for the most bad outputs."""
    bound = dataset["upper_bound"].isel(bad_outputs=-1).values
    (upper,) = axes.plot(p, bound, color=palette.BLACK, linewidth=1.0)
    top = float(bound.max()) * 4
    axes.fill_between(p, bound, top, color=palette.GREY, alpha=0.12, linewidth=0)
    axes.set_ylim(float(dataset["hitting_time"].sel(training_reward="proxy").min()) / 3, top)
    return [(upper, f"upper bound, $n = {int(dataset['bad_outputs'][-1])}$")]


def _exponents(axes: Axes, counts: list[int]) -> list:
    return [axes.axhline(n + 1, color=palette.GREY, linewidth=0.6, linestyle=(0, (1, 2)), zorder=0) for n in counts]
