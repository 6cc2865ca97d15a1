"""Random rewards, clipping and entropy: where clips lower the entropy and where they raise it.

Two outputs and rewards that know nothing, by enumeration of every group and every draw of rewards. Unclipped small
steps follow a law: the entropy rises iff (2 p - 1) logit(p) > 1. Batches that are gone through several times are
clipped.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray

from experiments import controlled_problems as paper
from experiments.made_by import recorded
from pgdyn import Problem, validate
from pgdyn.estimators import GRPO, Centred, RandomReward, Surrogate, compose, diagnose
from pgdyn.validate import Numbers

CLIPS = {"none": (1e9, 1e9), "both": (0.2, 0.2), "high": (1e9, 0.2), "low": (0.2, 1e9)}
PROBABILITY = tuple(np.linspace(0.5, 0.98, 25))
THRESHOLD = 0.82396


@recorded
def run(
    probability: Numbers = PROBABILITY,
    epochs: Sequence[int] = (2, 3, 4),
    *,
    group_size: int = 4,
    learning_rate: float = 1.0,
    small: float = 0.1,
) -> xarray.Dataset:
    """Measures expected changes of the entropy.

    Args:
        probability: of the likelier of two outputs, from 1/2 to 1.
        epochs: times that a batch is gone through.
        group_size: samples of a batch.
        learning_rate: of the clipped updates, whose advantages are standardised.
        small: learning rate of the single unclipped step, whose advantages are centred.

    Returns:
        Along "probability": `change`, of one small step, and `law`. Along "epochs", "clip" and "probability":
        `clipped_change`, and `clip_share` of samples whose ratio is clipped.

    Raises:
        ValueError: on a probability out of range.
    """
    p = validate.as_floats("probability", probability)
    validate.require("probability", p, (p >= 0.5) & (p < 1), "it must lie from 1/2 to 1")
    problems = [Problem.tabular([one, 1 - one], [1.0, 0.0]) for one in p]
    step = compose(Centred(group_size), RandomReward())
    change = [float(diagnose(step, one, learning_rate=small).entropy_change) for one in problems]
    shape = (len(epochs), len(CLIPS), len(p))
    clipped, share = np.empty(shape), np.empty(shape)
    for i, count in enumerate(epochs):
        for j, (low, high) in enumerate(CLIPS.values()):
            estimator = compose(GRPO(group_size, eps=0.0), RandomReward(), Surrogate(low, high, epochs=count))
            for k, problem in enumerate(problems):
                found = diagnose(estimator, problem, learning_rate=learning_rate)
                clipped[i, j, k], share[i, j, k] = found.entropy_change, found.clip_low + found.clip_high
    dims = ("epochs", "clip", "probability")
    return xarray.Dataset(
        {
            "change": ("probability", change, {"units": "nat", "long_name": "change of the entropy, one small step"}),
            "law": ("probability", law(p, small, group_size), {"units": "nat", "long_name": "second-order law"}),
            "clipped_change": (dims, clipped, {"units": "nat", "long_name": "change of the entropy"}),
            "clip_share": (dims, share, {"units": "1", "long_name": "share of clipped samples"}),
        },
        coords={
            "probability": ("probability", p, {"units": "1", "long_name": "probability of the likelier output"}),
            "clip": ("clip", paper.labels(list(CLIPS))),
            "epochs": ("epochs", list(epochs), {"units": "1", "long_name": "epochs"}),
        },
        attrs={"dynamics": "enumeration", "threshold": THRESHOLD},
    )


def law(p: np.ndarray, rate: float, group_size: int) -> np.ndarray:
    """Gives (eta^2/2) tr(Hess H Cov) for two outputs, centred advantages and fair coins for rewards.

    With v = p (1 - p), dH/du = -v u in the difference u of the logits, whose variance is 4 v (1 - 1/G)/(4 G).

    Example:
        >>> float(law(np.array([0.5]), 0.1, 4)[0].round(8))
        -5.859e-05
    """
    v, u = p * (1 - p), np.log(p / (1 - p))
    curvature = -v - v * (1 - 2 * p) * u
    return rate**2 / 2 * curvature * v * (1 - 1 / group_size) / group_size
