"""The policy walking over the lower hull of the points (reward, 1 / initial probability).

Left, the points, their hull, and the line that rolls under it, at the start and at every change of lead; right, the
probabilities of the same flow.
"""

from __future__ import annotations

import numpy as np
import xarray
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures import panels, style
from pgdyn.plot import labels, palette

_LEADERS: tuple[str, ...] = (palette.VERMILLION, palette.ORANGE, palette.GREEN, palette.BLUE, palette.PURPLE)


@style.styled
def draw(dataset: xarray.Dataset) -> Figure:
    """The figure of `experiments.lower_hull.run`'s dataset."""
    figure = Figure(figsize=(style.WIDTH * 1.1, 3.0), layout="constrained")
    plane, time = figure.subplots(1, 2, width_ratios=(1, 1.15))
    leaders = [int(output) for output in dataset["leader"].values]
    colors = dict(zip(leaders, _LEADERS, strict=False))
    changes = take_overs(dataset)
    _plane(plane, dataset, leaders, colors, changes)
    curves = _time(time, dataset, colors, changes)
    panels.letters([plane, time])
    renderer = labels.settle(figure)
    labels.beside(time, renderer, curves, size=9.5)
    return figure


def take_overs(dataset: xarray.Dataset) -> np.ndarray:
    """Times on the flow at which the likeliest output changes, by interpolation in ln t."""
    logs, t = np.log(dataset["probability"].values), dataset["time"].values
    leader = logs.argmax(axis=1)
    found = []
    for i in np.flatnonzero(np.diff(leader)):
        before, after = leader[i], leader[i + 1]
        lead = logs[i : i + 2, before] - logs[i : i + 2, after]
        found.append(t[i] + (t[i + 1] - t[i]) * lead[0] / (lead[0] - lead[1]))
    return np.array(found)


def _plane(
    axes: Axes, dataset: xarray.Dataset, leaders: list[int], colors: dict[int, str], changes: np.ndarray
) -> None:
    reward, height = dataset["reward"].values, 1 / dataset["initial_probability"].values
    top = 1.18 * height.max()
    width = np.ptp(reward)
    axes.set_xlim(reward.min() - 0.08 * width, reward.max() + 0.3 * width)
    axes.set_ylim(-0.12 * top, top)
    axes.fill_between(reward[leaders], height[leaders], top, color=palette.GRID, alpha=0.6, linewidth=0)
    axes.plot(reward[leaders], height[leaders], color=palette.INK, linewidth=1.3)
    left, right = axes.get_xlim()
    t, best, start = dataset["time"].values, leaders[-1], leaders[0]
    for number, moment in enumerate((0.0, *changes)):
        tau, nu = (float(np.interp(moment, t, dataset[name].values)) for name in ("tau", "nu"))
        axes.plot([left, right], [tau * left - nu, tau * right - nu], color=palette.SKY, linewidth=1.1, zorder=1)
        end = min(right, (top + nu) / tau) if tau > 0 else right
        place = (end - 0.05 * width, tau * (end - 0.05 * width) - nu)
        if tau * (right - left) > 2 * top:  # steep: beside the line, and not on it
            place = (place[0] + 0.05 * width, 0.93 * top)
        _number(axes, number, place)
        if number == len(changes) - 1:
            foot = tau * reward[best] - nu
            axes.annotate(
                "", (reward[best], height[best]), (reward[best], foot), zorder=0,
                arrowprops={"arrowstyle": "<->", "color": palette.INK, "linewidth": 0.8, "shrinkA": 0, "shrinkB": 4},
            )  # fmt: skip
            words = "height $x_y$\n" + r"$\pi(y) \propto 1/x_y$"
            place = (reward[best] + 0.03 * width, 0.28 * foot + 0.72 * height[best])
            axes.text(*place, words, size=9, color=palette.INK, va="center")
    for y in range(len(reward)):
        size, color, edge = 6.5 if y in colors else 5.0, colors.get(y, "white"), colors.get(y, palette.GREY)
        axes.plot(reward[y], height[y], "o", markersize=size, color=color, markeredgecolor=edge)
    notes = [("likely at the start", start, (-4, 9), "left"), ("best", best, (-3, 8), "right")]
    for words, y, offset, side in notes:
        axes.annotate(
            words, (reward[y], height[y]), offset, textcoords="offset points", size=9, color=colors[y], ha=side
        )
    off = [y for y in range(len(reward)) if y not in colors]
    if off:
        y = off[int(np.argmax(reward[off]))]
        axes.annotate(
            "never leads", (reward[y], height[y]), (-6, 0), textcoords="offset points", size=9, color=palette.GREY,
            ha="right", va="center",
        )  # fmt: skip
    axes.set_title("a line rolls under the points")
    axes.set_xlabel("reward $r_y$")
    axes.set_ylabel(r"$1/\pi_0(y)$")


def _number(axes: Axes, number: int, place: tuple[float, float]) -> None:
    text = "start" if number == 0 else str(number)
    axes.text(*place, text, size=8.5, color=palette.BLUE, ha="center", va="center", path_effects=labels.HALO)


def _time(axes: Axes, dataset: xarray.Dataset, colors: dict[int, str], changes: np.ndarray) -> list:
    t, probability = dataset["time"].values, dataset["probability"].values
    later = t > 0
    axes.set_xscale("log")
    axes.set_xlim(0.3, t[-1])
    axes.set_ylim(-0.03, 1.05)
    axes.set_yticks([0, 0.5, 1])
    curves = []
    for y in range(probability.shape[1]):
        color, broad = colors.get(y, palette.PALE), 2.0 if y in colors else 1.0
        (line,) = axes.plot(
            t[later], probability[later, y], color=color, linewidth=broad, zorder=2 if y in colors else 1
        )
        if y in colors:
            curves.append((line, f"$r_y = {dataset['reward'].values[y]:g}$"))
    for number, moment in enumerate(changes, start=1):
        axes.axvline(moment, color=palette.SKY, linewidth=1.1, zorder=0)
        _number(axes, number, (moment, 1.02))
    axes.set_title("the nearest to the line leads")
    axes.set_xlabel("time $t$")
    axes.set_ylabel(r"probability $\pi_t(y)$")
    return curves
