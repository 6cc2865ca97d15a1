"""The problems of the controlled experiments of arXiv 2604.25872 (section 3.3, appendix C), and their like.

Five outputs: y*, the best; y_med, mediocre by the ground truth; and three bad ones. The ground truth rewards them with
(1, .8, -1, -1, -1), the flawed proxy with (1, -1, -1, -1, -1): its one error is a low reward for the mediocre output.
The initial policy is (e, .5, q, q, q) with q = (.5 - e) / 3.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pgdyn import Batch, Problem, stack, validate
from pgdyn.validate import Numbers

OUTPUT_NAMES = ("y*", "y_med", "bad 1", "bad 2", "bad 3")
TRUE_REWARD = (1.0, 0.8, -1.0, -1.0, -1.0)
PROXY_REWARD = (1.0, -1.0, -1.0, -1.0, -1.0)
TRAINING_REWARDS = {"ground truth": TRUE_REWARD, "proxy": PROXY_REWARD}
LEARNING_RATE = 0.1
STEPS = 50_000
TARGET = 0.9


def initial_policy(best: float, mediocre: float = 0.5, bad_outputs: int = 3) -> tuple[float, ...]:
    """Gives (best, mediocre, q, ..., q): the bad outputs share equally what the first two leave.

    Raises:
        ValueError: if nothing is left for the bad outputs.

    Example:
        >>> [round(probability, 12) for probability in initial_policy(0.05)]
        [0.05, 0.5, 0.15, 0.15, 0.15]
    """
    rest = (1 - mediocre - best) / bad_outputs
    if not rest > 0:
        raise ValueError(f"best + mediocre is {best + mediocre:g}; it must leave some probability to the bad outputs")
    return (best, mediocre, *[rest] * bad_outputs)


INITIAL_POLICIES = tuple(initial_policy(best) for best in (0.05, 0.10, 0.15))


def grid(rows: Sequence[Problem], training_rewards: Mapping[str, Numbers]) -> Batch:
    """Puts every problem of `rows` under every training reward: a batch of len(rows) * len(rewards), rewards fastest.

    Raises:
        ValueError: if there is no training reward.

    Example:
        >>> len(grid([Problem.tabular([0.2, 0.8], [1, 0])], {"truth": [1, 0], "proxy": [0, 1]}))
        2
    """
    if not training_rewards:
        raise ValueError("training_rewards is empty; it must name at least one reward")
    problems: list[Any] = [row.with_proxy(reward) for row in rows for reward in training_rewards.values()]
    return stack(problems)


def tabular_grid(initial_policies: Numbers, true_reward: Numbers, training_rewards: Mapping[str, Numbers]) -> Batch:
    """Puts every initial policy under every training reward: tabular problems in the order of `grid`.

    Args:
        initial_policies: [N, K].
        true_reward: [K].
        training_rewards: name -> [K], the rewards that are climbed.

    Raises:
        ValueError: on an empty axis or a bad policy or reward.

    Example:
        >>> len(tabular_grid(INITIAL_POLICIES, TRUE_REWARD, TRAINING_REWARDS))
        6
    """
    policies = np.atleast_2d(validate.as_floats("initial_policies", initial_policies))
    return grid([Problem.tabular(policy, true_reward) for policy in policies], training_rewards)


def labels(names: Sequence[str]) -> np.ndarray:
    """Makes a coordinate of names: objects, because zarr's format 3 has no fixed-width text.

    Example:
        >>> labels(["y*", "y_med"])
        array(['y*', 'y_med'], dtype=object)
    """
    return np.array(list(names), dtype=object)


def output_labels(names: Sequence[str], outputs: int) -> np.ndarray:
    """Makes a coordinate of the names of the outputs.

    Raises:
        ValueError: if there is not one for every output.

    Example:
        >>> output_labels(["y*", "y_med"], 2)
        array(['y*', 'y_med'], dtype=object)
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
    """Gives the coordinates of a dataset with the axes "initial_probability" and "training_reward".

    Raises:
        ValueError: if there is not one name for every output.

    Example:
        >>> coordinates = grid_coordinates(INITIAL_POLICIES, TRUE_REWARD, TRAINING_REWARDS, OUTPUT_NAMES)
        >>> coordinates["initial_probability"][1].tolist()
        [0.05, 0.1, 0.15]
    """
    policies = np.atleast_2d(np.asarray(initial_policies, np.float64))
    described = {"units": "1", "long_name": "initial probability of the output that the ground truth likes best"}
    return {
        "initial_probability": ("initial_probability", policies[:, int(np.argmax(true_reward))], described),
        "training_reward": labels(list(training_rewards)),
        "output": output_labels(output_names, policies.shape[-1]),
    }
