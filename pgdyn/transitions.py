r"""Where actions lead: sequences of decisions as rows of one table, and the two recursions along them.

A decision point s is a row of [P, K]: a prefix of tokens, or a state at a time. Taking output y there pays r(s, y) and
leads to another decision point s' with probability p(s' | s, y), or ends the episode with the rest. Rows stand in an
order in which every transition goes forward, so that one pass each way is enough:

    d(s') = w(s') + sum_{s, y} d(s) pi_s(y) p(s' | s, y)                         visits, forward
    Q(s, y) = r(s, y) + sum_{s'} p(s' | s, y) V(s'),   V(s) = <pi_s, Q_s>          values, backward

Points are grouped in levels, the length of the longest path to them, and a level is computed at once.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from pgdyn import reduction, validate

END = -1  # in place of a decision point: the episode is over
NEVER = -1e30  # the logit of an action that there is not; finite, so that 0 * log 0 is 0
_UNROLLED = 24  # levels that are written out; a loop takes more of them


class Level(NamedTuple):
    """Decision points that are computed at once, by their places in the order of levels.

    Attributes:
        start: the first place.
        stop: the one behind the last.
        after: [n, K, E], the places that actions lead to; P for the end.
        chance: [n, K, E], their probabilities; None where every one is 1.
        before: [n, I], the actions (place * K + y) that lead here; P K for none.
        share: [n, I], with what probability; None where every one is 1.
    """

    start: int
    stop: int
    after: np.ndarray
    chance: np.ndarray | None
    before: np.ndarray
    share: np.ndarray | None


class Transitions:
    """Where each action of each decision point leads. Hashable: compiled code has it as a constant.

    Attributes:
        successors: [P, K], the decision point that an action leads to, or -1 for the end; None where chance decides.
        probabilities: [P, K, P], the chance of each next decision point, the rest being that of the end; None where
            every action leads to one place.
        mask: [P, K], whether there is such an action; None where all are there.
        num_points: P.
        num_actions: K.

    Raises:
        ValueError: naming the entry that leads back, out of range, or has no chance's value; and a decision point
            without any action.

    Example:
        >>> tree = Transitions([[1, 2], [-1, -1], [-1, -1]])
        >>> tree.num_levels, tree.roots.tolist()
        (2, [0])
        >>> tree.visits(jnp.array([1.0, 0.0, 0.0]), jnp.full((3, 2), 0.5)).tolist()
        [1.0, 0.5, 0.5]
    """

    def __init__(self, table: Any, mask: Any = None):
        self.successors, self.probabilities = _checked(table)
        given = self.successors if self.probabilities is None else self.probabilities
        assert given is not None
        self.num_points, self.num_actions = given.shape[:2]
        self.mask = None if mask is None else _checked_mask(mask, (self.num_points, self.num_actions))
        for array in (self.successors, self.probabilities, self.mask):
            if array is not None:
                array.setflags(write=False)
        self._key = (given.shape, given.tobytes(), None if self.mask is None else self.mask.tobytes())
        self._hash = hash(self._key)

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Transitions) and self._key == other._key

    def __repr__(self) -> str:
        kind = "deterministic" if self.probabilities is None else "stochastic"
        return f"Transitions({kind}, P={self.num_points}, K={self.num_actions}, levels={self.num_levels})"

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        given = self.successors if self.probabilities is None else self.probabilities
        return np.array(given, dtype=dtype)

    @property
    def shape(self) -> tuple[int, ...]:
        """[P, K], or [P, K, P] where chance decides."""
        return self._key[0]

    @cached_property
    def edges(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Decision point, action, next decision point and probability of every transition that goes on; each [E].

        Example:
            >>> [part.tolist() for part in Transitions([[1, -1], [-1, -1]]).edges]
            [[0], [0], [1], [1.0]]
        """
        if self.probabilities is not None:
            chance = self.probabilities if self.mask is None else self.probabilities * self.mask[:, :, None]
            point, action, following = np.nonzero(chance)
            return point, action, following, chance[point, action, following]
        assert self.successors is not None
        goes_on = self.successors != END
        point, action = np.nonzero(goes_on if self.mask is None else goes_on & self.mask)
        return point, action, self.successors[point, action], np.ones(len(point))

    @cached_property
    def depth(self) -> np.ndarray:
        """[P], the number of decisions on the longest path to each decision point."""
        depth = np.zeros(self.num_points, np.int64)
        point, _, following, _ = self.edges
        order = np.argsort(point, kind="stable")
        point, following = point[order], following[order]
        bounds = np.searchsorted(point, np.arange(self.num_points + 1))
        for s in range(self.num_points):
            here = following[bounds[s] : bounds[s + 1]]
            depth[here] = np.maximum(depth[here], depth[s] + 1)
        return depth

    @property
    def num_levels(self) -> int:
        """The longest number of decisions in an episode, H."""
        return int(self.depth.max()) + 1

    @cached_property
    def roots(self) -> np.ndarray:
        """Decision points that no transition leads to: where episodes begin unless weights say otherwise."""
        return np.setdiff1d(np.arange(self.num_points), self.edges[2])

    def unreachable(self, start: np.ndarray) -> np.ndarray:
        """Decision points that no episode comes to whose start has weights `start` [..., P]."""
        begun = np.any(np.asarray(start).reshape(-1, self.num_points) > 0, axis=0)
        reached = np.append(np.asarray(begun)[self.order], False)
        for level in self.levels:
            reached[level.start : level.stop] |= reached[level.before // self.num_actions].any(axis=1)
        return np.sort(self.order[~reached[:-1]])

    @cached_property
    def order(self) -> np.ndarray:
        """[P], the decision points level by level."""
        return np.argsort(self.depth, kind="stable")

    @cached_property
    def levels(self) -> tuple[Level, ...]:
        """The levels, first decisions first."""
        return _levels(self)

    def available(self, logits: Float[Array, "P K *lanes"]) -> Float[Array, "P K *lanes"]:
        """Logits with `NEVER` in place of those of actions that there are not."""
        if self.mask is None:
            return logits
        mask = self.mask.reshape(*self.mask.shape, *(1,) * (logits.ndim - 2))
        return jnp.where(mask, logits, jnp.asarray(NEVER, logits.dtype))

    def visits(
        self, start: Float[Array, "P *own"], probabilities: Float[Array, "P K *lanes"]
    ) -> Float[Array, " P *lanes"]:
        """d, how often an episode comes to each decision point.

        Args:
            start: [P, *lanes] or [P], the weights w of starts.
            probabilities: [P, K, *lanes], pi.
        """
        lanes = probabilities.shape[2:]
        start = start.reshape(*start.shape, *(1,) * (1 + len(lanes) - start.ndim))
        start, chosen = self._by_level(jnp.broadcast_to(start, (self.num_points, *lanes)), probabilities)
        if len(self.levels) > _UNROLLED:
            return self._back(_visits_by_loop(self, start, chosen))
        visits: list[Array] = []
        flows: list[Array] = []  # of the actions, level by level: [n K, *lanes]
        for level in self.levels:
            here = start[level.start : level.stop]
            if level.before.size:
                first, flowing = _window(self.levels, flows, level.before // self.num_actions, chosen)
                index = np.where(
                    level.before == self.num_points * self.num_actions, -1, level.before - first * self.num_actions
                )
                here = here + _weighted(_rows(flowing, index), level.share, axis=1)
            visits.append(here)
            flow = here[:, None] * chosen[level.start : level.stop]
            flows.append(flow.reshape(-1, *lanes))
        return self._back(jnp.concatenate(visits))

    def action_values(
        self, probabilities: Float[Array, "P K *lanes"], reward: Float[Array, "P K *lanes"]
    ) -> Float[Array, "P K *lanes"]:
        """Q, what an action is worth with all that follows it."""
        chosen, paid = self._by_level(probabilities, reward)
        if len(self.levels) > _UNROLLED:
            return self._back(_values_by_loop(self, chosen, paid))
        values: list[Array] = []  # V of the levels done, last level first
        found: list[Array] = []
        for level in reversed(self.levels):
            worth = paid[level.start : level.stop]
            if (level.after < self.num_points).any():
                first, later = _window_ahead(self.levels, values[::-1], level)
                index = np.where(level.after == self.num_points, -1, level.after - first)
                worth = worth + _weighted(_rows(later, index), level.chance, axis=2)
            found.append(worth)
            values.append(reduction.add(1, chosen[level.start : level.stop], worth)[:, 0])
        return self._back(jnp.concatenate(found[::-1]))

    def return_variances(
        self, probabilities: Float[Array, "P K *lanes"], reward: Float[Array, "P K *lanes"]
    ) -> Float[Array, " P *lanes"]:
        """The variance of an episode's return from each decision point on.

        By the law of total variance: of an action's worth, of chance's, and the mean of what is to come.
        """
        worth = self.action_values(probabilities, reward)
        value = reduction.add(1, probabilities, worth)
        spread = (worth - value) ** 2
        if self.probabilities is not None:
            chance = jnp.asarray(self.probabilities, reward.dtype)
            ahead = (worth - reward)[:, :, None]  # the mean of V(s')
            later = value[:, 0][None, None]
            weights = chance.reshape(*chance.shape, *(1,) * (reward.ndim - 2))
            rest = 1 - reduction.add(2, weights, jnp.ones_like(weights))
            spread = spread + (reduction.add(2, weights, (later - ahead) ** 2) + rest * ahead**2)[:, :, 0]
        return reduction.add(1, probabilities, self.action_values(probabilities, spread))[:, 0]

    def _by_level(self, *arrays: Array) -> tuple[Array, ...]:
        if (np.diff(self.order) == 1).all():
            return arrays
        return tuple(array[self.order] for array in arrays)

    def _back(self, array: Array) -> Array:
        return array if (np.diff(self.order) == 1).all() else array[np.argsort(self.order)]


def _checked(table: Any) -> tuple[np.ndarray | None, np.ndarray | None]:
    if validate.is_traced(table):
        raise ValueError("transitions decide what is compiled, so they must be plain numbers, not traced values")
    array = validate.as_floats("transitions", table)
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] != array.shape[0]):
        raise ValueError(f"transitions has shape {array.shape}; it must be [P, K], or [P, K, P] where chance decides")
    validate.require_finite("transitions", array)
    points = array.shape[0]
    if array.ndim == 2:
        whole = array == np.round(array)
        validate.require("transitions", array, whole, "it must be the number of a decision point, or -1 for the end")
        inside = (array >= END) & (array < points)
        validate.require(
            "transitions", array, inside, f"it must be from 0 to {points - 1}, the decision points, or -1 for the end"
        )
        forward = (array == END) | (array > np.arange(points)[:, None])
        rule = "it must lead to a later decision point: episodes have no cycles"
        validate.require("transitions", array, forward, rule)
        return array.astype(np.int64), None
    validate.require("transitions", array, array >= 0, "no probability may be negative")
    forward = (array == 0) | (np.arange(points)[None, None] > np.arange(points)[:, None, None])
    rule = "only later decision points have a probability: episodes have no cycles"
    validate.require("transitions", array, forward, rule)
    total = array.sum(axis=2)
    if (total > 1 + 1e-9).any():
        point, action = np.argwhere(total > 1 + 1e-9)[0]
        raise ValueError(
            f"transitions[{point}, {action}] sums to {total[point, action]:.9g}; "
            "probabilities may sum to 1 at most, the rest being that of the end"
        )
    return None, array / np.maximum(total, 1.0)[:, :, None]


