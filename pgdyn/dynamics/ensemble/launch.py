"""Calls of compiled programs that run side by side, a core each, though one thread begins them all.

A Python thread a core would do, but threads that lay lanes out, wait and collect get into each other's way, in Python
and on the cores: a batch of 1,000 flows takes a fifth longer, now and then twice as long. XLA:CPU has threads of its
own, and makes a call wait only for those of its stream, which is the thread that began it unless told otherwise.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import numpy as np

from pgdyn import cores

try:
    from jaxlib.xla_client import execution_stream_id as _stream
except ImportError:  # it is in every jaxlib that pgdyn asks for, but nobody promises it
    _stream = None


MOST = 32  # calls at once: XLA:CPU begins no more before one has ended


class Running(NamedTuple):
    """A call that has been begun.

    Attributes:
        is_ready: whether it has ended.
        result: waits for its end and gives what it returns.
        cancel: lets it not run, where that is still possible.
    """

    is_ready: Callable[[], bool]
    result: Callable[[], np.ndarray]
    cancel: Callable[[], Any]


def begin(call: Callable[[], jax.Array], core: int, of: int) -> Running:
    """Begins a call of a compiled program, and does not wait for it.

    Args:
        call: calls it.
        core: a number below `of`. Calls with the same number run one after the other; where XLA has no streams it
            means nothing, and each call runs in whichever thread is free.
        of: how many such numbers there are; with one, no stream or thread is needed.
    """
    if of == 1:
        return _in_order(call())
    if _stream is not None and _begins_without_waiting():
        with _stream(threading.get_ident() + 1 + core):
            return _in_order(call())
    future = _threads(os.getpid()).submit(lambda: np.asarray(call()))
    return Running(future.done, future.result, future.cancel)


def _in_order(array: Any) -> Running:
    return Running(array.is_ready, lambda: np.asarray(array), lambda: None)


@lru_cache
def _begins_without_waiting() -> bool:
    """Whether JAX was told to, as it is unless one says otherwise, when it made its client."""
    return bool(jax.config.values.get("jax_cpu_enable_async_dispatch", False))


@lru_cache
def _threads(process: int) -> ThreadPoolExecutor:
    # The engine's own, whose tasks wait for no others; and a process's own: a fork takes no threads along.
    return ThreadPoolExecutor(cores.count(), thread_name_prefix="pgdyn-engine")
