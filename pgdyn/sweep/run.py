"""`run_sweep`: every shard of a spec into its store, here or on a cluster, however often it takes."""

from __future__ import annotations

import collections
import dataclasses
import errno
import functools
import os
import time
from collections.abc import Callable
from typing import Any

from pgdyn import validate
from pgdyn.sweep import engine
from pgdyn.sweep.cluster import Computed, Take, connect, require
from pgdyn.sweep.engine import Arrays
from pgdyn.sweep.progress import Progress, Summary, SweepStopped
from pgdyn.sweep.spec import Spec
from pgdyn.sweep.store import Store

_FULL = (errno.ENOSPC, errno.EDQUOT)
_POLL = 0.1  # seconds between looks at shards that other processes are making


def run_sweep(
    spec: Spec,
    store: str | os.PathLike[str],
    *,
    workers: int | None = None,
    cluster: str | None = None,
    worker_timeout: float = 60.0,
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
        worker_timeout: seconds that a cluster may be without workers, or without a sign of life of any, before the
            sweep stops; the shards of a single worker that gives none are sent to others after as long.
        overwrite: throw away what the store holds.
        progress: called after every shard, and every half a second while a cluster has no workers.

    Returns:
        What was found and done.

    Raises:
        ValueError: if the store belongs to another sweep, or the cluster cannot be had.
        OSError: if the store cannot be begun.
        SweepStopped: if the disk is full or fails, or a cluster is lost. The same call goes on from there.
        KeyboardInterrupt: on Ctrl-C; the shards that are being computed are lost, no others.

    Example:
        >>> import tempfile
        >>> from pgdyn import sweep
        >>> problem = {"true_reward": [1, 0.8, -1, -1, -1], "initial_policy": [0.05, 0.5, 0.15, 0.15, 0.15]}
        >>> axes = [sweep.Axis.linear("proxy_reward[1]", -1, 1, 3)]
        >>> spec = sweep.Spec(problem, axes, sweep.Flow(t1=5000.0, target=0.9))
        >>> store = tempfile.mkdtemp()
        >>> sweep.run_sweep(spec, store).computed, sweep.run_sweep(spec, store).found
        (1, 1)
        >>> sweep.open_sweep(store).hitting_time.values.round(1)
        array([16.7, 43.4,  inf])
    """
    if workers is not None and cluster is not None:
        raise ValueError("give workers or cluster, not both")
    on_dask = workers is not None or cluster is not None
    if on_dask:
        require(cluster, workers)
        worker_timeout = float(validate.number("worker_timeout", worker_timeout, positive=True))
    try:
        opened = Store.create(store, spec, overwrite=overwrite)
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise SweepStopped(f"{store}: the disk is full; nothing has been computed") from error
    with opened:
        sweep = _Sweep(opened, progress)
        if sweep.todo and on_dask:
            with connect(spec, opened.provenance["numbers"], cluster, workers, worker_timeout) as compute:
                sweep.finish(compute)
        elif sweep.todo:
            sweep.finish(functools.partial(_compute_here, spec))
        return sweep.summary()


def _compute_here(spec: Spec, take: Take) -> Computed:
    """Shards computed in this process, one after another; each uses all cores."""
    while (shard := take()) is not None:
        yield shard, engine.compute_shard(spec, shard)


class _Sweep:
    """The bookkeeping of one call, which begins with a look at every byte of the store."""

    def __init__(self, store: Store, progress: Callable[[Progress], None] | None):
        self._store, self._spec, self._tell = store, store.spec, progress
        self._now = Progress("checking", 0, self._spec.num_shards, 0, self._spec.num_points, computed=0, seconds=0.0)
        self._begun: float | None = None
        self._damaged: set[int] = set()
        self._taken = self._computed = self._redone = 0  # shards
        self._first = 0  # shards that were being computed when the first was done: their time is that of compilation
        self._compiled = (0.0, 0)  # seconds and points when those were done
        self._results: collections.Counter[int] = collections.Counter()
        self.todo = collections.deque(shard for shard in range(self._spec.num_shards) if not self._is_done(shard))
        self._found = self._now.shards_done

    def finish(self, compute: Callable[[Take], Computed]) -> None:
        """Computes until no shard is left, those included that other processes hold and do not finish.

        `compute` yields (shard, arrays) for every shard that it takes, in any order, and now and then what it waits for
        in words. A shard to take may be missing for the moment; it asks again after a result.
        """
        self._begun = time.perf_counter()
        self._report(phase="running")
        while self.todo:
            for result in compute(self._take):
                if isinstance(result, str):
                    self._report(waiting=result)
                else:
                    self._keep(*result)
            if self.todo:
                time.sleep(_POLL)  # other processes are making all that is left
                self._report()
        self._store.remove_leftovers()

    def summary(self) -> Summary:
        """What has been done."""
        now, counts = self._now, (self._found, self._redone, self._computed)
        return Summary(now.points, now.shards, *counts, now.seconds, dict(self._results))

    def _take(self) -> int | None:
        """The next shard that no other process is making, claimed; None if there is none at the moment."""
        for _ in range(len(self.todo)):
            shard = self.todo.popleft()
            if not self._store.claim(shard):
                self.todo.append(shard)
            elif self._is_done(shard):
                self._store.release(shard)  # another process finished it after it was looked at
            else:
                self._taken += 1
                return shard
        return None

    def _keep(self, shard: int, arrays: Arrays) -> None:
        self._first = self._first or self._taken
        try:
            self._store.write(shard, arrays)
        except OSError as error:
            reason = "the disk is full" if error.errno in _FULL else error.strerror or str(error)
            raise SweepStopped(
                f"{self._store.path}: {reason}; {self._now.shards_done} of {self._now.shards} shards are safe, "
                f"shard {shard} was computed and could not be kept; the same command goes on from there"
            ) from error
        self._store.release(shard)
        self._computed += 1
        self._redone += shard in self._damaged
        self._results.update(arrays["result"].tolist())
        self._count(shard, computed=self._now.computed + len(arrays["result"]))
        if self._computed == self._first:
            self._compiled = (self._now.seconds, self._now.computed)

    def _is_done(self, shard: int) -> bool:
        if (state := self._store.state(shard)) == "done":
            self._count(shard)
        elif state == "damaged":
            self._damaged.add(shard)
        return state == "done"

    def _count(self, shard: int, **changes: Any) -> None:
        points = self._now.points_done + len(self._spec.shard_points(shard))
        self._report(shards_done=self._now.shards_done + 1, points_done=points, **changes)

    def _report(self, waiting: str | None = None, **changes: Any) -> None:
        if self._begun is not None:
            changes["seconds"] = time.perf_counter() - self._begun
        self._now = now = dataclasses.replace(self._now, waiting=waiting, **changes)
        if self._computed > self._first:
            seconds, points = self._compiled
            self._now = dataclasses.replace(now, pace=(now.computed - points) / (now.seconds - seconds))
        if self._tell is not None:
            self._tell(self._now)
