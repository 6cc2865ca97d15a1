"""Runs reproductions one after another: data, figures, findings; the reports are written again after each."""

from __future__ import annotations

import pathlib
import time
import traceback
from collections.abc import Sequence
from typing import Any

import rich.console
import rich.progress

from figures import style
from paper_repro import output, report_html, report_markdown
from paper_repro.claims import Finding, Verdict
from paper_repro.report import ReproductionReport, ReproductionRun, verdict_text
from paper_repro.reproduction import Reproduction
from pgdyn.io import datasets, provenance
from pgdyn.solve import Progress


def run_all(
    chosen: Sequence[Reproduction], folder: pathlib.Path, *, quick: bool, console: rich.console.Console
) -> ReproductionReport:
    """Runs `chosen` in order and keeps the reports in `folder` up to date.

    A reproduction that raises is recorded as failed and the others run all the same. An interruption (Ctrl-C) ends the
    run; what was finished is kept and reported.
    """
    done: list[ReproductionRun] = []
    made_by = provenance.attributes()
    columns = (
        rich.progress.SpinnerColumn(),
        rich.progress.TextColumn("{task.description}"),
        rich.progress.BarColumn(),
        rich.progress.TaskProgressColumn(),
        rich.progress.TimeElapsedColumn(),
    )

    def report(interrupted: bool) -> ReproductionReport:
        pending = tuple(one.name for one in chosen[len(done) :])
        return ReproductionReport(tuple(done), pending, quick, interrupted, made_by)

    with rich.progress.Progress(*columns, console=console) as bars:
        overall = bars.add_task("reproductions", total=len(chosen))
        try:
            for reproduction in chosen:
                bar = bars.add_task(f"  {reproduction.name}", total=None)

                def progress(finished: int, total: int, bar: rich.progress.TaskID = bar) -> None:
                    bars.update(bar, completed=finished, total=total)

                done.append(run_one(reproduction, folder, quick=quick, progress=progress, console=console))
                bars.update(bar, completed=1, total=1)
                bars.advance(overall)
                write_reports(report(interrupted=False), folder)
        except KeyboardInterrupt:
            write_reports(report(interrupted=True), folder)
            return report(interrupted=True)
    return report(interrupted=False)


def run_one(
    reproduction: Reproduction,
    folder: pathlib.Path,
    *,
    quick: bool,
    progress: Progress | None = None,
    console: rich.console.Console | None = None,
) -> ReproductionRun:
    """Runs one reproduction and writes its data and figures."""
    started = time.perf_counter()
    data: str | None = None
    pictures: list[str] = []
    findings: tuple = ()
    error = None
    reduced = reproduction.is_reduced(quick=quick)
    try:
        dataset = reproduction.run(quick=quick, progress=progress)
        datasets.save(dataset, folder / "data" / f"{reproduction.name}.zarr", overwrite=True)
        data = f"data/{reproduction.name}.zarr"
        findings = tuple((claim, claim.judge(dataset, quick=reduced)) for claim in reproduction.claims)
        for name, draw in reproduction.figures.items():
            figure = draw(dataset)
            for ending in (".png", ".pdf"):
                style.save(figure, folder / "figures" / f"{name}{ending}")
            pictures.append(f"figures/{name}.png")
    except Exception as problem:  # one broken reproduction must not take the others with it
        error = f"{type(problem).__name__}: {problem}"
        if console is not None:
            console.print(traceback.format_exc(), markup=False, highlight=False)
    if error is not None and not findings:
        unknown = Finding("", "the experiment did not run", "", Verdict.failed)
        findings = tuple((claim, unknown) for claim in reproduction.claims)
    seconds = time.perf_counter() - started
    settings = reproduction.settings(quick=quick)
    return ReproductionRun(reproduction, reduced, settings, findings, tuple(pictures), data, seconds, error)


def write_reports(report: ReproductionReport, folder: pathlib.Path) -> None:
    """Writes report.md, report.html and report.json, each whole or not at all."""
    output.write_text(folder / "report.md", report_markdown.render(report))
    output.write_text(folder / "report.html", report_html.render(report, folder))
    output.write_json(folder / output.MARKER, as_json(report))


def as_json(report: ReproductionReport) -> dict[str, Any]:
    """Gives the report as plain JSON values."""
    return {
        "state": "interrupted" if report.interrupted else "unfinished" if report.pending else "complete",
        "quick": report.quick,
        "headline": report.headline,
        "provenance": dict(report.made_by),
        "reproductions": [
            {
                "name": run.reproduction.name,
                "settings": provenance.plain(run.settings),
                "reduced": run.reduced,
                "seconds": round(run.seconds, 2),
                "error": run.error,
                "data": run.data,
                "figures": list(run.figures),
                "claims": [
                    {
                        "name": claim.name,
                        "statement": claim.statement,
                        "source": claim.source,
                        "expected": finding.expected,
                        "measured": finding.measured,
                        "tolerance": finding.tolerance,
                        "verdict": verdict_text(finding),
                    }
                    for claim, finding in run.findings
                ],
            }
            for run in report.runs
        ],
    }
