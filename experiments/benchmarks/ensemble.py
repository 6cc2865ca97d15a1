"""How fast a batch of gradient flows is solved, and how exactly, beside every other way to do it.

    python -m experiments.benchmarks.ensemble [--quick] [--device cpu|gpu] [--out DIR] [--only CASE ...]

Every adaptive peer is run at several tolerances; errors are those of log pi against a reference at 1e-12, itself held
to SciPy's DOP853 at 1e-13. Times are medians of repeats taken in turns. The cases "controlled" (exact runs and
REINFORCE, `experiments.benchmarks.controlled`) and "cold-start" (`experiments.benchmarks.cold_start`) have targets too.
Written to DIR: ensemble_timings.csv, ensemble_targets.csv (with verdicts), ensemble_machine.csv and two pictures.
"""

from __future__ import annotations

import argparse
import csv
import pathlib
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import rich.console
import rich.table

from experiments.benchmarks import (
    cold_start,
    controlled,
    ensemble_cases,
    ensemble_measure,
    ensemble_targets,
    machine,
    streamed,
    target_table,
)
from experiments.benchmarks.ensemble_cases import Scale
from experiments.benchmarks.peers import ENGINE, PEERS

Row = dict[str, Any]
_WIDTH = 180  # columns of a table that goes to a file
# Cases that are not batches of flows: each gives its rows of the table of targets.
OTHERS: dict[str, Callable[[bool], list[Row]]] = {"controlled": controlled.targets, "cold-start": cold_start.targets}


def run(
    scale: Scale,
    platform: str,
    only: Sequence[str] = (),
    report: Callable[[str], Any] = print,
    keep: Callable[[list[Row]], Any] = lambda _: None,
) -> list[Row]:
    """The rows of all cases, or of those in `only`.

    Args:
        scale: how large the cases are.
        platform: "cpu" or "gpu".
        only: names of cases; none for all.
        report: called with a line of text after each case.
        keep: called with the rows so far after each case, so that what interrupts the next one loses no other.
    """
    cases = available_cases(platform)
    rows: list[Row] = []
    for name in only or cases:
        if name not in cases:
            continue
        begin = time.perf_counter()
        rows += ensemble_measure.measure(name, cases[name](scale), scale, platform)
        if name == "scaling" and platform == "cpu":
            rows.append(_streamed(rows[-1], *scale.streamed))
        report(f"{name}: {time.perf_counter() - begin:.0f} s")
        keep(rows)
    return rows


def _streamed(like: Row, size: int, pieces: int) -> Row:
    """The row of the standard problems solved in pieces by a process of its own."""
    found = streamed.measure(size, pieces)
    kept = ("case", "workload", "prompts", "outputs", "features", "t1", "dtype")
    about = {name: like[name] for name in kept} | {"peer": ENGINE, "problems": size, "problems_run": size}
    seconds = {name: found.seconds for name in ("warm_s", "warm_min_s", "warm_max_s")}
    return about | seconds | {"rtol": ensemble_cases.DEFAULT, "repeats": 1, "peak_mib": found.peak_mib}


def available_cases(platform: str) -> dict[str, Any]:
    """The cases that make sense on "cpu" or "gpu"."""
    return ensemble_cases.CASES if platform == "cpu" else ensemble_cases.GPU_CASES


