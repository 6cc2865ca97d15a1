"""What each device of the ensemble engine brings: the engine with all of them, beside the engine without one.

    python -m experiments.benchmarks.ablation [--out DIR] [--sizes N ...] [--outputs K ...] [--rounds COUNT]

A device (`pgdyn.ensemble.tuning`) changes how fast flows are solved, not what they are. Written to DIR:
ensemble_ablation.csv, a row for every device, N and K, with the ratio of median times and the largest difference of
log pi. A device helps where the engine takes a tenth longer without it.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import pathlib
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import rich.console
import rich.table

import pgdyn
from experiments.benchmarks import timing, workloads
from experiments.benchmarks.ensemble import write
from pgdyn import Batch
from pgdyn.ensemble import tuning
from pgdyn.ensemble.tuning import Tuning

WORTH = 1.1  # times the time without a device, from which on it helps
ALL_ON, ALL_OFF = "all on", "all off"
COLUMNS: tuple[str, ...] = (
    "without",
    "problems",
    "outputs",
    "all_on_s",
    "without_s",
    "without_min_s",
    "without_max_s",
    "repeats",
    "gain",
    "helps",
    "difference",
)
Row = dict[str, Any]


def variants() -> dict[str, Tuning]:
    """The engine with all devices, without each of them, and without any, by name.

    Example:
        >>> variants()["ahead"].ahead, variants()["ahead"].streams
        (False, True)
    """
    single = {name: tuning.ALL._replace(**{name: False}) for name in Tuning._fields}
    return {ALL_ON: tuning.ALL, **single, ALL_OFF: Tuning(*[False] * len(Tuning._fields))}


def run(
    sizes: Sequence[int], outputs: Sequence[int], *, rounds: int = 15, budget: float = 6.0, report: Any = print
) -> list[Row]:
    """A row for every device, N and K; the variants of one N and K take turns.

    Args:
        sizes: numbers of problems N.
        outputs: numbers of outputs K.
        rounds: turns of a variant, at most.
        budget: seconds after which a variant has no more turns than two.
        report: called with a line of text after each N and K.
    """
    rows = []
    for size, count in itertools.product(sizes, outputs):
        batch = workloads.standard(size, count)
        tasks = {name: functools.partial(_solve, batch, devices) for name, devices in variants().items()}
        for task in tasks.values():
            task()  # compiles
        timings = timing.in_turns(tasks, rounds=rounds, budget=budget)
        rows += [_row(name, timings, batch) for name in tasks if name != ALL_ON]
        report(f"N = {size:,}, K = {count}: {timings[ALL_ON].median:.4g} s with all devices")
    return rows


def _solve(batch: Batch, devices: Tuning) -> np.ndarray:
    with tuning.using(devices):
        return np.asarray(pgdyn.flow_many(batch, workloads.STANDARD_TIME).log_policy)


def _row(name: str, timings: dict[str, timing.Timing], batch: Batch) -> Row:
    on, off = timings[ALL_ON], timings[name]
    gain = off.median / on.median
    return {
        "without": name,
        "problems": len(batch),
        "outputs": batch.num_outputs,
        "all_on_s": on.median,
        "without_s": off.median,
        "without_min_s": min(off.seconds),
        "without_max_s": max(off.seconds),
        "repeats": len(off.seconds),
        "gain": gain,
        "helps": "yes" if gain >= WORTH else "no",
        "difference": float(np.abs(off.result - on.result).max()),
    }


def still_help(rows: Sequence[Row]) -> dict[str, bool]:
    """Whether each device helps in at least one row: the canary.

    Example:
        >>> still_help([{"without": "ahead", "helps": "no"}, {"without": "ahead", "helps": "yes"}])
        {'ahead': True}
    """
    found: dict[str, bool] = {}
    for row in rows:
        found[row["without"]] = found.get(row["without"], False) or row["helps"] == "yes"
    return found


def show(console: rich.console.Console, rows: Sequence[Row]) -> None:
    """The gains on the screen: a row for each device, a column for each N and K."""
    cases = list(dict.fromkeys((row["problems"], row["outputs"]) for row in rows))
    table = rich.table.Table(title="Time without a device over time with all; a tenth or more is worth it")
    for head in ("without", *(f"N = {size:,}, K = {outputs}" for size, outputs in cases), "helps"):
        table.add_column(head, justify="left" if head in ("without", "helps") else "right")
    for name, helps in still_help(rows).items():
        own = {(row["problems"], row["outputs"]): row["gain"] for row in rows if row["without"] == name}
        table.add_row(name, *(f"{own[case]:.2f}" for case in cases), "yes" if helps else "no")
    console.print(table)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.benchmarks.ablation",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("out/benchmarks"), metavar="DIR")
    parser.add_argument("--sizes", type=int, nargs="+", default=[1_000, 100_000], metavar="N")
    parser.add_argument("--outputs", type=int, nargs="+", default=[5, 64], metavar="K")
    parser.add_argument("--rounds", type=int, default=15, metavar="COUNT")
    options = parser.parse_args(arguments)
    if min(*options.sizes, *options.outputs, options.rounds) < 1:
        parser.error("sizes, outputs and rounds must be at least 1")
    console = rich.console.Console()
    rows = run(options.sizes, options.outputs, rounds=options.rounds, report=console.print)
    show(console, rows)
    write(options.out, "ensemble_ablation.csv", COLUMNS, rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
