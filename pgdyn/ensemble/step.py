r"""Adaptive integration of lanes side by side: DOP853, each lane with its own time, step and end.

One step of every lane is one pass of a `while_loop`; lanes that have ended stand still until others take their slots
(`slots`). The step control is Hairer's for this pair (Hairer, Norsett, Wanner, section II.10), made safer:

    q = h max(|e5|, 2 sqrt(rtol) |e3|^(3/2))^2 / sqrt(|e5|^2 + 0.01 |e3|^2),

with |e| the largest entry of e / (atol + rtol max(|y|, |y_new|)); a step is kept when q <= 1 and the next one is
0.9 q^(-1/8) times as long, by factors from 0.2 to 10. Hairer's norms are root mean squares, which let an error in two
of 64 outputs pass, and his q has |e5| alone in the numerator, which now and then is small by chance. The second term of
the maximum is what |e5| amounts to when it is not: e3 is of fourth order in h and e5 of sixth. Of 10,000 random
problems at rtol 1e-6 three ended 1e-4 off; with this q all stay within 1.2e-5, for a sixth more steps.

The first step that ends at or above the target is kept; `hitting` solves for the time inside it. Where the value rises
at a step's start and falls at its end, it has a peak between them. If the cubic through both ends says that the peak
may reach the target, the step is tried again with its end at the peak, which Newton's method finds.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from pgdyn import policy, reduction
from pgdyn.dynamics.flow import velocity_and_weights
from pgdyn.ensemble import tableau
from pgdyn.objective import Anchor, Objective
from pgdyn.policy import Weights
from pgdyn.problem import Problem
from pgdyn.reduction import along
from pgdyn.solution import Result

RUNNING = -1
_SAFETY, _SHRINK, _GROW = 0.9, 0.2, 10.0
_SHORTEST = 1e-40  # no finite slope calls for a shorter step
_SUSPICION = 2.0  # the factor of the second term of the maximum above
_FIRST = 0.1  # largest change of the state in the first step, to first order; the error control corrects it at once


class Equation(NamedTuple):
    """What the lanes integrate.

    Attributes:
        problem: lanes last.
        objective: with weights [L].
        reference: [P, K, L], what the KL is measured against; None where there is none.
        t1: [L], end times.
        goal: [L], targets, or None.
        natural: whether the geometry is that of the natural gradient.
        stop: whether a lane ends at its target.
        in_memory: whether a step writes its stages to arrays (see `take_step`).
    """

    problem: Problem
    objective: Objective
    reference: Array | None
    t1: Float[Array, " L"]
    goal: Float[Array, " L"] | None
    natural: bool
    stop: bool
    in_memory: bool

    def anchor(self, state: Array) -> Anchor:
        """Where to measure from during a step from `state`."""
        logits = policy.logits(self.problem, state)
        anchor = self.objective.anchor(self.problem, logits, self.reference, self.goal is not None)
        # Fused into what uses it, it would be computed anew for every output and stage.
        return jax.lax.optimization_barrier(anchor)

    def field(self, anchor: Anchor, state: Array) -> tuple[Array, Weights]:
        """The state's derivative, and the probabilities."""
        geometry = "natural" if self.natural else "euclidean"
        return velocity_and_weights(self.problem, self.objective, state, self.reference, geometry, anchor)

    def rate(self, anchor: Anchor, weights: Weights, slope: Array) -> Float[Array, " L"]:
        """dV/dt of the true reward at a state that moves with `slope`."""
        return anchor.true_rate(self.problem, weights, policy.logits(self.problem, slope))

    def true_value(self, state: Array) -> Float[Array, " L"]:
        """V of the true reward, by the formula of `pgdyn.flow` to the last digit: a target may be the start's value."""
        return policy.value(self.problem, policy.log_policy(self.problem, state), self.problem.true_reward)


class Crossing(NamedTuple):
    """The step in which each lane first reached its target: [L] arrays and the state at the step's start.

    Attributes:
        found: whether it has been reached.
        time: start of that step.
        step: its length.
        state: the state at its start.
        before: true value at its start.
        after: true value at its end.
    """

    found: Bool[Array, " L"]
    time: Float[Array, " L"]
    step: Float[Array, " L"]
    state: Array
    before: Float[Array, " L"]
    after: Float[Array, " L"]


class Status(NamedTuple):
    """How far each lane is.

    Attributes:
        state: [..., L].
        slope: [..., L], its derivative.
        time: [L].
        step: [L], length of the next step.
        value: [L], true value, where there is a target.
        rate: [L], its derivative, where there is a target.
        tried: [L], steps tried.
        code: [L], RUNNING or a `pgdyn.Result`.
        crossing: of the target, where there is one.
    """

    state: Array
    slope: Array
    time: Float[Array, " L"]
    step: Float[Array, " L"]
    value: Float[Array, " L"] | None
    rate: Float[Array, " L"] | None
    tried: Int[Array, " L"]
    code: Int[Array, " L"]
    crossing: Crossing | None


