"""The tables that `pgdyn categorize` shows: every family's errors in runs of like outcome, and the confusion table."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import rich.box
from rich.console import Console
from rich.table import Table

from pgdyn.errors.perturb import Errors
from pgdyn.errors.report import Report

# Parameters whose order means nothing: errors that differ in them alone are counted, not listed.
_UNORDERED = ("draw", "subset")


def show(report: Report, groups: Mapping[str, Errors], *, title: str) -> None:
    """Prints the tables to standard output.

    Args:
        report: categories of all errors, the groups' one after another.
        groups: family name -> errors.
        title: what the problem is called.
    """
    console = Console(markup=False, highlight=False, emoji=False)
    console.print(f"{title}: {len(report)} reward errors", style="bold", soft_wrap=True)
    console.print(_baseline(report))
    start = 0
    for name, group in groups.items():
        console.print(_family(name, group, report, np.arange(start, start + len(group))))
        start += len(group)
    console.print(_confusion(report))
    console.print(f"the mechanism predicts {report.agreement:.0%} of the simulated categories")


def exit_code(report: Report) -> int:
    """0, or 1 with a sentence on standard error where flows broke off."""
    undecided = int(np.sum(report.category == "undecided"))
    if not undecided:
        return 0
    print(f"error: {undecided} of {len(report)} categories are undecided: a flow broke off", file=sys.stderr)
    return 1


def _baseline(report: Report) -> str:
    if np.isfinite(report.baseline_time):
        return (
            f"trained on the true reward, the true value reaches {report.target:g} at time {report.baseline_time:.6g}"
        )
    return (
        f"trained on the true reward, the true value never reaches {report.target:g} within time {report.t1:g} "
        f"and ends at {report.baseline_value:.6g}"
    )


def _family(name: str, group: Errors, report: Report, rows: np.ndarray) -> Table:
    fields = list(group.parameters)
    columns = (*(field.replace("_", " ") for field in fields), "errors", "category", "speed-up", "mechanism")
    table = Table(title=name, title_justify="left", box=rich.box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column, justify="left" if column in ("category", "mechanism") else "right")
    values = [np.asarray(group.parameters[field]) for field in fields]
    previous = None
    for members in _runs(values, fields, report, rows):
        local = members - rows[0]
        cells = [_span(column[local], field) for column, field in zip(values, fields, strict=True)]
        if previous is not None and len(cells) > 1 and cells[0] != previous:
            table.add_section()
        previous = cells[0] if cells else None
        first = members[0]
        outcome = (str(report.category[first]), _speed(report.speedup[members]), str(report.mechanism[first]))
        table.add_row(*cells, str(len(members)), *outcome)
    return table


def _runs(
    values: Sequence[np.ndarray], fields: Sequence[str], report: Report, rows: np.ndarray
) -> Iterator[np.ndarray]:
    """Errors of like leading parameters, category and mechanism; neighbours only, where their order has a meaning."""
    base = int(rows[0])

    def key(row: int) -> tuple:
        lead = tuple(column[row - base].item() for column in values[:-1])
        return (*lead, str(report.category[row]), str(report.mechanism[row]))

    ordered = rows.tolist()
    if fields and fields[-1] in _UNORDERED:
        ordered.sort(key=key)
    for _, run in itertools.groupby(ordered, key):
        yield np.array(list(run))


def _span(column: np.ndarray, field: str) -> str:
    low, high = column.min(), column.max()
    if field in _UNORDERED and low != high:
        return "several"
    return f"{low:.4g}" if low == high else f"{column[0]:.4g} to {column[-1]:.4g}"


def _speed(speedup: np.ndarray) -> str:
    ends = [_factor(value) for value in (np.min(speedup), np.max(speedup))]
    return ends[0] if ends[0] == ends[1] else f"{ends[0]} to {ends[1]}"


def _factor(value: float) -> str:
    if np.isnan(value):
        return "neither arrives"
    if np.isinf(value):
        return "only the proxy arrives"
    return "never arrives" if value == 0 else f"{value:.4g}x"


def _confusion(report: Report) -> Table:
    counts = report.confusion()
    table = Table(title="mechanism against simulation", title_justify="left", box=rich.box.SIMPLE_HEAD, pad_edge=False)
    for column in ("mechanism", "predicts", *counts.columns):
        table.add_column(str(column), justify="left" if column in ("mechanism", "predicts") else "right")
    for (mechanism, predicted), row in counts.iterrows():  # pyright: ignore[reportGeneralTypeIssues]
        if row.sum():
            table.add_row(str(mechanism), str(predicted), *(str(int(count)) for count in row))
    return table
