"""The tables that `pgdyn verify` shows: what was found, and with `--list` what the theorems say."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pgdyn.cli import tables

if TYPE_CHECKING:
    from pgdyn.theory.theorem import Theorem
    from pgdyn.theory.verify import Verification

_WIDTH = 150  # whole names and numbers: what is piped is read by programs
_WORDS = ("theorem", "kind", "outcome")


def outcome(result: Verification) -> str:
    """What the violations, or their absence, mean for a theorem of this kind."""
    if result.theorem.kind == "known false":
        return "refuted, as known" if result.violations else "NO COUNTEREXAMPLE"
    if not result.violations:
        return "holds"
    return "OUTSIDE TOLERANCE" if result.theorem.kind == "law" else "VIOLATED"


def row(result: Verification) -> dict[str, Any]:
    """One theorem's numbers by name, as the file has them."""
    words = {"name": result.theorem.name, "kind": result.theorem.kind}
    numbers = ("problems", "violations", "smallest_slack", "median_slack")
    return words | {name: getattr(result, name) for name in numbers} | {"outcome": outcome(result)}


def show(results: Sequence[Verification]) -> None:
    """Prints one line a theorem to standard output: problems, violations and slack, in each theorem's own unit."""
    numbers = ("problems", "violations", "least slack", "median slack", "seconds")
    table = tables.table("theorem", "kind", *numbers, "outcome", left=_WORDS)
    for result in results:
        cells = [f"{value:.3g}" if isinstance(value, float) else str(value) for value in row(result).values()]
        cells.insert(-1, f"{result.seconds:.1f}")
        table.add_row(*cells, style=None if result.as_expected else "bold red")
    console = tables.console(_WIDTH)
    console.print(table)
    seconds = sum(result.seconds for result in results)
    wrong = sum(not result.as_expected for result in results)
    theorems = "1 theorem" if len(results) == 1 else f"{len(results)} theorems"
    console.print(f"{theorems} in {seconds:.0f} s, {wrong} not as claimed")


def show_statements(theorems: Sequence[Theorem]) -> None:
    """Prints name, kind, statement, source and unit of each theorem."""
    console = tables.console()
    width = min(console.width, 110)
    for theorem in theorems:
        console.print(f"{theorem.name} ({theorem.kind})", style="bold", soft_wrap=True)
        for text in (theorem.statement, f"Source: {theorem.source}.", f"Slack: {theorem.unit}."):
            console.print(textwrap.indent(textwrap.fill(text, width - 4), "    "), soft_wrap=True)
        console.print()
