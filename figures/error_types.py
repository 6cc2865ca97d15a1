"""The five types of reward errors, a row each: the rewards, the true value against time, the policy on the proxy."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from figures import panels, style
from pgdyn.plot import labels, palette

CHANGED = palette.PURPLE  # the bad output whose reward is wrong
_NUMERALS = {"reward hacking": "I", "stalling": "II", "never attracts": "I", "negligible probability": "II"}
_WORDS = {
    "reward hacking": "a bad output is rated best",
    "stalling": "a bad output is rated mediocre",
    "never attracts": "a bad output is rated lower still",
    "negligible probability": "a bad output of probability $10^{-8}$ is rated best",
    "escapes mediocrity": "the mediocre output is rated low",
}
_FIRST = 0.1  # where the time axis begins


@style.styled
def draw(dataset: xarray.Dataset) -> Figure:
    """The figure of `experiments.error_types.run`'s dataset."""
    names = [str(name) for name in dataset["type"].values]
    figure = Figure(figsize=(style.WIDTH, 0.75 + 1.6 * len(names)), layout="constrained")
    figure.set_layout_engine("constrained", h_pad=0.05, hspace=0.03)
    axes = figure.subplots(len(names), 3, squeeze=False, width_ratios=(0.95, 1.25, 1.25))
    labelled = []
    for row, name in enumerate(names):
        one = dataset.sel(type=name)
        rewards, value, policy = axes[row]
        _rewards(rewards, one, last=row == len(names) - 1)
        labelled.append((value, _values(value, one, dataset)))
        labelled.append((policy, _policy(policy, one)))
        rewards.set_title(" \n ", size=9.5)  # room for the row's two lines of words, which span all columns
        _above(rewards, 15, _headline(name, one), size=9.5, fontweight="bold")
        _above(rewards, 4, _findings(name, one), size=8.5)
        if str(one["other_category"].values):
            words = f"were the likeliest one mediocre ($r = 0.8$): {one['other_category'].values}, "
            words += speed_text(float(one["other_speedup"]))
            note = policy.annotate(
                words, (1, 1), (0, 15), xycoords="axes fraction", textcoords="offset points", ha="right", va="bottom",
                size=8.5, color="0.35", annotation_clip=False,
            )  # fmt: skip
            note.set_in_layout(False)
    axes[-1, 1].set_xlabel("time (gradient flow)")
    axes[-1, 2].set_xlabel("time (gradient flow)")
    for panel in axes[:-1, 1:].ravel():
        panel.tick_params(labelbottom=False)
    note = f"dots: time when the true value reaches {dataset.attrs['target']:g};  benign: times less than "
    note += f"{dataset.attrs['tolerance']:.0%} apart;  circles: true rewards, diamonds: proxy"
    panels.footnote(figure, note)
    renderer = labels.settle(figure)
    for panel, curves in labelled:
        labels.beside(panel, renderer, curves, size=8.5)
    return figure


def _headline(name: str, one: xarray.Dataset) -> str:
    numeral = _NUMERALS.get(name, "")
    return f"{str(one['label'].values).capitalize()}{' ' + numeral if numeral else ''}: {name}"


def _above(axes: Axes, points: float, words: str, **look: Any) -> None:
    note = axes.annotate(
        words, (0, 1), (-24, points), xycoords="axes fraction", textcoords="offset points", ha="left", va="bottom",
        annotation_clip=False, **look,
    )  # fmt: skip
    note.set_in_layout(False)  # or the layout would widen the first column to the length of the words


def _findings(name: str, one: xarray.Dataset) -> str:
    changed = int(one["changed_output"])
    before, after = (float(one[reward][changed]) for reward in ("true_reward", "proxy_reward"))
    words = f"{_WORDS.get(name, 'one reward is wrong')}, {_number(before)} → {_number(after)}.  "
    words += f"Simulated: {one['category'].values}, {speed_text(float(one['speedup']))}.  "
    return words + f"A priori: {one['mechanism'].values}, so {one['mechanism_category'].values}."


def speed_text(speedup: float) -> str:
    """A speed-up in words."""
    if speedup == 0:
        return "never arrives"
    if np.isinf(speedup):
        return "arrives where the truth never does"
    if abs(np.log(speedup)) < 5e-4:
        return "same time"
    ratio = max(speedup, 1 / speedup)
    size = f"{ratio:.0f} times" if ratio >= 10 else f"{ratio:.2f} times"
    return f"{size} {'faster' if speedup > 1 else 'slower'}"


def _number(value: float) -> str:
    return f"{value:g}".replace("-", "\N{MINUS SIGN}")


