r"""Reward variance: how fast a reward model teaches, whatever it ranks right.

    Var = mean over prompts of Var_{y ~ pi_0}[ r_P(y) ]

Source: arXiv 2503.15477, section 3: the time to raise the true value is at least of order Var^(-1/3). Its program
divides by n - 1, as is done here, so that the sampled value is unbiased; it compares reward models after their scores
have been standardised over all prompts and responses, as `standardize` does.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pgdyn import validate
from pgdyn.validate import Numbers


def reward_variance(
    scores: Numbers, initial_policy: Numbers | None = None, *, standardize: bool = False
) -> np.ndarray | Any:
    r"""The mean over prompts of the variance of the scores under the initial policy.

    Args:
        scores: [prompts, n], scores of n responses sampled from the initial policy on each prompt; or with
            `initial_policy`, [prompts, K], scores of all outputs.
        initial_policy: [prompts, K] probabilities: the variance is then exact.
        standardize: divide by the variance of all scores (each weighted by its probability): invariant to scale.

    Returns:
        A scalar, in squared units of the scores; without units where standardised.

    Raises:
        ValueError: on shapes that do not fit, entries that are not finite, one response a prompt without an
            `initial_policy`, or equal scores where they are to be standardised.

    Example:
        >>> float(reward_variance([[1.0, 3.0], [0.0, 0.0]]))
        1.0
        >>> float(reward_variance([[1.0, 0.0]], [[0.25, 0.75]]))
        0.1875
    """
    array = table("scores", scores)
    if initial_policy is None:
        if array.shape[1] < 2:
            raise ValueError("scores has one response a prompt; a variance needs at least two")
        found, total = array.var(axis=1, ddof=1).mean(), array.var(ddof=1)
    else:
        weights = probabilities("initial_policy", initial_policy, array.shape)
        centre = np.sum(weights * array, axis=1, keepdims=True)
        found = np.mean(np.sum(weights * (array - centre) ** 2, axis=1))
        mean = np.mean(centre)
        total = np.mean(np.sum(weights * (array - mean) ** 2, axis=1))
    if standardize:
        if not total > 0:
            raise ValueError("all scores are equal, so they cannot be standardised")
        found = found / total
    return np.asarray(found)


def table(name: str, value: Numbers) -> np.ndarray:
    """`value` as a finite array [prompts, K]; one row where it has one axis.

    Raises:
        ValueError: if it has more axes, or an entry is not finite.

    Example:
        >>> table("scores", [1.0, 2.0]).shape
        (1, 2)
    """
    array = np.asarray(validate.as_floats(name, value))
    array = array[None] if array.ndim == 1 else array
    if array.ndim != 2:
        raise ValueError(f"{name} has shape {array.shape}; it must be [prompts, K]")
    validate.require_finite(name, array)
    return array


def probabilities(name: str, value: Numbers, shape: tuple[int, ...]) -> np.ndarray:
    """`value` as probabilities of the given shape, each row summing to 1 within 1e-6.

    Raises:
        ValueError: on another shape, a negative entry or another sum.

    Example:
        >>> probabilities("initial_policy", [0.25, 0.75], (1, 2)).tolist()
        [[0.25, 0.75]]
    """
    array = table(name, value)
    if array.shape != shape:
        raise ValueError(f"{name} has shape {array.shape}; it must be {shape}")
    validate.require(name, array, array >= 0, "a probability must be at least 0")
    sums = array.sum(axis=1)
    if np.any(off := abs(sums - 1) > 1e-6):
        row = int(np.argmax(off))
        raise ValueError(f"{name}[{row}] sums to {sums[row]:g}; probabilities must sum to 1")
    return array / sums[:, None]
