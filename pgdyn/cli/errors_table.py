"""What `pgdyn categorize` shows: every family's errors in runs of like outcome, and how well they were predicted."""

from __future__ import annotations

import itertools
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from pgdyn.cli import output, tables
from pgdyn.errors.categories import UNDECIDED
from pgdyn.errors.perturb import Errors
from pgdyn.errors.report import EXACT, MECHANISM, Report

# Parameters whose order means nothing: errors that differ in them alone are counted, not listed.
_UNORDERED = ("draw", "subset")
_COLUMNS = ["family", "label", "category", "speedup", "predicted", "predicted_speedup", "predicted_by"]
_COLUMNS += ["mechanism", "mechanism_category", "times", "values"]
_WORDS = ("category", "mechanism", "implies", "prediction")


def parts(report: Report, groups: Mapping[str, Errors], title: str) -> Iterator[tables.Part]:
    """What is shown of a report on all errors, those of the groups (family name -> errors) one after another."""
    yield tables.heading(f"{title}: {len(report)} reward errors")
    reaches = f"reaches {report.target:g} at time {report.baseline_time:.6g}"
    if not np.isfinite(report.baseline_time):
        reaches = f"never reaches {report.target:g} within time {report.t1:g} and ends at {report.baseline_value:.6g}"
    yield f"trained on the true reward, the true value {reaches}"
    start = 0
    for name, group in groups.items():
        parameters = {field.replace("_", " "): np.asarray(values) for field, values in group.parameters.items()}
        columns = [*parameters, "errors", "category", "speed-up", "mechanism"]
        rows = _runs(report, parameters, start + np.arange(len(group)))
        yield tables.table(columns, rows, left=_WORDS, title=name, sections=len(parameters) > 1)
        start += len(group)
    counts = report.confusion()
    columns = ["mechanism", "implies", *counts.columns]
    rows = [(*kind, *map(int, row)) for kind, row in zip(counts.index, counts.to_numpy(), strict=True) if row.any()]
    yield tables.table(columns, rows, left=_WORDS, title="mechanism against simulation")
    columns = ["prediction", "errors", "right"]
    yield tables.table(columns, _scores(report), left=_WORDS, title="predicted before any simulation")


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


def fill(folder: pathlib.Path, report: Report, groups: Mapping[str, Errors]) -> None:
    """Writes the files of a report."""
    from pgdyn import plot

    labels = [(name, group.label(i)) for name, group in groups.items() for i in range(len(group))]
    family, label = np.array(labels, dtype=object).T
    dataset = report.to_dataset().assign_coords(family=("error", family), label=("error", label))
    dataset[_COLUMNS].to_dataframe()[_COLUMNS].to_csv(folder / "errors.csv", index_label="error")
    output.save(folder, "errors", dataset, plot.errors(report, groups), report.problem)
