"""The tables that `pgdyn categorize` shows: every family's errors in runs of like outcome, and the confusion table."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

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
        parameters = {field.replace("_", " "): np.asarray(values) for field, values in group.parameters.items()}
        columns = [*parameters, "errors", "category", "speed-up", "mechanism"]
        rows = _runs(report, parameters, start + np.arange(len(group)))
        console.print(tables.table(columns, rows, left=_WORDS, title=name, sections=len(parameters) > 1))
        start += len(group)
    counts = report.confusion()
    rows = [(*kind, *map(int, row)) for kind, row in zip(counts.index, counts.to_numpy(), strict=True) if row.any()]
    columns = ["mechanism", "implies", *counts.columns]
    console.print(tables.table(columns, rows, left=_WORDS, title="mechanism against simulation"))
    columns = ["prediction", "errors", "right"]
    console.print(tables.table(columns, _scores(report), left=_WORDS, title="predicted before any simulation"))


def _runs(report: Report, parameters: dict[str, np.ndarray], errors: np.ndarray) -> Iterator[tuple[object, ...]]:
    """The rows of a family: neighbours of like leading parameters, category and mechanism are one."""
    *leading, last = parameters or [""]

    def alike(i: int) -> tuple[Any, ...]:
        return (*(parameters[name][i] for name in leading), report.category[errors[i]], report.mechanism[errors[i]])

    order = range(len(errors))
    if last in _UNORDERED:
        order = sorted(order, key=alike)
    for (*_, category, mechanism), run in itertools.groupby(order, alike):
        members = [*run]
        spans = (_span(values[members], name) for name, values in parameters.items())
        speeds = report.speedup[errors[members]]
        extremes = dict.fromkeys(map(_factor, (speeds.min(), np.fmax.reduce(speeds))))
        speedup = "not known" if category == UNDECIDED else " to ".join(extremes)
        yield (*spans, len(members), category, speedup, mechanism)


def _span(column: np.ndarray, name: str) -> str:
    if column.min() == column.max():
        return f"{column[0]:.4g}"
    return "several" if name in _UNORDERED else f"{column[0]:.4g} to {column[-1]:.4g}"


def _factor(speedup: float) -> str:
    if np.isnan(speedup):
        return "neither arrives"
    if np.isinf(speedup):
        return "only the proxy arrives"
    return "never arrives" if speedup == 0 else f"{speedup:.4g}x"


def _scores(report: Report) -> Iterator[tuple[object, ...]]:
    """How many of the simulated categories each prediction tells, beside the commonest category as the only answer."""
    decided = report.category != UNDECIDED
    by_exact, by_mechanism = (decided & (report.predicted_by == name) for name in (EXACT, MECHANISM))
    always, _ = report.majority
    for words, errors, answers in (
        ("by the exact solution", by_exact, report.predicted),
        ("by the mechanism, having no exact solution", by_mechanism, report.predicted),
        ("by the mechanism", decided, report.mechanism_category),
        (f"always {always}", decided, always),
    ):
        if errors.any():
            right = np.mean((report.category == answers)[errors])
            yield words, errors.sum(), f"{right:.1%}"
