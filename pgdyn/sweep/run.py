"""`run_sweep`: every shard of a spec into its store, here or on a cluster, however often it takes."""

from __future__ import annotations

import collections
import dataclasses
import errno
import os
import time
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import numpy as np

from pgdyn.sweep import engine
from pgdyn.sweep.spec import Spec
from pgdyn.sweep.store import Store

_FULL = (errno.ENOSPC, errno.EDQUOT)
_POLL = 0.1  # seconds between looks at shards that other processes are making


class SweepStopped(Exception):
    """A sweep that cannot go on, although nothing is wrong with what was asked for. What is done stays done."""


@dataclasses.dataclass(frozen=True)
class Progress:
    """How far a sweep is.

    Attributes:
        phase: "checking" what the store holds, or "running".
        shards_done: whole shards in the store.
        shards: all shards.
        points_done: points in whole shards.
        points: all points.
        computed: points that this process has had computed.
        seconds: since this process began to compute.
    """

    phase: str
    shards_done: int
    shards: int
    points_done: int
    points: int
    computed: int
    seconds: float

    @property
    def rate(self) -> float:
        """Points a second computed by this process; 0 before the first."""
        return self.computed / self.seconds if self.seconds > 0 else 0.0

    @property
    def remaining(self) -> float | None:
        """Seconds left at this rate; None before the first points are there."""
        return (self.points - self.points_done) / self.rate if self.computed else None


@dataclasses.dataclass(frozen=True)
class Summary:
    """What a call of `run_sweep` did.

    Attributes:
        points: points of the sweep, all of which are in the store.
        shards: shards of the sweep.
        found: shards that were there and whole.
        redone: shards that were damaged and have been made again.
        computed: shards computed by this process (the rest came from others that ran beside it).
        seconds: time spent computing.
        results: how many runs ended in each way, by `pgdyn.Result` code, of the shards computed here.
    """

    points: int
    shards: int
    found: int
    redone: int
    computed: int
    seconds: float
    results: dict[int, int]


class Workers(Protocol):
    """Where shards are computed."""

    def compute(self, take: Callable[[], int | None]) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
        """Yields (shard, arrays) for every shard that `take` hands out, in any order.

        `take` gives None when there is no shard at the moment; it is asked again after the next result.
        """
        ...


class Here:
    """Shards computed in this process, one after another; each uses all cores."""

    def __init__(self, spec: Spec):
        self._spec = spec

    def compute(self, take: Callable[[], int | None]) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
        """See `Workers`."""
        while (shard := take()) is not None:
            yield shard, engine.compute_shard(self._spec, shard)


def run_sweep(
    spec: Spec,
    store: str | os.PathLike[str],
    *,
    workers: int | None = None,
    cluster: str | None = None,
    overwrite: bool = False,
    progress: Callable[[Progress], None] | None = None,
) -> Summary:
    """Computes what the store does not hold yet, until it holds all.

    May be interrupted at any moment and called again; several processes may do so at once.

    Args:
        spec: the sweep.
        store: the folder of its zarr store.
        workers: compute in a local Dask cluster of so many processes; None for this process.
        cluster: compute on the Dask cluster with the scheduler at this address, for instance "tcp://10.0.0.1:8786".
        overwrite: throw away what the store holds.
        progress: called after every shard.

    Returns:
        What was found and done.

    Raises:
        ValueError: if the store belongs to another sweep, or the cluster cannot be had.
        OSError: if the store cannot be begun.
        SweepStopped: if the disk is full or fails, or a cluster is lost. The same call goes on from there.
        KeyboardInterrupt: on Ctrl-C; the shards in flight are lost, no others.
    """
    if workers is not None and cluster is not None:
        raise ValueError("give workers or cluster, not both")
    if workers is not None or cluster is not None:
        from pgdyn.sweep.cluster import connect, require

        require(cluster, workers)
    try:
        opened = Store.create(store, spec, overwrite=overwrite)
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise _stopped(store, None, error) from error
    with opened:
        sweep = _Sweep(spec, opened, progress)
        sweep.check()
        if not sweep.todo:
            return sweep.summary()
        if workers is None and cluster is None:
            sweep.finish(Here(spec))
        else:
            with connect(spec, opened.numbers, address=cluster, workers=workers) as farm:
                sweep.finish(farm)
        return sweep.summary()


