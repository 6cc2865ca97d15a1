r"""Time along the plane: s = int Z dtau by Gauss panels, until a time or a value is reached.

A panel has 12 Gauss-Legendre nodes. The last Legendre coefficients of Z tell how fast its expansion falls off, and the
square of them what the integral may miss: a panel is as long as that allows, and ends where another output takes the
lead. Several prompts go in step: a panel ends for all at the time at which it ends for the first. Lanes are problems.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float
from numpy.polynomial import legendre

from pgdyn.exact import plane, reach
from pgdyn.exact.plane import Point
from pgdyn.exact.reach import Prompts, known
from pgdyn.reduction import along

MOST_TRIED = 2**14
MOST_KEPT = 1024  # panels that derivatives are taken over
HORIZON = 1e306  # a later time is never
_NODES = 12
_MISS = 1e-14  # that a panel adds, of the time until then
_FOLDS, _FOLDS_UNEVEN = 4.0, 1.0  # that some x may change by in a panel, at its first pace; with a negative gain
_SAFETY, _SHRINK, _GROWTH = 0.9, 0.1, 8.0
_FLAT = 1e-14  # of the true reward's range: a value so near to the target cannot be told from it
_NEWTON = 12  # steps on a polynomial
_SLOTS, _AT_ONCE = 256, 3  # lanes that go side by side, and panels tried before others take the places of those over

_points, _weights = legendre.leggauss(_NODES)
_FRACTIONS, _WEIGHTS = (1 + _points) / 2, _weights / 2
_TO_LEGENDRE = np.stack([(2 * n + 1) * _WEIGHTS * legendre.Legendre.basis(n)(_points) for n in range(_NODES)])


class Where(NamedTuple):
    """How far every lane is, and the panel that comes next.

    Attributes:
        time: [N], t.
        base: [P, K, N], x at the panel's beginning, times `scale`, by which the least of a prompt's is 1 to 2.
        scale: [P, N], a power of two.
        tau: [P, N], from the start, of x that are not scaled.
        length: [P, N], of the next panel, of x that are scaled.
        value: [N], V of the true reward at the panel's beginning.
        slope: [N], dV there, by tau of one prompt, by t of several.
        tried: [N], how many panels were tried.
        kept: [N], how many of them there were.
        over: [N], whether the next panel holds what is looked for, or there is none.
        low: [N], a fraction of the next panel (of its tau, or of its time) at which V is below the target.
        high: [N], one at which it is not; 0 where the target is not reached in it.
        ends: [MOST_KEPT, P, N], where panels ended; None where that is not asked for.
        times: [MOST_KEPT, N], when they did.
    """

    time: Array
    base: Array
    scale: Array
    tau: Array
    length: Array
    value: Array
    slope: Array
    tried: Array
    kept: Array
    over: Array
    low: Array
    high: Array
    ends: Array | None
    times: Array | None


def mean_value(prompts: Prompts, here: Point) -> Array:
    """V of the true reward."""
    return jnp.sum(_beside(prompts.weights, here.value) * here.value, axis=0)


def slope(prompts: Prompts, here: Point) -> Array:
    """dV/dtau of the true reward where there is one prompt, dV/dt where there are several."""
    rises = _beside(prompts.weights, here.slope) * here.slope
    if prompts.gains.shape[0] > 1:
        rises = jnp.where(_beside(prompts.moves, rises), rises / here.mass / _beside(prompts.rate, rises), 0.0)
    return jnp.sum(rises, axis=0)


def nodes(prompts: Prompts, base: Float[Array, "P K N"], length: Float[Array, "P N"]) -> Point:
    """Every prompt at the nodes of the panel from `base` on."""
    return plane.at(prompts, base, length[:, None] * _FRACTIONS[None, :, None])


def integral(prompts: Prompts, base: Float[Array, "P K N"], length: Float[Array, "P N"]) -> Float[Array, "P N"]:
    """int Z dtau over the panel from `base` on."""
    return length * jnp.tensordot(_WEIGHTS, nodes(prompts, base, length).mass, axes=(0, 1))


def begin(prompts: Prompts, record: bool) -> Where:
    """Every lane at the start; `record` is whether the ends of panels are kept."""
    tau, base = jnp.zeros_like(prompts.weights), plane.start(prompts)
    here = plane.at(prompts, base, tau)
    time, count = tau[0], jnp.zeros(tau.shape[1:], jnp.int32)
    length = jnp.min(base, axis=1) / 4
    ends = jnp.zeros((MOST_KEPT, *tau.shape)) if record else None
    over = ~jnp.any(prompts.moves, axis=0)
    value, rise = mean_value(prompts, here), slope(prompts, here)
    times = None if ends is None else ends[:, 0]
    return Where(time, base, jnp.ones_like(tau), tau, length, value, rise, count, count, over, time, time, ends, times)


def go(prompts: Prompts, start: Where, end: Float[Array, " N"], goal: Float[Array, " N"] | None) -> Where:
    """Marches to the panel in which `end` lies, or in which V first reaches `goal`; stops where it cannot any more."""
    lanes = start.time.size
    start = start._replace(tried=jnp.zeros_like(start.tried))

    def unfinished(where: Where) -> Array:
        return jnp.any(_is_open(where))

    if start.ends is not None or lanes <= _SLOTS:
        return jax.lax.while_loop(unfinished, lambda where: _step(prompts, where, end, goal), start)

    def some(where: Where) -> Where:
        """A few panels of the first lanes that are still open, so that none waits for a longer one."""
        (rows,) = jnp.nonzero(_is_open(where), size=_SLOTS, fill_value=lanes)
        given = jax.tree.map(lambda leaf: leaf.at[..., rows].get(mode="clip"), (prompts, where, end, goal))
        prompts_there, there, *numbers = given
        there = jax.lax.fori_loop(0, _AT_ONCE, lambda _, own: _step(prompts_there, own, *numbers), there)
        return jax.tree.map(lambda leaf, own: leaf.at[..., rows].set(own, mode="drop"), where, there)

    return jax.lax.while_loop(unfinished, some, start)


def _is_open(where: Where) -> Bool[Array, " N"]:
    return ~where.over & (where.tried < MOST_TRIED)


def _step(prompts: Prompts, where: Where, end: Array, goal: Array | None) -> Where:
    """Tries a panel of every lane that is open."""
    alone, moves = prompts.gains.shape[0] == 1, prompts.moves
    width = jnp.max(prompts.true_reward, axis=(0, 1)) - jnp.min(prompts.true_reward, axis=(0, 1))
    uneven = jnp.any(prompts.gains < 0, axis=1)
    folds = jnp.where(uneven, _FOLDS_UNEVEN, _FOLDS)
    length = jnp.minimum(where.length, plane.next_crossing(prompts, where.base))
    inner = nodes(prompts, where.base, length)
    whole = length * jnp.tensordot(_WEIGHTS, inner.mass, axes=(0, 1))
    last = length * jnp.max(jnp.abs(jnp.tensordot(_TO_LEGENDRE[-2:], inner.mass, axes=(1, 1))), axis=0)
    miss = last / whole * last / (where.time[None] / prompts.rate + whole)
    bad = moves & ~(miss <= _MISS)
    factor = _SAFETY * (_MISS / jnp.maximum(miss, 1e-40)) ** (1 / (2 * _NODES))
    factor = jnp.clip(jnp.where(jnp.isnan(factor), 0.0, factor), _SHRINK, _GROWTH)
    duration = jnp.min(jnp.where(moves, whole * prompts.rate, jnp.inf), axis=0)
    own = length if alone else part(prompts, where.base, length, inner.mass, duration)
    there = plane.at(prompts, where.base, own)
    value, rise = mean_value(prompts, there), slope(prompts, there)
    # Where the best output has a negative gain a policy may come to rest, and then stays what it is.
    resting = jnp.all(~moves | (uneven & there.at_rest), axis=0)
    over, doubtful = (where.time + duration >= end) | resting, jnp.zeros_like(resting)
    low, high = where.low, where.high
    if goal is not None:
        if alone:
            at, between = _FRACTIONS, inner
            span = own[0]
        else:
            at, span = np.linspace(0, 1, _NODES + 2)[1:-1], duration
            parts = fractions(prompts, length, inner.mass, jnp.asarray(at)[:, None] * duration[None])
            between = plane.at(prompts, where.base, jnp.minimum(parts * length[:, None], own[:, None]))
        values = jnp.concatenate([where.value[None], mean_value(prompts, between), value[None]])
        rises = jnp.concatenate([where.slope[None], slope(prompts, between), rise[None]]) * span[None]
        at = np.concatenate([[0.0], at, [1.0]])
        found = values[1:] >= goal[None]
        hit, first = jnp.any(found, axis=0), jnp.argmax(found, axis=0)
        near = goal[None] - jnp.maximum(values[:-1], values[1:]) <= _FLAT * width[None]
        peaks = _peaks(values, rises, np.diff(at)[:, None])
        before = ~hit[None] | (jnp.arange(len(at) - 1)[:, None] <= first[None])
        doubtful = jnp.any(before & ~found & (peaks >= goal[None]) & ~near, axis=0)
        low, high = (jnp.where(hit, jnp.asarray(edge)[first], 0.0) for edge in (at[:-1], at[1:]))
        over = over | hit | (jnp.sum(prompts.weights * there.ceiling, axis=0) < goal)
    refused = jnp.any(bad, axis=0) | doubtful
    shorter = jnp.where(bad, length * jnp.minimum(factor, 0.5), jnp.where(doubtful[None], length / 4, length))
    ended = where._replace(length=own, over=over, low=low, high=high)
    scaling = reach.power_of_two(1 / jnp.min(there.x, axis=1))
    went = where._replace(
        time=where.time + duration,
        base=jnp.minimum(there.x * scaling[:, None], plane.ABSENT),
        scale=where.scale * scaling,
        tau=where.tau + own / where.scale,
        length=jnp.where(moves, jnp.minimum(length * factor, folds / there.pace), length) * scaling,
        value=value,
        slope=rise,
        kept=where.kept + 1,
    )
    still = ~_is_open(where)
    advanced = ~(still | refused | over)
    if where.ends is not None and where.times is not None:
        lanes, rows = jnp.arange(advanced.size), jnp.where(advanced, where.kept, MOST_KEPT)
        went = went._replace(
            ends=where.ends.at[rows, :, lanes].set(went.tau.T, mode="drop"),
            times=where.times.at[rows, lanes].set(went.time, mode="drop"),
        )
    again = where._replace(length=shorter)
    choices = ((still, where), (refused, again), (over, ended))
    # The record is written lane by lane above.
    new = went._replace(ends=None, times=None)
    for condition, choice in reversed(choices):
        choice = choice._replace(ends=None, times=None)
        new = jax.tree.map(lambda a, b, c=condition: jnp.where(along(c, a), a, b), choice, new)
    tried = jnp.where(still, where.tried, where.tried + 1)
    return new._replace(tried=tried, ends=went.ends, times=went.times)


def part(
    prompts: Prompts,
    base: Float[Array, "P K N"],
    length: Float[Array, "P N"],
    mass: Float[Array, "P J N"],
    duration: Float[Array, " N"],
) -> Float[Array, "P N"]:
    """How far every prompt goes in a given time within the panel from `base` on, of whose nodes Z is `mass`.

    The polynomial through the nodes tells it to 1e-8; two Newton steps with integrals of their own tell the rest.
    """
    wanted = duration[None] / prompts.rate
    own = fractions(prompts, length, mass, duration[None])[:, 0] * length
    for _ in range(2):
        excess = integral(prompts, base, own) - wanted
        own = jnp.clip(own - excess / plane.at(prompts, base, own).mass, 0.0, length)
    return jnp.where(prompts.moves, own, 0.0)


def fractions(
    prompts: Prompts, length: Float[Array, "P N"], mass: Float[Array, "P J N"], durations: Float[Array, "M N"]
) -> Float[Array, "P M N"]:
    """The fractions of a panel that every prompt goes in given times, by the polynomial through its nodes."""
    coefficients = jnp.tensordot(_TO_LEGENDRE, mass, axes=(1, 1))[:, :, None] * length[None, :, None]
    wanted = durations[None] / prompts.rate[:, None]

    def refine(_: Any, fraction: Array) -> Array:
        total, density = _polynomial(coefficients, fraction)
        return jnp.clip(fraction - (total - wanted) / density, 0.0, 1.0)

    return jax.lax.fori_loop(0, _NEWTON, refine, jnp.clip(wanted / coefficients[0], 0.0, 1.0))


def elapsed(prompts: Prompts, where: Where, tau: Float[Array, "P N"]) -> Float[Array, "P N"]:
    """s of every prompt at `tau`, which lies in the next panel, summed anew so that derivatives pass through it.

    All of it is measured from the start, whose derivatives are wanted.
    """
    assert where.ends is not None

    def add(total: Array, ends: tuple[Array, Array, Array]) -> tuple[Array, None]:
        number, begin, end = ends
        kept = where.kept[None]
        begin = jnp.where(number <= kept, begin, 0.0)
        end = jnp.where(number < kept, end, jnp.where(number == kept, tau, 0.0))
        points = begin[:, None] + (end - begin)[:, None] * _FRACTIONS[None, :, None]
        mass = plane.at(prompts, plane.start(prompts), points).mass
        return total + (end - begin) * jnp.tensordot(_WEIGHTS, mass, axes=(0, 1)), None

    begins = jnp.concatenate([jnp.zeros_like(where.ends[:1]), where.ends[:-1]])
    numbers = jnp.arange(MOST_KEPT, dtype=jnp.int32)
    return jax.lax.scan(add, jnp.zeros_like(tau), (numbers, *known((begins, where.ends))))[0]


def _polynomial(coefficients: Float[Array, "J P 1 N"], fraction: Float[Array, "P M N"]) -> tuple[Array, Array]:
    """The Legendre series on [0, 1] at a fraction: its integral from 0, and itself."""
    x = 2 * fraction - 1
    before, now = jnp.ones_like(x), x
    total, density = coefficients[0] * (x + 1) / 2, coefficients[0] * before
    for n in range(1, _NODES):
        after = ((2 * n + 1) * x * now - n * before) / (n + 1)
        total = total + coefficients[n] * (after - before) / (2 * (2 * n + 1))
        density = density + coefficients[n] * now
        before, now = now, after
    return total, density


def _peaks(values: Array, rises: Array, gaps: Any) -> Array:
    """Where tangents at neighbouring points meet, between a rise and a fall: a peak between them is no higher."""
    up, down = rises[:-1], rises[1:]
    peaked = (up > 0) & (down < 0)
    place = (values[1:] - values[:-1] - down * gaps) / jnp.where(peaked, up - down, 1.0)
    return jnp.where(peaked, values[:-1] + up * jnp.clip(place, 0.0, gaps), -jnp.inf)


def _beside(leaf: Array, like: Array) -> Array:
    return leaf if like.ndim == leaf.ndim else jnp.expand_dims(leaf, -2)
