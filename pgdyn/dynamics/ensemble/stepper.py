r"""Adaptive integration of lanes side by side: DOP853, each lane with its own time, step and end.

One step of every lane is one pass of a `while_loop`; lanes that have ended stand still until others take their places
(`block`). The step control is Hairer's for this pair (Hairer, Norsett, Wanner, section II.10), made safer:

    q = h max(|e5|, 2 sqrt(rtol) |e3|^(3/2))^2 / sqrt(|e5|^2 + 0.01 |e3|^2),

with |e| the largest entry of e / (atol + rtol max(|y|, |y_new|)); a step is kept when q <= 1 and the next one is
0.9 q^(-1/8) times as long, by factors from 0.2 to 10. Hairer's norms are root mean squares, which let an error in two
of 64 outputs pass, and his q has |e5| alone in the numerator, which now and then is small by chance. The second term of
the maximum is what |e5| amounts to when it is not: e3 is of fourth order in h and e5 of sixth. Of 10,000 random
problems at rtol 1e-6 three ended 1e-4 off; with this q all stay within 1.2e-5, for a sixth more steps.

A hit of the target is noticed at the end of the first step that reaches it, and what is needed to come back to that
step is kept; `locate` then solves for the time inside it by steps of trial length, each as accurate as the integration
itself.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from pgdyn.dynamics.ensemble import lanes, tableau
from pgdyn.dynamics.ensemble.lanes import Lane, Layout, Shared
from pgdyn.dynamics.result import Result
from pgdyn.objective import Objective

RUNNING = -1
_SAFETY, _SHRINK, _GROW = 0.9, 0.2, 10.0
_SHORTEST = 1e-40  # no finite slope calls for a shorter step
_SUSPICION = 2.0  # see above
_FIRST = 0.1  # largest change of the state in the first step, to first order; the error control corrects it at once


class Hit(NamedTuple):
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


class Progress(NamedTuple):
    """Where each lane stands.

    Attributes:
        state: [..., L].
        slope: [..., L], its derivative.
        time: [L].
        step: [L], length of the next step.
        value: [L], true value, where there is a target.
        tried: [L], steps tried.
        code: [L], RUNNING or a `pgdyn.Result`.
        hit: the step of the first hit, where there is a target.
    """

    state: Array
    slope: Array
    time: Float[Array, " L"]
    step: Float[Array, " L"]
    value: Float[Array, " L"] | None
    tried: Int[Array, " L"]
    code: Int[Array, " L"]
    hit: Hit | None


class Control(NamedTuple):
    """Tolerances and budgets, the same for every lane: scalars, numbers on the host and JAX's in compiled code."""

    rtol: Any
    atol: Any
    max_steps: Any


def _combine(weights: dict[int, float], slopes: Any) -> Array:
    terms = [weight * slopes[i] for i, weight in weights.items()]
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total


class Scratch(NamedTuple):
    """Memory for what a step computes on its way, where it is compiled into one kernel.

    Attributes:
        slopes: [S, ..., L], of the stages.
        argument: [2, ..., L], first of all the state of the stage at hand.
    """

    slopes: Array
    argument: Array


def scratch(layout: Layout, state: Array) -> Scratch | None:
    """The memory that steps from `state` need."""
    if not layout.fused:
        return None
    sizes = (len(tableau.STAGES) + 1, 2)
    return Scratch(*(jnp.zeros((size, *state.shape), state.dtype) for size in sizes))


def _take_step(
    layout: Layout, field: Callable[..., Any], state: Array, slope: Array, step: Array, scratch: Scratch | None
) -> tuple[Array, list[Array], Scratch | None]:
    """The state after one step, the slopes of its stages, and the memory to give to the next."""
    # What a stage computes is kept in memory: fused into all that uses it, slopes into each later stage, it would be
    # computed ten times over. Barriers do that, but not within one kernel. There it is written to an array, at a place
    # that the compiler does not know, lest it should see through that.
    here = (step[0] < 0).astype(jnp.int32)  # 0
    step = lanes.spread(step, state)
    if scratch is None:
        slopes = [slope]
        for weights in tableau.STAGES:
            slopes.append(jax.lax.optimization_barrier(field(state + step * _combine(weights, slopes))[0]))
        return state + step * _combine(tableau.SOLUTION, slopes), slopes, None

    def write(array: Array, i: int, new: Array) -> Array:
        return jax.lax.dynamic_update_index_in_dim(array, new, here + i, 0)

    kept, argument = write(scratch.slopes, 0, slope), scratch.argument
    for i, weights in enumerate(tableau.STAGES):
        argument = write(argument, 0, state + step * _combine(weights, kept))
        kept = write(kept, i + 1, field(argument[0])[0])
    return state + step * _combine(tableau.SOLUTION, kept), list(kept), Scratch(kept, argument)


