"""Reward variance sets the pace: random problems, accurate but slow proxies, and teachers that suit one pupil only."""

from __future__ import annotations

import numpy as np
import xarray
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from figures import panels, style
from pgdyn.plot import labels, palette


@style.styled
def draw(dataset: xarray.Dataset) -> Figure:
    """The figure of `experiments.variance_time.run`'s dataset."""
    figure = Figure(figsize=(style.WIDTH, 3.2), layout="constrained")
    scatter, slow, pupils = figure.subplots(1, 3)
    labelled = [
        (scatter, _scatter(scatter, dataset)),
        (slow, _slowness(slow, dataset)),
        (pupils, _pupils(pupils, dataset)),
    ]
    gamma = dataset.attrs["gamma"]
    scatter.set_ylabel(f"time until $V$ has risen by {gamma:g}")
    panels.letters([scatter, slow, pupils])
    words = "gradient flow on tabular policies with 5 outputs;  thin lines: rigorous bounds of arXiv 2503.15477"
    panels.footnote(figure, words)
    renderer = labels.settle(figure)
    for panel, curves in labelled:
        shown = [line for line, _ in curves]
        labels.beside(panel, renderer, curves, avoid=[line for line in panel.lines if line not in shown], size=8)
    return figure


def _log(axes: Axes) -> None:
    axes.set_xscale("log")
    axes.set_yscale("log")


def _scatter(axes: Axes, dataset: xarray.Dataset) -> list[tuple[Line2D, str]]:
    order = np.argsort(dataset["variance"].values)
    variance, time = dataset["variance"].values[order], dataset["time"].values[order]
    tabular, general = dataset["tabular_bound"].values[order], dataset["general_bound"].values[order]
    dots = {"linestyle": "", "marker": "o", "markersize": 1.8, "markeredgewidth": 0, "alpha": 0.5}
    axes.plot(variance, time, color=palette.BLUE, **dots)
    (first,) = axes.plot(variance, tabular, color=palette.BLACK, linewidth=0.9)
    (second,) = axes.plot(variance, general, color=palette.VERMILLION, linewidth=0.9)
    _log(axes)
    axes.set_xlim(variance.min() / 1.5, variance.max() * 1.5)
    axes.set_ylim(general.min() / 3, np.max(time[np.isfinite(time)]) * 3)
    axes.set_xlabel(r"reward variance $\mathrm{Var}_{\pi_0}[r_P]$")
    return [(first, r"bound $\propto \mathrm{Var}^{-1/2}$"), (second, r"bound $\propto \mathrm{Var}^{-1/3}$")]


def _slowness(axes: Axes, dataset: xarray.Dataset) -> list[tuple[Line2D, str]]:
    level = dataset["slowness"].values
    (accurate,) = axes.plot(level, dataset["accurate_time"], color=palette.BLUE, marker="o", markersize=2.4)
    (lower,) = axes.plot(level, dataset["accurate_bound"], color=palette.BLACK, linewidth=0.9)
    constant = np.ones_like(level)
    (other,) = axes.plot(level, float(dataset["inaccurate_time"]) * constant, color=palette.ORANGE)
    _log(axes)
    axes.set_xlim(level.min() / 1.2, level.max() * 1.2)
    axes.set_ylim(float(dataset["accurate_bound"].min()) / 2, float(dataset["accurate_time"].max()) * 4)
    axes.set_xlabel("$T$: accurate proxy with values below $1/T$")
    return [(accurate, "accuracy 1"), (other, "accuracy 2/5"), (lower, "lower bound")]


def _pupils(axes: Axes, dataset: xarray.Dataset) -> list[tuple[Line2D, str]]:
    rare = dataset["rare_probability"].values
    own, other = dataset["pupil_time"].sel(teacher="own"), dataset["pupil_time"].sel(teacher="other")
    (slow,) = axes.plot(rare, other, color=palette.BLUE, marker="o", markersize=2.4)
    (fast,) = axes.plot(rare, own, color=palette.ORANGE, marker="o", markersize=2.4)
    (lower,) = axes.plot(rare, dataset["other_bound"], color=palette.BLACK, linewidth=0.9)
    (upper,) = axes.plot(rare, dataset["own_bound"], color=palette.GREY, linewidth=0.9)
    _log(axes)
    axes.set_xlim(rare.min() / 2, rare.max() * 2)
    axes.set_ylim(float(min(own.min(), dataset["other_bound"].min())) / 3, float(other.max()) * 4)
    axes.set_xlabel("probability of the output that\nthe pupil hardly knows")
    bounds = [(lower, "lower bound"), (upper, "upper bound")]
    return [(slow, "teacher of that output"), (fast, "teacher of the other"), *bounds]
