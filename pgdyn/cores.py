"""Work on every core: in the calling thread, and in threads beside it that are kept for the next call.

A thread made anew for every call costs some tenths of a millisecond, and often starts on the core of the one that made
it, where it may stay for milliseconds: as long as a thousand flows take.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, wait
from functools import lru_cache
from typing import TypeVar

Item = TypeVar("Item")


def count() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def together(work: Callable[[], None], threads: int, stop: Callable[[], None]) -> None:
    """`work()` in `threads` threads at once, of which this is one; ends when all have ended.

    A thread that cannot start before this one is done does not start: the others have done its share.

    Args:
        work: takes its share, piece by piece, of something that all threads take from.
        threads: how many.
        stop: lets `work` end early; called, from any thread, when an error or an interrupt ends one of them, whose
            exception is raised here once the others have ended.
    """

    def guarded() -> None:
        try:
            work()
        except BaseException:
            stop()
            raise

    others = [_beside(threads - 1).submit(guarded) for _ in range(threads - 1)]
    try:
        guarded()
        for other in others:
            if not other.cancel():
                other.result()
    finally:
        stop()
        # One that has not started never may: after a fork there is no thread for it.
        wait([other for other in others if not other.cancel()])


def each(work: Callable[[Item], None], items: Iterable[Item], threads: int | None = None) -> None:
    """`work(item)` for every item, shared out between threads; after an error no further item is begun.

    Args:
        work: done once for every item, in any order.
        items: what to share out.
        threads: how many, at most; None for one a core.
    """
    left = list(items)[::-1]
    lock = threading.Lock()

    def take() -> list[Item]:
        with lock:
            return [left.pop()] if left else []

    def share() -> None:
        while taken := take():
            work(taken[0])

    def stop() -> None:
        with lock:
            left.clear()

    together(share, min(threads or count(), len(left)), stop)


@lru_cache
def _beside(threads: int) -> ThreadPoolExecutor:
    # As many as are asked for and no more: a thread just done is not yet known as idle, and quick calls in a row would
    # add another one now and then.
    return ThreadPoolExecutor(threads, thread_name_prefix="pgdyn")
