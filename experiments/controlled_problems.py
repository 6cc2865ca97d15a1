"""The problems of the controlled experiments of arXiv 2604.25872 (section 3.3, appendix C), and their like.

Five outputs: y*, the best; y_med, mediocre by the ground truth; and three bad ones. The ground truth rewards them with
(1, .8, -1, -1, -1), the flawed proxy with (1, -1, -1, -1, -1): its one error is a low reward for the mediocre output.
The initial policy is (e, .5, q, q, q) with q = (.5 - e) / 3.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from pgdyn import Problem, stack, validate
from pgdyn.validate import Numbers

OUTPUT_NAMES = ("y*", "y_med", "bad 1", "bad 2", "bad 3")
TRUE_REWARD = (1.0, 0.8, -1.0, -1.0, -1.0)
PROXY_REWARD = (1.0, -1.0, -1.0, -1.0, -1.0)
TRAINING_REWARDS = {"ground truth": TRUE_REWARD, "proxy": PROXY_REWARD}
LEARNING_RATE = 0.1
STEPS = 50_000
TARGET = 0.9


def initial_policy(best: float, mediocre: float = 0.5, bad_outputs: int = 3) -> tuple[float, ...]:
    """(best, mediocre, q, ..., q): what the first two outputs leave is shared equally by the bad ones.

    Raises:
        ValueError: if nothing is left for the bad outputs.
    """
    rest = (1 - mediocre - best) / bad_outputs
    if not rest > 0:
        raise ValueError(f"best + mediocre is {best + mediocre:g}; it must leave some probability to the bad outputs")
    return (best, mediocre, *[rest] * bad_outputs)


INITIAL_POLICIES = tuple(initial_policy(best) for best in (0.05, 0.10, 0.15))


def grid(rows: Sequence[Problem], training_rewards: Mapping[str, Numbers]) -> Problem:
    """Every problem of `rows` under every training reward: arrays with two leading axes (rows, rewards)."""
    problems = [row.with_proxy(reward) for row in rows for reward in training_rewards.values()]
    shape = (len(rows), len(training_rewards))
    return jax.tree.map(lambda leaf: leaf.reshape(*shape, *leaf.shape[1:]), stack(problems))


def tabular_grid(initial_policies: Numbers, true_reward: Numbers, training_rewards: Mapping[str, Numbers]) -> Problem:
    """Tabular problems with two leading axes: initial policies, then training rewards.

    Args:
        initial_policies: [N, K].
        true_reward: [K].
        training_rewards: name -> [K], the rewards that are climbed.

    Raises:
        ValueError: on an empty axis or a bad policy or reward.
    """
    policies = np.atleast_2d(validate.as_floats("initial_policies", initial_policies))
    if not training_rewards:
        raise ValueError("training_rewards is empty; it must name at least one reward")
    return grid([Problem.tabular(policy, true_reward) for policy in policies], training_rewards)


def labels(names: Sequence[str]) -> np.ndarray:
    """Names as a coordinate. Objects, because fixed-width text has no place in zarr's format 3."""
    return np.array(list(names), dtype=object)


def output_labels(names: Sequence[str], outputs: int) -> np.ndarray:
    """Names of the outputs as a coordinate.

    Raises:
        ValueError: if there is not one for every output.
    """
    if len(names) != outputs:
        raise ValueError(f"output_names has {len(names)} names but the problem has {outputs} outputs")
    return labels(names)


def grid_coordinates(
    initial_policies: Numbers,
    true_reward: Numbers,
    training_rewards: Mapping[str, Numbers],
    output_names: Sequence[str],
) -> dict[str, Any]:
    """Coordinates for a dataset of `tabular_grid`, its axes named "initial_probability" and "training_reward".

    Raises:
        ValueError: if there is not one name for every output.
    """
    policies = np.atleast_2d(np.asarray(initial_policies, np.float64))
    described = {"units": "1", "long_name": "initial probability of the output that the ground truth likes best"}
    return {
        "initial_probability": ("initial_probability", policies[:, int(np.argmax(true_reward))], described),
        "training_reward": labels(list(training_rewards)),
        "output": output_labels(output_names, policies.shape[-1]),
    }
