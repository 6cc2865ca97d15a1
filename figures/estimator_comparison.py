"""Estimators on the plateau problem: share of escaped runs against samples used; escape of REINFORCE against e."""

from __future__ import annotations

import numpy as np
import xarray
from matplotlib.figure import Figure

from experiments.escape_share import escape_law, tuned
from figures import panels, style
from pgdyn.plot import palette


@style.styled
def draw(dataset: xarray.Dataset) -> Figure:
    """The figure of `experiments.estimator_comparison.run`'s dataset."""
    figure = Figure(figsize=(style.WIDTH, 3.0), layout="constrained")
    left, right = figure.subplots(1, 2)
    last = float(dataset.attrs["samples"])
    for name, color in zip(dataset["estimator"].values, palette.LINES, strict=False):
        rate, times = tuned(dataset, str(name))
        found = np.sort(times[np.isfinite(times)])
        share = np.arange(1, found.size + 1) / times.size
        at, height = np.r_[1.0, found, last], np.r_[0.0, share, share[-1] if found.size else 0.0]
        left.step(at, height, where="post", color=color, label=f"{name}, $\\eta = {rate:g}$", linewidth=1.4)
    left.set_xscale("log")
    left.set_xlim(20, last)
    left.set_ylim(-0.02, 1.03)
    left.set_xlabel("samples used")
    left.set_ylabel("share of runs with true value above 0.9")
    left.legend(frameon=False, fontsize=8.5, loc="upper left")
    rare = dataset["rare"].values
    share = dataset["escaped"].mean("rare_seed").values
    error = np.sqrt(share * (1 - share) / dataset.sizes["rare_seed"])
    right.errorbar(rare, share, error, fmt="o", color=palette.BLUE, markersize=4, capsize=2, linewidth=1.0)
    slope, middle = escape_law(dataset)
    curve = np.geomspace(rare[0], rare[-1], 200)
    right.plot(curve, 1 / (1 + (curve / middle) ** -slope), color=palette.VERMILLION, linewidth=1.2)
    right.annotate(
        f"odds $\\propto e^{{{slope:.2f}}}$",
        (middle, 0.5),
        (8, -4),
        textcoords="offset points",
        color=palette.VERMILLION,
    )
    right.set_xscale("log")
    right.set_xticks(rare, [f"{one:g}" for one in rare])
    right.minorticks_off()
    right.set_ylim(-0.02, 1.03)
    right.set_xlabel(r"initial probability $e$ of $y^{\!\ast}$")
    right.set_ylabel("share of REINFORCE runs that escape")
    panels.letters([left, right])
    return figure
