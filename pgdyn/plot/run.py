"""A run as a picture: its values, and the probability of every output, over time.

Figures are made without pyplot, so nothing global changes and none is kept open.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator

from pgdyn import paths, validate
from pgdyn.plot import labels, palette

if TYPE_CHECKING:
    from pgdyn.solution import Solution

_FONT = 8.0  # points
_MAX_ROWS = 4  # prompts shown one by one
_MAX_EPISODES = 1024  # whole outputs of a sequence that are drawn
_MAX_TICKS = 8
_RAISED = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")
_TIME_LABELS = {"flow": "gradient-flow time t"}

_Curves = list[tuple[Line2D, str]]


def run(solution: Solution, output_names: Sequence[str] | None = None) -> Figure:
    """True and proxy value above, output probabilities below, over time.

    The time axis is log(1 + t), on which the points that a flow saves are evenly spaced; short runs have a linear one.
    Of a sequence of decisions the outputs are its whole outputs, named by their actions, where there are up to 1,024.
    With up to 4 prompts each has a panel of its own; with more, the panel shows
    probabilities averaged over prompts with the problem's weights. With up to 7 outputs every curve is coloured and
    labelled at its end; with more, the 6 whose probability comes highest anywhere in the run are, and the rest are thin
    grey lines. Curves that coincide share one line of alternating dashes. A dotted line marks the hitting time where
    there is one. A run that broke off is continued by thin dotted lines.

    Args:
        solution: one run with its path.
        output_names: [K] labels; None for "output 0" and so on.

    Returns:
        The figure.

    Raises:
        ValueError: on a batch, on a run without its path, or if `output_names` is not a list of K strings.

    Example:
        >>> import pgdyn
        >>> problem = pgdyn.Problem.tabular([0.05, 0.5, 0.15, 0.15, 0.15], [1, 0.8, -1, -1, -1])
        >>> figure = pgdyn.plot.run(pgdyn.ascend(problem, 20), ["best", "mediocre", "bad", "bad", "bad"])
        >>> [axes.get_ylabel() for axes in figure.axes]
        ['value', 'probability']
    """
    if shape := np.shape(solution.result):
        raise ValueError(f"plot takes one run and this is a batch of shape {shape}; pick one and run it alone")
    if solution.t is None:
        raise ValueError("plot needs the path of the run and this solution holds its end alone")
    validate.require_known("plot", solution)
    t = np.asarray(solution.t, float)
    policy = np.exp(np.asarray(solution.log_policy, float))
    outputs = _whole_outputs(solution, policy)
    if outputs is not None:
        policy, own = outputs
        names = own if output_names is None else _names(output_names, len(own))
    else:
        names = _names(output_names, solution.problem.num_outputs)
    rows = [f"probability, prompt {p}" for p in range(policy.shape[1])]
    if policy.shape[1] == 1:
        rows = ["probability"]
    elif policy.shape[1] > _MAX_ROWS:
        policy = np.einsum("p,spk->sk", np.asarray(solution.problem.prompt_weights, float), policy)[:, None]
        rows = ["probability, mean over prompts" if solution.problem.transitions is None else "first decision"]

    heights = [2.1] + [2.3] * len(rows)
    figure = Figure(figsize=(7.0, sum(heights) + 0.4), layout="constrained")
    panels = figure.subplots(len(heights), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0].tolist()
    curves: dict[Axes, _Curves] = {panels[0]: _draw_values(panels[0], t, solution)}
    for row, title in enumerate(rows):
        panel = panels[row + 1]
        curves[panel] = _draw_policy(panel, t, policy[:, row], policy.max(axis=1), names)
        panel.set_ylabel(title, fontsize=_FONT + 1)
    for panel in panels:
        panel.tick_params(labelsize=_FONT)
        panel.spines[["top", "right"]].set_visible(False)
        panel.grid(axis="y", color=palette.GRID, linewidth=0.6)
        panel.set_axisbelow(True)
    _set_time_axis(panels[-1], t)
    panels[-1].set_xlabel(_TIME_LABELS.get(solution.dynamics, "updates made"), fontsize=_FONT + 1)
    _mark_hit(panels, float(solution.hitting_time))
    labels.at_ends(curves, size=_FONT)
    return figure


def _whole_outputs(solution: Solution, policy: np.ndarray) -> tuple[np.ndarray, list[str]] | None:
    """The probabilities [S, 1, M] of a sequence's whole outputs and their names; None where they are too many."""
    problem: Any = solution.problem
    if problem.transitions is None or paths.count_paths(problem) > _MAX_EPISODES:
        return None
    ways = paths.paths(problem)
    if len(np.unique(ways.points[:, 0])) > 1 or problem.transitions.probabilities is not None:
        return None
    with np.errstate(divide="ignore"):
        whole = np.exp(ways.total(np.log(policy)))
    return whole[:, None], [" ".join(str(y) for y in way if y >= 0) for way in ways.actions]


