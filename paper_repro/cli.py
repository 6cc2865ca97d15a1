"""The command line of `python -m paper_repro`.

Exit codes: 0 all checked claims hold, 1 one does not, 2 bad arguments, 130 interrupted.
"""

from __future__ import annotations

import argparse
import pathlib
import sys
from collections.abc import Mapping, Sequence
from typing import NoReturn

import rich.console
import rich.table

from paper_repro import output, runner
from paper_repro.claims import Verdict
from paper_repro.report import ReproductionReport, verdict_text
from paper_repro.reproduction import Reproduction, registry

DEFAULT_FOLDER = "reproduction"
INTERRUPTED = 130


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Exits with one sentence, without the usage text around it."""
        self.exit(2, f"error: {message}\n")


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parses the arguments; exits with code 2 where they are wrong."""
    parser = _Parser(
        prog="python -m paper_repro",
        description="Runs the reproductions, draws their figures and writes a report with every claim and its verdict.",
        epilog="Exit codes: 0 all checked claims hold, 1 one does not, 2 bad arguments, 130 interrupted (Ctrl-C): what "
        "was finished is kept and reported.",
        allow_abbrev=False,
    )
    parser.add_argument("--only", nargs="+", metavar="NAME", help="run these reproductions alone; see --list")
    parser.add_argument(
        "--out",
        type=pathlib.Path,
        default=pathlib.Path(DEFAULT_FOLDER),
        metavar="DIR",
        help=f"where data, figures and report go (default: {DEFAULT_FOLDER}); a new or empty folder, or one of an "
        "earlier run, whose files of the same names are replaced",
    )
    parser.add_argument(
        "--jobs", type=int, metavar="N", help="reproductions that run at once, each in a process (default: the cores)"
    )
    parser.add_argument("--quick", action="store_true", help="smaller settings; what they cannot decide is not checked")
    parser.add_argument("--list", action="store_true", help="list the reproductions and exit")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    try:
        return _run(parse(arguments))
    except SystemExit as exit:
        return int(exit.code or 0)
    except KeyboardInterrupt:
        return INTERRUPTED


def _run(options: argparse.Namespace) -> int:
    console = rich.console.Console()
    known = registry()
    if options.list:
        _print_list(known, console)
        return 0
    try:
        if options.jobs is not None and options.jobs < 1:
            raise ValueError(f"--jobs is {options.jobs}; it must be at least 1")
        chosen = _choose(known, options.only)
        output.prepare(options.out)
    except ValueError as problem:
        print(f"error: {problem}", file=sys.stderr)
        return 2
    report = runner.run_all(chosen, options.out, quick=options.quick, console=console, jobs=options.jobs)
    _print_summary(report, options.out, console)
    if report.interrupted:
        return INTERRUPTED
    return 1 if report.failed else 0


def _choose(known: Mapping[str, Reproduction], names: Sequence[str] | None) -> list[Reproduction]:
    if names is None:
        return list(known.values())
    for name in names:
        if name not in known:
            raise ValueError(f"--only: there is no reproduction {name!r}; choose from {', '.join(known)}")
    return [one for name, one in known.items() if name in names]


def _print_list(known: Mapping[str, Reproduction], console: rich.console.Console) -> None:
    table = rich.table.Table("name", "title", "claims", box=None, pad_edge=False)
    for one in known.values():
        table.add_row(one.name, one.title, str(len(one.claims)))
    console.print(table)


def _print_summary(report: ReproductionReport, folder: pathlib.Path, console: rich.console.Console) -> None:
    table = rich.table.Table("", "reproduction", "hold", "fail", "not checked", "measured", "seconds")
    for column in table.columns[2:]:
        column.justify = "right"
    for run in report.runs:
        counts = run.counts
        table.add_row(
            "[red]✗[/]" if run.failed else "[green]✓[/]",
            run.reproduction.name,
            *(
                str(counts[verdict])
                for verdict in (Verdict.passed, Verdict.failed, Verdict.not_checked, Verdict.measured)
            ),
            f"{run.seconds:.1f}",
        )
    console.print(table)
    for run in report.runs:
        for claim, finding in run.findings:
            if finding.verdict is Verdict.failed:
                words = f"✗ {run.reproduction.name}/{claim.name}: {claim.statement}. "
                words += f"Expected {finding.expected}, measured {finding.measured} ({verdict_text(finding)})."
                console.print(words, style="red", markup=False, highlight=False)
    console.print(report.headline, style="red" if report.failed else "green", highlight=False)
    if report.quick_note:
        console.print(report.quick_note, highlight=False)
    console.print(f"Report: {folder / 'report.html'}", highlight=False, soft_wrap=True)
