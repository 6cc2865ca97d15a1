"""Training on the ground truth and on the proxy, exactly: true value and output probabilities against updates.

Rows: true value; probabilities under the first training reward; under the second. Columns: initial policies.
"""

from __future__ import annotations

import xarray
from matplotlib.figure import Figure

from figures import panels, style
from pgdyn.plot import labels


@style.styled
def draw(dataset: xarray.Dataset) -> Figure:
    """The figure of `experiments.controlled.run`'s dataset: ascent as broad lines, the flow dashed over them."""
    rewards = [str(name) for name in dataset["training_reward"].values]
    starts = dataset["initial_probability"].values
    last = float(dataset["update"][-1])
    figure = Figure(figsize=(style.WIDTH, 1.75 * (1 + len(rewards)) + 0.35), layout="constrained")
    axes = figure.subplots(1 + len(rewards), len(starts), sharex=True, sharey="row", squeeze=False)
    labelled = []
    for column, start in enumerate(starts):
        one = dataset.isel(initial_probability=column)
        panel = axes[0, column]
        panels.value_frame(panel, dataset, (dataset["true_value"], dataset["flow_true_value"]), last)
        panel.set_title(rf"$\pi_0(y^{{\!\ast}}) = {start:.2f}$")
        lines = []
        for i, reward in enumerate(rewards):
            run = one.isel(training_reward=i)
            color = style.reward_color(reward, i)
            lines.append((panels.curve_pair(panel, run["true_value"], run["flow_true_value"], color), reward))
        colors = [style.reward_color(reward, i) for i, reward in enumerate(rewards)]
        panels.mark_hits(panel, list(one["hitting_time"].values), dataset.attrs["target"], colors)
        labelled.append((panel, lines))
        for i, panel in enumerate(axes[1:, column]):
            run = one.isel(training_reward=i)
            panels.probability_frame(panel, last)
            ascent = panels.probabilities(run["log_policy"])
            flow = panels.probabilities(run["flow_log_policy"])
            named = []
            for index, _, color, label in panels.outputs(dataset):
                line = panels.curve_pair(panel, ascent.isel(output=index), flow.isel(output=index), color)
                if label is not None:
                    named.append((line, label))
            labelled.append((panel, named))
    axes[0, 0].set_ylabel("true value $V$,\nby training reward")
    for row, reward in enumerate(rewards, start=1):
        axes[row, 0].set_ylabel(f"probability,\ntrained on {reward}")
    for panel in axes[-1]:
        panel.set_xlabel("updates")
    panels.letters(list(axes.ravel()))
    panels.footnote(figure, panels.LINES + panels.dots(dataset))
    renderer = labels.settle(figure)
    for panel, curves in labelled:
        labels.beside(panel, renderer, curves, optional=panel not in axes[:, 0])
    return figure
