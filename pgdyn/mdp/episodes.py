"""Whole outputs of a sequence: every episode with its probability and its returns, so that one-step tools take them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from pgdyn import policy
from pgdyn.batch import Batch
from pgdyn.paths import Paths, count_paths, paths
from pgdyn.problem import Problem, require_single


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
