r"""Rewards of sequences: shaping by a potential, credit for steps, and rewards of a judgement and its grounds.

    potential shaping     F(s, y) = discount E[Phi(s')] - Phi(s),  Phi(end) = 0              (Ng, Harada, Russell 1999)
    prefix credit         1 / H for every token that continues the right prefix
    outcome, process      1[label right] + weight 1[grounds sound];  gated: both or nothing

Along an episode that begins in s the undiscounted F add up to -Phi(s): exact gradients do not feel it, sampled ones do.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from pgdyn import policy, reduction, validate
from pgdyn.mdp.trees import prefixes
from pgdyn.problem import Problem, require_single
from pgdyn.transitions import padded
from pgdyn.validate import Numbers


def potential_shaping(problem: Problem, potential: Numbers, *, discount: float = 1.0) -> Float[Array, "P K"]:
    """The shaping reward F of a potential, to be added to a proxy.

    Returns here are not discounted. With a `discount` below 1 the reward of the t-th decision is F discount^t, as
    `discounted` has it; then the sum along an episode is still -Phi of its start.

    Args:
        problem: one problem with transitions.
        potential: [P], Phi of each decision point; it is 0 at the end.
        discount: from above 0 to 1.

    Returns:
        [P, K]. `problem.with_proxy(problem.proxy_reward + F)` is the shaped problem.

    Raises:
        ValueError: on a problem without transitions, another shape, or with a discount below 1 where a decision point
            is reached by paths of different lengths.

    Example:
        >>> from pgdyn.mdp import chain
        >>> potential_shaping(chain(2, [0, 1]), [0.5, 0.25]).tolist()
        [[-0.25, -0.5], [-0.25, -0.25]]
    """
    require_single(problem, "potential_shaping")
    if problem.transitions is None:
        raise ValueError("the problem has no transitions; shaping a single decision adds a constant")
    heights = validate.as_floats("potential", potential)
    if heights.shape != (problem.num_prompts,):
        raise ValueError(f"potential has shape {heights.shape}; it must be ({problem.num_prompts},), one a point")
    validate.require_finite("potential", heights)
    heights = jnp.asarray(heights, problem.true_reward.dtype)
    onward = _expected_next(problem, heights)
    return _clock(problem, discount)[:, None] * (discount * onward - heights[:, None])


def discounted(problem: Problem, reward: Numbers, discount: float) -> Float[Array, "P K"]:
    """`reward` [P, K] times discount^t, t the number of decisions made before.

    Raises:
        ValueError: if the discount is not above 0 and at most 1, or a decision point is reached by paths of different
            lengths.

    Example:
        >>> from pgdyn.mdp import chain
        >>> problem = chain(3, [1, 1, 1])
        >>> discounted(problem, problem.true_reward, 0.5)[:, 0].tolist()
        [1.0, 0.5, 0.25]
    """
    require_single(problem, "discounted")
    table = validate.as_floats("reward", reward)
    if table.shape != problem.true_reward.shape:
        raise ValueError(f"reward has shape {table.shape}; the problem's rewards have {problem.true_reward.shape}")
    return _clock(problem, discount)[:, None] * jnp.asarray(table, problem.true_reward.dtype)


def values(
    problem: Problem,
    *,
    params: Float[Array, "..."] | None = None,
    reward: Literal["true", "proxy"] = "true",
    optimal: bool = False,
) -> Float[Array, " P"]:
    """V of every decision point: under the policy at `params` (None: the start), or the best that can be had.

    Example:
        >>> from pgdyn.mdp import chain
        >>> values(chain(2, [0, 1])).tolist(), values(chain(2, [0, 1]), optimal=True).tolist()
        ([0.25, 0.5], [1.0, 1.0])
    """
    require_single(problem, "values")
    validate.choice("reward", reward, ("true", "proxy"))
    table = problem.true_reward if reward == "true" else problem.proxy_reward
    if not optimal:
        log_policy = policy.log_policy(problem, problem.initial_params if params is None else params)
        return policy.prompt_values(log_policy, policy.action_values(problem, jnp.exp(log_policy), table))
    return soft_values(problem, table, None, jnp.zeros((), table.dtype))[0]


def soft_values(
    problem: Problem, reward: Float[Array, "P K"], reference: Float[Array, "P K"] | None, weight: Float[Array, ""]
) -> tuple[Float[Array, " P"], Float[Array, "P K"]]:
    """V and Q of the policy that is best for `reward` less `weight` times the KL to `reference`, by backward recursion.

    V(s) = weight log sum_y ref_s(y) exp(Q(s, y) / weight), and the best policy is ref exp((Q - V) / weight). Without
    a reference V(s) = max_y Q(s, y).

    Args:
        problem: one problem.
        reward: [P, K].
        reference: [P, K] log-probabilities; None for no KL.
        weight: positive; of no account without a reference.

    Returns:
        V [P] and Q [P, K].

    Example:
        >>> from pgdyn.mdp import chain
        >>> problem = chain(2, [0, 1])
        >>> reference = policy.log_policy(problem, problem.initial_params)
        >>> soft_values(problem, problem.true_reward, reference, jnp.asarray(1.0))[0].round(3).tolist()
        [0.357, 0.62]
    """
    mask = None if problem.transitions is None else problem.transitions.mask
    after, chance = _ways(problem)

    def step(found: Array, s: Array) -> tuple[Array, Array]:
        worth = reward[s] + jnp.sum(chance[s] * found[after[s]], axis=1)
        if reference is not None:
            value = weight * jax.scipy.special.logsumexp(reference[s] + worth / weight)
        else:
            there = jnp.ones(worth.shape, bool) if mask is None else jnp.asarray(mask)[s]
            value = jnp.max(jnp.where(there, worth, -jnp.inf))
        return found.at[s].set(value), worth

    start = jnp.zeros(problem.num_prompts + 1, reward.dtype)
    found, worth = jax.lax.scan(step, start, jnp.arange(problem.num_prompts), reverse=True)
    return found[:-1], worth


def prefix_credit(vocabulary: int, length: int, output: Sequence[int]) -> Float[np.ndarray, "P V"]:
    """1 / `length` for each token that continues the prefix of one right output: a dense reward for `pgdyn.mdp.tree`.

    Args:
        vocabulary: V.
        length: H.
        output: the H tokens of the right output.

    Raises:
        ValueError: if the output has another length or a token that is none.

    Example:
        >>> prefix_credit(2, 2, (0, 1)).tolist()
        [[0.5, 0.0], [0.0, 0.5], [0.0, 0.0]]
    """
    right = tuple(int(token) for token in output)
    if len(right) != length or not all(0 <= token < vocabulary for token in right):
        raise ValueError(f"output is {right}; it must have {length} tokens from 0 to {vocabulary - 1}")
    before = prefixes(vocabulary, length)
    table = np.zeros((len(before), vocabulary))
    for i, prefix in enumerate(before):
        if prefix == right[: len(prefix)]:
            table[i, right[len(prefix)]] = 1 / length
    return table


def judgement(
    sound: Sequence[bool],
    labels: int,
    *,
    right: int = 0,
    process: float = 0.0,
    gated: bool = False,
) -> Float[np.ndarray, "A B"]:
    """The reward of a critique and its label: outcome, process and gated, for `pgdyn.mdp.two_stage`.

    Args:
        sound: [A], whether each critique is sound.
        labels: B, the number of labels.
        right: the right one.
        process: weight of a sound critique, paid beside the outcome.
        gated: whether the outcome counts only after a sound critique.

    Returns:
        [A, B].

    Raises:
        ValueError: on a label that there is not.

    Example:
        >>> judgement([True, False], 2, process=0.5).tolist()
        [[1.5, 0.5], [1.0, 0.0]]
        >>> judgement([True, False], 2, gated=True).tolist()
        [[1.0, 0.0], [0.0, 0.0]]
    """
    labels = validate.count("labels", labels, minimum=1)
    right = validate.count("right", right, minimum=0, maximum=labels - 1)
    grounds = np.asarray(sound, float)[:, None]
    outcome = np.zeros((len(grounds), labels))
    outcome[:, right] = 1.0
    return (outcome * grounds if gated else outcome) + process * grounds


def _ways(problem: Problem) -> tuple[Array, Array]:
    """[P, K, E] decision points that actions lead to, P for the end, and their probabilities."""
    points, actions = problem.num_prompts, problem.num_outputs
    if problem.transitions is None or problem.transitions.num_levels == 1:
        return jnp.full((points, actions, 1), points), jnp.zeros((points, actions, 1), problem.true_reward.dtype)
    point, action, following, chance = problem.transitions.edges
    after, odds = padded(point * actions + action, following, chance, points * actions, points)
    shape = (points, actions, -1)
    return jnp.asarray(after.reshape(shape)), jnp.asarray(odds.reshape(shape), problem.true_reward.dtype)


def _expected_next(problem: Problem, heights: Float[Array, " P"]) -> Float[Array, "P K"]:
    after, chance = _ways(problem)
    return reduction.add(2, chance, jnp.append(heights, 0.0)[after])[:, :, 0]


def _clock(problem: Problem, discount: float) -> Float[Array, " P"]:
    """discount^t of each decision point."""
    rate = float(validate.number("discount", discount, positive=True))
    if rate > 1:
        raise ValueError(f"discount is {rate:g}; it must be at most 1")
    ones = jnp.ones(problem.num_prompts, problem.true_reward.dtype)
    transitions = problem.transitions
    if rate == 1 or transitions is None:
        return ones
    point, _, following, _ = transitions.edges
    late = np.nonzero(transitions.depth[following] != transitions.depth[point] + 1)[0]
    if len(late):
        raise ValueError(
            f"decision point {following[late[0]]} is reached by paths of different lengths, so no discount is its own"
        )
    return ones * rate ** jnp.asarray(transitions.depth, ones.dtype)
