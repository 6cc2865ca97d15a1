r"""A mediocre output that traps: one best output, one mediocre, n bad ones, in this order.

Rewards r* > r_med > r_b with gaps D* = r* - r_med and D_b = r_med - r_b, initial probabilities p, m and q_b. What sets
the pace near the mediocre output are the pulls u = D* p and w_b = D_b q_b.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from pgdyn.batch import Batch
from pgdyn.problem import Problem
from pgdyn.theory.draws import Stream
from pgdyn.theory.starts import initial_log_policy


def pulls(problem: Problem) -> tuple[Array, Float[Array, " n"]]:
    """Computes u = D* p and w_b = D_b q_b at the start, of the true reward.

    Example:
        >>> u, w = pulls(Problem.tabular([0.05, 0.5, 0.45], [1, 0.8, -1]))
        >>> float(u.round(3)), w.round(3).tolist()
        (0.01, [0.81])
    """
    probabilities = jnp.exp(initial_log_policy(problem))[0]
    reward = problem.true_reward[0]
    return (reward[0] - reward[1]) * probabilities[0], (reward[1] - reward[2:]) * probabilities[2:]


def is_ordered(problem: Problem) -> Any:
    """Tells whether r_0 > r_1 > every other reward, and the proxy is the true reward."""
    reward = problem.true_reward[0]
    ordered = (reward[0] > reward[1]) & jnp.all(reward[1] > reward[2:])
    return ordered & jnp.all(problem.proxy_reward == problem.true_reward)


def mass_off(problem: Problem) -> Array:
    """Computes 1 - m, the initial mass off the mediocre output."""
    return -jnp.expm1(initial_log_policy(problem)[0, 1])


def value_above(batch: Batch, fraction: Float[np.ndarray, " N"]) -> Float[np.ndarray, " N"]:
    """Computes the value r_med + fraction D*."""
    reward = batch.true_reward[:, 0]
    return reward[:, 1] + fraction * (reward[:, 0] - reward[:, 1])


def draw_rewards(stream: Stream, n: int) -> Float[Array, " K"]:
    """Draws rewards (D*, 0, -D_b) of random gaps, moved by a constant that changes nothing."""
    best = stream.log_uniform(0.2, 1.0, (1,))
    bad = -stream.uniform(0.3, 2.0, (n,))
    return jnp.concatenate([best, jnp.zeros(1), bad]) + stream.uniform(-1.0, 1.0)


def draw_start(stream: Stream, n: int, best: Array) -> Float[Array, " K"]:
    """Draws a policy with `best` on y* and the rest on y_med and n bad outputs, in similar shares.

    The mediocre output is the likeliest of those that are not best, as the corner of the others would delay it.
    """
    least = 1.02 / (1.7 + 0.3 * n)  # shares of bad outputs differ by at most .3 to 1
    mediocre = least + (0.8 - least) * stream.uniform()
    shares = stream.uniform(0.3, 1.0, (n,))
    return _with_rest(best, (1 - mediocre - best) * shares / jnp.sum(shares) if n else jnp.zeros(0))


def start_of_pulls(rewards: Float[Array, " K"], u: Array, w: Float[Array, " n"]) -> Float[Array, " K"]:
    """Computes the policy with pulls D* p = u and D_b q_b = w_b.

    Example:
        >>> start_of_pulls(jnp.array([1.0, 0.8, -1.0]), jnp.asarray(0.01), jnp.array([0.81])).round(3).tolist()
        [0.05, 0.5, 0.45]
    """
    return _with_rest(u / (rewards[0] - rewards[1]), w / (rewards[1] - rewards[2:]))


def _with_rest(best: Array, bad: Float[Array, " n"]) -> Float[Array, " K"]:
    return jnp.concatenate([jnp.stack([best, 1 - best - jnp.sum(bad)]), bad])
