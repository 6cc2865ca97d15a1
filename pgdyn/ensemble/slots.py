r"""A chunk of lanes taken from start to end, a few of them at a time: what `program` compiles.

A chunk holds many more lanes than are stepped at once. W slots are filled from its top; whenever a few of the lanes in
them have ended, the next ones of the chunk take over their slots, so that hardly any slot idles until the chunk runs
out.

    begin      every lane of the chunk at t = 0, W at a time
    run        steps, and changes of slots
    finish     what is found of every lane, W at a time

Lanes travel as rows of one table (`packing`).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from pgdyn.ensemble import hitting, step
from pgdyn.ensemble.lanes import Lane
from pgdyn.ensemble.packing import Packing
from pgdyn.ensemble.step import RUNNING, Control, Equation, Status
from pgdyn.objective import Objective
from pgdyn.solution import Result
from pgdyn.transitions import Transitions

_CHANGED = 1 / 12  # share of the slots whose lanes have ended when others take them over


class Chunk(NamedTuple):
    """A chunk of M lanes of one kind of call; hashable, as it decides what is compiled.

    Attributes:
        objective: its options; weights are in the lanes.
        natural: whether the geometry is that of the natural gradient.
        stop: whether a lane ends at its target.
        one_kernel: whether everything is compiled into one kernel (`xla`).
        slots: W, a divisor of M.
        lanes: the packing of a lane's data, R numbers.
        transitions: where outputs lead, the same in all lanes; None where every one ends the episode.
    """

    objective: Objective
    natural: bool
    stop: bool
    one_kernel: bool
    slots: int
    lanes: Packing
    transitions: Transitions | None = None

    def equation(self, shared: Array | None, columns: Float[Array, "R W"]) -> tuple[Equation, Array]:
        """What lanes integrate, and the reference of their KL."""
        lane: Lane = self.lanes.unpack(columns)
        problem, objective = lane.bind(shared, self.objective, self.transitions)
        reference = objective.reference_log_policy(problem)
        needed = reference if objective.needs_reference else None
        return (
            Equation(problem, objective, needed, lane.t1, lane.goal, self.natural, self.stop, self.one_kernel),
            reference,
        )

    def layouts(self, shared: Any) -> tuple[Packing, Packing]:
        """The packings of a lane's `Status` and of what is found of it."""
        columns = jax.ShapeDtypeStruct((self.lanes.size, 1), jnp.float64)
        status = jax.eval_shape(lambda s, c: step.begin(self.equation(s, c)[0]), shared, columns)

        def found(shared: Any, columns: Array, status: Status) -> dict[str, Array]:
            equation, reference = self.equation(shared, columns)
            return hitting.finish(equation, status, reference)

        return Packing.of(status), Packing.of(jax.eval_shape(found, shared, columns, status))

    def begin(
        self, states: Packing, count: Int[Array, ""], shared: Array | None, rows: Float[Array, "M R"]
    ) -> Float[Array, "M S"]:
        """The table of the states of lanes at t = 0; `count` of the rows are lanes."""

        def some(i: Array, table: Array) -> Array:
            status = step.begin(self.equation(shared, self._part(rows, i).T)[0])
            number = i * self.slots + jnp.arange(self.slots, dtype=i.dtype)
            code = jnp.where(number < count, status.code, int(Result.completed)).astype(status.code.dtype)
            begun = states.pack(status._replace(code=code))
            return jax.lax.dynamic_update_slice(table, begun.T, (i * self.slots, jnp.zeros_like(i)))

        table = jnp.zeros((len(rows), states.size))
        return jax.lax.fori_loop(jnp.zeros_like(count), self._parts(count), some, table)

    def run(
        self,
        states: Packing,
        count: Int[Array, ""],
        control: Control,
        shared: Array | None,
        rows: Float[Array, "M R"],
        table: Float[Array, "M S"],
    ) -> tuple[Float[Array, "S W"], Int[Array, " W"], Float[Array, "M S"]]:
        """The states of the lanes that were in slots at last, which lanes these are, and the table of the others."""
        slots, zero = self.slots, jnp.zeros_like(count)

        def change_one(carry: Any) -> Any:
            ended, columns, status, number, following, table = carry
            slot = jnp.argmax(ended).astype(count.dtype)
            column = jax.lax.dynamic_slice_in_dim(status, slot, 1, axis=1)
            table = jax.lax.dynamic_update_slice(table, column.T, (number[slot], zero))
            row = jax.lax.dynamic_slice_in_dim(rows, following, 1)
            columns = jax.lax.dynamic_update_slice(columns, row.T, (zero, slot))
            row = jax.lax.dynamic_slice_in_dim(table, following, 1)
            status = jax.lax.dynamic_update_slice(status, row.T, (zero, slot))
            number = number.at[slot].set(following)
            return ended.at[slot].set(False), columns, status, number, following + 1, table

        def may_change(carry: Any) -> Array:
            ended, *_, following, _ = carry
            return jnp.any(ended) & (following < count)

        def go_on(carry: Any) -> Any:
            columns, status, number, following, table, room = carry
            unfinished = jnp.where(following < count, int(slots * (1 - _CHANGED)), 0)
            equation, _ = self.equation(shared, columns)
            now, room = step.advance(equation, control, states.unpack(status), unfinished, room)
            carry = (now.code != RUNNING, columns, states.pack(now), number, following, table)
            _, columns, status, number, following, table = jax.lax.while_loop(may_change, change_one, carry)
            return columns, status, number, following, table, room

        def unended(carry: Any) -> Array:
            _, status, _, following, _, _ = carry
            return (following < count) | jnp.any(states.unpack(status).code == RUNNING)

        columns, status = rows[:slots].T, table[:slots].T
        number = jnp.arange(slots, dtype=count.dtype)
        room = step.memory(self.equation(shared, columns)[0], states.unpack(status).state)
        carry = (columns, status, number, zero + slots, table, room)
        _, status, number, _, table, _ = jax.lax.while_loop(unended, go_on, carry)
        return status, number, table

    def finish(
        self,
        states: Packing,
        found: Packing,
        count: Int[Array, ""],
        shared: Array | None,
        rows: Float[Array, "M R"],
        table: Float[Array, "M S"],
    ) -> Float[Array, "M F"]:
        """What is found of every lane."""

        def some(i: Array, ends: Array) -> Array:
            equation, reference = self.equation(shared, self._part(rows, i).T)
            status = states.unpack(self._part(table, i).T)
            seen = found.pack(hitting.finish(equation, status, reference))
            return jax.lax.dynamic_update_slice(ends, seen.T, (i * self.slots, jnp.zeros_like(i)))

        ends = jnp.zeros((len(rows), found.size))
        return jax.lax.fori_loop(jnp.zeros_like(count), self._parts(count), some, ends)

    def _part(self, array: Array, i: Array) -> Array:
        return jax.lax.dynamic_slice_in_dim(array, i * self.slots, self.slots)

    def _parts(self, count: Array) -> Array:
        return (count + (self.slots - 1)) // self.slots
