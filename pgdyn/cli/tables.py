"""How the tables of all commands look."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import TypeAlias

import rich.box
from rich.console import Console
from rich.table import Table
from rich.text import Text

Part: TypeAlias = str | Text | Table


def heading(text: str) -> Text:
    """A line above what it names."""
    return Text(text, "bold")


def show(parts: Iterable[Part], width: int = 0) -> None:
    """Prints on standard output, at least `width` characters wide; names are shown as they are, with their brackets."""
    console = Console(markup=False, highlight=False, emoji=False, width=max(Console().width, width))
    for part in parts:
        console.print(part, soft_wrap=not isinstance(part, Table))


def table(
    headings: Sequence[str],
    rows: Iterable[Iterable[object]],
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
    section = None
    for cells in rows:
        first, *rest = (f"{cell:.{digits}g}" if isinstance(cell, float) else str(cell) for cell in cells)
        if sections and first != section:
            made.add_section()
        section = first
        made.add_row(first, *rest)
    return made
