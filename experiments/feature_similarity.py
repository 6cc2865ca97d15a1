"""What the similarity of two outputs' features does to training (arXiv 2604.25872, appendices A.1 and C).

A linear policy with D = 5 features: phi(y*) = 1.5 e1, phi(y_med) = c e1 + s e2, the bad outputs e3, e4, e5. The inner
product <phi(y*), phi(y_med)> = 1.5 c is zero, negative or positive, all else alike.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import xarray

from experiments import controlled_problems as paper
from experiments import exact_runs
from experiments.made_by import recorded
from pgdyn import Problem, validate
from pgdyn.validate import Numbers

BEST_NORM = 1.5
DIRECTIONS = {
    "orthogonal": (0.0, 1.0),
    "negative": (-1 / math.sqrt(2), 1 / math.sqrt(2)),
    "positive": (1 / math.sqrt(2), 1 / math.sqrt(2)),
}
INITIAL_POLICY = paper.initial_policy(0.05)


def similar_features(direction: tuple[float, float], best_norm: float = BEST_NORM, bad_outputs: int = 3) -> np.ndarray:
    """Gives [K, K] features: phi(y*) = best_norm e1, phi(y_med) = (c, s, 0, ...), the bad outputs the remaining axes.

    Example:
        >>> similar_features((0.6, 0.8), bad_outputs=1).tolist()
        [[1.5, 0.0, 0.0], [0.6, 0.8, 0.0], [0.0, 0.0, 1.0]]
    """
    features = np.eye(2 + bad_outputs)
    features[0, 0] = best_norm
    features[1, :2] = direction
    return features


FEATURES = {name: similar_features(direction) for name, direction in DIRECTIONS.items()}


@recorded
def run(
    features: Mapping[str, Numbers] = FEATURES,
    true_reward: Numbers = paper.TRUE_REWARD,
    training_rewards: Mapping[str, Numbers] | None = None,
    *,
    initial_policy: Numbers = INITIAL_POLICY,
    steps: int = paper.STEPS,
    learning_rate: float = paper.LEARNING_RATE,
    target: float = paper.TARGET,
    output_names: Sequence[str] = paper.OUTPUT_NAMES,
) -> xarray.Dataset:
    """Runs every set of features under every training reward, as gradient ascent and as gradient flow.

    Args:
        features: name -> [K, D], all of one shape.
        true_reward: [K], the ground truth.
        training_rewards: name -> [K]; None trains on the ground truth alone, as the paper does.
        initial_policy: [K], fitted by least squares on log-probabilities.
        steps: updates of ascent; the flow runs to `learning_rate * steps`.
        learning_rate: of plain SGD.
        target: true value whose hitting times are wanted.
        output_names: [K].

    Returns:
        The dataset of `exact_runs.run` with dimensions "feature_set" and "training_reward", and `inner_product`, that
        of the features of the two outputs that the ground truth likes best.

    Raises:
        ValueError: naming the setting that is wrong.
    """
    if not features:
        raise ValueError("features is empty; it must name at least one matrix")
    rewards = {"ground truth": true_reward} if training_rewards is None else training_rewards
    rows = [Problem.linear(matrix, true_reward, initial_policy=initial_policy) for matrix in features.values()]
    problems = paper.grid(rows, rewards)
    names = paper.output_labels(output_names, np.shape(true_reward)[-1])
    axes = {"feature_set": len(features), "training_reward": len(rewards)}
    dataset = exact_runs.run(problems, axes, steps=steps, learning_rate=learning_rate, target=target)
    best, second = np.argsort(-validate.as_floats("true_reward", true_reward), kind="stable")[:2]
    products = [float(np.dot(np.asarray(matrix)[best], np.asarray(matrix)[second])) for matrix in features.values()]
    described = {"units": "1", "long_name": "inner product of the features of the two best outputs"}
    return dataset.assign(inner_product=("feature_set", products, described)).assign_coords(
        feature_set=paper.labels(list(features)), training_reward=paper.labels(list(rewards)), output=names
    )