def _rewards(axes: Axes, one: xarray.Dataset, last: bool) -> None:
    truth, proxy = one["true_reward"].values, one["proxy_reward"].values
    places = np.arange(len(truth))
    changed = int(one["changed_output"])
    axes.axhline(0, color=palette.GREY, linewidth=0.4, zorder=0)
    axes.plot(places, proxy, linestyle="", marker="D", markersize=4.2, color=style.reward_color("proxy"), zorder=3)
    axes.plot(
        places, truth, linestyle="", marker="o", markersize=7, markerfacecolor="none",
        markeredgecolor=style.reward_color("ground truth"), zorder=4,
    )  # fmt: skip
    shift = 0.16 * np.sign(proxy[changed] - truth[changed])
    axes.annotate(
        "", (changed, proxy[changed] - shift), (changed, truth[changed] + 1.2 * shift),
        arrowprops={"arrowstyle": "->", "color": style.reward_color("proxy"), "shrinkA": 0, "shrinkB": 0},
    )  # fmt: skip
    axes.set_ylim(-2.35, 1.9)
    axes.set_xlim(-0.5, len(truth) - 0.5)
    axes.set_yticks([-2, -1, 0, 1])
    axes.set_ylabel("reward")
    words = []
    for name, reward, start in zip(one["output"].values, truth, one["initial_probability"].values, strict=True):
        bad = reward <= truth.min()
        text = "bad" if bad else style.output_text(str(name))
        words.append(f"{text}\n{_short(start)}")
    axes.set_xticks(places, words, size=7.5)
    axes.tick_params(axis="x", length=0)
    if last:
        axes.set_xlabel(r"output, and its $\pi_0$")


def _short(probability: float) -> str:
    if probability < 1e-3:
        return f"$10^{{{round(np.log10(probability))}}}$"
    return f"{probability:.2f}".removeprefix("0")


def _values(axes: Axes, one: xarray.Dataset, dataset: xarray.Dataset) -> list[tuple[Line2D, str]]:
    time = one["time"].values
    lines = []
    for reward in one["training_reward"].values:
        run = one.sel(training_reward=reward)
        truth = reward == "ground truth"
        (line,) = axes.plot(
            time, run["true_value"], color=style.reward_color(str(reward)), linewidth=1.0 if truth else 1.9,
            linestyle=(0, (4, 2.2)) if truth else "-", zorder=3 if truth else 2,
        )  # fmt: skip
        lines.append((line, str(reward)))
    axes.set_ylim(-1.3, 1.75)
    axes.set_yticks([-1, 0, 1])
    axes.set_ylabel("true value $V$", size=8.5)
    style.update_axis(axes, float(time[-1]), _FIRST)
    _mark_hits(axes, one, dataset.attrs["target"])
    return lines


def _mark_hits(axes: Axes, one: xarray.Dataset, target: float) -> None:
    """A dot and the time where each run reaches the target, the earlier one's time to the left."""
    hits = one["hitting_time"].values
    arrived = [i for i in np.argsort(hits, kind="stable") if np.isfinite(hits[i])]
    for place, i in enumerate(arrived):
        color = style.reward_color(str(one["training_reward"].values[i]))
        axes.plot(
            [hits[i]], [target], marker="o", markersize=3.8, color=color, markeredgecolor="white", markeredgewidth=0.6,
            zorder=5,
        )  # fmt: skip
        words = f"{hits[i]:.1f}" if hits[i] < 100 else f"{hits[i]:,.0f}"
        axes.annotate(
            words, (hits[i], target), (-1 if place == 0 else 1, 5), textcoords="offset points", size=7.5, color=color,
            ha="right" if place == 0 else "left", va="bottom",
        )  # fmt: skip


def _policy(axes: Axes, one: xarray.Dataset) -> list[tuple[Line2D, str]]:
    truth = one["true_reward"].values
    changed = int(one["changed_output"])
    chances = np.exp(one["log_policy"].sel(training_reward="proxy").values)
    named, seen_bad = [], False
    for index in np.argsort(np.arange(len(truth)) == changed, kind="stable"):  # the changed output is drawn on top
        name = str(one["output"].values[index])
        bad = truth[index] <= truth.min()
        color = (CHANGED if index == changed else palette.GREY) if bad else style.output_color(name)
        (line,) = axes.plot(
            one["time"], chances[:, index], color=color, linewidth=1.6 if color != palette.GREY else 1.0
        )
        if index == changed or not bad:
            named.append((line, "changed" if bad else style.output_text(name)))
        elif not seen_bad:
            named.append((line, "other bad ones"))
            seen_bad = True
    panels.probability_frame(axes, float(one["time"][-1]))
    axes.set_xlim(_FIRST, float(one["time"][-1]))
    axes.set_ylabel("policy on proxy", size=8.5)
    return named
