"""One look for all figures: type, sizes, and a fixed colour for every output and every training reward.

The colours are those of `pgdyn.plot.palette`.
"""

from __future__ import annotations

import functools
import io
import pathlib
from collections.abc import Callable
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from pgdyn.io import atomic
from pgdyn.plot.palette import BLACK, BLUE, GREEN, GREY, ORANGE, PURPLE, SKY, VERMILLION, YELLOW

WIDTH = 7.2  # inches, the text width of a page with two columns
DPI = 200

_OUTPUTS = {"y*": BLUE, "y_med": ORANGE}
_OUTPUT_TEXT = {"y*": r"$y^{\!\ast}$", "y_med": r"$y_{\mathrm{med}}$"}
_REWARDS = {"ground truth": BLACK, "proxy": VERMILLION}
_SPARE = (GREEN, PURPLE, SKY, YELLOW)

RC: dict[Any, Any] = {
    # These come with matplotlib, so that a figure looks the same on every machine.
    "font.family": "STIXGeneral",
    "mathtext.fontset": "stix",
    "font.size": 9.5,
    "axes.titlesize": 10,
    "axes.labelsize": 9.5,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.minor.width": 0.4,
    "xtick.major.size": 3,
    "ytick.major.size": 3,
    "xtick.minor.size": 1.6,
    "lines.linewidth": 1.6,
    "lines.solid_capstyle": "round",
    "axes.unicode_minus": True,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "pdf.fonttype": 42,
}

ASCENT = {"linestyle": "-", "linewidth": 2.6, "alpha": 0.45}
FLOW = {"linestyle": (0, (4, 2.2)), "linewidth": 1.0}


def styled(draw: Callable[..., Figure]) -> Callable[..., Figure]:
    """Makes `draw` run under this style, whatever the caller's matplotlib settings are."""

    @functools.wraps(draw)
    def wrapped(*args: Any, **kwargs: Any) -> Figure:
        with matplotlib.rc_context({**matplotlib.rcParamsDefault, **RC, "backend": matplotlib.rcParams["backend"]}):
            return draw(*args, **kwargs)

    return wrapped


def output_color(name: str, index: int = 0) -> str:
    """The colour of an output: fixed for y* and y_med, grey for bad ones, from the spare colours for others."""
    if name.startswith("bad"):
        return GREY
    return _OUTPUTS.get(name, _SPARE[index % len(_SPARE)])


def output_text(name: str) -> str:
    """An output's name as it is set in a figure."""
    return _OUTPUT_TEXT.get(name, name)


def reward_color(name: str, index: int = 0) -> str:
    """The colour of a training reward: fixed for the ground truth and the proxy."""
    return _REWARDS.get(name, _SPARE[index % len(_SPARE)])


def update_axis(axes: Axes, last: float, first: float = 1.0) -> None:
    """A logarithmic horizontal axis in updates, from `first` to `last`."""
    axes.set_xscale("log")
    axes.set_xlim(first, last)


def panel_letter(axes: Axes, letter: str) -> None:
    """A bold letter at the panel's upper left, outside of the data."""
    axes.annotate(
        f"({letter})", (0, 1), (-4, 4), xycoords="axes fraction", textcoords="offset points", weight="bold", ha="right"
    )


def save(figure: Figure, path: pathlib.Path) -> None:
    """Writes the figure in the format of the path's ending, whole or not at all."""
    atomic.write_file(path, encode(figure, path.suffix.removeprefix(".")))


def encode(figure: Figure, ending: str) -> bytes:
    """The figure as the bytes of a "png", "pdf" or "svg" file, without a date: equal figures are equal files."""
    data = io.BytesIO()
    with matplotlib.rc_context(RC):
        figure.savefig(data, dpi=DPI, format=ending, metadata={"CreationDate": None} if ending == "pdf" else {})
    if ending != "png":
        return data.getvalue()
    # Line art needs few colours: a palette makes the file a third of its size, and nothing visible is lost.
    image, smaller = Image.open(data).convert("RGB").quantize(128, dither=Image.Dither.NONE), io.BytesIO()
    image.save(smaller, "png", optimize=True, dpi=(DPI, DPI))
    return smaller.getvalue()