class Control(NamedTuple):
    """Tolerances and the step budget, the same for every lane: scalars."""

    rtol: Any
    atol: Any
    max_steps: Any


class Memory(NamedTuple):
    """Where a step writes what it computes on its way.

    Attributes:
        slopes: [S, ..., L], of the stages.
        argument: [2, ..., L], first of all the state of the stage at hand.
    """

    slopes: Array
    argument: Array


def memory(equation: Equation, state: Array) -> Memory | None:
    """The memory that steps from `state` need."""
    if not equation.in_memory:
        return None
    sizes = (len(tableau.STAGES) + 1, 2)
    return Memory(*(jnp.zeros((size, *state.shape), state.dtype) for size in sizes))


def choose(which: Bool[Array, " L"], one: Array, other: Array) -> Array:
    """`one` where `which`, else `other`."""
    return jnp.where(along(which, one), one, other)


def _combine(weights: dict[int, float], slopes: Any) -> Array:
    terms = [weight * slopes[i] for i, weight in weights.items()]
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total


def take_step(
    field: Callable[[Array], tuple[Array, Any]], state: Array, slope: Array, step: Array, room: Memory | None
) -> tuple[Array, list[Array], Memory | None]:
    """The state after one step, the slopes of its stages, and the memory to give to the next.

    What a stage computes is kept in memory: fused into all that uses it, slopes into each later stage, it would be
    computed ten times over. Barriers keep it, but not within one kernel. There it is written to an array, at a place
    that the compiler does not know, so that it cannot look through the write.
    """
    zero = (step[0] < 0).astype(jnp.int32)  # unknown to the compiler
    step = along(step, state)
    if room is None:
        slopes = [slope]
        for weights in tableau.STAGES:
            slopes.append(jax.lax.optimization_barrier(field(state + step * _combine(weights, slopes))[0]))
        return state + step * _combine(tableau.SOLUTION, slopes), slopes, None

    def write(array: Array, i: int, new: Array) -> Array:
        return jax.lax.dynamic_update_index_in_dim(array, new, zero + i, 0)

    kept, argument = write(room.slopes, 0, slope), room.argument
    for i, weights in enumerate(tableau.STAGES):
        argument = write(argument, 0, state + step * _combine(weights, kept))
        kept = write(kept, i + 1, field(argument[0])[0])
    return state + step * _combine(tableau.SOLUTION, kept), list(kept), Memory(kept, argument)


def begin(equation: Equation) -> Status:
    """Every lane at t = 0."""
    state, t1 = equation.problem.initial_params, equation.t1
    anchor = equation.anchor(state)
    slope, weights = equation.field(anchor, state)
    steepest = jnp.max(jnp.abs(slope), axis=tuple(range(slope.ndim - 1)))
    step = jnp.minimum(_FIRST / jnp.maximum(steepest, 1e-300), t1)
    zero = jnp.zeros_like(t1)
    code = jnp.where(jnp.isfinite(steepest), RUNNING, int(Result.not_finite)).astype(jnp.int32)
    value, rate, crossing = None, None, None
    if equation.goal is not None:
        value, rate = equation.true_value(state), equation.rate(anchor, weights, slope)
        crossing = Crossing(value >= equation.goal, zero, zero, state, value, value)
        if equation.stop:
            code = jnp.where((code == RUNNING) & crossing.found, int(Result.reached_target), code).astype(code.dtype)
    return Status(state, slope, zero, step, value, rate, jnp.zeros_like(code), code, crossing)


def advance(
    equation: Equation, control: Control, status: Status, unfinished: Int[Array, ""], room: Memory | None
) -> tuple[Status, Memory | None]:
    """Steps until at most `unfinished` lanes are still running; gives the memory back, for the next call."""

    def running(carry: tuple[Status, Memory | None]) -> Array:
        return jnp.sum(carry[0].code == RUNNING, dtype=unfinished.dtype)

    step = partial(_step_all, equation, control)
    return jax.lax.while_loop(lambda carry: running(carry) > unfinished, step, (status, room))


