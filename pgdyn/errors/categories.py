r"""The rules by which an outcome of training is harmful, benign or beneficial.

With T and T_0 the times at which the flow on the proxy and the flow on the ground truth first bring the true value to
the target, and tolerance delta,

    beneficial   T_0 / T > 1 + delta      (T_0 infinite and T finite included)
    harmful      T / T_0 > 1 + delta      (T infinite and T_0 finite included)
    benign       otherwise.

Where neither arrives before t1, or both start at the target, the true values at t1 decide: beneficial or harmful where
they differ by more than delta times the range of the true reward. A category is "undecided" where the outcome of one of
the two is not known.

Categories: arXiv 2604.25872.
"""

from __future__ import annotations

import numpy as np
from jax.typing import ArrayLike

from pgdyn.errors.mechanism import CATEGORIES

UNDECIDED = "undecided"


def compare_times(baseline: ArrayLike, times: ArrayLike) -> np.ndarray:
    """T_0 / T: inf where only the proxy arrives, 0 where only the ground truth does, nan where no time tells.

    Args:
        baseline: T_0, inf for never; broadcasts with `times`.
        times: T.

    Example:
        >>> compare_times(6.0, [2.0, 6.0, np.inf]).tolist(), compare_times(np.inf, [2.0, np.inf]).tolist()
        ([3.0, 1.0, 0.0], [inf, nan])
    """
    base, own = np.asarray(baseline, float), np.asarray(times, float)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(np.isinf(own), np.where(np.isinf(base), np.nan, 0.0), base / own)


def classify(
    baseline_time: ArrayLike,
    times: ArrayLike,
    baseline_value: ArrayLike,
    values: ArrayLike,
    tolerance: float,
    reward_range: ArrayLike,
    baseline_known: ArrayLike = True,
    known: ArrayLike = True,
) -> np.ndarray:
    """The categories of the module's rules, "undecided" where a flow broke off before they could tell.

    Args:
        baseline_time: T_0, inf for never; any shape that broadcasts with `times`, as all arrays here.
        times: T.
        baseline_value: true value at t1 of the flow on the ground truth.
        values: those of the flows on proxies.
        tolerance: delta.
        reward_range: of the true reward.
        baseline_known: whether the flow on the ground truth arrived or ran to t1.
        known: whether the flow on the proxy did.

    Example:
        >>> classify(6.0, [2.0, 6.01, np.inf], 0.9, [0.95, 0.9, 0.1], 0.01, 2.0).tolist()
        ['beneficial', 'benign', 'harmful']
        >>> classify(np.inf, [np.inf, np.inf], 0.5, [0.51, 0.53], 0.01, 2.0).tolist()
        ['benign', 'beneficial']
    """
    speedup = compare_times(baseline_time, times)
    ranges = np.asarray(reward_range)
    change = (np.asarray(values) - np.asarray(baseline_value)) / np.where(ranges > 0, ranges, 1.0)
    harmful, benign, beneficial = CATEGORIES
    by_time = np.select([speedup > 1 + tolerance, speedup < 1 / (1 + tolerance)], [beneficial, harmful], benign)
    by_value = np.select([change > tolerance, change < -tolerance], [beneficial, harmful], benign)
    category = np.where(np.isnan(speedup), by_value, by_time)
    return np.where(np.logical_and(baseline_known, known), category, UNDECIDED)
