r"""Every episode of a sequence in one table: what is drawn is then one output of many, as in a one-step problem.

The episodes m = 1..M from a start b have the probability and the return

    log p_b(m) = sum_t log pi_{s_t}(y_t) + log chance,       R_b(m) = sum_t r(s_t, y_t),

chance being that of the transitions on the way. What depends on the whole episode, f_b(m), is worth

    Q(s, y) = sum_b w_b sum_{m through (s, y)} p_b(m) f_b(m) / (the same without f)

at each decision, and the gradient in the logits is d(s) pi_s(y) (Q(s, y) - <pi_s, Q_s>) as for rewards.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from pgdyn import validate
from pgdyn.estimators.episodes import Episodes
from pgdyn.estimators.sample import score_norms, scores
from pgdyn.paths import count_paths, list_paths
from pgdyn.problem import Problem
from pgdyn.transitions import Transitions

NEVER = -1e30  # in place of log 0


class AllEpisodes(NamedTuple):
    """Every episode from each of B starts; where a start has fewer than M, its first again, with probability 0.

    Attributes:
        ways: [B, M, H], in lexicographic order of actions (and of what chance did).
        log_chance: [B, M], the log-probability of what chance did on the way; -1e30 for repetitions.
    """

    ways: Episodes
    log_chance: Float[np.ndarray, "B M"]

    @property
    def starts(self) -> Int[np.ndarray, " B"]:
        """The decision points where the episodes begin."""
        return np.asarray(self.ways.points)[:, 0, 0]

    def log_probs(self, log_policy: Float[Array, "P K *lanes"]) -> Float[Array, "B M *lanes"]:
        """sum_t log pi_{s_t}(y_t): what the policy has to say, without chance."""
        return jnp.sum(self.ways.take(log_policy), axis=2)

    def log_chances(self, log_policy: Float[Array, "P K *lanes"]) -> Float[Array, "B M *lanes"]:
        """The module's log p.

        Example:
            >>> from pgdyn.mdp import tree
            >>> ways = list_episodes(tree(2, 2, [0, 0, 0, 1]))
            >>> jnp.exp(ways.log_chances(jnp.log(jnp.full((3, 2), 0.5)))).tolist()
            [[0.25, 0.25, 0.25, 0.25]]
        """
        found = self.log_probs(log_policy)
        return found + _over_lanes(jnp.asarray(self.log_chance, found.dtype), found.ndim)

    def returns(self, reward: Float[Array, "P K *lanes"]) -> Float[Array, "B M *lanes"]:
        """The module's R.

        Example:
            >>> from pgdyn.mdp import tree
            >>> problem = tree(2, 2, [0, 1, 2, 3])
            >>> list_episodes(problem).returns(problem.true_reward).tolist()
            [[0.0, 1.0, 2.0, 3.0]]
        """
        return jnp.sum(self.ways.take(reward), axis=2)

    def score_norms(
        self, problem: Problem, log_policy: Float[Array, "P K *lanes"], params: Any = None
    ) -> Float[Array, "B M *lanes"]:
        """|grad log pi(m)|^2 of whole episodes, in the parameters.

        Example:
            >>> from pgdyn.mdp import tree
            >>> problem = tree(2, 2, [0, 0, 0, 1])
            >>> list_episodes(problem).score_norms(problem, jnp.log(jnp.full((3, 2), 0.5))).tolist()
            [[1.0, 1.0, 1.0, 1.0]]
        """
        if problem.is_tabular:  # no decision point comes twice, so the scores of an episode are orthogonal
            return jnp.sum(self.ways.take(score_norms(problem, log_policy)), axis=2)
        return jnp.sum(jnp.sum(self.ways.take(scores(problem, log_policy, params)), axis=2) ** 2, axis=2)

    def action_values(
        self, problem: Problem, log_policy: Float[Array, "P K *lanes"], worth: Float[Array, "B M *lanes"]
    ) -> Float[Array, "P K *lanes"]:
        """The module's Q of `worth`, f; 0 where no episode comes to.

        Example:
            >>> from pgdyn.mdp import tree
            >>> problem = tree(2, 2, [0, 0, 0, 1])
            >>> at, worth = jnp.log(jnp.full((3, 2), 0.5)), jnp.array([[1.0, 2.0, 3.0, 5.0]])
            >>> list_episodes(problem).action_values(problem, at, worth).tolist()
            [[1.5, 4.0], [1.0, 2.0], [3.0, 5.0]]
        """
        chance = jnp.exp(self.log_chances(log_policy))
        if problem.prompt_weights is not None:
            chance *= _over_lanes(problem.prompt_weights[self.starts], chance.ndim - 1)[:, None]
        present = _over_lanes(jnp.asarray(self.ways.present, chance.dtype), chance.ndim + 1)
        nothing, at = jnp.zeros_like(log_policy), (self.ways.points, self.ways.actions)
        mass = nothing.at[at].add(present * chance[:, :, None])
        total = nothing.at[at].add(present * (chance * worth)[:, :, None])
        return total / jnp.where(mass > 0, mass, 1)


def list_episodes(problem: Problem, starts: Any = None, most: int = 2**14) -> AllEpisodes:
    """The episodes of a problem with transitions.

    Args:
        problem: one with transitions; its weights may be traced where starts are given.
        starts: [B], decision points where episodes begin, rising; None for those of positive weight.
        most: episodes that are listed.

    Raises:
        ValueError: if there are more.

    Example:
        >>> from pgdyn.mdp import chain
        >>> list_episodes(chain(2, [0, 1])).ways.actions.tolist()
        [[[0, 0], [0, 1], [1, 0]]]
    """
    assert problem.transitions is not None
    starts = list_starts(problem) if starts is None else starts
    count = count_paths(problem, starts)
    if count > most:
        raise ValueError(f"the problem has {count:.6g} episodes, more than the {most} that are enumerated at most")
    return _listed(problem.transitions, tuple(map(int, starts)))


def list_starts(problem: Problem) -> Int[np.ndarray, " B"]:
    """Where episodes may begin: every prompt of a one-step problem, else the decision points of positive weight.

    Example:
        >>> from pgdyn.mdp import tree
        >>> list_starts(tree(2, 2, [0, 0, 0, 1])).tolist()
        [0]
    """
    if problem.transitions is None:
        return np.arange(problem.num_prompts)
    if validate.is_traced(problem.prompt_weights):
        return problem.transitions.roots
    return np.nonzero(np.asarray(problem.prompt_weights) > 0)[0]


@functools.lru_cache(maxsize=16)
def _listed(transitions: Transitions, starts: tuple[int, ...]) -> AllEpisodes:
    found = list_paths(transitions, np.array(starts))
    first = np.searchsorted(found.points[:, 0], starts)
    counts = np.diff(np.append(first, len(found.points)))
    rank = np.arange(counts.max())
    repeated = rank[None] >= counts[:, None]
    rows = first[:, None] + np.where(repeated, 0, rank[None])
    present = found.points[rows] >= 0
    parts: Any = (*(np.where(present, part[rows], 0) for part in (found.points, found.actions)), present)
    return AllEpisodes(Episodes(*parts), np.where(repeated, NEVER, found.log_chance[rows]))


def _over_lanes(array: Array, axes: int) -> Array:
    """`array` with axes of length 1 behind, up to so many."""
    return array.reshape(*array.shape, *(1,) * (axes - array.ndim))
