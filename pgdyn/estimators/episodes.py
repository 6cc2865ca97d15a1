r"""Groups of whole episodes: what a sample is where outputs lead on to other decision points.

An episode visits decision points s_1, s_2, .. and chooses y_t there; its return is the sum of the rewards on the way,
its log-probability the sum of log pi. An estimator of advantages sees returns in place of rewards, and

    ghat = sum_b w_b (1/G) sum_i sum_t c_it (onehot_{s_t}(y_t) - pi_{s_t}),

one group for every start b. The coefficient c_it is the advantage a_i of the episode, or what a surrogate makes of it
with the ratio of the whole episode or of the token. With rewards-to-go, c_it is a_i less the rewards before t, which
changes nothing in the mean: they are independent of the score of t, whose mean is 0.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from pgdyn.estimators.sample import draw
from pgdyn.problem import Problem
from pgdyn.transitions import Transitions


class Episodes(NamedTuple):
    """G episodes of at most H decisions for each of B starts.

    Attributes:
        points: [B, G, H], the decision points on the way; any behind the end.
        actions: [B, G, H], what was chosen there; any behind the end.
        present: [B, G, H], whether the episode still goes on.
    """

    points: Int[Array, "B G H"]
    actions: Int[Array, "B G H"]
    present: Bool[Array, "B G H"]

    def take(self, table: Float[Array, "P K *lanes"]) -> Float[Array, "B G H *lanes"]:
        """The entries of `table` along the episodes; 0 behind their ends.

        Example:
            >>> way = Episodes(jnp.array([[[0, 1]]]), jnp.array([[[1, 0]]]), jnp.array([[[True, False]]]))
            >>> way.take(jnp.array([[1.0, 2.0], [3.0, 4.0]])).tolist()
            [[[2.0, 0.0]]]
        """
        present = self.present.reshape(*self.present.shape, *(1,) * (table.ndim - 2))
        return jnp.where(present, table[self.points, self.actions], 0)

    def push(
        self, weights: Float[Array, " B"], coefficients: Float[Array, "B G H"], log_policy: Float[Array, "P K"]
    ) -> Float[Array, "P K"]:
        """The module's ghat.

        Example:
            >>> way = Episodes(jnp.array([[[0]]]), jnp.array([[[0]]]), jnp.array([[[True]]]))
            >>> way.push(jnp.ones(1), jnp.ones((1, 1, 1)), jnp.log(jnp.array([[0.25, 0.75]]))).tolist()
            [[0.75, -0.75]]
        """
        scaled = weights[:, None, None] * jnp.where(self.present, coefficients, 0) / coefficients.shape[1]
        pushed = jnp.zeros_like(log_policy).at[self.points, self.actions].add(scaled)
        return pushed - jnp.sum(pushed, axis=1, keepdims=True) * jnp.exp(log_policy)


def numbers_of_an_episode(transitions: Transitions) -> tuple[int, int]:
    """[H, N], the uniform numbers that `roll_out` needs for one episode.

    Example:
        >>> numbers_of_an_episode(Transitions([[1, -1], [-1, -1]]))
        (2, 1)
    """
    return transitions.num_levels, 1 if transitions.probabilities is None else 2


def roll_out(
    problem: Problem, log_policy: Float[Array, "P K"], starts: Int[Array, " B"], uniforms: Float[Array, "B G H N"]
) -> Episodes:
    """Episodes under a policy.

    Args:
        problem: one with transitions.
        log_policy: [P, K], in nats.
        starts: [B], decision points where the episodes begin.
        uniforms: [B, G, H, N], a number for each action, and where chance decides on transitions one more.

    Example:
        >>> from pgdyn.mdp import tree
        >>> problem = tree(2, 2, [0, 0, 0, 1])
        >>> way = roll_out(problem, jnp.log(jnp.full((3, 2), 0.5)), jnp.zeros(1, int), jnp.full((1, 1, 2, 1), 0.7))
        >>> way.actions.tolist()
        [[[1, 1]]]
    """
    assert problem.transitions is not None
    point = jnp.broadcast_to(starts[:, None], uniforms.shape[:2])
    going = jnp.ones(point.shape, bool)
    ways = []
    for t in range(uniforms.shape[2]):
        rows = log_policy[point].reshape(-1, log_policy.shape[1])
        action = draw(rows, uniforms[:, :, t, 0].reshape(-1, 1)).reshape(point.shape)
        ways.append((point, action, going))
        if problem.transitions.probabilities is None:
            following = jnp.asarray(problem.transitions.successors)[point, action]
        else:
            chance = jnp.cumsum(
                jnp.asarray(problem.transitions.probabilities, log_policy.dtype)[point, action], axis=-1
            )
            behind = jnp.sum(uniforms[:, :, t, 1:] >= chance, axis=-1)
            following = jnp.where(behind == chance.shape[-1], -1, behind)
        going &= following >= 0
        point = jnp.where(going, following, 0)
    return Episodes(*(jnp.stack(arrays, axis=2) for arrays in zip(*ways, strict=True)))


def paid_before(episodes: Episodes, reward: Float[Array, "P K"]) -> Float[Array, "B G H"]:
    """The rewards before each decision of an episode.

    Example:
        >>> way = Episodes(jnp.array([[[0, 1]]]), jnp.array([[[1, 0]]]), jnp.array([[[True, True]]]))
        >>> paid_before(way, jnp.array([[1.0, 2.0], [3.0, 4.0]])).tolist()
        [[[0.0, 2.0]]]
    """
    paid = episodes.take(reward)
    return jnp.cumsum(paid, axis=2) - paid
