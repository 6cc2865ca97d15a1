"""How the tables of all commands look."""

from __future__ import annotations

from collections.abc import Collection

import rich.box
from rich.console import Console
from rich.table import Table


def console(least: int = 0) -> Console:
    """Standard output, at least so many characters wide, that shows names as they are, whatever brackets they hold.

    Example:
        >>> console(150).width >= 150
        True
    """
    return Console(markup=False, highlight=False, emoji=False, width=max(Console().width, least))


def table(*columns: str, left: Collection[str], title: str | None = None) -> Table:
    """An empty table with these headings: those in `left` head words, the others numbers.

    Example:
        >>> [column.justify for column in table("theorem", "slack", left=["theorem"]).columns]
        ['left', 'right']
    """
    made = Table(box=rich.box.SIMPLE_HEAD, pad_edge=False, title=title, title_justify="left")
    for column in columns:
        made.add_column(column, justify="left" if column in left else "right")
    return made
