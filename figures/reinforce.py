"""REINFORCE over many seeds: median and 10-90 % band of true value and output probabilities against updates.

Rows: true value, with some seeds drawn faintly; probabilities under the first training reward; under the second.
Columns: initial policies.
"""

from __future__ import annotations

import xarray
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from figures import panels, style
from pgdyn.plot import labels

_FAINT = 24  # seeds drawn one by one


@style.styled
def draw(dataset: xarray.Dataset) -> Figure:
    """The figure of `experiments.reinforce.run`'s dataset."""
    rewards = [str(name) for name in dataset["training_reward"].values]
    starts = dataset["initial_probability"].values
    last = float(dataset["update"][-1])
    target = dataset.attrs["target"]
    seeds = dataset.sizes["seed"]
    figure = Figure(figsize=(style.WIDTH, 1.75 * (1 + len(rewards)) + 0.35), layout="constrained")
    axes = figure.subplots(1 + len(rewards), len(starts), sharex=True, sharey="row", squeeze=False)
    labelled = []
    for column, start in enumerate(starts):
        one = dataset.isel(initial_probability=column)
        panel = axes[0, column]
        panels.value_frame(panel, dataset, (dataset["true_value"].isel(seed=slice(_FAINT)),), last)
        panel.set_title(rf"$\pi_0(y^{{\!\ast}}) = {start:.2f}$")
        lines = []
        for i, reward in enumerate(rewards):
            value = one["true_value"].isel(training_reward=i)
            color = style.reward_color(reward, i)
            faint = value.isel(seed=slice(_FAINT)).transpose("update", "seed")
            panel.plot(faint["update"], faint, color=color, linewidth=0.4, alpha=0.22, rasterized=True, zorder=1)
            lines.append((*_band(panel, value, color), reward))
            count = int((value.isel(update=-1) > target).sum())
            panel.text(
                0.98,
                0.04 + 0.1 * (len(rewards) - 1 - i),
                f"{reward} {count} of {seeds}",
                transform=panel.transAxes,
                color=color,
                size=8,
                ha="right",
            )
        panel.text(
            0.98, 0.04 + 0.1 * len(rewards), f"end above {target:g}:", transform=panel.transAxes, size=8, ha="right"
        )
        labelled.append(
            (panel, [(line, text) for line, _, text in lines], [edge for _, pair, _ in lines for edge in pair])
        )
        for i, panel in enumerate(axes[1:, column]):
            panels.probability_frame(panel, last)
            probabilities = panels.probabilities(one["log_policy"].isel(training_reward=i))
            named = []
            for index, _, color, label in panels.outputs(dataset):
                line, _ = _band(panel, probabilities.isel(output=index), color)
                if label is not None:
                    named.append((line, label))
            labelled.append((panel, named, []))
    axes[0, 0].set_ylabel("true value $V$,\nby training reward")
    for row, reward in enumerate(rewards, start=1):
        axes[row, 0].set_ylabel(f"probability,\ntrained on {reward}")
    for panel in axes[-1]:
        panel.set_xlabel("updates")
    panels.letters(list(axes.ravel()))
    drawn = min(seeds, _FAINT)
    panels.footnote(figure, f"lines: median of {seeds} seeds;  bands: 10–90 %;  faint: {drawn} single seeds")
    renderer = labels.settle(figure)
    for panel, curves, edges in labelled:
        labels.beside(panel, renderer, curves, avoid=edges, optional=panel not in axes[:, 0])
    return figure


def _band(axes: Axes, runs: xarray.DataArray, color: str) -> tuple[Line2D, list[Line2D]]:
    """Median and band of the runs; returns the line of the median and those of the band's edges."""
    low, middle, high = (runs.quantile(q, "seed") for q in (0.1, 0.5, 0.9))
    axes.fill_between(runs["update"], low, high, color=color, alpha=0.18, linewidth=0)
    edges = [axes.plot(runs["update"], edge, color=color, alpha=0.35, linewidth=0.4)[0] for edge in (low, high)]
    (line,) = axes.plot(runs["update"], middle, color=color)
    return line, edges
