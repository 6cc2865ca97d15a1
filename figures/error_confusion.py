"""The confusion table of a-priori mechanism and simulated category, and the speed-ups behind each mechanism."""

from __future__ import annotations

import numpy as np
import xarray
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from figures import style
from pgdyn.plot import palette

_CATEGORIES = ("harmful", "benign", "beneficial")
_ORDER = (
    "reward hacking",
    "stalling",
    "never attracts",
    "negligible probability",
    "none",
    "escapes mediocrity",
)
_COLORS = {"harmful": palette.VERMILLION, "benign": palette.GREY, "beneficial": palette.BLUE}

_FEW = 30  # errors; shares of fewer are pale


@style.styled
def draw(dataset: xarray.Dataset) -> Figure:
    """Shares of the simulated categories within each mechanism, of `experiments.error_confusion.run`'s dataset."""
    mechanism, category = dataset["mechanism"].values, dataset["category"].values
    implied = {row: dataset["mechanism_category"].values[mechanism == row][:1] for row in _ORDER}
    rows = [row for row in _ORDER if (mechanism == row).any()]
    figure = Figure(figsize=(style.WIDTH, 0.9 + 0.48 * len(rows)), layout="constrained")
    axes = figure.subplots()
    for place, row in enumerate(rows):
        own = category[mechanism == row]
        left = 0.0
        for name in _CATEGORIES:
            share = float(np.mean(own == name))
            look = {"color": _COLORS[name], "alpha": 1.0 if len(own) >= _FEW else 0.4}
            axes.barh(place, share, left=left, height=0.72, edgecolor="white", linewidth=0.8, **look)
            if share > 0.05:
                color = "black" if name == "benign" or len(own) < _FEW else "white"
                axes.text(
                    left + share / 2, place, f"{np.sum(own == name):,}", ha="center", va="center", color=color, size=8.5
                )
            left += share
        axes.annotate(
            f"{len(own):,}", (1, place), (5, 0), textcoords="offset points", ha="left", va="center", size=8.5,
            annotation_clip=False,
        )  # fmt: skip
    axes.set_yticks(range(len(rows)), [f"{row}\n(implies {implied[row][0]})" for row in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlim(0, 1)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.set_xlabel("share of the errors with this a-priori mechanism, by simulated category")
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    handles = [Patch(color=_COLORS[name]) for name in _CATEGORIES]
    agreement = float(np.mean(category == dataset["mechanism_category"].values))
    figure.legend(handles, _CATEGORIES, loc="outside upper center", ncols=3, frameon=False)
    axes.annotate(
        "errors", (1, 1), (5, 3), xycoords="axes fraction", textcoords="offset points", ha="left", va="bottom",
        size=8.5, color=palette.INK,
    )  # fmt: skip
    exact = float(np.mean(category == dataset["predicted"].values))
    words = f"{len(category):,} random errors; {agreement:.1%} as their type implies, {exact:.2%} as the exact solution"
    axes.set_title(words, size=9.5, loc="left")
    return figure
