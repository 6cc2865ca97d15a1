"""Runs reproductions, a process on each core: data, figures, findings; the reports are written again after each.

Much of a reproduction is compiling, which keeps one core busy; two at once share the machine better than one does.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import io
import multiprocessing
import pathlib
import signal
import time
import traceback
from collections.abc import Generator, Sequence
from concurrent.futures import process as _process
from typing import Any

import rich.console
import rich.progress

from figures import style
from paper_repro import output, report_html, report_markdown
from paper_repro.claims import Finding, Verdict
from paper_repro.report import ReproductionReport, ReproductionRun, verdict_text
from paper_repro.reproduction import Reproduction, registry
from pgdyn import compilation_cache
from pgdyn.ensemble import executor
from pgdyn.io import datasets, provenance
from pgdyn.solve import Progress


def run_all(
    chosen: Sequence[Reproduction],
    folder: pathlib.Path,
    *,
    quick: bool,
    console: rich.console.Console,
    jobs: int | None = None,
) -> ReproductionReport:
    """Runs `chosen` and keeps the reports in `folder` up to date.

    A reproduction that raises is recorded as failed and the others run all the same. An interruption (Ctrl-C) ends the
    run; what was finished is kept and reported.

    Args:
        chosen: what to run, in the order of the report.
        folder: where data, figures and reports go.
        quick: whether the smaller settings are used.
        console: where progress is shown.
        jobs: processes; None for one on each core. Reproductions that are not in the registry run in this process.
    """
    done: dict[str, ReproductionRun] = {}
    made_by = provenance.attributes()
    columns = (
        rich.progress.SpinnerColumn(),
        rich.progress.TextColumn("{task.description}"),
        rich.progress.BarColumn(),
        rich.progress.TaskProgressColumn(),
        rich.progress.TimeElapsedColumn(),
    )

    def report(interrupted: bool) -> ReproductionReport:
        runs = tuple(done[one.name] for one in chosen if one.name in done)
        pending = tuple(one.name for one in chosen if one.name not in done)
        return ReproductionReport(runs, pending, quick, interrupted, made_by)

    jobs = min(executor.cores() if jobs is None else jobs, len(chosen))
    known = registry()
    apart = jobs > 1 and all(known.get(one.name) is one for one in chosen)
    with rich.progress.Progress(*columns, console=console) as bars:
        overall = bars.add_task("reproductions", total=len(chosen))
        runs = _apart(chosen, folder, quick, console, jobs) if apart else _here(chosen, folder, quick, console, bars)
        try:
            for run in runs:
                done[run.reproduction.name] = run
                bars.advance(overall)
                if apart:
                    bars.console.print(f"  {run.reproduction.name}: {run.seconds:.0f} s", highlight=False)
                write_reports(report(interrupted=False), folder)
        except KeyboardInterrupt:
            runs.close()
            write_reports(report(interrupted=True), folder)
            return report(interrupted=True)
    return report(interrupted=False)


def _here(
    chosen: Sequence[Reproduction],
    folder: pathlib.Path,
    quick: bool,
    console: rich.console.Console,
    bars: rich.progress.Progress,
) -> Generator[ReproductionRun]:
    """One after another, with a bar for each."""
    for reproduction in chosen:
        bar = bars.add_task(f"  {reproduction.name}", total=None)

        def progress(finished: int, total: int, bar: rich.progress.TaskID = bar) -> None:
            bars.update(bar, completed=finished, total=total)

        run = run_one(reproduction, folder, quick=quick, progress=progress, console=console)
        bars.update(bar, completed=1, total=1)
        yield run


def _apart(
    chosen: Sequence[Reproduction], folder: pathlib.Path, quick: bool, console: rich.console.Console, jobs: int
) -> Generator[ReproductionRun]:
    """Each in a process that several share, as they end; the last of the list first, which take longest."""
    pool = concurrent.futures.ProcessPoolExecutor(
        jobs, multiprocessing.get_context("spawn"), initializer=_ignore_interrupts
    )
    try:
        waiting = {pool.submit(_run_named, one.name, folder, quick): one for one in reversed(chosen)}
        for future in concurrent.futures.as_completed(waiting):
            reproduction = waiting[future]
            try:
                run, shown = future.result()
            except _process.BrokenProcessPool:
                unknown = Finding("", "the process that ran it ended", "", Verdict.failed)
                findings = tuple((claim, unknown) for claim in reproduction.claims)
                reduced, settings = reproduction.is_reduced(quick=quick), reproduction.settings(quick=quick)
                error = "the process that ran it ended, perhaps for want of memory"
                run, shown = ReproductionRun(reproduction, reduced, settings, findings, (), None, 0.0, error), ""
            if shown:
                console.print(shown, markup=False, highlight=False)
            # What came back knows its claims by their findings alone: they are functions, which no process can send.
            findings = tuple(
                (claim, found) for claim, (_, found) in zip(reproduction.claims, run.findings, strict=True)
            )
            yield dataclasses.replace(run, reproduction=reproduction, findings=findings)
    finally:
        for process in list((pool._processes or {}).values()):  # one that computes would be waited for
            process.terminate()
        pool.shutdown(wait=True, cancel_futures=True)


def _ignore_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    compilation_cache.enable()


def _run_named(name: str, folder: pathlib.Path, quick: bool) -> tuple[Any, str]:
    """A run by the name of its reproduction, without what cannot be sent; and what was printed."""
    shown = io.StringIO()
    run = run_one(registry()[name], folder, quick=quick, console=rich.console.Console(file=shown, width=120))
    findings = tuple((None, finding) for _, finding in run.findings)
    return dataclasses.replace(run, reproduction=None, findings=findings), shown.getvalue()  # pyright: ignore[reportArgumentType]


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
