"""What is compiled: a block of lanes (`block`) for each kind of call, on a CPU in as few functions as it can be."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any, NamedTuple

import jax
from jax.experimental.xla_metadata import set_xla_metadata
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array

from pgdyn.dynamics.ensemble.block import Arrays, Block, Constants
from pgdyn.dynamics.ensemble.lanes import Layout
from pgdyn.dynamics.ensemble.packing import Packing


class Program(NamedTuple):
    """A compiled block, for one kind of call.

    Attributes:
        run: (`block.Arrays`, orders [d, 6], rows [d M, R], stands [d W, R']) -> [d M, R' + R'']. Each of d devices has
            a `block.Order` and M rows, of which the first are lanes; of these the first, where resumed, go on from
            `stands`. A row of the result is how the lane stands and what is found of it.
        stands: the packing of `stepper.Progress`.
        found: the packing of what `stepper.finish` finds.
    """

    run: Callable[..., Array]
    stands: Packing
    found: Packing


@lru_cache(maxsize=4096)
def compiled(
    layout: Layout, constants: Constants, lanes: Packing, places: int, mesh: Mesh | None, platform: str
) -> Program:
    """The program for one kind of call.

    Args:
        layout: form of the state.
        constants: the objective, and what lanes share.
        lanes: the packing of a lane's data.
        places: W, a divisor of M.
        mesh: devices to share a block out to; None for the one where JAX computes unasked.
        platform: of the devices.
    """
    kernel = _as_one_kernel if layout.fused else _as_it_is
    block = Block.of(layout, constants, places, lanes)

    def run_block(arrays: Arrays, orders: Array, rows: Array, given: Array) -> Array:
        numbers = orders[0]
        table = kernel(block.begin, arrays, numbers, rows, given)
        progress, number, table = kernel(block.run, arrays, numbers, rows, table)
        table = table.at[number, : block.stands.size].set(progress.T, unique_indices=True)
        return kernel(block.finish, arrays, numbers, rows, table)

    def run(arrays: Arrays, *by_device: Array) -> Array:
        if mesh is None:
            return run_block(arrays, *by_device)
        # Each device's loops end by its own count: nothing is communicated, so none waits for another.
        lanes_first = PartitionSpec("lanes")
        specs = (tuple(PartitionSpec() for _ in arrays), *(lanes_first for _ in by_device))
        on_each = jax.shard_map(run_block, mesh=mesh, in_specs=specs, out_specs=lanes_first, check_vma=False)
        return on_each(arrays, *by_device)

    jitted = jax.jit(run, compiler_options=_compiler_options(platform, layout.fused))
    if not layout.fused:
        return Program(jitted, block.stands, block.found)
    apart = partial(compiled, layout._replace(fused=False), constants, lanes, places, mesh, platform)
    return Program(_EitherWay(jitted, lambda: apart().run), block.stands, block.found)


class _EitherWay:
    """A fused program, or a plain one where the former cannot be compiled, as under other versions of XLA it may be."""

    def __init__(self, fused: Callable[..., Array], make_plain: Callable[[], Callable[..., Array]]):
        self._fused, self._make_plain = fused, make_plain
        self._plain: Callable[..., Array] | None = None

    def __call__(self, *arguments: Any) -> Array:
        if self._plain is None:
            try:
                return self._fused(*arguments)
            except jax.errors.JaxRuntimeError as error:
                if "UNIMPLEMENTED" not in str(error):
                    raise
                self._plain = self._make_plain()
        return self._plain(*arguments)


def _as_it_is(function: Callable[..., Any], *arguments: Any) -> Any:
    return function(*arguments)


def _as_one_kernel(function: Callable[..., Any], *arguments: Any) -> Any:
    """`function(*arguments)`, compiled by XLA:CPU into one function of its own.

    Otherwise every operation is a function, and calling one costs as much as an operation on 64 lanes. The attributes
    are what XLA's own pass for small loops uses; a version that knows neither computes the same, more slowly.
    """

    def unmarked(*arguments: Any) -> Any:
        with set_xla_metadata(inlineable=None, xla_cpu_small_call=None):
            return function(*arguments)

    with set_xla_metadata(inlineable="false", xla_cpu_small_call="true"):
        return jax.jit(unmarked)(*arguments)


@lru_cache
def _compiler_options(platform: str, fused: bool) -> dict[str, Any] | None:
    """How the compiled programs are made faster on a CPU, with the same results but for rounding.

    Vectors of 512 bits where it has them: by XLA's default of 256 the loop takes a third longer. And optimisation
    barriers that fusion respects, where XLA:CPU drops them first: without those of `stepper` each stage computes all
    earlier slopes anew, and a step takes a fifth longer. In one kernel there is no place for calls of a library, which
    reductions of some size would otherwise become. None elsewhere, and under versions of XLA that know no such options.
    """
    if platform != "cpu":
        return None
    left_out = "dot-library-rewriter" if fused else "cse_barrier_expander"
    options = {"xla_cpu_prefer_vector_width": 512, "xla_disable_hlo_passes": left_out}
    try:
        jax.jit(jax.lax.optimization_barrier, compiler_options=options).lower(1.0).compile()
    except Exception:  # whatever a version raises: without the options it is only slower
        return None
    return options
