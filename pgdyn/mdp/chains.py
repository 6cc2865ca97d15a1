r"""Two small sequences: a chain that one wrong action ends, and a choice that is followed by another.

chain       s_1 -> s_2 -> ... -> s_H, action 0 (the right one) goes on, any other ends the episode
two_stage   a first choice a of A (a thought, a critique), then for each its own choice b of B (an answer, a label)
"""

from __future__ import annotations

import numpy as np

from pgdyn import validate
from pgdyn.problem import Problem
from pgdyn.transitions import END
from pgdyn.validate import Numbers


def chain(
    length: int,
    true_reward: Numbers,
    proxy_reward: Numbers | None = None,
    *,
    initial_policy: Numbers = 0.5,
    temperature: Numbers = 1.0,
) -> Problem:
    """A chain of `length` decisions: action 0 leads to the next, any other ends the episode.

    With `true_reward` = 0, ..., 0, 1 it is a sparse reward for H right tokens, with 1/H everywhere a dense one.

    Args:
        length: H, the number of decision points.
        true_reward: [H] of the right action at each point, the others paying 0; or [H, K].
        proxy_reward: like `true_reward`; None means the ground truth itself.
        initial_policy: the probability of the right one of two actions; [K] the same everywhere, or [H, K].
        temperature: a positive number.

    Raises:
        ValueError: on a length below 1 or shapes that do not fit.

    Example:
        >>> problem = chain(3, [0, 0, 1], [1 / 3, 1 / 3, 1 / 3], initial_policy=0.1)
        >>> problem.num_prompts, problem.proxy_reward.round(2).tolist()[0]
        (3, [0.33, 0.0])
    """
    length = validate.count("length", length, minimum=1)
    policy = validate.as_floats("initial_policy", initial_policy)
    if policy.ndim == 0:
        validate.require("initial_policy", policy, (policy > 0) & (policy < 1), "a probability is between 0 and 1")
        policy = np.array([float(policy), 1 - float(policy)])
    actions = policy.shape[-1]
    truth = _of_right_action("true_reward", true_reward, length, actions)
    proxy = None if proxy_reward is None else _of_right_action("proxy_reward", proxy_reward, length, actions)
    successors = np.full((length, actions), END)
    successors[:-1, 0] = np.arange(1, length)
    policy = np.broadcast_to(policy, (length, actions)) if policy.ndim == 1 else policy
    return Problem.tabular(policy, truth, proxy, temperature=temperature, transitions=successors)


def two_stage(
    first_policy: Numbers,
    second_policy: Numbers,
    true_reward: Numbers,
    proxy_reward: Numbers | None = None,
    *,
    temperature: Numbers = 1.0,
) -> Problem:
    """A choice of A, and for each of them a choice of B: a critique and its label, a thought and its answer.

    Decision point 0 is the first choice, 1 + a the second one after a; the mask hides what is missing where A and B
    differ.

    Args:
        first_policy: [A].
        second_policy: [A, B], or [B] for all.
        true_reward: [A, B], paid at the end; or [A] for the first choice alone.
        proxy_reward: like `true_reward`; None means the ground truth itself.
        temperature: a positive number.

    Raises:
        ValueError: on shapes that do not fit, or policies that are none.

    Example:
        >>> problem = two_stage([0.1, 0.9], [[0.9, 0.1], [0.5, 0.5]], [[1.0, 0.0], [1.0, 0.0]])
        >>> problem.num_prompts, problem.initial_params.shape
        (3, (3, 2))
    """
    first = validate.as_floats("first_policy", first_policy)
    second = validate.as_floats("second_policy", second_policy)
    if first.ndim != 1:
        raise ValueError(f"first_policy has shape {first.shape}; it must be [A]")
    if second.ndim not in (1, 2) or (second.ndim == 2 and len(second) != len(first)):
        raise ValueError(f"second_policy has shape {second.shape}; it must be [B], or [A, B] with A = {len(first)}")
    options, answers = len(first), second.shape[-1]
    actions = max(options, answers)
    policy, mask = np.zeros((1 + options, actions)), np.zeros((1 + options, actions), bool)
    policy[0, :options], policy[1:, :answers] = first, second
    mask[0, :options], mask[1:, :answers] = True, True
    successors = np.full(policy.shape, END)
    successors[0, :options] = np.arange(1, 1 + options)
    truth = _of_pairs("true_reward", true_reward, options, answers)
    proxy = None if proxy_reward is None else _of_pairs("proxy_reward", proxy_reward, options, answers)
    whole = None if mask.all() else mask
    return Problem.tabular(policy, truth, proxy, temperature=temperature, transitions=successors, mask=whole)


def _of_right_action(name: str, given: Numbers, length: int, actions: int) -> np.ndarray:
    reward = validate.as_floats(name, given)
    if reward.shape == (length,):
        table = np.zeros((length, actions))
        table[:, 0] = reward
        return table
    if reward.shape != (length, actions):
        raise ValueError(f"{name} has shape {reward.shape}; it must be ({length},) or ({length}, {actions})")
    return reward


def _of_pairs(name: str, given: Numbers, options: int, answers: int) -> np.ndarray:
    reward = validate.as_floats(name, given)
    table = np.zeros((1 + options, max(options, answers)))
    if reward.shape == (options, answers):
        table[1:, :answers] = reward
    elif reward.shape == (options,):
        table[0, :options] = reward
    else:
        raise ValueError(f"{name} has shape {reward.shape}; it must be ({options}, {answers}) or ({options},)")
    return table