def _largest(layout: Layout, error: Array) -> Array:
    return lanes.fold(layout, jnp.maximum, 0, jnp.abs(error).reshape(-1, error.shape[-1]))[0]


def _choose(which: Bool[Array, " L"], one: Array, other: Array) -> Array:
    return jnp.where(lanes.spread(which, one), one, other)


def begin(layout: Layout, objective: Objective, shared: Shared, lane: Lane) -> Progress:
    """Every lane at t = 0."""
    goal = lane.goal
    state = lanes.start(layout, lane)
    anchor = lanes.anchor(layout, objective, shared, lane, state)
    slope, _ = lanes.slope(layout, objective, shared, lane, anchor, state)
    steepest = jnp.max(jnp.abs(slope), axis=tuple(range(slope.ndim - 1)))
    step = jnp.minimum(_FIRST / jnp.maximum(steepest, 1e-300), lane.t1)
    zero = jnp.zeros_like(lane.t1)
    code = jnp.where(jnp.isfinite(steepest), RUNNING, int(Result.not_finite)).astype(jnp.int32)
    value, hit = None, None
    if goal is not None:
        # By the formula of `pgdyn.flow`, to the last digit: a target is often the value at the start.
        z = lanes.logits(layout, shared, lane, state)
        value = lanes.true_value(lane, z - jax.nn.logsumexp(z, axis=1, keepdims=True))
        hit = Hit(value >= goal, zero, zero, state, value, value)
        if layout.stop:
            code = jnp.where((code == RUNNING) & hit.found, int(Result.reached_target), code).astype(code.dtype)
    return Progress(state, slope, zero, step, value, jnp.zeros_like(code), code, hit)


def advance(
    layout: Layout,
    objective: Objective,
    shared: Shared,
    lane: Lane,
    control: Control,
    progress: Progress,
    leave: Int[Array, ""],
    memory: Scratch | None,
) -> tuple[Progress, Scratch | None]:
    """Steps until at most `leave` lanes are still running; gives the memory back, for the next call."""
    goal = lane.goal

    def body(carry: tuple[Progress, Scratch | None]) -> tuple[Progress, Scratch | None]:
        now, memory = carry
        anchor = lanes.anchor(layout, objective, shared, lane, now.state)

        def field(state: Array) -> tuple[Array, Array | None]:
            return lanes.slope(layout, objective, shared, lane, anchor, state)

        running = now.code == RUNNING
        remaining = lane.t1 - now.time
        last = now.step >= remaining
        step = jnp.where(last, remaining, now.step)
        state, slopes, memory = _take_step(layout, field, now.state, now.slope, step, memory)
        slope, value = field(state)
        slopes.append(slope)
        scale = 1 / (control.atol + control.rtol * jnp.maximum(jnp.abs(now.state), jnp.abs(state)))
        fifth = _largest(layout, _combine(tableau.ERROR5, slopes) * scale)
        third = _largest(layout, _combine(tableau.ERROR3, slopes) * scale)
        safe = jnp.maximum(fifth, _SUSPICION * third * jnp.sqrt(third * control.rtol))
        error = step * safe**2 / jnp.sqrt(fifth**2 + 0.01 * third**2 + 1e-300)
        kept = (error <= 1) & running
        # Square roots, as a power would be a call of the C library for every single lane.
        root = jnp.sqrt(jnp.sqrt(jnp.sqrt(jnp.maximum(error, 1e-30))))
        factor = jnp.clip(_SAFETY / root, _SHRINK, _GROW)
        factor = jnp.where(jnp.isnan(error), _SHRINK, factor)
        time = jnp.where(kept, jnp.where(last, lane.t1, now.time + step), now.time)
        tried = now.tried + running.astype(now.tried.dtype)
        # The flow does not depend on time: a step below the clock's resolution (late escapes have them) is no failure.
        stuck = running & ~kept & (step < _SHORTEST)
        code = now.code
        code = jnp.where(running & (tried >= control.max_steps), int(Result.step_budget_spent), code)
        code = jnp.where(stuck, int(Result.not_finite), code)
        code = jnp.where(kept & (time >= lane.t1), int(Result.completed), code)
        hit = now.hit
        if hit is not None:
            assert goal is not None and value is not None and now.value is not None
            new = kept & ~hit.found & (value >= goal)
            found = Hit(new, now.time, step, now.state, now.value, value)
            hit = jax.tree.map(partial(_choose, new), found, hit)
            if layout.stop:
                code = jnp.where(new, int(Result.reached_target), code)
            value = jnp.where(kept, value, now.value)
        new = Progress(
            state=_choose(kept, state, now.state),
            slope=_choose(kept, slope, now.slope),
            time=time,
            # A last step cut short by the end says little about the length of a longer one, and nobody asks.
            step=jnp.where(running, step * factor, now.step),
            value=value,
            tried=tried,
            code=code.astype(now.code.dtype),
            hit=hit,
        )
        return new, memory

    def running(carry: tuple[Progress, Scratch | None]) -> Array:
        return jnp.sum(carry[0].code == RUNNING, dtype=leave.dtype)

    return jax.lax.while_loop(lambda carry: running(carry) > leave, body, (progress, memory))


