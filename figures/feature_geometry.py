"""The stall's exponent against the inner product of the features of the two best outputs."""

from __future__ import annotations

import numpy as np
import xarray
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures import panels, style
from figures.escape_times import count_color, count_text
from pgdyn.plot import labels, palette


@style.styled
def draw(dataset: xarray.Dataset) -> Figure:
    """The figure of `experiments.feature_geometry.run`'s dataset: exponents of times and of falls."""
    figure = Figure(figsize=(style.WIDTH, 3.3), layout="constrained")
    escape, stall = figure.subplots(1, 2, width_ratios=(1.5, 1))
    inner = dataset["inner_product"].values
    mediocre = float(dataset.attrs["mediocre_square"])
    fine = np.linspace(inner.min(), inner.max(), 2000)
    curves, falls = [], []
    for i, n in enumerate(int(count) for count in dataset["bad_outputs"].values):
        run, color, harmonic = dataset.sel(bad_outputs=n), count_color(i), 1 / n
        right, left = fine[fine > -harmonic + 1e-3], fine[fine < -harmonic]
        escape.plot(right, (mediocre + harmonic) / (right + harmonic), color=color, linewidth=1.2)
        # The curves run together on the right, so a label belongs on the left part, which is drawn once more for it.
        right = right[right < 0.35]
        (curve,) = escape.plot(right, (mediocre + harmonic) / (right + harmonic), color=color, linewidth=0)
        escape.plot(inner, run["exponent"], color=color, linestyle="", marker="o", markersize=3.0, markeredgewidth=0)
        curves.append((curve, count_text(n)))
        _shade(escape, inner.min(), -harmonic, color)
        if len(left) and np.isfinite(run["decay"]).any():
            (fall,) = stall.plot(left, -(mediocre - left) / (mediocre + harmonic), color=color, linewidth=1.2)
            stall.plot(inner, run["decay"], color=color, linestyle="", marker="o", markersize=3.0, markeredgewidth=0)
            falls.append((fall, count_text(n)))
    top = 1.08 * float(np.nanmax(dataset["exponent"]))
    escape.set_ylim(0, top)
    escape.set_xlim(inner.min(), inner.max() + 0.02)
    one = escape.axhline(1, color=palette.VERMILLION, linewidth=0.8, linestyle=(0, (4, 2.2)), zorder=0)
    escape.annotate(
        "proxy that rates $y_{\\mathrm{med}}$ low: exponent 1",
        (inner.min(), 1),
        (4, -3),
        textcoords="offset points",
        va="top",
        size=8,
        color=palette.VERMILLION,
        path_effects=labels.HALO,
    )
    escape.annotate(
        "shaded: permanent\nstall, $\\kappa < -H = -1/n$",
        (inner.min(), 0.45 * top),
        (5, 0),
        textcoords="offset points",
        va="top",
        size=8.5,
        color="0.25",
    )
    kappa = r"$\kappa = \langle\phi(y^{\!\ast}), \phi(y_{\mathrm{med}})\rangle$"
    escape.set_xlabel(kappa)
    stall.set_xlabel(kappa)
    escape.set_ylabel(r"exponent $g$ of the escape time, $T \propto \pi_0(y^{\!\ast})^{-g}$")
    stall.set_ylabel(r"$\mathrm{d}\ln\pi(y^{\!\ast})/\mathrm{d}\ln t$ in the stall")
    panels.letters([escape, stall])
    in_a, in_b = r"$(a_m + H)/(\kappa + H)$ in (a)", r"$-(a_m - \kappa)/(a_m + H)$ in (b)"
    panels.footnote(figure, f"dots: gradient flow;  curves: {in_a}, {in_b}, $H = 1/n$")
    renderer = labels.settle(figure)
    labels.beside(escape, renderer, curves, avoid=[one], size=9)
    labels.beside(stall, renderer, falls, size=9)
    return figure


def _shade(axes: Axes, left: float, right: float, color: str) -> None:
    """The inner products below -H, from which there is no escape."""
    if right > left:
        axes.axvspan(left, right, color=color, alpha=0.10, linewidth=0)
        axes.axvline(right, color=color, linewidth=0.6, linestyle=(0, (1, 2)))
