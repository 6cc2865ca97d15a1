"""The hitting time inside the step that reaches the target, and what is found of a lane at its end."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from pgdyn import policy
from pgdyn.ensemble.step import RUNNING, Crossing, Equation, Status, choose, memory, take_step
from pgdyn.policy import Weights
from pgdyn.reduction import along
from pgdyn.solution import observe

_MOST_TRIALS = 60


def locate(equation: Equation, crossing: Crossing, with_state: bool) -> tuple[Float[Array, " L"], Array]:
    """The hitting time of every lane, inf where the target was not reached, and the state there where it is wanted.

    Newton's method on s -> V(state after a fraction s of the step) - target, kept inside a bracket by bisection and
    started from the quadratic through both ends with the slope at the first. Each trial is a step of its own, as
    accurate as the integration.
    """
    goal = equation.goal
    anchor = equation.anchor(crossing.state)

    def field(state: Array) -> tuple[Array, Weights]:
        return equation.field(anchor, state)

    first, _ = field(crossing.state)
    at_start = crossing.step == 0
    room = memory(equation, crossing.state)

    def state_at(fraction: Array) -> Array:
        return take_step(field, crossing.state, first, fraction * crossing.step, room)[0]

    def try_at(fraction: Array) -> tuple[Array, Array]:
        state = state_at(fraction)
        speed = field(state)[0] * along(crossing.step, state)
        reached, rate = jax.jvp(equation.true_value, (state,), (speed,))
        return reached - goal, rate

    def unfinished(carry: Any) -> Array:
        count, _, _, _, moving = carry
        return jnp.any(moving) & (count < _MOST_TRIALS)

    def refine(carry: Any) -> Any:
        count, low, high, fraction, moving = carry
        excess, rate = try_at(fraction)
        low = jnp.where(moving & (excess < 0), fraction, low)
        high = jnp.where(moving & (excess >= 0), fraction, high)
        newton = fraction - excess / rate
        inside = (newton > low) & (newton < high)
        new = jnp.where(inside, newton, (low + high) / 2)
        # Newton's error squares: what is left after a move this small is beyond float64.
        size = crossing.time / jnp.maximum(crossing.step, 1e-300) + fraction
        close = (jnp.abs(new - fraction) <= jnp.where(inside, 1e-7, 1e-15) * size) | (excess == 0)
        return count + 1, low, high, jnp.where(moving & (excess != 0), new, fraction), moving & ~close

    _, rate = jax.jvp(equation.true_value, (crossing.state,), (first * along(crossing.step, first),))
    moving = crossing.found & ~at_start
    zero, one = jnp.zeros_like(crossing.time), jnp.ones_like(crossing.time)
    carry = (jnp.zeros((), jnp.int32), zero, one, _first_guess(crossing, goal, rate), moving)
    *_, fraction, _ = jax.lax.while_loop(unfinished, refine, carry)
    time = jnp.where(at_start, crossing.time, crossing.time + fraction * crossing.step)
    state = choose(at_start, crossing.state, state_at(fraction)) if with_state else crossing.state
    return jnp.where(crossing.found, time, jnp.inf), state


def _first_guess(crossing: Crossing, goal: Any, rate: Array) -> Float[Array, " L"]:
    """The root of the quadratic through both ends, else that of the line, else the middle."""
    rise, whole = goal - crossing.before, crossing.after - crossing.before
    root = 2 * rise / (rate + jnp.sqrt(rate**2 + 4 * (whole - rate) * rise))
    secant = rise / whole
    return jnp.where((root > 0) & (root < 1), root, jnp.where((secant > 0) & (secant < 1), secant, 0.5))


def finish(equation: Equation, status: Status, reference: Array) -> dict[str, Array]:
    """What is found of lanes that have ended, lanes last: a `Solution`'s arrays, with the state as "params"."""
    state, time = status.state, jnp.full_like(equation.t1, jnp.nan)
    if status.crossing is not None:
        crossing = status.crossing._replace(found=status.crossing.found & (status.code != RUNNING))
        time, at_hit = locate(equation, crossing, equation.stop)
        state = choose(crossing.found, at_hit, state) if equation.stop else state
    seen = observe(equation.problem, equation.objective, policy.log_policy(equation.problem, state), reference)
    return {"params": state, **seen, "hitting_time": time, "steps": status.tried, "result": status.code}
