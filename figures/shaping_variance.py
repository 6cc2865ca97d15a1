"""Success and gradient variance of REINFORCE under shaping by potentials that exact gradients do not feel."""

from __future__ import annotations

import xarray
from matplotlib.figure import Figure

from figures import panels, style
from pgdyn.plot import labels, palette

_WORDS = {"V*": r"$\Phi = V^{\!\ast}$", "none": r"$\Phi = 0$", "-V*": r"$\Phi = -V^{\!\ast}$", "random": "random"}
_COLORS = {"V*": palette.BLUE, "none": palette.BLACK, "-V*": palette.VERMILLION, "random": palette.GREEN}


@style.styled
def draw(dataset: xarray.Dataset) -> Figure:
    """The figure of `experiments.shaping_variance.run`'s dataset."""
    figure = Figure(figsize=(style.WIDTH, 3.0), layout="constrained")
    success, variance = figure.subplots(1, 2)
    update = dataset["update"].values
    exact = success.plot(update, dataset["exact_value"].T, color=palette.PALE, linewidth=3.2, zorder=0)
    lines, spreads = [], []
    for name in dataset["potential"].values:
        one, color = dataset.sel(potential=name), _COLORS[name]
        lines.append((success.plot(update, one["success"], color=color)[0], _WORDS[name]))
        spreads.append((variance.plot(update, one["variance"], color=color)[0], _WORDS[name]))
    success.set_ylim(-0.03, 1.05)
    success.set_yticks([0, 0.5, 1])
    success.set_ylabel(f"share of runs with $V \\geq {dataset.attrs['target']:g}$")
    variance.set_yscale("log")
    variance.set_ylabel("variance of the gradient")
    for axes in (success, variance):
        axes.set_xlim(0, update[-1])
        axes.set_xlabel("updates")
    panels.letters([success, variance])
    seeds = dataset.attrs["seeds"]
    panels.footnote(
        figure, f"(a) {seeds} seeds each;  broad: true value by exact gradients, all four;  (b) on the exact path"
    )
    renderer = labels.settle(figure)
    labels.beside(success, renderer, lines, avoid=exact)
    labels.beside(variance, renderer, spreads)
    return figure
