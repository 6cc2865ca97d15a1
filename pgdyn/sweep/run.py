"""`run_sweep`: every shard of a spec into its store, here or on a cluster, however often it takes."""

from __future__ import annotations

import collections
import errno
import functools
import os
import time
from collections.abc import Callable

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
            settings = {"address": cluster, "workers": workers, "worker_timeout": worker_timeout}
            with connect(spec, opened.numbers, **settings) as compute:
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
        self._spec, self._store, self._progress = store.spec, store, progress
        self._done: set[int] = set()
        self._damaged: set[int] = set()
        self._computed: set[int] = set()
        self._taken = 0
        self._begun: float | None = None
        self._marks: list[tuple[float, int]] = []  # seconds and points after each shard computed
        self._first = 0  # shards that were being computed when the first was done: their time is that of compilation
        self._results: collections.Counter[int] = collections.Counter()
        shards = range(self._spec.num_shards)
        self.todo = collections.deque(shard for shard in shards if not self._is_done(shard, "checking"))
        self._found = len(self._done)

    def finish(self, compute: Callable[[Take], Computed]) -> None:
        """Computes until no shard is left, those included that other processes hold and do not finish.

        Args:
            compute: yields (shard, arrays) for every shard that it takes, in any order, and now and then what it waits
                for in words, or None. A shard to take may be missing for the moment; it asks again after a result.
        """
        self._begun = time.perf_counter()
        self._report("running")
        while self.todo:
            for result in compute(self._take):
                if isinstance(result, tuple):
                    self._keep(*result)
                elif result is not None:
                    self._report("running", result)
            if self.todo:
                time.sleep(_POLL)  # other processes are making all that is left
                self._report("running")
        self._store.remove_leftovers()

    def summary(self) -> Summary:
        """What has been done."""
        redone, computed = len(self._damaged & self._computed), len(self._computed)
        shape = (self._spec.num_points, self._spec.num_shards)
        return Summary(*shape, self._found, redone, computed, self._seconds(), dict(self._results))

    def _take(self) -> int | None:
        """The next shard that no other process is making, claimed; None if there is none at the moment."""
        for _ in range(len(self.todo)):
            shard = self.todo.popleft()
            if not self._store.claim(shard):
                self.todo.append(shard)
            elif self._is_done(shard, "running"):
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
                f"{self._store.path}: {reason}; {len(self._done)} of {self._spec.num_shards} shards are safe, "
                f"shard {shard} was computed and could not be kept; the same command goes on from there"
            ) from error
        self._store.release(shard)
        self._computed.add(shard)
        self._marks.append((self._seconds(), self._points(self._computed)))
        self._results.update(arrays["result"].tolist())
        self._done.add(shard)
        self._report("running")

    def _is_done(self, shard: int, phase: str) -> bool:
        state = self._store.state(shard)
        if state == "damaged":
            self._damaged.add(shard)
        if state == "done":
            self._done.add(shard)
            self._report(phase)
        return state == "done"

    def _points(self, shards: set[int]) -> int:
        last = self._spec.num_shards - 1  # the one that may be shorter
        whole = len(shards) - (last in shards)
        return whole * len(self._spec.shard_points(0)) + (last in shards) * len(self._spec.shard_points(last))

    def _seconds(self) -> float:
        return 0.0 if self._begun is None else time.perf_counter() - self._begun

    def _report(self, phase: str, waiting: str | None = None) -> None:
        if self._progress is None:
            return
        seconds, pace = self._seconds(), 0.0
        # The first results of all that was sent out at once took the time of compilation, too.
        if len(self._marks) > self._first:
            compiled, before = self._marks[self._first - 1]
            pace = (self._marks[-1][1] - before) / (seconds - compiled)
        counts = (len(self._done), self._spec.num_shards, self._points(self._done), self._spec.num_points)
        here = self._marks[-1][1] if self._marks else 0
        self._progress(Progress(phase, *counts, here, seconds, pace, waiting))