def _checked_mask(mask: Any, shape: tuple[int, int]) -> np.ndarray:
    try:
        array = np.asarray(mask)
    except (ValueError, TypeError):
        array = validate.as_floats("mask", mask)  # says what is wrong with it
    if array.shape not in (shape, shape[1:]):
        raise ValueError(f"mask has shape {array.shape}; it must be {shape}, true where there is such an action")
    if array.dtype != bool:
        numbers = validate.as_floats("mask", array)
        validate.require("mask", numbers, (numbers == 0) | (numbers == 1), "it must be true or false, 1 or 0")
        array = numbers == 1
    array = np.broadcast_to(array, shape).copy()
    if not (some := array.any(axis=1)).all():
        raise ValueError(f"mask[{int(np.argmin(some))}] has no true entry; every decision point needs an action")
    return array


def _levels(transitions: Transitions) -> tuple[Level, ...]:
    points, actions = transitions.num_points, transitions.num_actions
    place = np.argsort(transitions.order)
    point, action, following, chance = transitions.edges
    point, following = place[point], place[following]
    after, odds = padded(point * actions + action, following, chance, points * actions, points)
    before, shares = padded(following, point * actions + action, chance, points, points * actions)
    bounds = np.searchsorted(transitions.depth[transitions.order], np.arange(transitions.num_levels + 1))
    levels = []
    for start, stop in zip(bounds[:-1], bounds[1:], strict=True):
        ahead, chances = _narrowed(after[start * actions : stop * actions], odds[start * actions : stop * actions])
        back, share = _narrowed(before[start:stop], shares[start:stop])
        shape = (stop - start, actions, ahead.shape[1])
        chances = None if chances is None else chances.reshape(shape)
        levels.append(Level(int(start), int(stop), ahead.reshape(shape), chances, back, share))
    return tuple(levels)


