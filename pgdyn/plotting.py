"""A run as a picture: its values, and the probability of every output, over time on a logarithmic axis.

Figures are made without pyplot, so nothing global changes and none is kept open. Colours are those of Okabe and Ito
(2008), told apart under all common forms of colour blindness; their yellow, too faint for lines on white, is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import matplotlib.figure
import matplotlib.ticker
import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from pgdyn.trajectory import Trajectory

BLUE, VERMILION, GREEN, ORANGE = "#0072B2", "#D55E00", "#009E73", "#E69F00"
PURPLE, SKY, BLACK = "#CC79A7", "#56B4E9", "#000000"
COLOURS = (BLUE, VERMILION, GREEN, ORANGE, PURPLE, SKY, BLACK)
GREY = "#BBBBBB"

_FONT = 8.0  # points
_LEADER = {"arrowstyle": "-", "linewidth": 0.7, "relpos": (0, 0.5), "shrinkA": 1, "shrinkB": 0}
_MAX_ROWS = 4  # prompts shown one by one
_TIME_LABELS = {"flow": "gradient-flow time t"}


def plot_trajectory(trajectory: Trajectory, output_names: Sequence[str] | None = None) -> matplotlib.figure.Figure:
    """True and proxy value above, output probabilities below, on one time axis: linear up to the first save, then log.

    With up to 4 prompts each has a panel of its own; with more, the panel shows probabilities averaged over prompts
    with the problem's weights. With up to 7 outputs every curve is coloured and labelled at its end; with more, the 6
    whose probability comes highest anywhere in the run are, and the rest are thin grey lines. Curves that coincide
    share one line of alternating dashes. A dotted line marks the hitting time where there is one; a run that broke off
    is continued by thin dotted lines.

    Args:
        trajectory: one run.
        output_names: [K] labels; None for "output 0" and so on.

    Raises:
        ValueError: on a batch, or if `output_names` is not a list of K strings.
    """
    if trajectory.result.ndim:
        raise ValueError(
            f"plot takes one run and this is a batch of shape {trajectory.result.shape}; pick one, for instance with "
            "jax.tree.map(lambda array: array[0], trajectory)"
        )
    names = _names(output_names, trajectory.problem.num_outputs)
    t = np.asarray(trajectory.t, float)
    policy = np.exp(np.asarray(trajectory.log_policy, float))
    rows = [f"probability, prompt {p}" for p in range(policy.shape[1])]
    if policy.shape[1] == 1:
        rows = ["probability"]
    elif policy.shape[1] > _MAX_ROWS:
        policy = np.einsum("p,spk->sk", np.asarray(trajectory.problem.prompt_weights, float), policy)[:, None]
        rows = ["probability, mean over prompts"]

    heights = [2.1] + [2.3] * len(rows)
    figure = matplotlib.figure.Figure(figsize=(7.0, sum(heights) + 0.4), layout="constrained")
    axes = figure.subplots(len(heights), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
    labels = [_draw_values(axes[0], t, trajectory)]
    for row, title in enumerate(rows):
        labels.append(_draw_policy(axes[row + 1], t, policy[:, row], policy.max(axis=1), names))
        axes[row + 1].set_ylabel(title, fontsize=_FONT + 1)
    for axis in axes:
        axis.tick_params(labelsize=_FONT)
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(axis="y", color="#E8E8E8", linewidth=0.6)
        axis.set_axisbelow(True)
    _set_time_axis(axes[-1], t)
    axes[-1].set_xlabel(_TIME_LABELS.get(trajectory.dynamics, "updates made"), fontsize=_FONT + 1)
    _mark_hit(list(axes), float(trajectory.hitting_time))
    # Where labels can go is known only once the layout has given every panel its size.
    texts = [_write_labels(axis, t[-1], entries, 0.0) for axis, entries in zip(axes, labels, strict=True)]
    figure.draw_without_rendering()
    for axis, entries, drawn in zip(axes, labels, texts, strict=True):
        for artist in drawn:
            artist.remove()
        _write_labels(axis, t[-1], entries, 1.3 * _FONT / 72 * figure.dpi / axis.get_window_extent().height)
    return figure


def _names(output_names: Sequence[str] | None, outputs: int) -> list[str]:
    if output_names is None:
        return [f"output {y}" for y in range(outputs)]
    if isinstance(output_names, str) or not all(isinstance(name, str) for name in output_names):
        raise ValueError(f"output_names must be a list of strings, got {output_names!r:.80}")
    if len(output_names) != outputs:
        raise ValueError(f"output_names has {len(output_names)} names but the problem has {outputs} outputs")
    return [name if len(name) <= 28 else name[:27] + "…" for name in output_names]


_Label = tuple[float, str, str]  # where the curve ends, the text, the colour


def _draw_values(axis: Axes, t: np.ndarray, trajectory: Trajectory) -> list[_Label]:
    labels = []
    for name, curve, colour, style in (
        ("true value", trajectory.true_value, BLACK, "-"),
        ("proxy value", trajectory.proxy_value, VERMILION, "--"),
    ):
        labels.append((_draw_curve(axis, t, np.asarray(curve, float), colour, style), name, colour))
    axis.set_ylabel("value", fontsize=_FONT + 1)
    return labels


def _draw_policy(axis: Axes, t: np.ndarray, policy: np.ndarray, peaks: np.ndarray, names: list[str]) -> list[_Label]:
    """`peaks` [S, K] ranks the outputs, the same for the panels of all prompts."""
    outputs = policy.shape[-1]
    shown = list(range(outputs))
    labels = []
    if outputs > len(COLOURS):
        best = np.nanmax(peaks, axis=0)
        shown = sorted(np.argsort(-best, kind="stable")[: len(COLOURS) - 1].tolist())
        rest = np.setdiff1d(np.arange(outputs), shown)
        axis.plot(t, policy[:, rest], color=GREY, linewidth=0.5)
        ends = [_end(policy[:, y]) for y in rest]
        labels.append((float(np.median(ends)), f"{len(rest)} other outputs", "#808080"))
    for colour, y in zip(COLOURS, shown, strict=False):
        twins = [other for other in shown if np.allclose(policy[:, other], policy[:, y], 0, 2e-3, equal_nan=True)]
        dashes = (5 * twins.index(y), (5, 5 * (len(twins) - 1))) if len(twins) > 1 else "-"
        labels.append((_draw_curve(axis, t, policy[:, y], colour, dashes), names[y], colour))
    axis.set_ylim(-0.03, 1.03)
    return labels


def _draw_curve(axis: Axes, t: np.ndarray, curve: np.ndarray, colour: str, style: Any) -> float:
    """Draws it and says where it ends."""
    axis.plot(t, curve, linestyle=style, color=colour, linewidth=1.6, dash_capstyle="butt")
    end = _end(curve)
    if not np.isfinite(curve[-1]):
        last = t[np.isfinite(curve)].max(initial=0.0)
        axis.plot([last, t[-1]], [end, end], ":", color=colour, linewidth=0.7)
    return end


def _end(curve: np.ndarray) -> float:
    """The last finite value: a run that broke off leaves nan behind."""
    finite = curve[np.isfinite(curve)]
    return float(finite[-1]) if finite.size else 0.0


def _set_time_axis(axis: Axes, t: np.ndarray) -> None:
    first, last = t[t > 0].min(), t[-1]
    axis.set_xlim(0, last)
    if last < 10 * first:
        return
    axis.set_xscale("symlog", linthresh=first, linscale=0.3)
    axis.set_xlim(0, last)
    decades = np.arange(np.ceil(np.log10(first) + 0.15), np.floor(np.log10(last) + 1e-9) + 1)
    decades = decades[:: max(1, -(-len(decades) // 8))]
    axis.xaxis.set_major_locator(matplotlib.ticker.FixedLocator([0.0, *(10.0**decades)]))
    axis.xaxis.set_minor_locator(matplotlib.ticker.NullLocator())


def _mark_hit(axes: Sequence[Axes], hit: float) -> None:
    if not np.isfinite(hit):
        return
    for axis in axes:
        axis.axvline(hit, color="#606060", linewidth=0.9, linestyle=":")
    place = axes[0].transAxes.inverted().transform(axes[0].transData.transform((hit, 0.0)))[0]
    axes[0].annotate(
        f"target reached at {hit:.6g}",
        (place, 1.0),
        (3 if place < 0.5 else -3, 3),
        xycoords="axes fraction",
        textcoords="offset points",
        ha="left" if place < 0.5 else "right",
        fontsize=_FONT,
        color="#606060",
    )


def _write_labels(axis: Axes, end: float, labels: list[_Label], gap: float) -> list:
    """Labels right of the axes, at least `gap` (a fraction of its height) apart, each tied to the end of its curve."""
    low, high = axis.get_ylim()
    order = sorted(range(len(labels)), key=lambda i: labels[i][0])
    natural = np.array([(labels[i][0] - low) / (high - low) for i in order])
    artists = []
    for i, start, place in zip(order, natural, spread(natural, gap), strict=True):
        value, name, colour = labels[i]
        artists.append(
            axis.annotate(
                name,
                (1.0, start),
                (1.035, place),
                xycoords="axes fraction",
                textcoords="axes fraction",
                va="center",
                ha="left",
                color=colour,
                fontsize=_FONT,
                annotation_clip=False,
                parse_math=False,
                arrowprops={
                    "arrowstyle": "-",
                    "color": colour,
                    "linewidth": 0.7,
                    "relpos": (0, 0.5),
                    "shrinkA": 1,
                    "shrinkB": 0,
                },
            )
        )
    return artists


def spread(places: np.ndarray, gap: float) -> np.ndarray:
    """The positions in [0, 1] nearest to `places` (ascending; least squares) that lie at least `gap` apart.

    Subtracting i * gap from position i turns the constraint into monotonicity, which pooling adjacent violators solves,
    and clipping that solution adds the bounds. Where [0, 1] has no room for all of them, the upper bound gives way.
    """
    offsets = gap * np.arange(len(places))
    blocks: list[tuple[float, int]] = []
    for place in places - offsets:
        mean, size = float(place), 1
        while blocks and blocks[-1][0] > mean:
            other, count = blocks.pop()
            mean, size = (mean * size + other * count) / (size + count), size + count
        blocks.append((mean, size))
    pooled = np.concatenate([np.full(size, mean) for mean, size in blocks])
    return np.clip(pooled, 0.0, max(0.0, 1.0 - offsets[-1])) + offsets
