"""The colours of every picture: those of Okabe and Ito (2008), distinct under all common forms of colour blindness.

>>> from pgdyn.plot import palette
>>> palette.LINES[0]
'#0072B2'
"""

from __future__ import annotations

from matplotlib.colors import Colormap, ListedColormap

BLACK, ORANGE, SKY, GREEN = "#000000", "#E69F00", "#56B4E9", "#009E73"
YELLOW, BLUE, VERMILLION, PURPLE = "#F0E442", "#0072B2", "#D55E00", "#CC79A7"

# In the order in which curves take them. Yellow is too faint for a line on white.
LINES = (BLUE, VERMILLION, GREEN, ORANGE, PURPLE, SKY, BLACK)

GREY = "#8C8C8C"  # what stands behind: further curves, marks, bad outputs
PALE = "#BBBBBB"  # areas and dots without a colour of their own
INK = "#444444"  # words and rules that belong to no curve
GRID = "#E8E8E8"

SEQUENTIAL = "viridis"  # maps of one quantity from low to high


def solid(color: str) -> Colormap:
    """A colour map of one colour, for the part of a map that a sentence and no number belongs to.

    Args:
        color: the colour.

    Returns:
        The map.

    Example:
        >>> solid(BLACK).N
        1
    """
    return ListedColormap([color])
