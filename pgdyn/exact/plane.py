r"""The plane that a flow moves on: where all outputs are, given one number.

With x_y = e^{-z_y} (z without what all logits share; Z = sum_y 1/x_y is 1 at the start), the flow
z_y' = a_y pi(y) (r_y - V) becomes

    dx_y/ds = -a_y (r_y - V) / Z,     so with   tau = int ds / Z,  nu = int V ds / Z

    x_y = x_y(0) + a_y (nu - r_y tau),    sum_y ln(x_y / x_y(0)) / a_y = 0,    pi(y) = 1 / (x_y Z),    s = int Z dtau.

Outputs of any number move on one plane, and `tau` alone says where: the sum grows with nu, so it has one root. An
output that does not move (a_y = 0) adds (nu - r_y tau) / x_y(0) to the sum instead.

For digits, x_y = (a_y / a_m) x_m + d_y is measured from the output m whose x is the first to fall to 0 as nu falls, and
the root is found in q = ln x_m. The sum is convex in q, so that Newton's method needs no safeguard but for an output of
negative gain, of which there is one at most.

Any point may serve as the start: `tau` and x are measured from a base [P, K, N], which moves along (`march`), so that
no digits are lost where x falls to 0 at a finite tau. Arrays are [P, K, *lanes], reduced over axis 1.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from pgdyn.exact.reach import Prompts, known

_CLOSE = 1e-8  # of a step in q; the error that is left is about its square
_MOST = 100
_LARGEST = 690.0  # e^q is finite
_NEAR = 1e-12  # of x: a crossing so near is passed
_REST = 1e-12  # of the pace
ABSENT = 1e306  # x of an output of no weight; it no longer moves


class Point(NamedTuple):
    """Where every prompt is.

    Attributes:
        x: [P, K, *lanes].
        mass: [P, *lanes], Z.
        value: [P, *lanes], V of the true reward.
        slope: [P, *lanes], its dV/dtau.
        ceiling: [P, *lanes], what V can reach at most from here on.
        pace: [P, *lanes], the largest |d ln pi / dtau|, but for what all x share.
        at_rest: [P, *lanes], whether all x grow or fall alike, so that the policy stays what it is.
    """

    x: Float[Array, "P K *lanes"]
    mass: Float[Array, "P *lanes"]
    value: Float[Array, "P *lanes"]
    slope: Float[Array, "P *lanes"]
    ceiling: Float[Array, "P *lanes"]
    pace: Float[Array, "P *lanes"]
    at_rest: Bool[Array, "P *lanes"]


class _Root(NamedTuple):
    leader: Bool[Array, "P K *lanes"]
    x: Float[Array, "P K *lanes"]


def start(prompts: Prompts) -> Float[Array, "P K N"]:
    """x at the start, 1 / pi_0."""
    return jnp.minimum(jnp.exp(-prompts.log_start), ABSENT)


def at(prompts: Prompts, base: Float[Array, "P K N"], tau: Float[Array, "P *lanes"]) -> Point:
    """Where every prompt is `tau` after `base`; a lane may have several: tau [P, J, N] beside base [P, K, N]."""
    prompts, base = jax.tree.map(lambda leaf: _beside(leaf, tau.ndim), (prompts, base))
    root = _root(prompts, base, tau)
    weights = jnp.where(root.x < ABSENT, 1 / root.x, 0.0)
    mass = _add(weights)
    policy = weights / mass
    gap = prompts.reward - _pick(root.leader, prompts.reward)
    advantage = gap - _add(policy * gap)
    top = _pick(root.leader, prompts.true_reward)
    above = prompts.true_reward - top
    value = _add(policy * above)
    speed = prompts.gains * advantage * weights  # of ln pi, but for what all share
    drift = speed - _add(policy * speed)
    pace = jnp.max(jnp.abs(speed), 1)
    settled = (jnp.max(gap, 1) <= 0) & jnp.all(prompts.gains >= 0, 1)
    # Once the best output leads, the others only lose against it.
    rest = _add(policy / _pick(root.leader, policy) * jnp.maximum(above, 0.0))
    ceiling = jnp.where(settled, rest[:, 0], jnp.inf)
    return Point(
        x=root.x,
        mass=mass[:, 0],
        value=(top + value)[:, 0],
        slope=_add(policy * speed * (above - value))[:, 0],
        ceiling=jnp.minimum(top[:, 0] + ceiling, jnp.max(prompts.true_reward, 1)),
        pace=pace,
        at_rest=jnp.max(jnp.abs(drift), 1) <= _REST * pace,
    )


def log_policy(prompts: Prompts, here: Point, scale: Array) -> Float[Array, "P K *lanes"]:
    """log pi of a point whose x are multiplied by `scale`."""
    prompts = jax.tree.map(lambda leaf: _beside(leaf, here.mass.ndim), prompts)
    present = here.x < ABSENT
    log_x = jnp.where(present, jnp.log(jnp.where(present, here.x, 1.0)), jnp.log(scale)[:, None] - prompts.log_start)
    return -log_x - jnp.log(here.mass)[:, None]


def next_crossing(prompts: Prompts, base: Float[Array, "P K N"]) -> Float[Array, "P N"]:
    """How far after `base` another output takes the lead; inf where none does."""
    height = _height(prompts, base)
    leader = _leader(prompts, base, jnp.zeros_like(base[:, 0]))
    gap = prompts.reward - _pick(leader, prompts.reward)
    ahead = jnp.isfinite(height) & (gap > 0)
    own = _pick(leader, height)
    crossing = jnp.where(ahead, height - own, jnp.inf) / jnp.where(ahead, gap, 1.0)
    return jnp.min(jnp.where(crossing > _NEAR * own, crossing, jnp.inf), 1)


def _height(prompts: Prompts, base: Float[Array, "P K *lanes"]) -> Float[Array, "P K *lanes"]:
    """x_y / a_y of outputs with a positive gain."""
    positive = (prompts.gains > 0) & (base < ABSENT)
    return jnp.where(positive, base / jnp.where(positive, prompts.gains, 1.0), jnp.inf)


def _leader(prompts: Prompts, base: Array, tau: Array) -> Bool[Array, "P K *lanes"]:
    """The output m."""
    height = _height(prompts, base)
    # From the largest reward, and by height alone among equal ones: a late tau is so large that heights vanish in it.
    gap = prompts.reward - jnp.max(jnp.where(jnp.isfinite(height), prompts.reward, -jnp.inf), axis=1, keepdims=True)
    bound = gap * tau[:, None] - height
    best = jnp.argmax(bound, axis=1, keepdims=True)
    alike = gap == jnp.take_along_axis(gap, best, axis=1)
    first = jnp.argmin(jnp.where(alike, height, jnp.inf), axis=1, keepdims=True)
    return jax.lax.broadcasted_iota(first.dtype, bound.shape, 1) == first


def _root(prompts: Prompts, base: Array, tau: Array) -> _Root:
    leader = _leader(*known((prompts, base, tau)))
    gains = prompts.gains
    gap = prompts.reward - _pick(leader, prompts.reward)
    own, first = _pick(leader, gains), _pick(leader, base)
    # The leader is measured from itself: XLA's a / a may be 1 - 1e-16, and then there is no root.
    ratio = jnp.where(leader, 1.0, gains / own)
    offset = base - ratio * first - gains * gap * tau[:, None]
    offset = jnp.where(leader | ((offset < 0) & (gains > 0)), 0.0, offset)
    present = base < ABSENT
    moving = present & (gains != 0)
    divisor, offset = jnp.where(moving, gains, 1.0), jnp.where(moving, offset, 0.0)
    fixed = present & ~moving

    def position(q: Array) -> Array:
        return jnp.where(moving, ratio * jnp.exp(q) + offset, base)

    def excess(q: Array) -> tuple[Array, Array]:
        x = position(q)
        logs = jnp.log(jnp.where(moving, x / base, 1.0)) / divisor
        moved = jnp.where(fixed, ((jnp.exp(q) - first) / own - gap * tau[:, None]) / base, 0.0)
        return _add(logs + moved), jnp.exp(q) / own * _add(1 / x)

    shrinking = moving & (ratio < 0)
    last = jnp.min(jnp.where(shrinking, offset / jnp.where(shrinking, -ratio, 1.0), jnp.inf), axis=1, keepdims=True)
    last = known(last)

    def inside(q: Array, new: Array) -> Array:
        new = jnp.minimum(new, _LARGEST)
        return jnp.where(jnp.exp(new) < last, new, jnp.log((jnp.exp(q) + last) / 2))

    def refine(carry: Any) -> Any:
        count, q, _ = carry
        gap, slope = known(excess(q))
        new = inside(q, q - gap / slope)
        return count + 1, new, jnp.any(jnp.abs(new - q) > _CLOSE)

    def unfinished(carry: Any) -> Array:
        return carry[-1] & (carry[0] < _MOST)

    # As if x_m were nothing beside the others: above the root, and at it where m holds almost all.
    others = moving & ~leader & (offset > 0)
    logs = jnp.where(others, jnp.log(jnp.where(others, offset / base, 1.0)) / divisor, 0.0)
    high, low = -own * _add(logs), jnp.log(first)
    guess = known(low + jnp.clip(high, -1e3, 1.0))
    guess = jnp.where(jnp.exp(guess) < last, guess, jnp.log(last / 2))
    _, q, _ = jax.lax.while_loop(unfinished, refine, (0, guess, jnp.ones((), bool)))
    q = known(q)
    missing, slope = excess(q)
    step = missing / known(slope)
    return _Root(leader, position(q - (step - known(step))))  # derivatives alone pass through the step


def _beside(leaf: Array, axes: int) -> Array:
    """A prompts' array [P, K, N] or [P, N] with an axis J before the lanes, where tau has one."""
    return leaf if axes == 2 else jnp.expand_dims(leaf, -2)


def _add(values: Float[Array, "P K *lanes"]) -> Float[Array, "P 1 *lanes"]:
    return jnp.sum(values, axis=1, keepdims=True)


def _pick(leader: Array, values: Array) -> Array:
    """The leader's entry."""
    return _add(jnp.where(leader, values, 0.0))
