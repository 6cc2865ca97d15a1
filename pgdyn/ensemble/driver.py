"""Chunks of runs on every core or device: begun ahead, collected as they end."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np

from pgdyn.ensemble import executor
from pgdyn.ensemble.executor import Running

_LOOK, _LOOK_MOST = 1e-4, 1e-3  # seconds between looks at which chunks have ended; a look takes about 1e-5
_PATIENCE = 0.25  # of the time since one has ended, before the next look
_LOOKS = 2  # at least, before waiting for one: when a thread falls asleep, Linux may move another to its core


class _Begun(NamedTuple):
    rows: np.ndarray
    worker: int
    running: Running


def run(
    chunks: Iterable[np.ndarray],
    call: Callable[[np.ndarray, int], Callable[[], Any]],
    collect: Callable[[np.ndarray, Any], None],
    progress: Callable[[int], None] | None = None,
    workers: int | None = None,
    ahead: int = 2,
) -> None:
    """Runs every chunk, `ahead` of them begun on each worker.

    Args:
        chunks: numbers of the runs of each chunk.
        call: (numbers, worker) -> what calls a compiled program on them, its data laid out.
        collect: (numbers, what the program gave) -> None; called in this thread, in the order in which chunks end.
        progress: called after each chunk with the number of its runs.
        workers: how many chunks run side by side; None for one a core.
        ahead: how many chunks a worker has been given at most.
    """
    workers = executor.cores() if workers is None else workers
    left, number = iter(chunks), itertools.count()
    begun: dict[int, _Begun] = {}
    exhausted = False

    def begin(worker: int) -> None:
        nonlocal exhausted
        rows = next(left, None)
        if rows is None:
            exhausted = True
            return
        running = executor.begin(call(rows, worker), worker, workers)
        begun[next(number)] = _Begun(rows, worker, running)

    try:
        for _ in range(ahead):
            for worker in range(workers):
                begin(worker)
        looks, last = _LOOKS if workers > 1 else 0, time.perf_counter()
        while begun:
            ended = [key for key, chunk in begun.items() if chunk.running.is_ready()]
            if not ended and (exhausted or workers == 1) and looks == 0:
                ended = [min(begun)]
            for key in ended:
                chunk = begun.pop(key)
                collect(chunk.rows, chunk.running.result())
                if progress is not None:
                    progress(len(chunk.rows))
                begin(chunk.worker)
            if ended:
                last = time.perf_counter()
            else:
                time.sleep(min(max(_LOOK, _PATIENCE * (time.perf_counter() - last)), _LOOK_MOST))
                looks = max(0, looks - 1)
    finally:  # after an error: what runs cannot be stopped, and ends by itself
        for chunk in begun.values():
            chunk.running.cancel()