def write(folder: pathlib.Path, name: str, columns: Sequence[str], rows: Iterable[Row]) -> None:
    """One CSV; empty where a column does not apply. Floats are rounded to six digits."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / name).open("w", newline="") as stream:
        writer = csv.DictWriter(stream, columns, lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow({key: f"{value:.6g}" if isinstance(value, float) else value for key, value in row.items()})


def draw(folder: pathlib.Path) -> list[pathlib.Path]:
    """The pictures of the timings in `folder`, written beside them; those whose cases were run."""
    from figures import ensemble_benchmark

    return ensemble_benchmark.write(folder)


def show_timings(console: rich.console.Console, rows: Sequence[Row]) -> None:
    """Seconds, errors and steps of every peer on the screen."""
    table = rich.table.Table(title="Seconds and errors; errors of log pi in nats")
    heads = ("case", "workload", "peer", "N", "rtol", "cold, s", "warm, s", "range, s", "error 99 %", "error max")
    for i, head in enumerate((*heads, "steps", "most")):
        table.add_column(head, justify="left" if i < 3 else "right")
    for row in rows:
        warm = row.get("warm_s")
        table.add_row(
            row["case"],
            row["workload"],
            row["peer"],
            f"{row['problems']:,}",
            _shown(row.get("rtol"), ".0e"),
            _shown(row.get("cold_s"), ".2f"),
            _shown(warm, ".4g"),
            "" if warm is None else f"{row['warm_min_s']:.3g}-{row['warm_max_s']:.3g}",
            _shown(row.get("error_p99"), ".1e"),
            _shown(row.get("error_max"), ".1e"),
            _shown(row.get("steps_mean"), ".1f"),
            _shown(row.get("steps_max"), ",d"),
        )
    console.print(table)


def show_targets(targets: Sequence[Row]) -> None:
    """The table of targets on the screen, a line each: verdict, target, measured, bound, note."""
    print("Targets, at equal achieved error where another solver is the measure:")
    for row in targets:
        measured = "-" if row["measured"] is None else row["measured"]
        bound = "for comparison" if row["bound"] == "none" else f"target {row['bound']}"
        note = f"; {row['note']}" if row["note"] else ""
        print(f"{row['verdict'] or '-':>12}  {row['case']}, {row['target']}: {measured} ({bound}{note})")


def _shown(value: Any, spec: str) -> str:
    return "" if value is None else format(value, spec)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    options = _parse(arguments)
    console = rich.console.Console()
    if not console.is_terminal:
        console.width = _WIDTH
    full = ensemble_cases.FULL if options.device == "cpu" else ensemble_cases.GPU
    about = machine.describe()
    for name, peer in PEERS.items():
        if not peer.available():
            console.print(f"{name} is left out, as it needs {peer.needs}")
    scale = ensemble_cases.QUICK if options.quick else full
    others: list[Row] = []
    for name, measure in OTHERS.items():
        if name in options.only or (not options.only and options.device == "cpu"):
            begin = time.perf_counter()
            others += measure(options.quick)
            console.print(f"{name}: {time.perf_counter() - begin:.0f} s")
    if not options.only and options.device == "cpu":
        others += ensemble_targets.NOT_HERE
    described = [{"what": name, "value": value} for name, value in about.items()]
    write(options.out, "ensemble_machine.csv", ("what", "value"), described)

    def judged(rows: list[Row]) -> list[Row]:
        targets = ensemble_targets.judge(rows, options.device) + others
        if options.quick:
            quick = ("met", "missed")
            targets = [row | {"verdict": "quick" if row["verdict"] in quick else row["verdict"]} for row in targets]
        return targets

    def keep(rows: list[Row]) -> None:
        write(options.out, "ensemble_timings.csv", ensemble_measure.COLUMNS, rows)
        write(options.out, "ensemble_targets.csv", target_table.COLUMNS, judged(rows))

    rows = run(scale, options.device, options.only, console.print, keep)
    keep(rows)
    if rows:
        show_timings(console, rows)
    show_targets(judged(rows))
    for path in draw(options.out):
        console.print(f"Written to {path}", highlight=False)
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m experiments.benchmarks.ensemble",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    known = [*ensemble_cases.GPU_CASES, *OTHERS]
    parser.add_argument("--quick", action="store_true", help="tiny sizes, which show that everything runs, and no more")
    parser.add_argument("--device", choices=("cpu", "gpu"), default="cpu")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("out/benchmarks"), metavar="DIR")
    parser.add_argument("--only", nargs="+", default=[], metavar="CASE", choices=known, help="some cases alone")
    options = parser.parse_args(arguments)
    if unknown := [name for name in options.only if name not in (*available_cases(options.device), *OTHERS)]:
        parser.error(f"--only {unknown[0]} needs --device gpu")
    jax.config.update("jax_platforms", "cpu" if options.device == "cpu" else None)
    if jax.default_backend() != options.device:
        parser.error(f"--device {options.device}: JAX finds no {options.device} here, only {jax.default_backend()}")
    return options


if __name__ == "__main__":
    sys.exit(main())
