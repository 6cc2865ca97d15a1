"""Everything that leans on what JAX and XLA do not promise, with a plain way beside each.

Where something here is missing or has changed, the engine computes the same numbers, more slowly.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import jax

try:
    from jax.experimental.xla_metadata import set_xla_metadata as _metadata
except ImportError:
    _metadata = None
try:
    from jaxlib.xla_client import execution_stream_id as _stream
except ImportError:
    _stream = None

MOST_CALLS = 32  # at once: XLA:CPU begins no more before one has ended


def as_one_kernel(function: Callable[..., Any], *arguments: Any) -> Any:
    """`function(*arguments)`, compiled by XLA:CPU into one function of its own.

    Otherwise every operation is a function, and calling one costs as much as an operation on 64 lanes. The attributes
    are what XLA's own pass for small loops uses; a version that knows neither computes the same, more slowly.
    """
    if _metadata is None:
        return function(*arguments)
    metadata = _metadata

    def unmarked(*arguments: Any) -> Any:
        with metadata(inlineable=None, xla_cpu_small_call=None):
            return function(*arguments)

    with metadata(inlineable="false", xla_cpu_small_call="true"):
        return jax.jit(unmarked)(*arguments)


def is_not_compilable(error: Exception) -> bool:
    """Whether XLA refused to compile one kernel, and a kernel for each operation is to be tried."""
    return isinstance(error, jax.errors.JaxRuntimeError) and "UNIMPLEMENTED" in str(error)


@lru_cache
def compiler_options(one_kernel: bool, wide_vectors: bool, keep_barriers: bool) -> dict[str, Any] | None:
    """How programs for a CPU are made faster, with the same results but for rounding; None for no options.

    Vectors of 512 bits where it has them: by XLA's default of 256 the loop takes a third longer. And optimization
    barriers that fusion respects, where XLA:CPU drops them first: without those of `step` each stage computes all
    earlier slopes anew, and a step takes a fifth longer. In one kernel there is no place for calls of a library, which
    reductions of some size would otherwise become.
    """
    options: dict[str, Any] = {}
    if wide_vectors:
        options["xla_cpu_prefer_vector_width"] = 512
    if one_kernel:
        options["xla_disable_hlo_passes"] = "dot-library-rewriter"
    elif keep_barriers:
        options["xla_disable_hlo_passes"] = "cse_barrier_expander"
    if not options:
        return None
    try:
        jax.jit(jax.lax.optimization_barrier, compiler_options=options).lower(1.0).compile()
    except Exception:  # whatever a version raises: without the options it is only slower
        return None
    return options


@lru_cache
def has_streams() -> bool:
    """Whether calls of compiled programs can run side by side though one thread begins them."""
    return _stream is not None and bool(jax.config.values.get("jax_cpu_enable_async_dispatch", False))


def stream(number: int) -> contextlib.AbstractContextManager[Any]:
    """Calls begun in this context wait only for those of the same number begun by this thread."""
    assert _stream is not None
    return _stream(threading.get_ident() + 1 + number)
