"""Labels beside curves instead of a legend, put where they cover nothing.

For every curve, places along it are tried, above and below. A place counts where the text stays inside the axes, off
every label already there, and nearer to its own curve than to any other; among these the one with the most room around
it wins.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg, RendererAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.transforms import Bbox

from figures import style

_GAP = 2.5  # points between a curve and its label
_ROOM = 16.0  # points; more room than this counts no further, and then a place near the middle is preferred
_FORBIDDEN = 1e6


def settle(figure: Figure) -> RendererAgg:
    """Fixes the layout as it now is, so that labels can be placed in it; gives the renderer to measure them with."""
    canvas = figure.canvas if isinstance(figure.canvas, FigureCanvasAgg) else FigureCanvasAgg(figure)
    for _ in range(2):  # the layout's first pass can change the ticks, and with them the room that labels need
        figure.draw_without_rendering()
    figure.set_layout_engine("none")
    return canvas.get_renderer()


def place(
    axes: Axes,
    renderer: RendererAgg,
    curves: Sequence[tuple[Line2D, str]],
    *,
    avoid: Sequence[Line2D] = (),
    size: float = 9.5,
    optional: bool = False,
) -> None:
    """Writes each text beside its curve, in the curve's colour.

    Args:
        axes: where the curves are, in a figure whose layout is settled.
        renderer: what `settle` gave.
        curves: (line, text) pairs.
        avoid: further lines that no label may cover.
        size: of the text, in points.
        optional: leave out a label for which there is no clear place, instead of taking the least bad one.
    """
    point = renderer.dpi / 72
    frame = axes.get_window_extent(renderer)
    paths = [_pixels(axes, line) for line in (*(line for line, _ in curves), *avoid)]
    taken = [text.get_window_extent(renderer) for text in axes.texts if text.get_text()]
    for i, (line, words) in enumerate(curves):
        label = axes.text(0, 0, words, transform=axes.transAxes, size=size, ha="center", va="center")
        label.set(color=line.get_color(), path_effects=style.HALO)
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
        beside = path[np.abs(path[:, 0] - x) <= width / 2, 1]
        if not len(beside):
            continue
        offset = _GAP * point + height / 2
        places = [(beside.max() + offset + extra, extra) for extra in (0, 3 * point)]
        places += [(beside.min() - offset - extra, extra) for extra in (0, 3 * point)]
        for y, extra in places:
            box = Bbox.from_bounds(x - width / 2, y - height / 2, width, height)
            margin = min(box.y0 - frame.y0, frame.y1 - box.y1)
            room = min(_distance_to_points(box, others), *(_distance_to_box(box, other) for other in taken), np.inf)
            # A label hangs from the extreme of the curve over its width, so on a steep stretch it would float far off.
            slope = beside.max() - beside.min()
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