def padded(
    rows: np.ndarray, columns: np.ndarray, weights: np.ndarray, count: int, none: int
) -> tuple[np.ndarray, np.ndarray]:
    """For each of `count` rows its columns and their weights, [count, most]; `none` and 0 where there are fewer.

    Example:
        >>> columns, weights = padded(np.array([0, 0, 2]), np.array([3, 4, 3]), np.array([0.5, 0.5, 1.0]), 3, 9)
        >>> columns.tolist(), weights.tolist()
        ([[3, 4], [9, 9], [3, 9]], [[0.5, 0.5], [0.0, 0.0], [1.0, 0.0]])
    """
    order = np.argsort(rows, kind="stable")
    rows, columns, weights = rows[order], columns[order], weights[order]
    rank = np.arange(len(rows)) - np.searchsorted(rows, rows)
    most = int(rank.max()) + 1 if len(rank) else 0
    index, weight = np.full((count, most), none), np.zeros((count, most))
    index[rows, rank], weight[rows, rank] = columns, weights
    return index, weight


def _narrowed(index: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """Without columns that nothing uses, and without weights where all are 1 (or what they multiply is nothing)."""
    most = int((weight > 0).sum(axis=1).max()) if weight.size else 0
    index, weight = index[:, :most], weight[:, :most]
    return index, None if ((weight == 1) | (weight == 0)).all() else weight


def _window_ahead(levels: tuple[Level, ...], values: list[Array], level: Level) -> tuple[int, Array]:
    """The values of the levels behind `level` that it leads to, and the place of the first one."""
    last = int(level.after[level.after < levels[-1].stop].max())
    first_level = next(i for i, other in enumerate(levels) if other.start == level.stop)
    needed = [other for other in levels[first_level:] if other.start <= last]
    return level.stop, _joined(values[: len(needed)])


def _window(levels: tuple[Level, ...], flows: list[Array], points: np.ndarray, like: Array) -> tuple[int, Array]:
    """The flows of the levels from the first that `points` are in, and the place where they begin."""
    first = int(points.min())
    chosen = max(i for i, level in enumerate(levels) if level.start <= first)
    return levels[chosen].start, _joined(flows[chosen:])


def _joined(parts: list[Array]) -> Array:
    return parts[0] if len(parts) == 1 else jnp.concatenate(parts)


def _rows(array: Array, index: np.ndarray) -> Array:
    """`array[index]` along the first axis, 0 where the index is -1; a view where the rows follow one another."""
    flat = index.reshape(-1)
    if (flat >= 0).all() and (np.diff(flat) == 1).all():
        return array[flat[0] : flat[-1] + 1].reshape(*index.shape, *array.shape[1:])
    if (flat < 0).any():
        array = jnp.concatenate([array, jnp.zeros_like(array[:1])])
        index = np.where(index < 0, array.shape[0] - 1, index)
    return array.at[index].get(mode="promise_in_bounds")


def _weighted(rows: Array, weights: np.ndarray | None, axis: int) -> Array:
    if rows.shape[axis] == 1 and weights is None:
        return jnp.squeeze(rows, axis)
    factors = (rows,) if weights is None else (rows, _like(weights, rows))
    return jnp.squeeze(reduction.add(axis, *factors), axis)


def _like(weights: np.ndarray, array: Array) -> Array:
    return jnp.asarray(weights, array.dtype).reshape(*weights.shape, *(1,) * (array.ndim - weights.ndim))


class _Loop(NamedTuple):
    """All levels, padded to one size: [H, W], [H, W, K, E] and [H, W, I]. The place P (of actions P K) is nowhere."""

    places: np.ndarray
    after: np.ndarray
    chance: np.ndarray
    before: np.ndarray
    share: np.ndarray


def _loop(transitions: Transitions) -> _Loop:
    levels, points, actions = transitions.levels, transitions.num_points, transitions.num_actions
    width = max(level.stop - level.start for level in levels)
    out = max(level.after.shape[2] for level in levels)
    into = max(level.before.shape[1] for level in levels)
    count = len(levels)
    made = _Loop(
        np.full((count, width), points),
        np.full((count, width, actions, out), points),
        np.zeros((count, width, actions, out)),
        np.full((count, width, into), points * actions),
        np.zeros((count, width, into)),
    )
    for i, level in enumerate(levels):
        size = level.stop - level.start
        made.places[i, :size] = np.arange(level.start, level.stop)
        ahead, back = level.after.shape[2], level.before.shape[1]
        made.after[i, :size, :, :ahead] = level.after
        made.chance[i, :size, :, :ahead] = 1.0 if level.chance is None else level.chance
        made.before[i, :size, :back] = level.before
        made.share[i, :size, :back] = 1.0 if level.share is None else level.share
    return made


def _values_by_loop(transitions: Transitions, chosen: Array, paid: Array) -> Array:
    loop, points = _loop(transitions), transitions.num_points
    chosen, paid = (jnp.concatenate([array, jnp.zeros_like(array[:1])]) for array in (chosen, paid))

    def step(values: Array, level: tuple[Array, ...]) -> tuple[Array, Array]:
        places, after, chance = level
        ahead = jnp.sum(_with_lanes(chance, values.ndim - 1) * values[after], axis=2)
        worth = paid[places] + ahead
        value = jnp.sum(chosen[places] * worth, axis=1)
        # The row behind the last one is written to by padding; it stays 0, as its probabilities are.
        return values.at[places].set(value), worth

    levels = tuple(jnp.asarray(array) for array in (loop.places, loop.after))
    chance = jnp.asarray(loop.chance, paid.dtype)
    _, found = jax.lax.scan(step, jnp.zeros_like(paid[:, 0]), (*levels, chance), reverse=True)
    return found.reshape(-1, *paid.shape[1:])[np.nonzero(loop.places.reshape(-1) < points)[0]]


def _visits_by_loop(transitions: Transitions, start: Array, chosen: Array) -> Array:
    loop, points = _loop(transitions), transitions.num_points
    start, chosen = (jnp.concatenate([array, jnp.zeros_like(array[:1])]) for array in (start, chosen))

    def step(flows: Array, level: tuple[Array, ...]) -> tuple[Array, Array]:
        places, before, share = level
        arriving = flows.reshape(-1, *flows.shape[2:])[before]
        here = start[places] + jnp.sum(_with_lanes(share, flows.ndim - 2) * arriving, axis=1)
        return flows.at[places].set(here[:, None] * chosen[places]), here

    levels = tuple(jnp.asarray(array) for array in (loop.places, loop.before))
    share = jnp.asarray(loop.share, start.dtype)
    _, found = jax.lax.scan(step, jnp.zeros_like(chosen), (*levels, share))
    return found.reshape(-1, *start.shape[1:])[np.nonzero(loop.places.reshape(-1) < points)[0]]


def _with_lanes(weights: Array, lanes: int) -> Array:
    return weights.reshape(*weights.shape, *(1,) * lanes)
