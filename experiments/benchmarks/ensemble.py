"""How fast a batch of gradient flows is solved, and how exactly, beside every other way to do it.

    python -m experiments.benchmarks.ensemble [--quick] [--device cpu|gpu] [--out DIR] [--only CASE ...]

Every adaptive peer is run at several tolerances; errors are those of log pi against a reference at 1e-12, itself held
to SciPy's DOP853 at 1e-13. Times are medians of repeats taken in turns. Written to DIR: ensemble_timings.csv,
ensemble_targets.csv (with verdicts), ensemble_machine.csv and two pictures. How long the controlled experiments take
(nine exact runs, REINFORCE over seeds) is `experiments.benchmarks.controlled`'s subject.
"""

from __future__ import annotations

import argparse
import csv
import pathlib
import sys
from collections.abc import Iterable, Sequence
from typing import Any

import jax
import rich.console
import rich.table

from experiments.benchmarks import ensemble_cases, ensemble_measure, ensemble_targets, machine, peak_memory
from experiments.benchmarks.ensemble_cases import Scale
from experiments.benchmarks.peers import PEERS

Row = dict[str, Any]


def run(scale: Scale, platform: str, only: Sequence[str] = (), report: Any = print) -> list[Row]:
    """The rows of all cases, or of those in `only`.

    Args:
        scale: how large the cases are.
        platform: "cpu" or "gpu".
        only: names of cases; none for all.
        report: called with a line of text before each case.
    """
    cases = available_cases(platform)
    rows: list[Row] = []
    for name in only or cases:
        report(f"{name} ...")
        rows += ensemble_measure.measure(name, cases[name](scale), scale, platform)
        if name == "scaling" and platform == "cpu":
            last = [row for row in rows if row["case"] == name and row["peer"] == ensemble_cases.ENGINE][-1]
            last["peak_mib"] = peak_memory.of_flow_many(last["problems"])
    return rows


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


def show(console: rich.console.Console, rows: Sequence[Row], targets: Sequence[Row]) -> None:
    """Both tables on the screen."""
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
    table = rich.table.Table(title="Targets, at equal achieved error where another solver is the measure")
    for head in ("case", "target", "bound", "measured", "at equal rtol", "verdict", "note"):
        table.add_column(head)
    for row in targets:
        table.add_row(*(str(row[column] or "") for column in ensemble_targets.COLUMNS))
    console.print(table)
    console.print("The nine exact runs and REINFORCE over seeds: python -m experiments.benchmarks.controlled")


def _shown(value: Any, spec: str) -> str:
    return "" if value is None else format(value, spec)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.benchmarks.ensemble",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that everything runs")
    parser.add_argument("--device", choices=("cpu", "gpu"), default="cpu")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("out/benchmarks"), metavar="DIR")
    parser.add_argument(
        "--only", nargs="+", default=[], metavar="CASE", choices=list(ensemble_cases.GPU_CASES), help="some cases alone"
    )
    options = parser.parse_args(arguments)
    if unknown := [name for name in options.only if name not in available_cases(options.device)]:
        parser.error(f"--only {unknown[0]} needs --device gpu")
    jax.config.update("jax_platforms", "cpu" if options.device == "cpu" else None)
    if jax.default_backend() != options.device:
        parser.error(f"--device {options.device}: JAX finds no {options.device} here, only {jax.default_backend()}")
    console = rich.console.Console()
    full = ensemble_cases.FULL if options.device == "cpu" else ensemble_cases.GPU
    about = machine.describe()
    for name, peer in PEERS.items():
        if not peer.available:
            console.print(f"{name} is left out: {peer.needs} is not installed (pip install 'pgdyn\\[benchmark]')")
    rows = run(ensemble_cases.QUICK if options.quick else full, options.device, options.only, console.print)
    targets = ensemble_targets.judge(rows, options.device)
    show(console, rows, targets)
    write(options.out, "ensemble_timings.csv", ensemble_measure.COLUMNS, rows)
    write(options.out, "ensemble_targets.csv", ensemble_targets.COLUMNS, targets)
    described = [{"what": name, "value": value} for name, value in about.items()]
    write(options.out, "ensemble_machine.csv", ("what", "value"), described)
    for path in draw(options.out):
        console.print(f"Written to {path}", highlight=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
