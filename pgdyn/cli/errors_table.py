"""The tables that `pgdyn categorize` shows: every family's errors in runs of like outcome, and the confusion table."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas
from rich.table import Table

from pgdyn.cli import tables
from pgdyn.errors.categories import UNDECIDED
from pgdyn.errors.perturb import Errors
from pgdyn.errors.report import EXACT, MECHANISM, Report

# Parameters whose order means nothing: errors that differ in them alone are counted, not listed.
_UNORDERED = ("draw", "subset")
_WORDS = ("category", "mechanism", "implies", "prediction")


def show(report: Report, groups: Mapping[str, Errors], *, title: str) -> None:
    """Prints the tables of a report on all errors, those of the groups (family name -> errors) one after another.

    Example:
        >>> import pgdyn
        >>> problem = pgdyn.Problem.tabular([0.05, 0.5, 0.15, 0.15, 0.15], [1, 0.8, -1, -1, -1])
        >>> swaps = pgdyn.errors.perturb.FAMILIES["swap"](problem)
        >>> report = pgdyn.categorize(problem, swaps.proxy_rewards, t1=100.0, target=0.9)
        >>> show(report, {"swap": swaps}, title="the paper's problem")
        the paper's problem: 10 reward errors
        trained on the true reward, the true value never reaches 0.9 within time 100 and ends at 0.79...
        ...
    """
    console = tables.console()
    console.print(f"{title}: {len(report)} reward errors", style="bold", soft_wrap=True)
    reaches = f"reaches {report.target:g} at time {report.baseline_time:.6g}"
    if not np.isfinite(report.baseline_time):
        reaches = f"never reaches {report.target:g} within time {report.t1:g} and ends at {report.baseline_value:.6g}"
    console.print(f"trained on the true reward, the true value {reaches}", soft_wrap=True)
    start = 0
    for name, group in groups.items():
        console.print(_family(name, group, report, slice(start, start + len(group))))
        start += len(group)
    counts = report.confusion()
    columns = ("mechanism", "implies", *map(str, counts.columns))
    table = tables.table(*columns, left=_WORDS, title="mechanism against simulation")
    for (mechanism, implied), row in counts.iterrows():  # pyright: ignore[reportGeneralTypeIssues]
        if row.sum():
            table.add_row(str(mechanism), str(implied), *(str(int(count)) for count in row))
    console.print(table)
    console.print(_scores(report))


def _scores(report: Report) -> Table:
    """How many of the simulated categories each prediction tells, beside the commonest category as the only answer."""
    table = tables.table("prediction", "errors", "right", left=_WORDS, title="predicted before any simulation")
    decided = report.category != UNDECIDED
    for name, words in ((EXACT, "by the exact solution"), (MECHANISM, "by the mechanism, having no exact solution")):
        own = decided & (report.predicted_by == name)
        if own.any():
            right = float(np.mean(report.category[own] == report.predicted[own]))
            table.add_row(words, str(int(own.sum())), f"{right:.1%}")
    if decided.any():
        answer, share = report.majority
        for words, right in (("by the mechanism", report.mechanism_agreement), (f"always {answer}", share)):
            table.add_row(words, str(int(decided.sum())), f"{right:.1%}")
    return table


def _family(name: str, group: Errors, report: Report, rows: slice) -> Table:
    """Neighbours of like leading parameters, category and mechanism are one row."""
    fields = list(group.parameters)
    columns = (*(field.replace("_", " ") for field in fields), "errors", "category", "speed-up", "mechanism")
    table = tables.table(*columns, left=_WORDS, title=name)
    outcome = {"category": report.category[rows], "mechanism": report.mechanism[rows], "speedup": report.speedup[rows]}
    errors = pandas.DataFrame({**{field: np.asarray(group.parameters[field]) for field in fields}, **outcome})
    alike = [*fields[:-1], "category", "mechanism"]
    if fields and fields[-1] in _UNORDERED:
        errors = errors.sort_values(alike, kind="stable")
    starts = errors[alike].ne(errors[alike].shift()).any(axis=1)
    previous = None
    for _, run in errors.groupby(np.cumsum(np.asarray(starts))):
        cells = [_span(run[field].to_numpy(), field) for field in fields]
        if previous is not None and len(cells) > 1 and cells[0] != previous:
            table.add_section()
        previous = cells[0] if cells else None
        first = run.iloc[0]
        speeds = dict.fromkeys(_factor(speed) for speed in np.array([run.speedup.min(skipna=False), run.speedup.max()]))
        if first.category == UNDECIDED:
            speeds = {"not known": None}
        table.add_row(*cells, str(len(run)), first.category, " to ".join(speeds), first.mechanism)
    return table


def _span(column: np.ndarray, field: str) -> str:
    if column.min() == column.max():
        return f"{column[0]:.4g}"
    return "several" if field in _UNORDERED else f"{column[0]:.4g} to {column[-1]:.4g}"


def _factor(speedup: float) -> str:
    if np.isnan(speedup):
        return "neither arrives"
    if np.isinf(speedup):
        return "only the proxy arrives"
    return "never arrives" if speedup == 0 else f"{speedup:.4g}x"