class _Sweep:
    """The bookkeeping of one call."""

    def __init__(self, spec: Spec, store: Store, progress: Callable[[Progress], None] | None):
        self._spec, self._store, self._progress = spec, store, progress
        self._done: set[int] = set()
        self._held: set[int] = set()  # claimed by this process
        self._damaged: set[int] = set()
        self._computed: set[int] = set()
        self._points = 0  # in whole shards
        self._points_here = 0
        self._found = 0
        self._begun = 0.0
        self._results: collections.Counter[int] = collections.Counter()
        self.todo: collections.deque[int] = collections.deque()

    def check(self) -> None:
        """Looks at every shard of the store, and at every byte of it."""
        for shard in range(self._spec.num_shards):
            if self._is_done(shard):
                self._note_done(shard)
                self._report("checking")
            else:
                self.todo.append(shard)
        self._found = len(self._done)

    def finish(self, workers: Workers) -> None:
        """Computes until no shard is left, those included that other processes hold and do not finish."""
        self._begun = time.perf_counter()
        self._report("running")
        try:
            while self.todo:
                for shard, arrays in workers.compute(self._take):
                    self._keep(shard, arrays)
                if self.todo:
                    time.sleep(_POLL)  # all that is left is in the hands of other processes
                    self._report("running")
        finally:
            for shard in self._held:
                self._store.release(shard)

    def summary(self) -> Summary:
        """What has been done."""
        return Summary(
            points=self._spec.num_points,
            shards=self._spec.num_shards,
            found=self._found,
            redone=len(self._damaged & self._computed),
            computed=len(self._computed),
            seconds=time.perf_counter() - self._begun if self._begun else 0.0,
            results=dict(self._results),
        )

    def _take(self) -> int | None:
        """The next shard that nobody else is making, claimed; None if there is none at the moment."""
        for _ in range(len(self.todo)):
            shard = self.todo.popleft()
            if not self._store.claim(shard):
                self.todo.append(shard)
                continue
            self._held.add(shard)
            if not self._is_done(shard):
                return shard
            # Another process finished it after it was looked at.
            self._release(shard)
            self._note_done(shard)
            self._report("running")
        return None

    def _keep(self, shard: int, arrays: dict[str, np.ndarray]) -> None:
        try:
            self._store.write(shard, arrays)
        except OSError as error:
            raise _stopped(self._store.path, (len(self._done), self._spec.num_shards), error) from error
        self._release(shard)
        self._computed.add(shard)
        self._points_here += len(self._spec.shard_points(shard))
        codes, counts = np.unique(arrays["result"], return_counts=True)
        self._results.update(dict(zip(codes.tolist(), counts.tolist(), strict=True)))
        self._note_done(shard)
        self._report("running")

    def _release(self, shard: int) -> None:
        self._store.release(shard)
        self._held.discard(shard)

    def _is_done(self, shard: int) -> bool:
        state = self._store.state(shard)
        if state == "damaged":
            self._damaged.add(shard)
        return state == "done"

    def _note_done(self, shard: int) -> None:
        self._done.add(shard)
        self._points += len(self._spec.shard_points(shard))

    def _report(self, phase: str) -> None:
        if self._progress is not None:
            seconds = time.perf_counter() - self._begun if self._begun else 0.0
            counts = (len(self._done), self._spec.num_shards, self._points, self._spec.num_points)
            self._progress(Progress(phase, *counts, self._points_here, seconds))


def _stopped(path: Any, done: tuple[int, int] | None, error: OSError) -> SweepStopped:
    reason = "the disk is full" if error.errno in _FULL else f"it cannot be written: {error}"
    kept = f"; {done[0]} of {done[1]} shards are safe" if done else ""
    return SweepStopped(f"{path}: {reason}{kept}, and the same command goes on from there")
