"""The picture of judged reward models: each metric with its interval, and what their errors do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from pgdyn.plot import palette

if TYPE_CHECKING:
    from pgdyn.scores.judgement import Judgement

_PANELS = (
    ("pairs", ("accuracy", "weighted_accuracy", "harm_aware_accuracy", "weighted_harm_aware_accuracy")),
    (
        "one against many",
        (
            "one_vs_many_accuracy",
            "one_vs_many_weighted_accuracy",
            "one_vs_many_harm_aware_accuracy",
            "one_vs_many_weighted_harm_aware_accuracy",
            "mean_reciprocal_rank",
        ),
    ),
    ("RewardBench v1", ("rewardbench",)),
    ("RewardBench v2", ("rewardbench2",)),
    ("reward variance", ("reward_variance",)),
    ("forecast of the truth", ("forecast_true_value", "forecast_true_gain")),
)
_BARS = (
    ("right", "right", palette.PALE),
    ("never attracts", "wrong, harmless: never attracts", palette.SKY),
    ("negligible probability", "wrong, harmless: negligible", palette.GREEN),
    ("stalling", "wrong, harmful: stalling", palette.ORANGE),
    ("reward hacking", "wrong, harmful: hacking", palette.VERMILLION),
    ("wrong", "wrong, effect not known", palette.GREY),
)
_MOST = 24  # reward models that a picture has room for


def evaluation(judgements: Mapping[str, Judgement]) -> Figure:
    """Metrics by reward model as dots with their intervals, and the pairs by what their errors do.

    Args:
        judgements: what `pgdyn.evaluate` gave, by reward model. Of more than 24 reward models the first 24 are drawn.

    Returns:
        A figure.

    Example:
        >>> from pgdyn import evaluate
        >>> figure = evaluation(evaluate({"prompt": [1, 1], "true_reward": [1, 0], "rm": [2.0, 3.0]}).judgements)
        >>> [axes.get_title(loc="left") for axes in figure.axes]
        ['pairs', 'one against many', 'reward variance', 'what errors do']
    """
    names = list(judgements)[:_MOST]
    metrics = {name: judgements[name].metrics for name in names}
    panels = []
    for title, wanted in _PANELS:
        there = [
            metric for metric in dict.fromkeys(key for one in metrics.values() for key in one) if _in(metric, wanted)
        ]
        if there:
            panels.append((title, there))
    bars = any(judgements[name].errors for name in names)
    count = len(panels) + bars
    most = max((len(there) for _, there in panels), default=1)
    row = 0.22 + 0.09 * most
    figure = Figure(figsize=(1.6 + 2.7 * max(count, 1), 1.4 + row * len(names)), layout="constrained")
    axes = np.atleast_1d(figure.subplots(1, max(count, 1), sharey=True))
    places = np.arange(len(names))[::-1]
    for panel, (title, there) in zip(axes, panels, strict=False):
        _dots(panel, title, there, metrics, places)
    if bars:
        _stack(axes[-1], judgements, names, places)
    axes[0].set_yticks(places, [name if len(name) <= 28 else name[:27] + "…" for name in names])
    axes[0].set_ylim(-0.6, len(names) - 0.4)
    figure.supxlabel("dots: values; lines: bootstrap intervals over prompts", size=8)
    for panel in axes:
        panel.spines[["top", "right"]].set_visible(False)
        panel.tick_params(axis="y", length=0)
    return figure


def _in(metric: str, wanted: tuple[str, ...]) -> bool:
    return metric in wanted or (wanted[0].startswith("rewardbench") and metric.startswith(f"{wanted[0]}_"))


def _dots(axes: Any, title: str, there: list[str], metrics: dict[str, Any], places: np.ndarray) -> None:
    width = 0.7 / max(len(there), 1)
    for i, metric in enumerate(there):
        shift = 0.35 - width * (i + 0.5)
        rows = [(place, one[metric]) for place, one in zip(places, metrics.values(), strict=True) if metric in one]
        at = np.array([place + shift for place, _ in rows])
        value, low, high = (np.array([getattr(found, part) for _, found in rows]) for part in ("value", "low", "high"))
        color = palette.LINES[i % len(palette.LINES)]
        axes.hlines(at, low, high, color=color, linewidth=1.1, alpha=0.75)
        axes.plot(value, at, "o", color=color, markersize=3.6, label=metric.replace("_", " "))
    axes.set_title(title, loc="left", size=9.5)
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.grid(axis="x", color=palette.GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=8)
    if len(there) > 1:
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.12), fontsize=7, frameon=False)


def _stack(axes: Any, judgements: Mapping[str, Judgement], names: list[str], places: np.ndarray) -> None:
    left = np.zeros(len(names))
    counts = {kind: np.array([judgements[name].errors.get(kind, 0) for name in names], float) for kind, *_ in _BARS}
    total = np.maximum(sum(counts.values()), 1)
    for kind, label, color in _BARS:
        share = counts[kind] / total
        if share.any():
            axes.barh(places, share, left=left, height=0.55, color=color, label=label)
        left += share
    axes.set_title("what errors do", loc="left", size=9.5)
    axes.set_xlim(0, 1)
    axes.tick_params(labelsize=8)
    axes.legend(
        loc="upper center",
        bbox_to_anchor=(0.5, -0.12),
        fontsize=7,
        frameon=False,
        title="fraction of pairs",
        title_fontsize=7,
    )
