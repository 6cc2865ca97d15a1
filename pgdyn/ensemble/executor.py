"""Calls of compiled programs that run side by side, one a core: by threads, or by XLA's own streams where it has them.

A thread a core would do, but threads that lay chunks out, wait and collect get into each other's way, in Python and on
the cores: a batch of 1,000 flows takes a fifth longer, now and then twice as long. With streams one thread begins all.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import numpy as np

from pgdyn.ensemble import tuning, xla


class Running(NamedTuple):
    """A call that has been begun.

    Attributes:
        is_ready: whether it has ended.
        result: waits for its end and gives what it returns, NumPy arrays.
        cancel: lets it not run, where that is still possible.
    """

    is_ready: Callable[[], bool]
    result: Callable[[], Any]
    cancel: Callable[[], Any]


def begin(call: Callable[[], Any], worker: int, workers: int) -> Running:
    """Begins a call of a compiled program, and does not wait for it.

    Args:
        call: calls it; gives a tree of JAX arrays.
        worker: a number below `workers`. With streams, calls with the same number run one after the other; with threads
            each runs in whichever is free.
        workers: how many such numbers there are; with one, no stream or thread is needed.
    """
    if workers == 1:
        return _in_order(call())
    if tuning.current().streams and xla.has_streams():
        with xla.stream(worker):
            return _in_order(call())
    future = _threads(os.getpid(), workers).submit(lambda: _host(call()))
    return Running(future.done, future.result, future.cancel)


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _in_order(tree: Any) -> Running:
    leaves = jax.tree.leaves(tree)
    return Running(lambda: all(leaf.is_ready() for leaf in leaves), lambda: _host(tree), lambda: None)


def _host(tree: Any) -> Any:
    return jax.tree.map(np.asarray, tree)


@lru_cache
def _threads(process: int, workers: int) -> ThreadPoolExecutor:
    # A process's own: a fork takes no threads along.
    return ThreadPoolExecutor(workers, thread_name_prefix="pgdyn-ensemble")
