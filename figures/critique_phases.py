"""The phases of a judge trained on its label: a map of where its critiques become sound, and what else mends them."""

from __future__ import annotations

import numpy as np
import xarray
from matplotlib.figure import Figure

from figures import panels, style
from pgdyn.plot import labels, palette


@style.styled
def draw(dataset: xarray.Dataset) -> Figure:
    """The figure of `experiments.critique_phases.run`'s dataset."""
    figure = Figure(figsize=(style.WIDTH, 3.1), layout="constrained")
    plane, rewards = figure.subplots(1, 2, width_ratios=(1.15, 1))
    start, count = dataset["start"].values, dataset["labels"].values
    mesh = plane.pcolormesh(
        count, start, dataset["sound"], cmap=palette.SEQUENTIAL, vmin=0, vmax=1, shading="nearest", rasterized=True
    )
    plane.set_xscale("log")
    plane.set_yscale("log")
    left, right = plane.get_xlim()
    bottom, top = plane.get_ylim()
    edge = dataset["boundary_labels"].values
    plane.plot(edge, dataset["boundary"], color=palette.VERMILLION, linewidth=1.8)
    size = np.geomspace(left, right, 50)
    plane.plot(size, law(dataset, size), color=palette.BLACK, linewidth=1.0, linestyle=(0, (4, 2.2)))
    plane.set_xlim(left, right)
    plane.set_ylim(bottom, top)
    plane.set_xticks([2, 4, 8, 16, 32, 64], ["2", "4", "8", "16", "32", "64"])
    plane.set_yticks([0.01, 0.03, 0.1, 0.3], ["0.01", "0.03", "0.1", "0.3"])
    plane.minorticks_off()
    plane.text(0.72, 0.72, "sound", transform=plane.transAxes, size=10, ha="center")
    plane.text(0.25, 0.2, "flawed", transform=plane.transAxes, size=10, ha="center", color="white")
    plane.set_xlabel("labels $L$")
    plane.set_ylabel(r"initial probability $\pi_0$ of a sound critique")
    bar = figure.colorbar(mesh, ax=plane, ticks=[0, 0.5, 1])
    bar.set_label("sound critiques in the end")
    bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue]

    lines = []
    few = dataset.sel(labels=slice(None, 16))
    shown = few["labels"].values
    for i, weight in enumerate(dataset["process_weight"].values):
        flawed = 1 - few["processed"].isel(process_weight=i)
        words = "outcome alone" if weight == 0 else f"{weight:g}"
        lines.append((rewards.plot(shown, flawed, color=palette.LINES[i])[0], words))
    lines.append((rewards.plot(shown, 1 - few["gated"], color=palette.BLACK, linewidth=1.0)[0], "gated"))
    rewards.set_xscale("log")
    rewards.set_yscale("log")
    rewards.set_xlim(shown[0], shown[-1])
    rewards.set_xticks([2, 3, 4, 6, 8, 12, 16], ["2", "3", "4", "6", "8", "12", "16"])
    rewards.minorticks_off()
    rewards.set_xlabel("labels $L$")
    rewards.set_ylabel("flawed critiques in the end")
    rewards.set_title(rf"$\pi_0 = {dataset.attrs['start']:g}$")
    panels.letters([plane, rewards])
    panels.footnote(
        figure,
        r"(a) line: where both are as likely in the end;  dashed: $\pi_0 L = 1/(2 \cdot 0.9)$;  "
        "(b) numbers: weight of a process reward",
    )
    labels.beside(rewards, labels.settle(figure), lines)
    return figure


def law(dataset: xarray.Dataset, labels: np.ndarray) -> np.ndarray:
    """The boundary of many labels, pi_0 = 1 / (2 q L), q the probability of the right label after a sound critique."""
    return 1 / (2 * dataset.attrs["right_after_sound"] * labels)
