"""The project in one picture: training on the ground truth stalls where training on a flawed proxy gets through.

Left, the two rewards and the initial policy; middle, the true value of both runs; right, where their probability goes.
"""

from __future__ import annotations

import numpy as np
import xarray
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures import panels, style
from pgdyn.plot import labels, palette


@style.styled
def draw(dataset: xarray.Dataset) -> Figure:
    """The first initial policy of `experiments.controlled.run`'s dataset, under its first two training rewards."""
    one = dataset.isel(initial_probability=0)
    rewards = [str(name) for name in dataset["training_reward"].values[:2]]
    last = float(dataset["update"][-1])
    figure = Figure(figsize=(style.WIDTH * 1.15, 2.5), layout="constrained")
    bars, value, truth, proxy = figure.subplots(1, 4, width_ratios=(1.25, 1.5, 1.1, 1.1))
    _rewards(bars, one, rewards)

    panels.value_frame(value, dataset, (one["true_value"],), last)
    lines = []
    for i, reward in enumerate(rewards):
        run = one.isel(training_reward=i)
        (line,) = value.plot(run["update"], run["true_value"], color=style.reward_color(reward, i), linewidth=2)
        lines.append((line, reward))
    value.set_title("true value, by training reward")
    value.set_xlabel("updates")
    value.set_ylabel("true value $V$")

    labelled = [(value, lines)]
    for i, (panel, reward) in enumerate(zip((truth, proxy), rewards, strict=True)):
        panels.probability_frame(panel, last)
        probabilities = panels.probabilities(one["log_policy"].isel(training_reward=i))
        named = []
        for index, _, color, label in panels.outputs(dataset):
            curve = probabilities.isel(output=index)
            (line,) = panel.plot(curve["update"], curve, color=color, linewidth=2)
            if label is not None:
                named.append((line, label.replace("each bad output", "bad")))
        labelled.append((panel, named))
        panel.set_title(f"trained on {reward}", color=style.reward_color(reward, i))
        panel.set_xlabel("updates")
    truth.set_ylabel("probability")
    proxy.tick_params(labelleft=False)
    renderer = labels.settle(figure)
    for panel, curves in labelled:
        labels.beside(panel, renderer, curves, size=10)
    return figure


def _rewards(axes: Axes, dataset: xarray.Dataset, rewards: list[str]) -> None:
    """Every output by both rewards, its initial probability under its name."""
    names = [str(name) for name in dataset["output"].values]
    places = np.arange(len(names))
    for i, reward in enumerate(rewards):
        heights = dataset["proxy_reward"].isel(training_reward=i, prompt=0)
        axes.bar(places + 0.2 * (2 * i - 1), heights, width=0.34, color=style.reward_color(reward, i))
    axes.axhline(0, color=palette.BLACK, linewidth=0.6)
    axes.set_ylim(-1.15, 1.15)
    axes.set_yticks([-1, 0, 1])
    axes.set_title("the two rewards")
    axes.set_ylabel("reward")
    axes.set_xlabel("output and its initial probability")
    start = panels.probabilities(dataset["log_policy"].isel(training_reward=0, update=0))
    texts = [style.output_text("bad" if name.startswith("bad") else name) for name in names]
    axes.set_xticks(places, [f"{text}\n{float(start[i]):.2g}" for i, text in enumerate(texts)], size=8)
    axes.tick_params(axis="x", length=0)
