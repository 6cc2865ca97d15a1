"""States at given times, and the first time at which a value is reached, of lanes in reduced coordinates."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from pgdyn.exact import march, plane
from pgdyn.exact.march import Where
from pgdyn.exact.reach import Prompts, known

_TRIALS = 100
_SAME = 1e-6  # relative: what derivatives are taken of, measured from the start alone, must be what was found


@jax.custom_jvp
def log_policies(prompts: Prompts, times: Float[Array, "S N"]) -> Float[Array, "S P K N"]:
    """log pi at the given times, which increase; nan where that was not found."""
    return _march_to(prompts, times, False)[0]


def _march_to(prompts: Prompts, times: Array, record: bool) -> tuple[Array, Array, Where]:
    at_rest = ~jnp.any(prompts.moves, axis=0)

    def reach(where: Where, time: Array) -> tuple[Where, tuple[Array, Array, Where]]:
        where = march.go(prompts, where._replace(over=at_rest), time, None)
        mass = march.nodes(prompts, where.base, where.length).mass
        own = march.part(prompts, where.base, where.length, mass, time - where.time)
        found = plane.log_policy(prompts, plane.at(prompts, where.base, own), where.scale)
        there = where.over & jnp.all(jnp.isfinite(found), axis=(0, 1))  # not where time / rate is beyond all numbers
        return where, (jnp.where(there, found, jnp.nan), where.tau + own / where.scale, where)

    return jax.lax.scan(reach, march.begin(prompts, record), times)[1]


@log_policies.defjvp
def _log_policies_jvp(primals: Any, tangents: Any) -> Any:
    prompts, times = primals
    found, taus, wheres = known(_march_to(prompts, times, True))

    def again(prompts: Prompts, times: Array) -> Array:
        def one(row: Any) -> Array:
            here = plane.at(prompts, plane.start(prompts), _moved(prompts, *row))
            return plane.log_policy(prompts, here, jnp.ones_like(here.mass))

        return jax.lax.map(one, (wheres, taus, times))

    value, tangent = jax.jvp(again, primals, tangents)
    return found, _where_same(value, found, tangent)


def _moved(prompts: Prompts, where: Where, tau: Array, time: Array) -> Array:
    """tau at `time`, by one Newton step from its value: the implicit function theorem."""
    excess = march.elapsed(prompts, where, tau) - time[None] / prompts.rate
    return jnp.where(prompts.moves, tau - excess / known(plane.at(prompts, plane.start(prompts), tau).mass), 0.0)


@jax.custom_jvp
def hitting_time(prompts: Prompts, goal: Float[Array, " N"]) -> Float[Array, " N"]:
    """The first time at which V of the true reward is `goal` or more; inf for never, nan where it was not found."""
    return _march_up(prompts, goal, False)[0]


def _march_up(prompts: Prompts, goal: Array, record: bool) -> tuple[Array, Array, Where]:
    """The time, every prompt's tau at it, and the panel."""
    where = march.begin(prompts, record)
    at_start = where.value >= goal
    where = march.go(prompts, where._replace(over=where.over | at_start), jnp.full_like(goal, march.HORIZON), goal)
    alone = prompts.gains.shape[0] == 1
    mass = march.nodes(prompts, where.base, where.length).mass
    whole = where.length[0]
    if not alone:
        each = march.integral(prompts, where.base, where.length) * prompts.rate
        whole = jnp.min(jnp.where(prompts.moves, each, jnp.inf), axis=0)

    def own(share: Array) -> Array:
        if alone:
            return share[None]
        return march.part(prompts, where.base, where.length, mass, share)

    def refine(carry: Any) -> Any:
        count, low, high, share, moving = carry
        here = plane.at(prompts, where.base, own(share))
        excess = march.mean_value(prompts, here) - goal
        low = jnp.where(moving & (excess < 0), share, low)
        high = jnp.where(moving & (excess >= 0), share, high)
        newton = share - excess / march.slope(prompts, here)
        new = jnp.where((newton >= low) & (newton <= high), newton, (low + high) / 2)
        moved = moving & (jnp.abs(new - share) > 1e-16 * share) & (excess != 0)
        return count + 1, low, high, jnp.where(moving & (excess != 0), new, share), moved

    def unfinished(carry: Any) -> Array:
        return jnp.any(carry[-1]) & (carry[0] < _TRIALS)

    hit = where.high > 0
    low, high = where.low * whole, where.high * whole
    *_, share, _ = jax.lax.while_loop(unfinished, refine, (0, low, high, (low + high) / 2, hit))
    passed = prompts.rate[0] * march.integral(prompts, where.base, own(share))[0] if alone else share
    time = jnp.where(hit, where.time + passed, jnp.where(where.over, jnp.inf, jnp.nan))
    return jnp.where(at_start, 0.0, time), where.tau + own(share) / where.scale, where


@hitting_time.defjvp
def _hitting_time_jvp(primals: Any, tangents: Any) -> Any:
    prompts, goal = primals
    time, tau, where = known(_march_up(prompts, goal, True))

    def again(prompts: Prompts, goal: Array) -> Array:
        if prompts.gains.shape[0] == 1:
            here = plane.at(prompts, plane.start(prompts), tau)
            moved = tau - ((march.mean_value(prompts, here) - goal) / known(march.slope(prompts, here)))[None]
            return (march.elapsed(prompts, where, moved) * prompts.rate)[0]
        here = plane.at(prompts, plane.start(prompts), _moved(prompts, where, tau, time))
        return time - (march.mean_value(prompts, here) - goal) / known(march.slope(prompts, here))

    value, tangent = jax.jvp(again, primals, tangents)
    return time, jnp.where(jnp.isfinite(time) & (time > 0), _where_same(value, time, tangent), 0.0)


def _where_same(value: Array, found: Array, tangent: Array) -> Array:
    """The tangent; nan after more panels than are kept, or where no digits are left from the start on."""
    same = jnp.abs(known(value) - found) <= _SAME * (1 + jnp.abs(found))
    return jnp.where(same, tangent, jnp.nan)
