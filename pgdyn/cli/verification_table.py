"""The tables that `pgdyn verify` shows: what was found, and with `--list` what the theorems say."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

import rich.box
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from pgdyn.theory.theorem import Theorem
    from pgdyn.theory.verify import Verification

_WIDTH = 150


def outcome(result: Verification) -> str:
    """What the violations, or their absence, mean for a theorem of this kind."""
    if result.theorem.kind == "known false":
        return "refuted, as known" if result.violations else "NO COUNTEREXAMPLE"
    if not result.violations:
        return "holds"
    return "OUTSIDE TOLERANCE" if result.theorem.kind == "law" else "VIOLATED"


def show(results: Sequence[Verification]) -> None:
    """Prints one line a theorem to standard output: problems, violations and slack, in each theorem's own unit."""
    table = Table(box=rich.box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("theorem", no_wrap=True)
    table.add_column("kind", no_wrap=True)
    for column in ("problems", "violations", "least slack", "median slack", "seconds"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("outcome", no_wrap=True)
    for result in results:
        style = None if result.as_expected else "bold red"
        numbers = (f"{result.smallest_slack:.3g}", f"{result.median_slack:.3g}", f"{result.seconds:.1f}")
        counts = (str(result.problems), str(result.violations))
        table.add_row(result.theorem.name, result.theorem.kind, *counts, *numbers, outcome(result), style=style)
    # Wide enough for whole names and numbers: a narrow terminal wraps the lines, and what is piped is read by programs.
    console = Console(markup=False, highlight=False, emoji=False, width=max(Console().width, _WIDTH))
    console.print(table)
    seconds = sum(result.seconds for result in results)
    wrong = sum(not result.as_expected for result in results)
    theorems = "1 theorem" if len(results) == 1 else f"{len(results)} theorems"
    console.print(f"{theorems} in {seconds:.0f} s, {wrong} not as claimed")


def show_statements(theorems: Sequence[Theorem]) -> None:
    """Prints name, kind, statement, source and unit of each theorem."""
    console = Console(markup=False, highlight=False, emoji=False)
    width = min(console.width, 110)
    for theorem in theorems:
        console.print(f"{theorem.name} ({theorem.kind})", style="bold", soft_wrap=True)
        for text in (theorem.statement, f"Source: {theorem.source}.", f"Slack: {theorem.unit}."):
            console.print(textwrap.indent(textwrap.fill(text, width - 4), "    "), soft_wrap=True)
        console.print()
