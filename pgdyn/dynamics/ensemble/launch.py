"""Calls of compiled programs that run side by side, a core each, though one thread begins them all.

A Python thread a core would do, but threads that lay lanes out, wait and collect get into each other's way, in Python
and on the cores: a batch of 1,000 flows takes a fifth longer, now and then twice as long. XLA:CPU has threads of its
own, and makes a call wait only for those of its stream, which is the thread that began it unless told otherwise.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import numpy as np

from pgdyn import cores

try:
    from jaxlib.xla_client import execution_stream_id as _stream
except ImportError:  # it is in every jaxlib that pgdyn asks for, but nobody promises it
    _stream = None


class Running(NamedTuple):
    """A call that has been begun.

    Attributes:
        is_ready: whether it has ended.
        result: waits for its end and gives what it returns.
    """

    is_ready: Callable[[], bool]
    result: Callable[[], np.ndarray]


def begin(call: Callable[[], jax.Array], core: int, of: int) -> Running:
    """Begins a call of a compiled program.

    Args:
        call: calls it.
        core: a number below `of`. Calls of the same one run in order, where XLA has streams; elsewhere each runs in
            whichever of as many threads is free.
        of: how many cores there are.
    """
    if of == 1:
        return _in_order(call())
    if _stream is not None and _begins_without_waiting():
        with _stream(threading.get_ident() + 1 + core):
            return _in_order(call())
    future = cores.pool(of).submit(lambda: np.asarray(call()))
    return Running(future.done, future.result)


def _in_order(array: Any) -> Running:
    return Running(array.is_ready, lambda: np.asarray(array))


@lru_cache
def _begins_without_waiting() -> bool:
    return bool(jax.config.values.get("jax_cpu_enable_async_dispatch", False))
