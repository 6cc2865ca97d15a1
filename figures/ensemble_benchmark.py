"""The ensemble benchmark as two pictures: time against achieved error, and time a trajectory against batch size.

    python -m figures.ensemble_benchmark [DIR]

draws both from the ensemble_timings.csv in DIR (default: experiments/benchmarks/results), and writes them beside it.
"""

from __future__ import annotations

import pathlib
import sys
from collections.abc import Sequence

import numpy as np
import pandas
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from figures import panels, style
from pgdyn.plot import labels, palette

WORK_PRECISION_CASE = "standard-1e4"
# A colour for each peer; its second method is dashed.
_STYLES = {
    "pgdyn engine": (palette.BLUE, "-"),
    "diffrax Tsit5": (palette.VERMILLION, "-"),
    "diffrax Dopri8": (palette.VERMILLION, "--"),
    "plain engine": (palette.ORANGE, "-"),
    "Numba order 5": (palette.GREEN, "-"),
    "Numba order 8": (palette.GREEN, "--"),
    "SciPy loop": (palette.PURPLE, "-"),
    "ascent scan": (palette.GREY, "-"),
}
_DEFAULT = 1e-6


@style.styled
def work_precision(timings: pandas.DataFrame) -> Figure:
    """Seconds for the batch of the standard case against the error that 99 % of its problems keep, by tolerance.

    Args:
        timings: the table ensemble_timings.csv of the benchmark.
    """
    rows = timings.query("case == @WORK_PRECISION_CASE and warm_s.notna()")
    figure = Figure(figsize=(0.72 * style.WIDTH, 3.6), layout="constrained")
    axes = figure.subplots()
    axes.set(xscale="log", yscale="log")
    curves: list[tuple[Line2D, str]] = []
    for peer, (color, dashes) in _STYLES.items():
        own = rows.query("peer == @peer").sort_values("rtol", ascending=False)
        if own.empty:
            continue
        (line,) = axes.plot(own["error_p99"], own["warm_s"], color=color, linestyle=dashes, marker="o", markersize=3)
        default = own.query("abs(rtol / @_DEFAULT - 1) < 1e-3")
        axes.plot(default["error_p99"], default["warm_s"], "o", color=color, markersize=6.5, zorder=3)
        curves.append((line, peer))
    size = int(rows["problems"].iloc[0])
    axes.set_xlabel(r"error of $\log\,\pi$ that 99 % of the problems keep, nats")
    axes.set_ylabel(f"time for {size:,} problems, s")
    axes.margins(0.08, 0.12)
    _powers(axes)
    panels.footnote(figure, "a dot for every tolerance;  large dots: relative tolerance $10^{-6}$")
    _name(figure, axes, curves)
    return figure


@style.styled
def scaling(timings: pandas.DataFrame) -> Figure:
    """Microseconds a trajectory against N, standard problems at a relative tolerance of 1e-6.

    Args:
        timings: the table ensemble_timings.csv of the benchmark.
    """
    rows = timings.query("workload == 'standard' and warm_s.notna() and abs(rtol / @_DEFAULT - 1) < 1e-3")
    # One size may have been timed in several cases; the scaling case comes last, and its own number is the one to show.
    rows = rows.drop_duplicates(["peer", "problems"], keep="last")
    figure = Figure(figsize=(0.72 * style.WIDTH, 3.6), layout="constrained")
    axes = figure.subplots()
    axes.set(xscale="log", yscale="log")
    curves: list[tuple[Line2D, str]] = []
    for peer, (color, dashes) in _STYLES.items():
        own = rows.query("peer == @peer").sort_values("problems")
        if len(own) < 2:
            continue
        each = own["warm_s"] / own["problems"] * 1e6
        (line,) = axes.plot(own["problems"], each, color=color, linestyle=dashes, marker="o", markersize=3)
        curves.append((line, peer))
    axes.set_xlabel("number of problems $N$")
    axes.set_ylabel(r"time a trajectory, $\mu$s")
    axes.margins(0.06, 0.12)
    _powers(axes)
    panels.footnote(figure, "the standard problems, relative tolerance $10^{-6}$")
    _name(figure, axes, curves)
    return figure


def _powers(axes: Axes) -> None:
    """Ticks at powers of ten; plain numbers on the axis of times."""
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(numticks=12))
        axis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _name(figure: Figure, axes: Axes, curves: Sequence[tuple[Line2D, str]]) -> None:
    renderer = labels.settle(figure)
    long = [curve for curve in curves if len(np.asarray(curve[0].get_xdata())) > 1]
    for line, words in curves:
        if len(x := np.asarray(line.get_xdata(), float)) == 1:
            y = float(np.asarray(line.get_ydata(), float)[0])
            label = axes.annotate(
                words, (x[0], y), (0, -5), textcoords="offset points", ha="center", va="top", size=9.5
            )
            label.set(color=line.get_color(), path_effects=labels.HALO)
    single = [line for line, _ in curves if len(np.asarray(line.get_xdata())) == 1]
    labels.beside(axes, renderer, long, avoid=single)


def write(folder: pathlib.Path) -> list[pathlib.Path]:
    """The pictures that the timings in `folder` allow, written into it.

    Args:
        folder: where ensemble_timings.csv lies.

    Returns:
        The files written.
    """
    timings = pandas.read_csv(folder / "ensemble_timings.csv")
    cases = set(timings["case"])
    pictures = {
        "ensemble_work_precision.png": (work_precision, WORK_PRECISION_CASE),
        "ensemble_scaling.png": (scaling, "scaling"),
    }
    written = []
    for name, (draw, case) in pictures.items():
        if case in cases:
            style.save(draw(timings), folder / name)
            written.append(folder / name)
    return written


if __name__ == "__main__":
    where = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "experiments/benchmarks/results")
    for path in write(where):
        print(path)
