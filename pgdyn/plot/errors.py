"""The picture of `pgdyn categorize`: the speed-up that every error brings, by family and mechanism.

Errors that only the proxy, only the ground truth or neither survives to the target have no finite speed-up; they have
places of their own beside the axis instead of being left out.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from pgdyn.errors.mechanism import MECHANISMS
from pgdyn.errors.perturb import Errors
from pgdyn.errors.report import Report
from pgdyn.plot import palette

_MECHANISM_COLORS = (
    palette.PALE,
    palette.VERMILLION,
    palette.ORANGE,
    palette.SKY,
    palette.PURPLE,
    palette.GREEN,
)
_COLORS: dict[str, str] = dict(zip(MECHANISMS, _MECHANISM_COLORS, strict=True))
_FONT = 8.0  # points
_SINGLE = "single-output"


def errors(report: Report, groups: Mapping[str, Errors]) -> Figure:
    """Above, with the single-output family and one prompt, speed-up against the new reward, one curve an output.

    Below, all errors in a row for each family, coloured by a-priori mechanism.

    Args:
        report: of all errors, the groups' one after another.
        groups: family name -> errors.

    Returns:
        The figure.

    Example:
        >>> import pgdyn
        >>> problem = pgdyn.Problem.tabular([0.05, 0.5, 0.15, 0.15, 0.15], [1, 0.8, -1, -1, -1])
        >>> swaps = pgdyn.errors.perturb.FAMILIES["swap"](problem)
        >>> report = pgdyn.categorize(problem, swaps.proxy_rewards, t1=100.0, target=0.9)
        >>> pgdyn.plot.errors(report, {"swap": swaps}).axes[0].get_yticklabels()
        [Text(0, 0, 'swap')]
    """
    names = list(groups)
    starts = np.cumsum([0, *(len(group) for group in groups.values())])
    curves = _SINGLE in groups and "prompt" not in groups[_SINGLE].parameters and report.problem.num_outputs <= 6
    heights = [2.8] * curves + [1.3 + 0.42 * len(names)]
    figure = Figure(figsize=(7.0, sum(heights) + 0.3), layout="constrained")
    axes = figure.subplots(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0]
    axis = _Axis(report.speedup)
    if curves:
        first = starts[names.index(_SINGLE)]
        _draw_curves(axes[0], report, groups[_SINGLE], first, axis)
    _draw_strips(axes[-1], report, names, starts, axis)
    for panel in axes:
        panel.tick_params(labelsize=_FONT)
        panel.spines[["top", "right"]].set_visible(False)
    return figure


class _Axis:
    """log10 of the speed-up, with places beside the finite ones for those of 0, inf and nan that occur."""

    def __init__(self, speedup: np.ndarray):
        finite = np.log10(speedup[np.isfinite(speedup) & (speedup > 0)])
        low, high = min(-1.0, *finite, 0.0), max(1.0, *finite, 0.0)
        gap = 0.13 * (high - low)
        self.places: dict[str, float] = {}
        self.borders: list[float] = []
        ends = [low - 0.6 * gap, high + 0.6 * gap]
        if (speedup == 0).any():
            self.places["never\narrives"] = low - gap
            self.borders.append(low - gap / 2)
            ends[0] = low - 1.6 * gap
        beyond = {"only\nproxy\narrives": np.isposinf(speedup), "neither\narrives": np.isnan(speedup)}
        for name in (name for name, found in beyond.items() if found.any()):
            self.borders.append(ends[1] - 0.1 * gap)
            self.places[name] = self.borders[-1] + 0.5 * gap
            ends[1] = self.borders[-1] + 1.1 * gap
        self.limits = tuple(ends)
        whole = np.arange(np.ceil(low), np.floor(high) + 1)
        self.decades = [int(d) for d in whole[:: max(1, -(-len(whole) // 7))]]

    def __call__(self, speedup: np.ndarray) -> np.ndarray:
        with np.errstate(divide="ignore"):
            place = np.log10(speedup)
        found = {"never\narrives": speedup == 0, "only\nproxy\narrives": np.isposinf(speedup)}
        found["neither\narrives"] = np.isnan(speedup)
        for name, where in found.items():
            place = np.where(where, self.places.get(name, np.nan), place)
        return place

    def label(self, panel: Axes, which: str) -> None:
        """Ticks, limits and lines along "x" or "y"."""
        ticks = [*self.decades, *self.places.values()]
        texts = [*(f"$10^{{{decade}}}$" if decade else "1" for decade in self.decades), *self.places]
        if which == "y":
            texts = [text.replace("\n", " ") for text in texts]
        (panel.set_xticks if which == "x" else panel.set_yticks)(ticks, texts)
        (panel.set_xlim if which == "x" else panel.set_ylim)(*self.limits)
        line = panel.axvline if which == "x" else panel.axhline
        line(0.0, color=palette.INK, linewidth=0.8, zorder=1)
        for border in self.borders:
            line(border, color=palette.PALE, linewidth=0.6, linestyle=(0, (2, 2)), zorder=1)


def _draw_curves(panel: Axes, report: Report, group: Errors, first: int, axis: _Axis) -> None:
    value, output = (np.asarray(group.parameters[name]) for name in ("value", "output"))
    truth = np.asarray(report.problem.true_reward)[0]
    home = float(axis(np.array(np.nan if np.isinf(report.baseline_time) else 1.0)))
    alike: dict[tuple[float, ...], list[int]] = {}
    for y in range(report.problem.num_outputs):
        places = axis(report.speedup[first + np.flatnonzero(output == y)])
        alike.setdefault(tuple(places.round(6)), []).append(y)
    for color, (places, outputs) in zip(palette.LINES, alike.items(), strict=False):
        where = output == outputs[0]
        name = ("output " if len(outputs) == 1 else "outputs ") + ", ".join(map(str, outputs))
        panel.plot(value[where], places, color=color, linewidth=1.3, marker="o", markersize=3, label=name)
        panel.plot(truth[outputs[0]], home, marker="D", markersize=6, markerfacecolor="none", color=color, zorder=4)
    axis.label(panel, "y")
    panel.set_xlabel("new proxy reward of the output (diamond: its true reward)", fontsize=_FONT + 1)
    panel.set_ylabel("speed-up over the ground truth", fontsize=_FONT + 1)
    panel.legend(fontsize=_FONT, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))


def _draw_strips(panel: Axes, report: Report, names: list[str], starts: np.ndarray, axis: _Axis) -> None:
    # The same scatter every time, so that equal reports are equal pictures.
    jitter = np.random.default_rng(0).uniform(-0.3, 0.3, len(report))
    places = axis(report.speedup)
    for row, (start, stop) in enumerate(zip(starts[:-1], starts[1:], strict=True)):
        colors = [_COLORS[name] for name in report.mechanism[start:stop].tolist()]
        spread = jitter[start:stop] if stop - start > 1 else 0.0
        panel.scatter(places[start:stop], row + spread, s=14, c=colors, alpha=0.8, linewidths=0, zorder=3)
    panel.set_yticks(range(len(names)), names)
    panel.set_ylim(len(names) - 0.4, -0.6)
    axis.label(panel, "x")
    panel.set_xlabel("speed-up over the ground truth: time to the target on it / on the proxy", fontsize=_FONT + 1)
    present = [name for name in MECHANISMS if (report.mechanism == name).any()]
    dots = [Line2D([], [], marker="o", linestyle="", markersize=5, color=_COLORS[name]) for name in present]
    panel.legend(
        dots, present, title="a-priori mechanism", title_fontsize=_FONT, fontsize=_FONT, frameon=False,
        loc="center left", bbox_to_anchor=(1.0, 0.5),
    )  # fmt: skip
