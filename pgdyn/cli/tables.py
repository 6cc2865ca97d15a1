"""How the tables of all commands look."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

import rich.box
from rich.console import Console
from rich.table import Table


def console(least: int = 0) -> Console:
    """Standard output, at least so many characters wide, that shows names as they are, whatever brackets they hold."""
    return Console(markup=False, highlight=False, emoji=False, width=max(Console().width, least))


def table(
    headings: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    left: Collection[str],
    title: str | None = None,
    digits: int = 4,
    sections: bool = False,
) -> Table:
    """A table of text and numbers.

    Args:
        headings: of the columns.
        rows: a cell for each heading.
        left: the headings of words; the others head numbers.
        title: above the table.
        digits: of floats.
        sections: whether a new first cell begins a section.

    Example:
        >>> made = table(["theorem", "slack"], [("log_ratio", 0.123456)], left=["theorem"])
        >>> [(column.justify, *column.cells) for column in made.columns]
        [('left', 'log_ratio'), ('right', '0.1235')]
    """
    made = Table(box=rich.box.SIMPLE_HEAD, pad_edge=False, title=title, title_justify="left")
    for heading in headings:
        made.add_column(heading, justify="left" if heading in left else "right")
    first = None
    for row in rows:
        if sections and row[0] != first:
            made.add_section()
        first = row[0]
        made.add_row(*(f"{cell:.{digits}g}" if isinstance(cell, float) else str(cell) for cell in row))
    return made
