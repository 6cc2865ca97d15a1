"""Designed and hand-made proxies, a row for each task: their rewards with what they achieve, and their paths."""

from __future__ import annotations

import matplotlib
import numpy as np
import xarray
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from figures import panels, style
from pgdyn.plot import labels, palette

_COLORS = {
    "ground truth": palette.BLACK,
    "truth, centred": palette.BLACK,
    "truth, stretched": palette.GREY,
    "paper's proxy": palette.VERMILLION,
    "paper's proxy, stretched": palette.BLUE,
    "best single error": palette.GREEN,
    "designed": palette.PURPLE,
}
_FIRST = 0.3  # where the time axes begin


@style.styled
def draw(dataset: xarray.Dataset) -> Figure:
    """The figure of `experiments.designed_proxy.run`'s dataset."""
    tasks = [str(name) for name in dataset["task"].values]
    groups = [alike(dataset.sel(task=name)) for name in tasks]
    heights = [max(len(rows), 3) + 2.2 for rows in groups]
    figure = Figure(figsize=(style.WIDTH, 0.55 + 0.3 * sum(heights)), layout="constrained")
    axes = figure.subplots(len(tasks), 2, squeeze=False, width_ratios=(1.0, 1.15), height_ratios=heights)
    labelled = []
    for (rewards, paths), task, rows in zip(axes, tasks, groups, strict=True):
        one = dataset.sel(task=task)
        _rewards(rewards, one, rows)
        rewards.set_title(_task(one, dataset.attrs["target"]), loc="left")
        labelled.append((paths, _paths(paths, one, rows, dataset)))
    for panel in axes[:, 1]:
        panel.set_xlabel("time (gradient flow)")
    panels.letters(list(axes[:, 0]))
    panels.footnote(figure, "rewards alike up to a constant share a row: they make the same flow")
    renderer = labels.settle(figure)
    for panel, curves in labelled:
        labels.beside(panel, renderer, curves, size=8.5, optional=True)
    return figure


def alike(one: xarray.Dataset) -> list[list[str]]:
    """The candidates of a task, those whose rewards differ by a constant together."""
    groups: list[list[str]] = []
    for name in (str(name) for name in one["candidate"].values):
        proxy = one["proxy_reward"].sel(candidate=name).values
        for group in groups:
            if np.ptp(proxy - one["proxy_reward"].sel(candidate=group[0]).values) < 1e-6:
                group.append(name)
                break
        else:
            groups.append([name])
    return groups


def group_color(group: list[str]) -> str:
    """The colour of a row: the design's where the design is in it."""
    return _COLORS["designed" if "designed" in group else group[0]]


def _words(group: list[str]) -> str:
    """The names of a row, without those of variants that leave a reward of the row as it is."""
    told = [name for name in group if name.partition(", ")[0] not in ("truth", *group[: group.index(name)])]
    return " =\n".join(told or group[:1])


def _rewards(axes: Axes, one: xarray.Dataset, rows: list[list[str]]) -> None:
    proxies = np.array([one["proxy_reward"].sel(candidate=group[0]).values for group in rows])
    # Pale colours, so that the numbers in the cells stay readable.
    axes.pcolormesh(
        proxies, cmap=matplotlib.colormaps["PuOr"], norm=Normalize(-3.2, 3.2), edgecolors="white", linewidth=1.5
    )
    for (row, column), reward in np.ndenumerate(proxies):
        axes.text(
            column + 0.5, row + 0.5, f"{reward:.3g}".replace("-", "\N{MINUS SIGN}"), ha="center", va="center", size=8.5
        )
    for row, group in enumerate(rows):
        axes.annotate(
            _achieved(one, group[0]), (1, row + 0.5), (4, 0), xycoords=("axes fraction", "data"),
            textcoords="offset points", ha="left", va="center", size=8.5, color=group_color(group),
        )  # fmt: skip
    axes.invert_yaxis()
    axes.set_yticks(np.arange(len(rows)) + 0.5, [_words(group) for group in rows], size=9)
    for label, group in zip(axes.get_yticklabels(), rows, strict=True):
        label.set_color(group_color(group))
    names = [style.output_text("bad" if str(name).startswith("bad") else str(name)) for name in one["output"].values]
    axes.set_xticks(np.arange(proxies.shape[1]) + 0.5, names)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_xlabel("proxy reward of each output")


def _task(one: xarray.Dataset, target: float) -> str:
    horizon = float(one["horizon"])
    goal = f"$V = {target:g}$ soonest" if np.isnan(horizon) else f"highest $V$ at time {horizon:g}"
    return f"{goal}, rewards in $[{float(one['lower']):g}, {float(one['upper']):g}]$"


def _achieved(one: xarray.Dataset, name: str) -> str:
    found = float(one["achieved"].sel(candidate=name))
    if np.isfinite(one["horizon"]):
        return f"$V({float(one['horizon']):g}) = {found:.4f}$"
    if np.isinf(found):
        return "never"
    return f"$T = {found:,.2f}$" if found < 100 else f"$T = {found:,.0f}$".replace(",", "{,}")


def _paths(axes: Axes, one: xarray.Dataset, rows: list[list[str]], dataset: xarray.Dataset) -> list[tuple[Line2D, str]]:
    lines = []
    horizon = float(one["horizon"])
    for group in rows:
        run = one.sel(candidate=group[0])
        color = group_color(group)
        designed = "designed" in group
        (line,) = axes.plot(one["time"], run["true_value"], color=color, linewidth=2.2 if designed else 1.3)
        lines.append((line, "designed" if designed else group[0]))
        hit = float(run["hitting_time"])
        if np.isnan(horizon) and np.isfinite(hit):
            axes.plot(
                [hit], [dataset.attrs["target"]], marker="o", markersize=3.6, color=color, markeredgecolor="white"
            )
    axes.set_ylim(-0.55, 1.25)
    axes.set_yticks([-0.5, 0, 0.5, 1])
    axes.set_ylabel("true value $V$")
    if np.isfinite(horizon):
        axes.axvline(horizon, color=palette.GREY, linewidth=0.7, linestyle=(0, (1, 2)), zorder=0)
        times, values = dataset["design_horizon"].values, dataset["design_value"].values
        axes.plot(
            times, values, linestyle="", marker="D", markersize=4.4, markerfacecolor="white",
            markeredgecolor=_COLORS["designed"], zorder=5, label="designed for\neach of these times",
        )  # fmt: skip
        axes.legend(loc="lower right", frameon=False, fontsize=8.5, handletextpad=0.2)
        style.update_axis(axes, 100 * horizon, _FIRST)
    else:
        style.update_axis(axes, float(one["time"][-1]), _FIRST)
    return lines