def _names(output_names: Sequence[str] | None, outputs: int) -> list[str]:
    if output_names is None:
        return [f"output {y}" for y in range(outputs)]
    if isinstance(output_names, str) or not all(isinstance(name, str) for name in output_names):
        raise ValueError(f"output_names must be a list of strings, got {output_names!r:.80}")
    if len(output_names) != outputs:
        raise ValueError(f"output_names has {len(output_names)} names but the problem has {outputs} outputs")
    return [name if len(name) <= 28 else name[:27] + "…" for name in output_names]


def _draw_values(axes: Axes, t: np.ndarray, solution: Solution) -> _Curves:
    axes.set_ylabel("value", fontsize=_FONT + 1)
    true, proxy = (np.asarray(curve, float) for curve in (solution.true_value, solution.proxy_value))
    return [
        (_draw_curve(axes, t, true, palette.BLACK, "-"), "true value"),
        (_draw_curve(axes, t, proxy, palette.VERMILLION, "--"), "proxy value"),
    ]


def _draw_policy(axes: Axes, t: np.ndarray, policy: np.ndarray, peaks: np.ndarray, names: list[str]) -> _Curves:
    """`peaks` [S, K] ranks the outputs, the same for the panels of all prompts."""
    outputs = policy.shape[-1]
    shown = list(range(outputs))
    curves: _Curves = []
    if outputs > len(palette.LINES):
        best = np.nanmax(peaks, axis=0)
        shown = sorted(np.argsort(-best, kind="stable")[: len(palette.LINES) - 1].tolist())
        rest = np.setdiff1d(np.arange(outputs), shown)
        lines = axes.plot(t, policy[:, rest], color=palette.GREY, linewidth=0.5)
        middle = np.argsort([_end(policy[:, y]) for y in rest], kind="stable")[len(rest) // 2]
        curves.append((lines[middle], f"{len(rest)} other outputs"))
    for color, y in zip(palette.LINES, shown, strict=False):
        twins = [other for other in shown if np.allclose(policy[:, other], policy[:, y], 0, 2e-3, equal_nan=True)]
        dashes = (5 * twins.index(y), (5, 5 * (len(twins) - 1))) if len(twins) > 1 else "-"
        curves.append((_draw_curve(axes, t, policy[:, y], color, dashes), names[y]))
    axes.set_ylim(-0.03, 1.03)
    return curves


def _draw_curve(axes: Axes, t: np.ndarray, curve: np.ndarray, color: str, style: Any) -> Line2D:
    (line,) = axes.plot(t, curve, linestyle=style, color=color, linewidth=1.6, dash_capstyle="butt")
    if not np.isfinite(curve[-1]):
        last, end = t[np.isfinite(curve)].max(initial=0.0), _end(curve)
        axes.plot([last, t[-1]], [end, end], ":", color=color, linewidth=0.7)
    return line


def _end(curve: np.ndarray) -> float:
    """The last finite value: a run that broke off leaves nan behind."""
    finite = curve[np.isfinite(curve)]
    return float(finite[-1]) if finite.size else 0.0


def _set_time_axis(axes: Axes, t: np.ndarray) -> None:
    """log(1 + t / unit), with the first save as the unit where that is later than 1; linear for short runs."""
    unit, last = max(1.0, t[t > 0].min()), t[-1]
    axes.xaxis.set_major_locator(MaxNLocator(_MAX_TICKS, steps=[1, 2, 5, 10]))
    if last > 10 * unit:
        # The axis also asks for times a little before the start.
        forward, back = lambda x: np.log1p(np.maximum(x / unit, -0.5)), lambda x: unit * np.expm1(x)
        axes.set_xscale("function", functions=(forward, back))
        decades = np.arange(np.ceil(np.log10(unit) - 1e-9), np.floor(np.log10(last) + 1e-9) + 1)
        steps = [1.0, 2.0, 5.0] if len(decades) <= 2 else [1.0]
        ticks = np.multiply.outer(10.0 ** decades[:: -(-len(decades) // _MAX_TICKS)], steps).ravel()
        axes.xaxis.set_major_locator(FixedLocator([0.0, *ticks[ticks <= last]]))
        powers = last >= 1e4
        axes.xaxis.set_major_formatter(lambda x, _: _power_of_ten(x) if powers and x > 1 else f"{x:g}")
        axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlim(0, last)


def _power_of_ten(x: float) -> str:
    """Raised digits are characters: matplotlib takes a quarter of a second to set a few exponents as mathematics."""
    return "10" + f"{np.log10(x):.0f}".translate(_RAISED)


def _mark_hit(panels: Sequence[Axes], hit: float) -> None:
    if not np.isfinite(hit):
        return
    for axes in panels:
        axes.axvline(hit, color=palette.INK, linewidth=0.9, linestyle=":")
    place = panels[0].transAxes.inverted().transform(panels[0].transData.transform((hit, 0.0)))[0]
    panels[0].annotate(
        f"target reached at {hit:.6g}",
        (place, 1.0),
        (3 if place < 0.5 else -3, 3),
        xycoords="axes fraction",
        textcoords="offset points",
        ha="left" if place < 0.5 else "right",
        fontsize=_FONT,
        color=palette.INK,
    )
