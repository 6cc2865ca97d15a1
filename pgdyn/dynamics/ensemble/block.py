"""A block of lanes taken from its start to its end, a few of them at a time: what `program` compiles.

A block holds many more lanes than are stepped at once. W places are filled from its top; whenever a few of the lanes
in them have ended, the next ones of the block take over their places, so that hardly any place stands empty until the
block runs out. The last lanes may be handed back unended, to go on with those of another block.

    begin      every lane of the block at t = 0, W at a time
    run        steps and changes of places
    finish     observables of every lane, and hitting times, W at a time
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from pgdyn.dynamics.ensemble import stepper
from pgdyn.dynamics.ensemble.lanes import Layout, Shared
from pgdyn.dynamics.ensemble.packing import Packing
from pgdyn.dynamics.ensemble.stepper import RUNNING, Control
from pgdyn.dynamics.result import Result
from pgdyn.objective import Objective

Arrays: TypeAlias = tuple[Any, ...]  # of a `Common`

_CHANGED = 1 / 12  # share of the places whose lanes have ended when others take them over


class Common(NamedTuple):
    """What is the same for all blocks of a call.

    Attributes:
        objective: what is climbed. Weights of [N] are in the lanes, which go first; here a 0 stands for them.
        shared: what all lanes use.
    """

    objective: Objective
    shared: Shared


class Constants(NamedTuple):
    """A `Common` without its arrays: what fixes a compiled program, which is passed the arrays.

    Attributes:
        treedef: its tree.
        leaves: of each array the shape and type; a Python float (0, for no such term) as it is.
    """

    treedef: Any
    leaves: tuple[Any, ...]

    @classmethod
    def of(cls, common: Common) -> tuple[tuple[Any, ...], Constants]:
        """The arrays, and the rest."""
        leaves, treedef = jax.tree.flatten(common)
        # Weights of [N] would make every N a program of its own.
        leaves = [np.zeros(()) if isinstance(leaf, np.ndarray) and leaf.ndim == 1 else leaf for leaf in leaves]
        rest = tuple(leaf if isinstance(leaf, float) else (leaf.shape, leaf.dtype) for leaf in leaves)
        return tuple(leaf for leaf in leaves if not isinstance(leaf, float)), cls(treedef, rest)

    @property
    def structs(self) -> tuple[jax.ShapeDtypeStruct, ...]:
        """Shapes and types of the arrays."""
        return tuple(jax.ShapeDtypeStruct(*leaf) for leaf in self.leaves if not isinstance(leaf, float))

    def restore(self, arrays: Sequence[Any]) -> Common:
        """Both together."""
        left = iter(arrays)
        return jax.tree.unflatten(
            self.treedef, [leaf if isinstance(leaf, float) else next(left) for leaf in self.leaves]
        )


class Order(NamedTuple):
    """What a device is to do with its block: six numbers, passed as one array, since each argument takes its time.

    Attributes:
        count: how many lanes there are.
        resumed: how many of these go on from where they stood, at most W.
        leave: how many may be handed back unended.
        control: tolerances and budgets.
    """

    count: Any
    resumed: Any
    leave: Any
    control: Control

    @classmethod
    def of(cls, numbers: Float[Array, " 6"]) -> Order:
        """The order of a row of numbers, in compiled code."""
        count, resumed, leave, most = (numbers[i].astype(jnp.int32) for i in (0, 1, 2, 5))
        return cls(count, resumed, leave, Control(numbers[3], numbers[4], most))

    @property
    def numbers(self) -> tuple[Any, ...]:
        """The row of numbers."""
        return (self.count, self.resumed, self.leave, *self.control)


class Block(NamedTuple):
    """A block of M lanes, of one kind of call.

    A table [M, R' + R''] goes through the three functions: of each lane how it stands, and what is found of it.

    Attributes:
        layout: form of the state.
        constants: the objective, and what lanes share.
        places: W, a divisor of M.
        lanes: the packing of a lane's data, R numbers.
        stands: that of `stepper.Progress`, R' numbers.
        found: that of what `stepper.finish` finds, R'' numbers.
    """

    layout: Layout
    constants: Constants
    places: int
    lanes: Packing
    stands: Packing
    found: Packing

    @classmethod
    def of(cls, layout: Layout, constants: Constants, places: int, lanes: Packing) -> Block:
        """With the packings that follow from these."""

        def start(arrays: Arrays, lane: Any) -> stepper.Progress:
            return stepper.begin(layout, *constants.restore(arrays), lane)

        def finish(arrays: Arrays, lane: Any, progress: stepper.Progress) -> dict[str, Array]:
            return stepper.finish(layout, *constants.restore(arrays), lane, progress)

        progress = jax.eval_shape(start, constants.structs, lanes.structs)
        found = jax.eval_shape(finish, constants.structs, lanes.structs, progress)
        return cls(layout, constants, places, lanes, Packing.of(progress), Packing.of(found))

    def begin(
        self, arrays: Arrays, numbers: Float[Array, " 6"], rows: Float[Array, "M R"], given: Float[Array, "W S"]
    ) -> Float[Array, "M T"]:
        """The table of lanes at t = 0, but of those resumed, which are as given.

        Args:
            arrays: of the `Common`.
            numbers: of the `Order`.
            rows: data of the lanes.
            given: how lanes stand that are resumed, the first of all.
        """
        count, resumed, *_ = Order.of(numbers)
        common = self.constants.restore(arrays)
        places, stands = self.places, self.stands

        def some(i: Array, table: Array) -> Array:
            number = i * places + jnp.arange(places, dtype=i.dtype)
            lane = self.lanes.unpack(_part(rows, i, places).T)
            begun = stands.pack(stepper.begin(self.layout, *common, lane))
            progress = stands.unpack(jnp.where(number < resumed, given.T, begun))
            code = jnp.where(number < count, progress.code, int(Result.completed)).astype(progress.code.dtype)
            begun = stands.pack(progress._replace(code=code))
            return jax.lax.dynamic_update_slice(table, begun.T, (i * places, jnp.zeros_like(i)))

        table = jnp.zeros((len(rows), stands.size + self.found.size))
        return jax.lax.fori_loop(jnp.zeros_like(count), _parts(count, places), some, table)

    def run(
        self, arrays: Arrays, numbers: Float[Array, " 6"], rows: Float[Array, "M R"], table: Float[Array, "M T"]
    ) -> tuple[Float[Array, "S W"], Int[Array, " W"], Float[Array, "M T"]]:
        """Where lanes in places stand at last and which they are, and the table, where the others are."""
        count, _, last_leave, control = Order.of(numbers)
        objective, shared = self.constants.restore(arrays)
        places, stands = self.places, self.stands
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
            leave = jnp.where(following < count, int(places * (1 - _CHANGED)), last_leave)
            data, stand = self.lanes.unpack(lane), stands.unpack(progress)
            now, memory = stepper.advance(self.layout, objective, shared, data, control, stand, leave, memory)
            carry = (now.code != RUNNING, lane, stands.pack(now), number, following, table)
            _, lane, progress, number, following, table = jax.lax.while_loop(left, change_one, carry)
            return lane, progress, number, following, table, running(progress), memory

        def running(progress: Array) -> Array:
            return jnp.sum(stands.unpack(progress).code == RUNNING, dtype=count.dtype)

        def unended(carry: Any) -> Array:
            *_, following, _, running, _ = carry
            return (following < count) | (running > last_leave)

        progress = table[:places, : stands.size].T
        number = jnp.arange(places, dtype=count.dtype)
        memory = stepper.scratch(self.layout, stands.unpack(progress).state)
        carry = (rows[:places].T, progress, number, zero + places, table, running(progress), memory)
        _, progress, number, _, table, _, _ = jax.lax.while_loop(unended, go_on, carry)
        return progress, number, table

    def finish(
        self, arrays: Arrays, numbers: Float[Array, " 6"], rows: Float[Array, "M R"], table: Float[Array, "M T"]
    ) -> Float[Array, "M T"]:
        """The table with what is found."""
        count = Order.of(numbers).count
        common = self.constants.restore(arrays)
        places, size = self.places, self.stands.size

        def some(i: Array, table: Array) -> Array:
            lane = self.lanes.unpack(_part(rows, i, places).T)
            progress = self.stands.unpack(_part(table, i, places)[:, :size].T)
            ends = self.found.pack(stepper.finish(self.layout, *common, lane, progress)).T
            return jax.lax.dynamic_update_slice(table, ends, (i * places, jnp.full_like(i, size)))

        return jax.lax.fori_loop(jnp.zeros_like(count), _parts(count, places), some, table)


def _part(array: Array, i: Array, size: int) -> Array:
    return jax.lax.dynamic_slice_in_dim(array, i * size, size)


def _parts(count: Array, size: int) -> Array:
    return (count + (size - 1)) // size
