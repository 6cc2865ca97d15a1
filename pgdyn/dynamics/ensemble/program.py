"""What is compiled: a block of lanes taken from its start to its end, a few of them at a time.

A block holds many more lanes than are stepped at once. W places are filled from its top; whenever a few of the lanes
in them have ended, the next ones of the block take over their places, so that hardly any place stands empty until the
block runs out. The last lanes may be handed back unended, to go on with those of another block.

    begin      every lane of the block at t = 0, W at a time
    run        steps and changes of places
    finish     observables of every lane, and hitting times, W at a time
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.experimental.xla_metadata import set_xla_metadata
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, Float, Int

from pgdyn.dynamics.ensemble import stepper
from pgdyn.dynamics.ensemble.lanes import Layout, Shared
from pgdyn.dynamics.ensemble.packing import Packing
from pgdyn.dynamics.ensemble.stepper import RUNNING, Control
from pgdyn.dynamics.result import Result
from pgdyn.objective import Objective

_CHANGED = 1 / 12  # share of the places whose lanes have ended when others take them over


class Program(NamedTuple):
    """A compiled block, for one kind of call.

    Attributes:
        run: (`Common`, counts [d], resumed [d], rows [d M, R], stands [d W, R']) -> [d M, R' + R'']. Each of d devices
            has M rows, of which the first `counts` are lanes; of these the first `resumed`, at most W, go on from
            `stands`. A row of the result is how the lane stands and what is found of it.
        stands: the packing of `stepper.Progress`.
        found: the packing of what `stepper.finish` finds.
    """

    run: Callable[..., Array]
    stands: Packing
    found: Packing


class Common(NamedTuple):
    """Arguments that are the same for all blocks of a call, but for the last.

    Attributes:
        weights: the objective's arrays.
        shared: what all lanes use.
        control: tolerances and budgets.
        leave: how many lanes each device may hand back unended.
    """

    weights: Objective
    shared: Shared
    control: Control
    leave: Any


@lru_cache(maxsize=4096)
def compiled(
    layout: Layout, static: Objective, lanes: Packing, places: int, mesh: Mesh | None, platform: str, constants: Any
) -> Program:
    """The program for one kind of call.

    Args:
        layout: form of the state.
        static: the objective but for its arrays.
        lanes: the packing of a lane's data.
        places: W, a divisor of M.
        mesh: devices to share a block out to; None for the one where JAX computes unasked.
        platform: of the devices.
        constants: `structure` of the objective's arrays and of what lanes share.
    """
    kernel = _as_one_kernel if layout.fused else _as_it_is

    def start(common: Common, lane: Any) -> stepper.Progress:
        return stepper.begin(layout, eqx.combine(common.weights, static), common.shared, lane)

    def finish(common: Common, lane: Any, progress: stepper.Progress) -> dict[str, Array]:
        return stepper.finish(layout, eqx.combine(common.weights, static), common.shared, lane, progress)

    def begin_all(common: Common, count: Array, resumed: Array, rows: Array, given: Array) -> Array:
        def begin(i: Array, table: Array) -> Array:
            number = i * places + jnp.arange(places, dtype=i.dtype)
            begun = stands.pack(start(common, lanes.unpack(_part(rows, i, places).T)))
            progress = stands.unpack(jnp.where(number < resumed, given.T, begun))
            code = jnp.where(number < count, progress.code, int(Result.completed)).astype(progress.code.dtype)
            begun = stands.pack(progress._replace(code=code))
            return jax.lax.dynamic_update_slice(table, begun.T, (i * places, jnp.zeros_like(i)))

        table = jnp.zeros((len(rows), stands.size + found.size))
        return jax.lax.fori_loop(jnp.zeros_like(count), _parts(count, places), begin, table)

    def run_all(
        common: Common, count: Array, rows: Array, table: Array
    ) -> tuple[Float[Array, "S W"], Int[Array, " W"], Array]:
        """Where lanes in places stand at last and which they are, and the block, where the others are."""
        objective = eqx.combine(common.weights, static)
        zero = jnp.zeros_like(count)

        def change_one(carry: Any) -> Any:
            ended, lane, progress, number, following, table = carry
            place = jnp.argmax(ended).astype(count.dtype)
            column = jax.lax.dynamic_slice_in_dim(progress, place, 1, axis=1)
            table = jax.lax.dynamic_update_slice(table, column.T, (number[place], zero))
            row = jax.lax.dynamic_slice_in_dim(rows, following, 1)
            lane = jax.lax.dynamic_update_slice(lane, row.T, (zero, place))
            row = jax.lax.dynamic_slice(table, (following, zero), (1, stands.size))
            progress = jax.lax.dynamic_update_slice(progress, row.T, (zero, place))
            number = number.at[place].set(following)
            return ended.at[place].set(False), lane, progress, number, following + 1, table

        def left(carry: Any) -> Array:
            ended, *_, following, _ = carry
            return jnp.any(ended) & (following < count)

        def go_on(carry: Any) -> Any:
            lane, progress, number, following, table, _, memory = carry
            leave = jnp.where(following < count, int(places * (1 - _CHANGED)), common.leave)
            now, memory = stepper.advance(
                layout,
                objective,
                common.shared,
                lanes.unpack(lane),
                common.control,
                stands.unpack(progress),
                leave,
                memory,
            )
            carry = (now.code != RUNNING, lane, stands.pack(now), number, following, table)
            _, lane, progress, number, following, table = jax.lax.while_loop(left, change_one, carry)
            return lane, progress, number, following, table, running(progress), memory

        def running(progress: Array) -> Array:
            return jnp.sum(stands.unpack(progress).code == RUNNING, dtype=count.dtype)

        def unended(carry: Any) -> Array:
            *_, following, _, running, _ = carry
            return (following < count) | (running > common.leave)

        progress = table[:places, : stands.size].T
        number = jnp.arange(places, dtype=count.dtype)
        carry = (
            rows[:places].T,
            progress,
            number,
            zero + places,
            table,
            running(progress),
            stepper.scratch(layout, stands.unpack(progress).state),
        )
        _, progress, number, _, table, _, _ = jax.lax.while_loop(unended, go_on, carry)
        return progress, number, table

    def finish_all(common: Common, count: Array, rows: Array, table: Array) -> Array:
        def one(i: Array, table: Array) -> Array:
            lane = lanes.unpack(_part(rows, i, places).T)
            progress = stands.unpack(_part(table, i, places)[:, : stands.size].T)
            ends = found.pack(finish(common, lane, progress)).T
            return jax.lax.dynamic_update_slice(table, ends, (i * places, jnp.full_like(i, stands.size)))

        return jax.lax.fori_loop(jnp.zeros_like(count), _parts(count, places), one, table)

    def block(common: Common, counts: Array, resumed: Array, rows: Array, given: Array) -> Array:
        count = counts[0]
        table = kernel(begin_all, common, count, resumed[0], rows, given)
        progress, number, table = kernel(run_all, common, count, rows, table)
        table = table.at[number, : stands.size].set(progress.T, unique_indices=True)
        return kernel(finish_all, common, count, rows, table)

    def run(common: Common, *by_device: Array) -> Array:
        if mesh is None:
            return block(common, *by_device)
        # Each device's loops end by its own count: nothing is communicated, so none waits for another.
        whole = jax.tree.map(lambda _: PartitionSpec(), common)
        lanes_first = PartitionSpec("lanes")
        specs = (whole, *(lanes_first for _ in by_device))
        return jax.shard_map(block, mesh=mesh, in_specs=specs, out_specs=lanes_first, check_vma=False)(
            common, *by_device
        )

    treedef, leaves = constants
    weights, shared = jax.tree.unflatten(treedef, [jax.ShapeDtypeStruct(*leaf) for leaf in leaves])
    known = Common(weights, shared, Control(None, None, None), None)
    progress = jax.eval_shape(start, known, lanes.structs)
    stands = Packing.of(progress)
    found = Packing.of(jax.eval_shape(finish, known, lanes.structs, progress))
    jitted = jax.jit(run, compiler_options=_compiler_options(platform, layout.fused))
    if not layout.fused:
        return Program(jitted, stands, found)
    apart = partial(compiled, layout._replace(fused=False), static, lanes, places, mesh, platform, constants)
    return Program(_EitherWay(jitted, lambda: apart().run), stands, found)


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


def structure(tree: Any) -> tuple[Any, tuple[tuple[tuple[int, ...], Any], ...]]:
    """Shapes and types of a tree, hashable."""
    leaves, treedef = jax.tree.flatten(tree)
    return treedef, tuple((jnp.shape(leaf), jnp.dtype(leaf.dtype)) for leaf in leaves)


def _part(array: Array, i: Array, size: int) -> Array:
    return jax.lax.dynamic_slice_in_dim(array, i * size, size)


def _parts(count: Array, size: int) -> Array:
    return (count + (size - 1)) // size


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
