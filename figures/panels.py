"""The panels of the controlled experiments: true value, and probabilities of the outputs, against updates."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import xarray
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from figures import style
from pgdyn.plot import labels, palette


def value_frame(axes: Axes, dataset: xarray.Dataset, curves: Sequence[xarray.DataArray], last: float) -> None:
    """Axes for true values, from the lowest of `curves` to the best reward, a thin line at the second-best reward."""
    true_reward = dataset["true_reward"].values
    second, high = np.unique(true_reward)[-2:]
    low = min(float(curve.min()) for curve in curves)
    room = 0.08 * (high - low)
    axes.set_ylim(low - room, high + room)
    # Fixed now: a locator would choose anew, by the size of other people's text, when the figure is drawn elsewhere.
    ticks = MaxNLocator(6, steps=[1, 2, 5, 10]).tick_values(low, high)
    axes.set_yticks(ticks[(ticks >= low - room) & (ticks <= high + room)])
    axes.axhline(second, color=palette.GREY, linewidth=0.5, linestyle=(0, (1, 2)), zorder=0)
    style.update_axis(axes, last)


def mark_hits(axes: Axes, hits: Sequence[float], target: float, colors: Sequence[str]) -> None:
    """A dot where each run reaches the target, and the number of updates beside it, to the left of the first dot."""
    for hit, color in zip(hits, colors, strict=True):
        if np.isfinite(hit):
            _mark_hit(axes, hit, target, color, first=hit == min(hits))


def _mark_hit(axes: Axes, hit: float, target: float, color: str, first: bool) -> None:
    axes.plot([hit], [target], marker="o", markersize=3.4, color=color, markeredgecolor="white", markeredgewidth=0.6)
    left, right = axes.get_xlim()
    leftward = first or np.log(hit / left) > 0.75 * np.log(right / left)
    axes.annotate(
        f"{hit:,.0f}",
        (hit, target),
        (-5 if leftward else 4, -0.5),
        textcoords="offset points",
        size=7.5,
        color=color,
        ha="right" if leftward else "left",
        va="center",
        path_effects=labels.HALO,
    )


def probability_frame(axes: Axes, last: float) -> None:
    """Axes for probabilities."""
    axes.set_ylim(-0.04, 1.06)
    axes.set_yticks([0, 0.5, 1])
    style.update_axis(axes, last)


def curve_pair(axes: Axes, ascent: xarray.DataArray, flow: xarray.DataArray, color: str) -> Line2D:
    """Ascent as a broad line and the flow dashed over it; returns the dashed line, which carries the full colour."""
    axes.plot(ascent["update"], ascent, color=color, **style.ASCENT)
    (line,) = axes.plot(flow["equivalent_update"], flow, color=color, **style.FLOW)
    return line


def outputs(dataset: xarray.Dataset) -> Iterator[tuple[int, str, str, str | None]]:
    """(index, name, colour, label) of every output; of the bad ones only the first has a label, for all of them."""
    names = [str(name) for name in dataset["output"].values]
    bad = [name for name in names if name.startswith("bad")]
    for index, name in enumerate(names):
        if name in bad:
            label = None if name != bad[0] else ("each bad output" if len(bad) > 1 else "bad output")
        else:
            label = style.output_text(name)
        yield index, name, style.output_color(name, index), label


def probabilities(log_policy: xarray.DataArray) -> xarray.DataArray:
    """exp(log_policy), averaged over prompts."""
    return xarray.apply_ufunc(np.exp, log_policy).mean("prompt")


LINES = "broad lines: gradient ascent;  dashed: gradient flow at time = learning rate × updates"


def dots(dataset: xarray.Dataset) -> str:
    """What `mark_hits` marks, in words."""
    return f";  dots: first update with $V \\geq {dataset.attrs['target']:g}$"


def footnote(figure: Figure, words: str) -> None:
    """What the marks of the figure mean, in a line below it."""
    figure.supxlabel(words, size=8.5, color="0.35")


def letters(axes: Sequence[Axes]) -> None:
    """(a), (b), ... in reading order."""
    for i, panel in enumerate(axes):
        style.panel_letter(panel, chr(ord("a") + i))
