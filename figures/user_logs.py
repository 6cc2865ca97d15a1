"""Errors of estimates from logs of users, and what is gained by training on either log."""

from __future__ import annotations

import xarray
from matplotlib.figure import Figure

from figures import panels, style
from pgdyn.plot import palette

_COLORS = {
    "naive": palette.BLACK,
    "mean": palette.GREY,
    "ipw": palette.ORANGE,
    "plug_in": palette.VERMILLION,
    "doubly_robust": palette.BLUE,
    "control_variate": palette.GREEN,
}


@style.styled
def draw(dataset: xarray.Dataset) -> Figure:
    """The figure of `experiments.user_logs.run`'s dataset."""
    tastes, sizes = dataset["taste"].values, dataset["size"].values
    shown = (tastes[0], tastes[len(tastes) // 2 - 1], tastes[-1])
    figure = Figure(figsize=(style.WIDTH * 1.1, 2.9), layout="constrained")
    axes = figure.subplots(1, 4)
    for panel, taste in zip(axes[:3], shown, strict=True):
        for name, color in _COLORS.items():
            panel.loglog(
                sizes, dataset["error"].sel(estimator=name, taste=taste), "o-", color=color, markersize=2.8,
                linewidth=1, label=name.replace("_", " "),
            )  # fmt: skip
        panel.set_title(f"taste {taste:g}", size=9)
        panel.set_xlabel("randomised rows")
        panel.set_ylim(0.6 * float(dataset["error"].min()), 1.5 * float(dataset["error"].max()))
    axes[0].set_ylabel("error of a model's value")
    for panel in axes[1:3]:
        panel.tick_params(labelleft=False)
    axes[0].legend(frameon=False, fontsize=6.5, loc="upper right")
    for taste, color in zip(shown, (palette.GREEN, palette.ORANGE, palette.VERMILLION), strict=True):
        chose, assigned = (dataset["gain"].sel(taste=taste).values[i] for i in (0, 1))
        axes[3].semilogx(sizes, assigned, "o-", color=color, markersize=2.8, linewidth=1, label=f"taste {taste:g}")
        axes[3].semilogx(sizes, chose, color=color, linestyle=(0, (4, 2)), linewidth=1)
    axes[3].set_title("solid: EXP, dashed: OBS", size=9)
    axes[3].set_xlabel("randomised rows")
    axes[3].set_ylabel("rise of the true quality")
    axes[3].legend(frameon=False, fontsize=7, loc="lower right")
    panels.letters(list(axes))
    return figure
