"""`pgdyn sweep`: a spec's whole grid of problems into one store, however often it is interrupted."""

from __future__ import annotations

import contextlib
import pathlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Annotated, Any

import tyro

if TYPE_CHECKING:
    from pgdyn.sweep import Progress, Spec, Summary

_LINE_EVERY = 5.0  # seconds between lines of progress where there is no terminal to draw a bar on


def _option(metavar: str, default: object) -> Any:
    return tyro.conf.arg(metavar=metavar, help_behavior_hint=f"(default: {default})")


def sweep(
    spec: tyro.conf.Positional[
        Annotated[pathlib.Path | None, tyro.conf.arg(metavar="[SPEC]", help_behavior_hint="(required but by --status)")]
    ] = None,
    /,
    out: Annotated[
        pathlib.Path | None, tyro.conf.arg(metavar="STORE", help_behavior_hint="(required but by --status)")
    ] = None,
    workers: Annotated[int | None, _option("COUNT", "this process, on all cores")] = None,
    cluster: Annotated[str | None, _option("ADDRESS", "none")] = None,
    overwrite: bool = False,
    status: Annotated[pathlib.Path | None, _option("STORE", "none")] = None,
) -> int:
    """Run every point of a sweep, or tell how far one is.

    An interrupted sweep goes on where it was when the same command is given again: it recomputes at most the shards
    that were in flight, and ends with the same bits. Exit code 1 if it has to stop on the way (a full disk, a lost
    cluster), or if --status finds damaged shards.

    Args:
        spec: Spec file, .toml or .json, with the tables [problem], [[axes]] and [dynamics]. python -m pydoc
            pgdyn.sweep.spec shows one.
        out: Folder of the zarr store; begun or continued.
        workers: Compute in a local Dask cluster of so many processes.
        cluster: Compute on the Dask cluster with the scheduler at this address, for instance tcp://10.0.0.1:8786.
        overwrite: Throw away what the store holds and begin anew.
        status: Tell what this store holds, every byte of it checked, and run nothing.
    """
    if status is not None:
        for name, given in (("SPEC", spec), ("--out", out), ("--workers", workers), ("--cluster", cluster)):
            if given is not None:
                raise ValueError(f"--status only looks; it does not go with {name}")
        if overwrite:
            raise ValueError("--status only looks; it does not go with --overwrite")
        return _status(status)
    if spec is None:
        raise ValueError("give a SPEC to run, or --status STORE to look at a store")
    if out is None:
        raise ValueError("--out is missing; it names the store to write")
    if workers is not None and cluster is not None:
        raise ValueError("give --workers or --cluster, not both")
    if workers is not None and workers < 1:
        raise ValueError(f"--workers is {workers}; it must be at least 1")
    return _run(spec, out, workers=workers, cluster=cluster, overwrite=overwrite)


def _run(path: pathlib.Path, out: pathlib.Path, **options: Any) -> int:
    from pgdyn.sweep import Store, SweepStopped, load_spec, run_sweep

    spec = load_spec(path)
    try:
        with _shown(path.stem if spec.name is None else spec.name) as show:
            summary = run_sweep(spec, out, progress=show, **options)
    except SweepStopped as stop:
        print("error: " + " ".join(str(stop).split()), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        done = ""
        with contextlib.suppress(OSError, ValueError):
            done = f"{Store.open(out).count()} of {spec.num_shards} shards are safe; "
        print(f"error: interrupted; {done}the same command goes on from there", file=sys.stderr)
        return 130
    print(_told(spec, out, summary))
    return 0


def _told(spec: Spec, out: pathlib.Path, summary: Summary) -> str:
    from pgdyn.dynamics.result import Result

    shape = " x ".join(str(length) for length in spec.shape)
    parts = [f"{summary.points:,} points ({shape}) in {summary.shards} shards"]
    if summary.found:
        parts.append(f"{summary.found} were there")
    if summary.computed:
        rate = sum(summary.results.values()) / max(summary.seconds, 1e-9)
        parts.append(f"{summary.computed} computed in {_duration(summary.seconds)} ({rate:,.0f} points/s)")
    if summary.redone:
        parts.append(f"{summary.redone} of these had been damaged")
    if others := summary.shards - summary.found - summary.computed:
        parts.append(f"{others} computed by others")
    ways = sorted((code, n) for code, n in summary.results.items() if code >= Result.step_budget_spent)
    parts += [f"{n:,} runs {Result(code).message}" for code, n in ways]
    return "; ".join(parts) + f"\n{out}"


def _status(path: pathlib.Path) -> int:
    from pgdyn.sweep import Store

    store = Store.open(path)
    spec = store.spec
    states = [store.state(shard) for shard in range(spec.num_shards)]
    done = [shard for shard, state in enumerate(states) if state == "done"]
    damaged = [shard for shard, state in enumerate(states) if state == "damaged"]
    points = sum(len(spec.shard_points(shard)) for shard in done)
    making = len(set(store.being_made()) - set(done))
    if spec.name:
        print(spec.name)
    print(f"dynamics     {spec.dynamics.kind}")
    for axis in spec.axes:
        ends = f"{axis.coordinates[0]!s} to {axis.coordinates[-1]!s}"
        print(f"axis         {axis.name}: {len(axis)} values, {ends}")
    print(f"observables  {', '.join(spec.observables or ())}")
    print(f"points       {points:,} of {spec.num_points:,} ({100 * points / spec.num_points:.1f} %)")
    print(f"shards       {len(done)} of {spec.num_shards} done, {making} being made, {len(damaged)} damaged")
    if damaged:
        print(f"damaged      {', '.join(str(shard) for shard in damaged[:20])}{', ...' if len(damaged) > 20 else ''}")
    return 1 if damaged else 0


@contextlib.contextmanager
def _shown(title: str) -> Iterator[Callable[[Progress], None]]:
    """How progress is shown: a bar on a terminal, else a line now and then, both on standard error."""
    if not sys.stderr.isatty():
        yield _Lines()
        return
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[text]}"))
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=None, text="")

        def show(progress: Progress) -> None:
            bar.update(task, total=progress.points, completed=progress.points_done, text=_line(progress))

        yield show


class _Lines:
    def __init__(self):
        self._next = time.monotonic() + _LINE_EVERY

    def __call__(self, progress: Progress) -> None:
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + _LINE_EVERY
            print(_line(progress), file=sys.stderr, flush=True)


def _line(progress: Progress) -> str:
    text = f"{progress.shards_done}/{progress.shards} shards, {progress.points_done:,}/{progress.points:,} points"
    if progress.phase == "checking":
        return text + " checked"
    if progress.remaining is not None:
        text += f", {progress.rate:,.0f} points/s, {_duration(progress.remaining)} left"
    return text


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"
