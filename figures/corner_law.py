"""Random stalls on one curve for every number of bad outputs, and their escape times against the closed form."""

from __future__ import annotations

import xarray
from matplotlib.figure import Figure

from figures import panels, style
from figures.escape_times import count_color, count_text
from pgdyn.plot import labels, palette


@style.styled
def draw(dataset: xarray.Dataset) -> Figure:
    """The figure of `experiments.corner_law.run`'s dataset."""
    figure = Figure(figsize=(style.WIDTH, 3.4), layout="constrained")
    path, ratio = figure.subplots(1, 2, width_ratios=(1.5, 1))
    curves, clouds = [], []
    for i, n in enumerate(int(count) for count in dataset["bad_outputs"].values):
        run, color = dataset.sel(bad_outputs=n), count_color(i)
        (line,) = path.plot(run["curve_time"], run["curve_probability"], color=color, linewidth=1.2)
        path.plot(
            run["scaled_time"].values.ravel(),
            run["scaled_probability"].values.ravel(),
            color=color,
            linestyle="",
            marker="o",
            markersize=2.4,
            markeredgewidth=0,
            alpha=0.35,
        )
        curves.append((line, count_text(n)))
        ordered = run.sortby("predicted_escape_time")
        (cloud,) = ratio.plot(
            ordered["predicted_escape_time"],
            1e4 * (ordered["escape_time"] / ordered["predicted_escape_time"] - 1),
            color=color,
            linestyle="",
            marker="o",
            markersize=3,
            markeredgewidth=0,
        )
        clouds.append((cloud, count_text(n)))
    path.set_xscale("log")
    path.set_yscale("log")
    path.set_xlim(float(dataset["curve_time"].min()) / 1.5, 2.0)
    path.set_ylim(0.4, 2 * float(dataset["curve_probability"].max()))
    path.set_xlabel("time / escape time $T$")
    path.set_ylabel(r"$\pi_t(y^{\!\ast})\;/\;\min_t \pi_t(y^{\!\ast})$")
    ratio.set_xscale("log")
    spread = 1.3e4 * float(abs(dataset["escape_time"] / dataset["predicted_escape_time"] - 1).max())
    ratio.set_ylim(-spread, spread)
    ratio.axhline(0, color=palette.GREY, linewidth=0.6, linestyle=(0, (1, 2)), zorder=0)
    ratio.set_xlabel("escape time $T$ by the closed form")
    ratio.set_ylabel(r"measured / closed form $- 1$, in $10^{-4}$")
    panels.letters([path, ratio])
    words = r"dots: flow from random gaps and masses of $n$ bad outputs;  curves: closed form for rare $y^{\!\ast}$"
    panels.footnote(figure, words)
    renderer = labels.settle(figure)
    labels.beside(path, renderer, curves, size=9.5)
    labels.beside(ratio, renderer, clouds, size=9.5)
    return figure
