"""Names of curves, written beside them instead of in a legend.

`beside` finds a place inside the axes: along every curve, above and below it, places are tried. A place counts where
the text stays inside the axes, off every label already there, and nearer to its own curve than to any other. Among
these the one with the most room around it wins.

`at_ends` writes into the right margin, at the height where each curve ends, and moves labels apart as little as it can.
It always finds room for a few curves, even where they coincide.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg, RendererAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Annotation
from matplotlib.transforms import Bbox

HALO = [patheffects.withStroke(linewidth=2.2, foreground="white")]

_GAP = 2.5  # points between a curve and its label
_ROOM = 16.0  # points; more room than this counts no further, and then a place near the middle is preferred
_FORBIDDEN = 1e6
_LINE_HEIGHT = 1.3  # of a label in the margin, in font sizes


def settle(figure: Figure) -> RendererAgg:
    """Fixes the layout as it now is, so that `beside` can place labels in it.

    Args:
        figure: with everything drawn but the labels.

    Returns:
        The renderer to measure labels with.
    """
    canvas = figure.canvas if isinstance(figure.canvas, FigureCanvasAgg) else FigureCanvasAgg(figure)
    for _ in range(2):  # the layout's first pass can change the ticks, and with them the room that labels need
        figure.draw_without_rendering()
    figure.set_layout_engine("none")
    return canvas.get_renderer()


def at_ends(panels: Mapping[Axes, Sequence[tuple[Line2D, str]]], *, size: float = 8.0) -> None:
    """Writes each text right of the axes at the height where its curve ends, in the curve's colour, tied to that end.

    The figure's layout makes room for the labels. Text is written as it is: dollar signs are no mathematics.

    Args:
        panels: axes of one figure, limits set -> (line, text) pairs. A curve ends at its last finite value.
        size: of the text, in points.

    Example:
        >>> from matplotlib.figure import Figure
        >>> axes = Figure(layout="constrained").subplots()
        >>> curves = [(axes.plot([0, 1], [0, 1])[0], "rising"), (axes.plot([0, 1], [0.9, 0.99])[0], "flat")]
        >>> at_ends({axes: curves})
        >>> [text.get_text() for text in axes.texts]
        ['rising', 'flat']
    """
    drawn = {axes: [_at_end(axes, line, words, size) for line, words in curves] for axes, curves in panels.items()}
    for figure in {axes.get_figure(root=True) for axes in panels}:
        if figure is not None:
            # How high the axes are, and so how far apart labels must be, is known once there is room for the labels.
            figure.draw_without_rendering()
    for axes, texts in drawn.items():
        figure = axes.get_figure(root=True)
        if not texts or figure is None:
            continue
        gap = _LINE_HEIGHT * size / 72 * figure.dpi / axes.get_window_extent().height
        heights = np.array([text.xy[1] for text in texts])
        order = np.argsort(heights, kind="stable")
        for i, height in zip(order, spread(heights[order], gap), strict=True):
            texts[i].set_position((texts[i].get_position()[0], height))


def _at_end(axes: Axes, line: Line2D, words: str, size: float) -> Annotation:
    y = np.asarray(line.get_ydata(), float)
    end = y[np.isfinite(y)][-1] if np.isfinite(y).any() else 0.0
    height = axes.transAxes.inverted().transform(axes.transData.transform((axes.get_xlim()[1], end)))[1]
    color = line.get_color()
    return axes.annotate(
        words, (1.0, height), (1.035, height), xycoords="axes fraction", textcoords="axes fraction", va="center",
        ha="left", color=color, fontsize=size, annotation_clip=False, parse_math=False,
        arrowprops={
            "arrowstyle": "-", "color": color, "linewidth": 0.7, "relpos": (0, 0.5), "shrinkA": 1, "shrinkB": 0,
        },
    )  # fmt: skip


def spread(places: np.ndarray, gap: float) -> np.ndarray:
    """The positions in [0, 1] nearest to `places` (least squares) that lie at least `gap` apart.

    Subtracting i * gap from position i turns the constraint into monotonicity, which pooling adjacent violators solves.
    Clipping that solution adds the bounds. Where [0, 1] has no room for all of them, the upper bound gives way.

    Args:
        places: [n], ascending.
        gap: at least 0.

    Returns:
        [n], ascending.

    Example:
        >>> spread(np.array([0.5, 0.5, 0.75]), 0.25).tolist()
        [0.3333333333333333, 0.5833333333333333, 0.8333333333333333]
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


