r"""The sample of drawn episodes, and the baselines that a simulator knows of whole episodes.

With the score g = grad log pi_s(y) of a decision, the score of an episode from there is G = g + G' and its return
R = r + R'. Scores have the mean 0, and so with E over what follows

    E[G R] = E[g (r + R') + G' R']
    E[|G|^2 R] = E[|g|^2 (r + R') + 2 <g, E[G' R']> + r |G'|^2 + |G'|^2 R'],

each a backward recursion like that of the value (`Transitions.action_values`), at the cost of one pass for every
parameter; where every decision point has parameters of its own, <g, G'> = 0. E[|G|^2 R]/E[|G|^2] is the constant
baseline of least variance (Greensmith, Bartlett and Baxter 2004), here of whole episodes.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from pgdyn import policy, reduction
from pgdyn.estimators.all_episodes import list_episodes
from pgdyn.estimators.episodes import Episodes
from pgdyn.estimators.sample import Sample, score_norms, scores
from pgdyn.paths import count_paths
from pgdyn.problem import Problem

MOST_TABLED = 2**12  # episodes up to which a sample has tables of all of them


def look(
    problem: Problem,
    log_policy: Float[Array, "P K"],
    reward: Float[Array, "P K"],
    episodes: Episodes,
    reference: Float[Array, "P K"],
    drawn: bool = False,
    params: Float[Array, "..."] | None = None,
) -> Sample:
    """The sample of these episodes: returns, summed log-probabilities, lengths, and what only a simulator knows.

    Args:
        problem: one with transitions.
        log_policy: [P, K], of the policy that drew them.
        reward: [P, K], of decisions.
        episodes: the groups, one for each of the starts that nothing leads to, or for starts that were drawn.
        reference: [P, K], of the reference policy.
        drawn: whether starts were drawn by their weights, and so count equally.
        params: where a network's scores are taken; other policies do not need them.

    Example:
        >>> from pgdyn.estimators.episodes import roll_out
        >>> from pgdyn.mdp import tree
        >>> problem = tree(2, 2, [0, 0, 0, 1])
        >>> logs = jnp.log(jnp.full((3, 2), 0.5))
        >>> way = roll_out(problem, logs, jnp.zeros(1, int), jnp.full((1, 1, 2, 1), 0.7))
        >>> look(problem, logs, problem.true_reward, way, logs).rewards.tolist()
        [[1.0]]
    """
    assert problem.transitions is not None
    starts = episodes.points[:, 0, 0]
    probabilities = jnp.exp(log_policy)
    worth = policy.action_values(problem, probabilities, reward)
    weights = problem.prompt_weights[starts]
    if drawn:
        weights = jnp.full_like(weights, 1 / len(starts))
    ways = jnp.where(episodes.present, episodes.points * log_policy.shape[1] + episodes.actions, -1)
    known = ways
    rows = np.arange(problem.num_prompts) if drawn else problem.transitions.roots
    tables: tuple[Any, ...] = (None, None, None)
    if count_paths(problem, rows) <= MOST_TABLED:
        every = list_episodes(problem, rows)
        tables = (every.log_chances(log_policy), every.returns(reward), every.score_norms(problem, log_policy, params))
        codes = np.where(every.ways.present, every.ways.points * log_policy.shape[1] + every.ways.actions, -1)
        known = jnp.asarray(np.pad(codes, ((0, 0), (0, 0), (0, ways.shape[2] - codes.shape[2])), constant_values=-1))
        if drawn:
            known, tables = jax.tree.map(lambda table: table[starts], (known, tables))
    same = jnp.all(ways[:, :, None] == known[:, None, :], axis=-1)
    return Sample(
        outputs=jnp.argmax(same, axis=2),
        rewards=jnp.sum(episodes.take(reward), axis=2),
        log_probs=jnp.sum(episodes.take(log_policy), axis=2),
        values=policy.prompt_values(log_policy, worth)[starts],
        weights=weights,
        reference=jnp.sum(episodes.take(reference), axis=2),
        lengths=jnp.sum(episodes.present, axis=2).astype(log_policy.dtype),
        log_policy=tables[0],
        reward_table=tables[1],
        score_norms=tables[2],
        greedy=greedy_values(problem, log_policy, reward)[starts],
        optimal=optimal_baselines(problem, log_policy, reward, params)[starts],
    )


def greedy_values(
    problem: Problem, log_policy: Float[Array, "P K *lanes"], reward: Float[Array, "P K *lanes"]
) -> Float[Array, " P *lanes"]:
    """The expected return where the likeliest output, the first of equals, is taken at every decision.

    Example:
        >>> from pgdyn.mdp import tree
        >>> problem = tree(2, 2, [0, 1, 2, 3])
        >>> log_policy = jnp.log(jnp.array([[0.9, 0.1], [0.2, 0.8], [0.5, 0.5]]))
        >>> greedy_values(problem, log_policy, problem.true_reward).tolist()
        [1.0, 1.0, 2.0]
    """
    kinds = jnp.arange(log_policy.shape[1]).reshape(1, -1, *(1,) * (log_policy.ndim - 2))
    greedy = (kinds == jnp.argmax(log_policy, axis=1, keepdims=True)).astype(log_policy.dtype)
    return reduction.add(1, greedy, policy.action_values(problem, greedy, reward))[:, 0]


def optimal_baselines(
    problem: Problem,
    log_policy: Float[Array, "P K"],
    reward: Float[Array, "P K"],
    params: Float[Array, "..."] | None = None,
) -> Float[Array, " P"]:
    """The module's baseline of least variance, of episodes from every decision point.

    Example:
        >>> from pgdyn.mdp import tree
        >>> problem = tree(2, 2, [0, 0, 0, 1])
        >>> optimal_baselines(problem, jnp.log(jnp.full((3, 2), 0.5)), problem.true_reward).tolist()
        [0.25, 0.0, 0.5]
    """
    pi = jnp.exp(log_policy)
    norms = score_norms(problem, log_policy, params)
    worth = policy.action_values(problem, pi, reward)
    squares = policy.action_values(problem, pi, norms)
    paid = norms * worth + reward * (squares - norms)
    if not problem.is_tabular:
        own = jnp.moveaxis(scores(problem, log_policy, params), 2, -1)  # parameters as lanes
        now = own * worth[..., None]
        later = policy.action_values(problem, jnp.broadcast_to(pi[..., None], now.shape), now) - now
        paid = paid + 2 * jnp.sum(own * later, axis=-1)
    both = reduction.add(1, pi, policy.action_values(problem, pi, paid))[:, 0]
    total = reduction.add(1, pi, squares)[:, 0]
    return both / jnp.where(total > 0, total, 1)
