"""The ways through a sequence of decisions from start to end, listed."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from pgdyn.problem import Problem
from pgdyn.transitions import END, Transitions

MOST = 2**22  # episodes that are listed


class Paths(NamedTuple):
    """The ways through a problem from start to end, in lexicographic order of start and actions.

    Attributes:
        points: [M, H], the decision points on the way; -1 behind the end.
        actions: [M, H], what was chosen there; -1 behind the end.
        log_chance: [M], the log-probability of what chance did on the way.
    """

    points: Int[np.ndarray, "M H"]
    actions: Int[np.ndarray, "M H"]
    log_chance: Float[np.ndarray, " M"]

    def total(self, table: Any) -> Any:
        """The sum of table[..., s, y] along each of the ways, [..., M].

        Example:
            >>> from pgdyn.mdp import tree
            >>> ways = paths(tree(2, 2, [0, 0, 0, 1]))
            >>> ways.total(np.array([[0.0, 1.0], [0.0, 2.0], [0.0, 3.0]])).tolist()
            [0.0, 2.0, 1.0, 4.0]
        """
        xp = np if isinstance(table, np.ndarray) else jnp
        return xp.where(self.points >= 0, table[..., self.points, self.actions], 0).sum(axis=-1)


def count_paths(problem: Problem, starts: Any = None) -> int:
    """The number of episodes that differ, without listing them; those from `starts`, None for where they may begin.

    Example:
        >>> from pgdyn.mdp import tree
        >>> count_paths(tree(3, 4, lambda tokens: 0.0))
        81
    """
    starts = _begun(problem) if starts is None else starts
    transitions = problem.transitions
    if transitions is None:
        return len(starts) * problem.num_outputs
    return int(min(_ways_on(transitions)[starts].sum(), 2**62))


@functools.lru_cache(maxsize=64)
def _ways_on(transitions: Transitions) -> Float[np.ndarray, " P"]:
    """The number of episodes from each decision point."""
    ends = np.ones((transitions.num_points, transitions.num_actions))
    if transitions.mask is not None:
        ends *= transitions.mask
    point, action, following, chance = transitions.edges
    onward = np.zeros_like(ends)
    np.add.at(onward, (point, action), chance)
    ways = np.zeros(transitions.num_points)
    order = np.argsort(point, kind="stable")
    point, action, following = point[order], action[order], following[order]
    bounds = np.searchsorted(point, np.arange(transitions.num_points + 1))
    ends[onward > 1 - 1e-12] = 0
    for s in reversed(range(transitions.num_points)):
        ways[s] = ends[s].sum() + ways[following[bounds[s] : bounds[s + 1]]].sum()
    return ways


def paths(problem: Problem, starts: Any = None) -> Paths:
    """The ways through a problem from every start; of a one-step problem its outputs.

    Args:
        problem: one problem.
        starts: decision points where episodes begin, rising; None for those of positive weight.

    Raises:
        ValueError: if there are more than 2^22.

    Example:
        >>> from pgdyn.mdp import chain
        >>> paths(chain(2, [0, 1])).actions.tolist()
        [[0, 0], [0, 1], [1, -1]]
    """
    starts = _begun(problem) if starts is None else np.asarray(starts)
    if (count := count_paths(problem, starts)) > MOST:
        raise ValueError(f"the problem has {count:.3g} episodes, more than the {MOST} that are listed at most")
    if problem.transitions is not None:
        return list_paths(problem.transitions, starts)
    points, actions = (part.reshape(-1, 1) for part in np.meshgrid(starts, range(problem.num_outputs), indexing="ij"))
    return Paths(points, actions, np.zeros(len(points)))


def _begun(problem: Problem) -> Int[np.ndarray, " B"]:
    return np.nonzero(np.asarray(problem.prompt_weights) > 0)[0]


def list_paths(transitions: Transitions, starts: Int[np.ndarray, " B"]) -> Paths:
    """The ways from `starts` to the end.

    Example:
        >>> list_paths(Transitions([[1, -1], [-1, -1]]), np.array([1])).actions.tolist()
        [[0], [1]]
    """
    # Of each decision point the ways on: action, next point, log-chance.
    ways: list[list[tuple[int, int, float]]] = [[] for _ in range(transitions.num_points)]
    for s, y in np.ndindex(transitions.num_points, transitions.num_actions):
        if transitions.mask is not None and not transitions.mask[s, y]:
            continue
        if transitions.successors is not None:
            ways[s].append((y, int(transitions.successors[s, y]), 0.0))
            continue
        assert transitions.probabilities is not None
        chance = transitions.probabilities[s, y]
        ways[s] += [(y, int(t), float(np.log(chance[t]))) for t in np.nonzero(chance)[0]]
        if (rest := 1 - chance.sum()) > 1e-12:
            ways[s].append((y, END, float(np.log(rest))))
    found: list[tuple[tuple[int, ...], tuple[int, ...], float, int]] = [((), (), 0.0, int(s)) for s in starts]
    while any(path[3] != END for path in found):
        found = [
            path if path[3] == END else ((*path[0], path[3]), (*path[1], y), path[2] + log, following)
            for path in found
            for y, following, log in (ways[path[3]] if path[3] != END else [(0, END, 0.0)])
        ]
    longest = max(len(path[0]) for path in found)
    points, actions = np.full((len(found), longest), -1), np.full((len(found), longest), -1)
    for i, path in enumerate(found):
        points[i, : len(path[0])], actions[i, : len(path[1])] = path[0], path[1]
    return Paths(points, actions, np.array([path[2] for path in found]))