def beside(
    axes: Axes,
    renderer: RendererAgg,
    curves: Sequence[tuple[Line2D, str]],
    *,
    avoid: Sequence[Line2D] = (),
    size: float = 9.5,
    optional: bool = False,
) -> None:
    """Writes each text beside its curve, inside the axes, in the curve's colour.

    Args:
        axes: where the curves are, in a figure whose layout is settled.
        renderer: what `settle` gave.
        curves: (line, text) pairs.
        avoid: further lines that no label may cover.
        size: of the text, in points.
        optional: leave out a label for which there is no clear place, instead of taking the least bad one.

    Example:
        >>> from matplotlib.figure import Figure
        >>> figure = Figure(layout="constrained")
        >>> axes = figure.subplots()
        >>> curve = axes.plot([0, 1], [0, 1])[0]
        >>> beside(axes, settle(figure), [(curve, "rising")])
        >>> axes.texts[0].get_text(), axes.texts[0].get_color() == curve.get_color()
        ('rising', True)
    """
    point = renderer.dpi / 72
    frame = axes.get_window_extent(renderer)
    paths = [_pixels(axes, line) for line in (*(line for line, _ in curves), *avoid)]
    taken = [text.get_window_extent(renderer) for text in axes.texts if text.get_text()]
    for i, (line, words) in enumerate(curves):
        label = axes.text(0, 0, words, transform=axes.transAxes, size=size, ha="center", va="center")
        label.set(color=line.get_color(), path_effects=HALO)
        extent = label.get_window_extent(renderer)
        others = np.concatenate([*paths[:i], *paths[i + 1 :], np.empty((0, 2))])
        box, clear = _best_box(extent.width, extent.height, paths[i], others, taken, frame, point)
        if optional and not clear:
            label.remove()
            continue
        x, y = axes.transAxes.inverted().transform(((box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2))
        label.set_position((x, y))
        taken.append(box)


def _pixels(axes: Axes, line: Line2D) -> np.ndarray:
    """[n, 2] points along the line as drawn, about a pixel apart, inside the axes."""
    x, y = (np.asarray(data, float) for data in line.get_data())
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    keep = np.isfinite(x) & np.isfinite(y) & (x >= left) & (x <= right)
    points = axes.transData.transform(np.column_stack([x[keep], np.clip(y[keep], bottom, top)]))
    if len(points) < 2:
        return points
    length = np.concatenate([[0], np.cumsum(np.hypot(*np.diff(points, axis=0).T))])
    fine = np.linspace(0, length[-1], max(2, int(length[-1])))
    return np.column_stack([np.interp(fine, length, points[:, i]) for i in (0, 1)])


def _best_box(
    width: float,
    height: float,
    path: np.ndarray,
    others: np.ndarray,
    taken: Sequence[Bbox],
    frame: Bbox,
    point: float,
) -> tuple[Bbox, bool]:
    best, best_score = Bbox.from_bounds(frame.x0, frame.y0, width, height), -np.inf
    inset = width / 2 + _GAP * point
    for x in np.linspace(frame.x0 + inset, frame.x1 - inset, 80):
        stretch = path[np.abs(path[:, 0] - x) <= width / 2, 1]
        if not len(stretch):
            continue
        offset = _GAP * point + height / 2
        places = [(stretch.max() + offset + extra, extra) for extra in (0, 3 * point)]
        places += [(stretch.min() - offset - extra, extra) for extra in (0, 3 * point)]
        for y, extra in places:
            box = Bbox.from_bounds(x - width / 2, y - height / 2, width, height)
            margin = min(box.y0 - frame.y0, frame.y1 - box.y1)
            room = min(_distance_to_points(box, others), *(_distance_to_box(box, other) for other in taken), np.inf)
            # A label hangs from the extreme of the curve over its width, so on a steep stretch it would float far off.
            slope = stretch.max() - stretch.min()
            middle = abs(x - (frame.x0 + frame.x1) / 2) / frame.width
            score = min(room, _ROOM * point) - slope - 2 * extra - 4 * point * middle
            # Where two curves lie on each other, the label is as near to the one as to the other.
            near = 0.75 * (_GAP * point + extra)
            score -= _FORBIDDEN * (2 * (margin < 0) + (room < near))
            if score > best_score:
                best, best_score = box, score
    return best, best_score > -_FORBIDDEN / 2


def _distance_to_points(box: Bbox, points: np.ndarray) -> float:
    if not len(points):
        return np.inf
    dx = np.maximum(np.maximum(box.x0 - points[:, 0], points[:, 0] - box.x1), 0)
    dy = np.maximum(np.maximum(box.y0 - points[:, 1], points[:, 1] - box.y1), 0)
    return float(np.hypot(dx, dy).min())


def _distance_to_box(box: Bbox, other: Bbox) -> float:
    dx = max(box.x0 - other.x1, other.x0 - box.x1, 0)
    dy = max(box.y0 - other.y1, other.y0 - box.y1, 0)
    return float(np.hypot(dx, dy))