def locate(
    layout: Layout, objective: Objective, shared: Shared, lane: Lane, hit: Hit, with_state: bool
) -> tuple[Float[Array, " L"], Array]:
    """The hitting time of every lane, inf where the target was not reached, and the state there where it is wanted.

    Newton's method on s -> V(state after a fraction s of the step) - target, kept inside a bracket by bisection and
    started from the quadratic through both ends with the slope at the first.
    """
    goal = lane.goal

    anchor = lanes.anchor(layout, objective, shared, lane, hit.state)

    def field(state: Array) -> tuple[Array, Array | None]:
        return lanes.slope(layout, objective, shared, lane, anchor, state)

    def value(state: Array) -> Array:
        z = lanes.logits(layout, shared, lane, state)
        return lanes.true_value(lane, z - jax.nn.logsumexp(z, axis=1, keepdims=True))

    first, _ = field(hit.state)
    at_start = hit.step == 0

    def state_at(fraction: Array) -> Array:
        return _take_step(layout, field, hit.state, first, fraction * hit.step, scratch(layout, hit.state))[0]

    def try_at(fraction: Array) -> tuple[Array, Array]:
        state = state_at(fraction)
        reached, rate = jax.jvp(value, (state,), (field(state)[0] * lanes.spread(hit.step, state),))
        return reached - goal, rate

    def unfinished(carry: Any) -> Array:
        count, _, _, _, moving = carry
        return jnp.any(moving) & (count < 60)

    def refine(carry: Any) -> Any:
        count, low, high, fraction, moving = carry
        excess, rate = try_at(fraction)
        low = jnp.where(moving & (excess < 0), fraction, low)
        high = jnp.where(moving & (excess >= 0), fraction, high)
        newton = fraction - excess / rate
        inside = (newton > low) & (newton < high)
        new = jnp.where(inside, newton, (low + high) / 2)
        # Newton's error squares: what is left after a move this small is beyond float64.
        size = hit.time / jnp.maximum(hit.step, 1e-300) + fraction
        close = (jnp.abs(new - fraction) <= jnp.where(inside, 1e-7, 1e-15) * size) | (excess == 0)
        return count + 1, low, high, jnp.where(moving & (excess != 0), new, fraction), moving & ~close

    zero, one = jnp.zeros_like(hit.time), jnp.ones_like(hit.time)
    _, rate = jax.jvp(value, (hit.state,), (first * lanes.spread(hit.step, first),))
    rise = goal - hit.before
    bend = hit.after - hit.before - rate
    root = 2 * rise / (rate + jnp.sqrt(rate**2 + 4 * bend * rise))
    secant = rise / (hit.after - hit.before)
    fraction = jnp.where((root > 0) & (root < 1), root, jnp.where((secant > 0) & (secant < 1), secant, 0.5))
    moving = hit.found & ~at_start
    carry = (jnp.zeros((), jnp.int32), zero, one, fraction, moving)
    *_, fraction, _ = jax.lax.while_loop(unfinished, refine, carry)
    time = jnp.where(at_start, hit.time, hit.time + fraction * hit.step)
    state = _choose(at_start, hit.state, state_at(fraction)) if with_state else hit.state
    return jnp.where(hit.found, time, jnp.inf), state


def finish(layout: Layout, objective: Objective, shared: Shared, lane: Lane, progress: Progress) -> dict[str, Array]:
    """The fields of an `Outcome`, lanes last, of the lanes that have ended; "params" are states."""
    state, time = progress.state, jnp.full_like(lane.t1, jnp.nan)
    if progress.hit is not None:
        ended = progress.hit._replace(found=progress.hit.found & (progress.code != RUNNING))
        time, at_hit = locate(layout, objective, shared, lane, ended, layout.stop)
        state = _choose(ended.found, at_hit, state) if layout.stop else state
    found = lanes.final(layout, shared, lane, state)
    return {**found, "hitting_time": time, "params": state, "steps": progress.tried, "result": progress.code}
