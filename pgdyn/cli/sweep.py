"""`pgdyn sweep`: a spec's whole grid of problems into one store, however often it is interrupted."""

from __future__ import annotations

import contextlib
import pathlib
from collections.abc import Iterator
from typing import Any

import click

import pgdyn
from pgdyn.cli import INTERRUPTED, fail, options, progress

_LISTED = 20  # damaged shards that are named
_SPEC = "Spec file, .toml or .json; pydoc pgdyn.sweep.spec shows one."
_STATUS = "Check every byte of a store, tell what is there, and run nothing."
_TIMEOUT = "Seconds without any worker after which to stop.  [default: 60]"
_WORKERS = "Compute in so many processes.  [default: in this one, on all cores]"


@click.command()
@click.argument("spec", type=options.PATH, required=False, help=_SPEC)
@click.option("--out", type=options.PATH, metavar="STORE", help="Folder of the zarr store, begun or continued.")
@click.option("--workers", type=options.COUNT, help=_WORKERS)
@click.option("--cluster", metavar="ADDRESS", help="Dask scheduler to compute with, for instance tcp://10.0.0.1:8786.")
@click.option("--worker-timeout", type=options.NUMBER, help=_TIMEOUT)
@click.option("--overwrite", is_flag=True, help="Throw away what the store holds and begin anew.")
@click.option("--status", type=options.PATH, metavar="STORE", help=_STATUS)
def sweep(spec: pathlib.Path | None, out: pathlib.Path | None, status: pathlib.Path | None, **given: Any) -> None:
    """Run every point of a sweep, or tell how far one is.

    An interrupted sweep goes on where it was when the same command is given again: it recomputes at most the shards
    that were being computed, and ends with the same bits. pgdyn.sweep.open_sweep reads the store, and pgdyn.plot.sweep
    draws it. The exit code is 1 if the sweep has to stop on the way (a full disk, a lost cluster), or if --status finds
    damaged shards.
    """
    given = {name: value for name, value in given.items() if value is not None and value is not False}
    if status is not None:
        others = {"SPEC": spec, "--out": out, **{f"--{name.replace('_', '-')}": value for name, value in given.items()}}
        for name in (name for name, value in others.items() if value is not None):
            raise ValueError(f"--status only looks; it does not go with {name}")
        return _status(status)
    if spec is None:
        raise ValueError("give a SPEC to run, or --status STORE to look at a store")
    if out is None:
        raise ValueError("--out is missing; it names the store to write")
    return _run(spec, out, given)


def _run(path: pathlib.Path, out: pathlib.Path, given: dict[str, Any]) -> None:
    spec = pgdyn.sweep.load_spec(path)
    options.enable_cache()
    try:
        with progress.shown(path.stem if spec.name is None else spec.name, "points") as show:

            def tell(now: pgdyn.sweep.Progress) -> None:
                note = "checked" if now.phase == "checking" else f"{now.shards_done}/{now.shards} shards"
                show(now.points_done, now.points, now.waiting or note, work=now.computed > 0)

            summary = pgdyn.sweep.run_sweep(spec, out, progress=tell, **given)
    except pgdyn.sweep.SweepStopped as stop:
        raise click.ClickException(str(stop)) from None
    except KeyboardInterrupt:
        done = ""
        with contextlib.suppress(OSError, ValueError):
            done = f"{pgdyn.sweep.Store.open(out).count()} of {spec.num_shards} shards are safe; "
        sentence = f"interrupted; {done}the same command goes on from there"
        raise click.exceptions.Exit(fail(sentence, INTERRUPTED)) from None
    print("; ".join(_told(spec, summary)), out, sep="\n")


def _told(spec: pgdyn.sweep.Spec, summary: pgdyn.sweep.Summary) -> Iterator[str]:
    shape = " x ".join(str(length) for length in spec.shape)
    yield f"{summary.points:,} points ({shape}) in {summary.shards} shards"
    if summary.found:
        yield f"{summary.found} were there"
    if summary.computed:
        rate = sum(summary.results.values()) / max(summary.seconds, 1e-9)
        yield f"{summary.computed} computed in {progress.duration(summary.seconds)} ({rate:,.0f} points/s)"
    if summary.redone:
        yield f"{summary.redone} of these had been damaged"
    if others := summary.shards - summary.found - summary.computed:
        yield f"{others} computed by others"
    for code, count in sorted(summary.results.items()):
        if code >= pgdyn.Result.step_budget_spent:
            yield f"{count:,} runs {pgdyn.Result(code).message}"


def _status(path: pathlib.Path) -> None:
    store = pgdyn.sweep.Store.open(path)
    spec = store.spec
    states = [store.state(shard) for shard in range(spec.num_shards)]
    done, damaged = ([shard for shard, state in enumerate(states) if state == what] for what in ("done", "damaged"))
    points = sum(len(spec.shard_points(shard)) for shard in done)
    making = len(set(store.being_made()) - set(done))
    if spec.name:
        print(spec.name)
    print(f"dynamics     {spec.dynamics.name}")
    for axis in spec.axes:
        print(f"axis         {axis.name}: {len(axis)} values, {axis.coordinates[0]!s} to {axis.coordinates[-1]!s}")
    print(f"observables  {', '.join(spec.observables or ())}")
    print(f"points       {points:,} of {spec.num_points:,} ({100 * points / spec.num_points:.1f} %)")
    print(f"shards       {len(done)} of {spec.num_shards} done, {making} being made, {len(damaged)} damaged")
    if damaged:
        print(f"damaged      {', '.join(map(str, damaged[:_LISTED]))}{', ...' if len(damaged) > _LISTED else ''}")
        raise click.exceptions.Exit(1)
