"""What is compiled: a chunk of lanes (`slots`) for each kind of call, on a CPU in as few kernels as it can be."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

from pgdyn import reduction
from pgdyn.ensemble import xla
from pgdyn.ensemble.packing import Packing
from pgdyn.ensemble.slots import Chunk
from pgdyn.ensemble.step import Control
from pgdyn.ensemble.tuning import Tuning


class Program(NamedTuple):
    """A compiled chunk.

    Attributes:
        run: (shared features or None, [count, rtol, atol, max_steps], rows [M, R]) -> [M, F].
        found: the packing of a row of the result.
    """

    run: Callable[..., Array]
    found: Packing


@lru_cache(maxsize=4096)
def compiled(chunk: Chunk, shared: tuple[tuple[int, ...], Any] | None, platform: str, tuning: Tuning) -> Program:
    """The program for one kind of call.

    Args:
        chunk: what a chunk is.
        shared: shape and type of the features that lanes share, or None.
        platform: of the device.
        tuning: the devices in use.
    """
    states, found = chunk.layouts(None if shared is None else jax.ShapeDtypeStruct(*shared))
    kernel = xla.as_one_kernel if chunk.one_kernel else _as_it_is

    def run(shared: Array | None, numbers: Array, rows: Array) -> Array:
        count, most = numbers[0].astype(jnp.int32), numbers[3].astype(jnp.int32)
        control = Control(numbers[1], numbers[2], most)

        def begin(count: Array, shared: Array | None, rows: Array) -> Array:
            return chunk.begin(states, count, shared, rows)

        def steps(count: Array, control: Control, shared: Array | None, rows: Array, table: Array) -> Any:
            return chunk.run(states, count, control, shared, rows, table)

        def finish(count: Array, shared: Array | None, rows: Array, table: Array) -> Array:
            return chunk.finish(states, found, count, shared, rows, table)

        with reduction.unrolling(tuning.unroll):
            table = kernel(begin, count, shared, rows)
            status, number, table = kernel(steps, count, control, shared, rows, table)
            table = table.at[number].set(status.T, unique_indices=True)
            return kernel(finish, count, shared, rows, table)

    options = None
    if platform == "cpu":
        options = xla.compiler_options(chunk.one_kernel, tuning.wide_vectors, tuning.keep_barriers)
    jitted = jax.jit(run, compiler_options=options)
    if not chunk.one_kernel:
        return Program(jitted, found)
    plain = chunk._replace(one_kernel=False)
    return Program(_EitherWay(jitted, lambda: compiled(plain, shared, platform, tuning).run), found)


class _EitherWay:
    """A program of one kernel, or a plain one where XLA cannot compile the former."""

    def __init__(self, one_kernel: Callable[..., Array], make_plain: Callable[[], Callable[..., Array]]):
        self._one_kernel, self._make_plain = one_kernel, make_plain
        self._plain: Callable[..., Array] | None = None

    def __call__(self, *arguments: Any) -> Array:
        if self._plain is None:
            try:
                return self._one_kernel(*arguments)
            except Exception as error:
                if not xla.is_not_compilable(error):
                    raise
                self._plain = self._make_plain()
        return self._plain(*arguments)


def _as_it_is(function: Callable[..., Any], *arguments: Any) -> Any:
    return function(*arguments)
