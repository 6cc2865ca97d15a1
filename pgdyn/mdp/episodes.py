"""Whole outputs of a sequence: every episode with its probability and its returns, so that one-step tools take them."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from pgdyn import policy
from pgdyn.problem import Problem, require_single
from pgdyn.transitions import END

_MOST = 2**22


class Leaves(NamedTuple):
    """Episodes of a problem, in lexicographic order of start and actions.

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
            return _along(policy.log_policy(problem, params), self.points, self.actions)

        jacobian = jax.jacrev(log_policy)(params).reshape(len(self.start), -1)
        return jacobian @ jacobian.T


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
    start, points, actions, chance = _episodes(problem)
    log_policy = policy.log_policy(problem, params)
    return Leaves(
        _along(log_policy, points, actions) + jnp.asarray(chance, log_policy.dtype),
        _along(problem.true_reward, points, actions),
        _along(problem.proxy_reward, points, actions),
        start,
        points,
        actions,
    )


def _along(table: Array, points: np.ndarray, actions: np.ndarray) -> Array:
    """The sum of table[s, y] along each episode."""
    return jnp.sum(jnp.where(points >= 0, table[points, actions], 0), axis=1)


def _episodes(problem: Problem) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Starts, decision points and actions of every episode, and the log-probability of what chance did."""
    count, width = problem.num_prompts, problem.num_outputs
    transitions = problem.transitions
    weights = np.asarray(problem.prompt_weights)
    begun = np.nonzero(weights > 0)[0]
    # Of each decision point the ways on: action, next point, log-chance.
    ways: list[list[tuple[int, int, float]]] = [[(y, END, 0.0) for y in range(width)] for _ in range(count)]
    if transitions is not None:
        for s in range(count):
            ways[s] = []
            for y in range(width):
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
    paths: list[tuple[tuple[int, ...], tuple[int, ...], float, int]] = [((), (), 0.0, int(s)) for s in begun]
    while any(path[3] != END for path in paths):
        paths = [
            path if path[3] == END else ((*path[0], path[3]), (*path[1], y), path[2] + log, following)
            for path in paths
            for y, following, log in (ways[path[3]] if path[3] != END else [(0, END, 0.0)])
        ]
        if len(paths) > _MOST:
            raise ValueError(f"the problem has more than {_MOST} episodes, too many to list")
    longest = max(len(path[0]) for path in paths)
    points, actions = np.full((len(paths), longest), -1), np.full((len(paths), longest), -1)
    for i, path in enumerate(paths):
        points[i, : len(path[0])], actions[i, : len(path[1])] = path[0], path[1]
    return points[:, 0], points, actions, np.array([path[2] for path in paths])
