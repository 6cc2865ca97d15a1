"""What `pgdyn verify` shows: a line for each theorem, or what it says."""

from __future__ import annotations

import pathlib
import shutil
import textwrap
from collections.abc import Iterator, Sequence
from typing import Any

from pgdyn.cli import tables
from pgdyn.io import problem_file, provenance
from pgdyn.io.tables import write
from pgdyn.theory import Theorem, Verification

_HEADINGS = ("theorem", "kind", "problems", "violations", "least slack", "median slack", "seconds", "outcome")
_WORDS = ("theorem", "kind", "outcome")
_OUTCOMES = {  # kind of theorem -> without and with violations
    "known false": ("NO COUNTEREXAMPLE", "refuted, as known"),
    "law": ("holds", "OUTSIDE TOLERANCE"),
}


def _row(result: Verification, **more: str) -> dict[str, Any]:
    """What the file has of a theorem, and more before the outcome."""
    theorem = result.theorem
    numbers = {name: getattr(result, name) for name in ("problems", "violations", "smallest_slack", "median_slack")}
    outcome = _OUTCOMES.get(theorem.kind, ("holds", "VIOLATED"))[result.violations > 0]
    return {"name": theorem.name, "kind": theorem.kind, **numbers, **more, "outcome": outcome}


def parts(results: Sequence[Verification]) -> Iterator[tables.Part]:
    """One line a theorem: problems, violations and slack, in each theorem's own unit."""
    rows = (_row(result, seconds=f"{result.seconds:.1f}").values() for result in results)
    table = tables.table(_HEADINGS, rows, left=_WORDS, digits=3)
    for row, result in zip(table.rows, results, strict=True):
        row.style = None if result.as_expected else "bold red"
    yield table
    seconds, wrong = sum(result.seconds for result in results), sum(not result.as_expected for result in results)
    theorems = "1 theorem" if len(results) == 1 else f"{len(results)} theorems"
    yield f"{theorems} in {seconds:.0f} s, {wrong} not as claimed"


def statements(theorems: Sequence[Theorem]) -> Iterator[tables.Part]:
    """What theorems say."""
    width, indent = min(shutil.get_terminal_size().columns, 110), 4 * " "
    for theorem in theorems:
        yield tables.heading(f"{theorem.name} ({theorem.kind})")
        for text in (theorem.statement, f"Source: {theorem.source}.", f"Slack: {theorem.unit}."):
            yield textwrap.fill(text, width, initial_indent=indent, subsequent_indent=indent)
        yield ""


def fill(folder: pathlib.Path, table: str, results: Sequence[Verification]) -> None:
    """Writes the table, and each theorem's tightest problem with what it came of."""
    import pandas

    pandas.DataFrame([_row(result) for result in results]).to_csv(folder / table, index=False)
    for result in results:
        theorem, tightest = result.theorem, result.tightest
        made_by = {
            "theorem": theorem.name,
            **{name: getattr(theorem, name) for name in ("kind", "statement", "source", "unit")},
            **{name: getattr(result, name) for name in ("problems", "violations", "seed")},
            **{name: getattr(tightest.check, name) for name in ("holds", "slack", "measured", "bound")},
            **provenance.attributes(),
            "parameters": {name: value.tolist() for name, value in tightest.parameters.items()},
        }
        problem = problem_file.problem_arrays(tightest.problem)
        write(folder / f"{theorem.name}.toml", {**problem, "provenance": made_by})
