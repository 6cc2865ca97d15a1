"""Feature similarity: true value and output probabilities against updates, a sketch of the features in each column."""

from __future__ import annotations

import numpy as np
import xarray
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures import panels, style
from pgdyn.plot import labels


@style.styled
def draw(dataset: xarray.Dataset) -> Figure:
    """The figure of `experiments.feature_similarity.run`'s dataset: ascent as broad lines, the flow dashed over them.

    The probabilities are those of training on the first training reward.
    """
    rewards = [str(name) for name in dataset["training_reward"].values]
    sets = [str(name) for name in dataset["feature_set"].values]
    last = float(dataset["update"][-1])
    figure = Figure(figsize=(style.WIDTH, 4.1), layout="constrained")
    axes = figure.subplots(2, len(sets), sharex=True, sharey="row", squeeze=False)
    labelled = []
    for column in range(len(sets)):
        one = dataset.isel(feature_set=column)
        product = float(one["inner_product"])
        value, probability = axes[:, column]
        value.set_title(rf"$\langle\phi(y^{{\!\ast}}), \phi(y_{{\mathrm{{med}}}})\rangle = {product:.4g}$")
        panels.value_frame(value, dataset, (dataset["true_value"], dataset["flow_true_value"]), last)
        lines = []
        for i, reward in enumerate(rewards):
            run = one.isel(training_reward=i)
            color = style.reward_color(reward, i)
            lines.append((panels.curve_pair(value, run["true_value"], run["flow_true_value"], color), reward))
        colors = [style.reward_color(reward, i) for i, reward in enumerate(rewards)]
        panels.mark_hits(value, list(one["hitting_time"].values), dataset.attrs["target"], colors)
        labelled.append((value, lines if len(rewards) > 1 else []))
        panels.probability_frame(probability, last)
        run = one.isel(training_reward=0)
        ascent = panels.probabilities(run["log_policy"])
        flow = panels.probabilities(run["flow_log_policy"])
        named = []
        for index, _, color, label in panels.outputs(dataset):
            line = panels.curve_pair(probability, ascent.isel(output=index), flow.isel(output=index), color)
            if label is not None:
                named.append((line, label))
        labelled.append((probability, named))
        _sketch(value, one)
    axes[0, 0].set_ylabel("true value $V$" + (",\nby training reward" if len(rewards) > 1 else ""))
    axes[1, 0].set_ylabel(f"probability,\ntrained on {rewards[0]}")
    for panel in axes[-1]:
        panel.set_xlabel("updates")
    panels.letters(list(axes.ravel()))
    panels.footnote(figure, panels.LINES + panels.dots(dataset))
    renderer = labels.settle(figure)
    for panel, curves in labelled:
        labels.beside(panel, renderer, curves, optional=panel not in axes[:, 0])
    return figure


def _sketch(axes: Axes, dataset: xarray.Dataset) -> None:
    """The features of the two best outputs as arrows in their plane."""
    reward = dataset["true_reward"].isel(training_reward=0, prompt=0)
    best, second = (int(i) for i in np.argsort(-reward.values, kind="stable")[:2])
    names = [str(name) for name in dataset["output"].values]
    vectors = dataset["features"].isel(training_reward=0, prompt=0, feature=slice(2)).values
    inset = axes.inset_axes((0.62, 0.02, 0.36, 0.5))
    inset.set_xlim(-1.1, 1.95)
    inset.set_ylim(-0.45, 1.4)
    inset.set_aspect("equal")
    inset.axis("off")
    for index in (best, second):
        x, y = vectors[index]
        color = style.output_color(names[index], index)
        inset.annotate("", (x, y), (0, 0), arrowprops={"arrowstyle": "-|>", "color": color, "shrinkA": 0, "shrinkB": 0})
        below = index == best
        inset.annotate(
            rf"$\phi(${style.output_text(names[index])}$)$",
            (x, y),
            (0, -9 if below else 6),
            textcoords="offset points",
            color=color,
            size=8,
            ha="right" if below else "center",
            va="center",
        )