def _step_all(
    equation: Equation, control: Control, carry: tuple[Status, Memory | None]
) -> tuple[Status, Memory | None]:
    now, room = carry
    anchor = equation.anchor(now.state)

    def field(state: Array) -> tuple[Array, Weights]:
        return equation.field(anchor, state)

    running = now.code == RUNNING
    remaining = equation.t1 - now.time
    last = now.step >= remaining
    step = jnp.where(last, remaining, now.step)
    state, slopes, room = take_step(field, now.state, now.slope, step, room)
    slope, weights = field(state)
    slopes.append(slope)
    factor, accurate = _judge(control, now.state, state, slopes, step)
    kept = accurate & running
    value, rate, crossing = now.value, now.rate, now.crossing
    if crossing is not None:
        assert now.value is not None and now.rate is not None and equation.goal is not None
        value = anchor.true_value(equation.problem, weights)
        assert value is not None
        rate = equation.rate(anchor, weights, slope)
        place, missed = _peak(now.value, now.rate * step, value, rate * step, equation.goal)
        missed &= kept & ~crossing.found
        kept, factor = kept & ~missed, jnp.where(missed, place, factor)
    time = jnp.where(kept, jnp.where(last, equation.t1, now.time + step), now.time)
    tried = now.tried + running.astype(now.tried.dtype)
    # The flow does not depend on time: a step below the clock's resolution (late escapes have them) is no failure.
    stuck = running & ~kept & (step < _SHORTEST)
    code = now.code
    code = jnp.where(running & (tried >= control.max_steps), int(Result.step_budget_spent), code)
    code = jnp.where(stuck, int(Result.not_finite), code)
    code = jnp.where(kept & (time >= equation.t1), int(Result.completed), code)
    if crossing is not None:
        assert value is not None and now.value is not None and rate is not None and now.rate is not None
        assert equation.goal is not None
        new = kept & ~crossing.found & (value >= equation.goal)
        found = Crossing(new, now.time, step, now.state, now.value, value)
        crossing = jax.tree.map(partial(choose, new), found, crossing)
        if equation.stop:
            code = jnp.where(new, int(Result.reached_target), code)
        value, rate = jnp.where(kept, value, now.value), jnp.where(kept, rate, now.rate)
    new = Status(
        state=choose(kept, state, now.state),
        slope=choose(kept, slope, now.slope),
        time=time,
        step=jnp.where(running, step * factor, now.step),
        value=value,
        rate=rate,
        tried=tried,
        code=code.astype(now.code.dtype),
        crossing=crossing,
    )
    return new, room


def _peak(
    start: Float[Array, " L"],
    start_rate: Float[Array, " L"],
    end: Float[Array, " L"],
    end_rate: Float[Array, " L"],
    goal: Float[Array, " L"],
) -> tuple[Float[Array, " L"], Bool[Array, " L"]]:
    """Where in (0, 1) the value peaks within a step, and whether the peak may reach a goal that its end does not.

    Of the cubic with these values and rates (per step) at both ends. Its height above the higher end is trusted to
    half of itself; a gain below 1e-12 of the values is none.
    """
    bend = 3 * (end - start) - 2 * start_rate - end_rate
    twist = start_rate + end_rate - 2 * (end - start)
    # V' = start_rate + 2 bend s + 3 twist s^2 falls through zero at s; this form of the root does not cancel.
    root = jnp.sqrt(jnp.maximum(bend**2 - 3 * twist * start_rate, 0))
    place = start_rate / jnp.where(root - bend > 0, root - bend, 1.0)
    top = start + place * (start_rate + place * (bend + place * twist))
    gain = top - jnp.maximum(start, end)
    may = (start_rate > 0) & (end_rate < 0) & (end < goal) & (top + gain / 2 >= goal)
    return place, may & (place > 0) & (place < 1) & (gain > 1e-12 * (jnp.abs(start) + jnp.abs(end)))


def _judge(
    control: Control, before: Array, after: Array, slopes: list[Array], step: Float[Array, " L"]
) -> tuple[Float[Array, " L"], Bool[Array, " L"]]:
    """The factor from this step's length to the next one's, and whether this step is accurate enough."""
    scale = 1 / (control.atol + control.rtol * jnp.maximum(jnp.abs(before), jnp.abs(after)))

    def largest(weights: dict[int, float]) -> Float[Array, " L"]:
        error = jnp.abs(_combine(weights, slopes) * scale)
        return reduction.largest(0, error.reshape(-1, 1, error.shape[-1]))[0, 0]

    fifth, third = largest(tableau.ERROR5), largest(tableau.ERROR3)
    safe = jnp.maximum(fifth, _SUSPICION * third * jnp.sqrt(third * control.rtol))
    # By the larger, so that nothing is lost where slopes are so small that their squares vanish: starts below 1e-150.
    size = jnp.maximum(jnp.maximum(fifth, third), 1e-300)
    error = step * safe * (safe / size) / jnp.sqrt((fifth / size) ** 2 + 0.01 * (third / size) ** 2 + 1e-30)
    # Square roots, as a power would be a call of the C library for every single lane.
    root = jnp.sqrt(jnp.sqrt(jnp.sqrt(jnp.maximum(error, 1e-30))))
    factor = jnp.clip(_SAFETY / root, _SHRINK, _GROW)
    return jnp.where(jnp.isnan(error), _SHRINK, factor), error <= 1
