"""Whole outputs of a sequence: every episode with its probability and its returns, so that one-step tools take them."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from pgdyn import policy
from pgdyn.batch import Batch
from pgdyn.problem import Problem, require_single
from pgdyn.transitions import END, Transitions

_MOST = 2**22


class Leaves(eqx.Module):
    """Episodes of a problem, in lexicographic order of start and actions.

    Unpacked it is the first three: `log_policy, true_return, proxy_return = leaves(problem)`.

    Attributes:
        log_policy: [M], log-probabilities of whole outputs given where they start, in nats.
        true_return: [M].
        proxy_return: [M].
        start: [M], the decision point where the episode begins.
        points: [M, H], the decision points on the way; -1 behind the end.
        actions: [M, H], what was chosen there; -1 behind the end.
    """

    log_policy: Float[Array, " M"]
    true_return: Float[Array, " M"]
    proxy_return: Float[Array, " M"]
    start: Int[np.ndarray, " M"]
    points: Int[np.ndarray, "M H"]
    actions: Int[np.ndarray, "M H"]

    def __iter__(self) -> Iterator[Float[Array, " M"]]:
        return iter((self.log_policy, self.true_return, self.proxy_return))

    def as_problem(self) -> Problem:
        """The one-step problem with these outputs: a tabular policy with a free logit for each of them.

        Raises:
            ValueError: if episodes have several starts.

        Example:
            >>> from pgdyn.mdp import tree
            >>> leaves(tree(2, 2, [0, 0, 0, 1])).as_problem().true_reward.tolist()
            [[0.0, 0.0, 0.0, 1.0]]
        """
        if len(np.unique(self.start)) > 1:
            raise ValueError("the episodes have several starts; a one-step problem of their outputs needs a single one")
        return Problem.tabular(np.exp(np.asarray(self.log_policy)), self.true_return, self.proxy_return)

    def kernel(self, problem: Problem, params: Any = None) -> Float[Array, "M M"]:
        """<grad log pi(y), grad log pi(y')> of whole outputs: it moves while the policy is trained.

        Example:
            >>> from pgdyn.mdp import tree
            >>> problem = tree(2, 2, [0, 0, 0, 1])
            >>> leaves(problem).kernel(problem).diagonal().round(3).tolist()
            [1.0, 1.0, 1.0, 1.0]
        """
        params = problem.initial_params if params is None else params

        def log_policy(params: Array) -> Array:
            return Paths(self.points, self.actions, np.zeros(len(self.start))).total(policy.log_policy(problem, params))

        jacobian = jax.jacrev(log_policy)(params).reshape(len(self.start), -1)
        return jacobian @ jacobian.T


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


def leaves(problem: Problem, params: Any = None) -> Leaves:
    """The whole outputs of a problem, at its start or at other parameters.

    Args:
        problem: one problem; of a one-step problem the leaves are its outputs. Where chance decides, an episode is a
            sequence of actions and of what came of them, and its log-probability counts chance too.
        params: None for the start.

    Raises:
        ValueError: on a batch, or a problem of more than 2^22 episodes.

    Example:
        >>> from pgdyn.mdp import tree
        >>> found = leaves(tree(2, 2, [0, 1, 2, 3]))
        >>> found.actions.tolist(), found.true_return.tolist()
        ([[0, 0], [0, 1], [1, 0], [1, 1]], [0.0, 1.0, 2.0, 3.0])
    """
    require_single(problem, "leaves")
    params = problem.initial_params if params is None else jnp.asarray(params)
    ways = paths(problem)
    log_policy = policy.log_policy(problem, params)
    return Leaves(
        ways.total(log_policy) + jnp.asarray(ways.log_chance, log_policy.dtype),
        ways.total(problem.true_reward),
        ways.total(problem.proxy_reward),
        ways.points[:, 0],
        ways.points,
        ways.actions,
    )


def whole_outputs(batch: Batch, most: int = 512) -> Batch | None:
    """The one-step problems whose outputs are the whole outputs of these; for rules that speak of outputs.

    Args:
        batch: problems with transitions.
        most: whole outputs of a start.

    Returns:
        A batch of tabular problems, a prompt for each start; None where chance decides, where there are more outputs,
        or where starts differ in how many they have.

    Example:
        >>> from pgdyn.mdp import tree
        >>> whole_outputs(Batch.of(tree(2, 2, [0, 0, 0, 1]))).true_reward.tolist()
        [[[0.0, 0.0, 0.0, 1.0]]]
    """
    transitions = batch.problems.transitions
    weights = np.asarray(batch.prompt_weights)
    begun = np.nonzero((weights > 0).any(axis=0))[0]
    if transitions is None or transitions.successors is None or count_paths(batch[0]) > most * len(begun):
        return None
    ways = paths(batch[0])
    starts, counts = np.unique(ways.points[:, 0], return_counts=True)
    if counts.min() != counts.max() or counts[0] > most or len(starts) != len(begun):
        return None
    logs = np.asarray(batch.map(lambda problem: policy.log_policy(problem, problem.initial_params)))
    shape = (len(batch), len(starts), counts[0])
    made = Batch.tabular(
        np.full(shape[1:], 1 / counts[0]),
        ways.total(np.asarray(batch.true_reward)).reshape(shape),
        ways.total(np.asarray(batch.proxy_reward)).reshape(shape),
        prompt_weights=weights[:, starts],
    )
    return made.replace(initial_params=ways.total(logs).reshape(shape))


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
    if (count := count_paths(problem, starts)) > _MOST:
        raise ValueError(f"the problem has {count:.3g} episodes, more than the {_MOST} that are listed at most")
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
