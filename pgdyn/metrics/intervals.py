r"""Bootstrap intervals over prompts.

Every metric here is a ratio of sums over prompts, m = sum_x a_x / sum_x b_x (b_x the number of items of prompt x, or
their weight). A resample draws as many prompts with replacement; the interval holds the middle part of the ratios that
come out (the percentile bootstrap: Efron and Tibshirani, An Introduction to the Bootstrap, chapter 13). Items of a
prompt stay together, because they are not independent.

More than 10,000 prompts are first gathered into 10,000 random groups, which are resampled as prompts are: the
interval's width then has a relative error of about 1 %, less than that of a thousand resamples, and a million prompts
cost no more than ten thousand. Where all resamples agree (an accuracy of 0 or 1) the interval is that one point, which
says that the bootstrap has nothing to go by, not that the metric is known.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from pgdyn import validate
from pgdyn.validate import Numbers

_GROUPS = 10_000
_BLOCK = 2**22  # draws held at once


class Interval(NamedTuple):
    """A metric and what it might be on other prompts.

    Attributes:
        value: on these prompts.
        low: the interval's lower end.
        high: its upper end.
        n: prompts that take part.
    """

    value: float
    low: float
    high: float
    n: int


def bootstrap(
    numerators: Numbers,
    denominators: Numbers | None = None,
    *,
    confidence: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> Interval:
    """The ratio of two sums over prompts, and its bootstrap interval.

    Args:
        numerators: [prompts].
        denominators: [prompts], nonnegative; None for 1 each, which makes the ratio a mean. Prompts of zero take no
            part.
        confidence: the part of the resamples that the interval holds.
        resamples: how many.
        seed: of the random resamples.

    Raises:
        ValueError: on shapes that do not fit, entries that are not finite, denominators that sum to 0, or numbers out
            of range.

    Example:
        >>> found = bootstrap([1.0, 0.0, 1.0, 1.0])
        >>> found.value, found.low, found.high, found.n
        (0.75, 0.25, 1.0, 4)
    """
    over = np.asarray(validate.as_floats("numerators", numerators))
    under = np.ones_like(over) if denominators is None else np.asarray(validate.as_floats("denominators", denominators))
    if over.ndim != 1 or over.shape != under.shape:
        raise ValueError(f"numerators has shape {over.shape} and denominators {under.shape}; both must be [prompts]")
    for name, array in (("numerators", over), ("denominators", under)):
        validate.require_finite(name, array)
    validate.require("denominators", under, under >= 0, "it must be at least 0")
    if not under.sum() > 0:
        raise ValueError("the denominators sum to 0, so there is no ratio")
    draws = resampled(np.stack([over, under], axis=1)[under > 0], resamples=resamples, seed=seed)
    low, high = ends(draws[:, 0], draws[:, 1], confidence)
    return Interval(float(over.sum() / under.sum()), low, high, int(np.sum(under > 0)))


def resampled(sums: np.ndarray, *, resamples: int = 1000, seed: int = 0) -> np.ndarray:
    """Totals [resamples, M] of the columns of `sums` [prompts, M] over resampled prompts.

    Raises:
        ValueError: if `resamples` is below 1.

    Example:
        >>> resampled(np.ones((5, 1)), resamples=2).tolist()
        [[5.0], [5.0]]
    """
    validate.count("resamples", resamples, minimum=1)
    rng = np.random.default_rng(validate.count("seed", seed, minimum=0))
    prompts = len(sums)
    if prompts > _GROUPS:
        # Equal groups by a random permutation; the last ones are a prompt smaller.
        group = rng.permutation(prompts) % _GROUPS
        sums = np.stack([np.bincount(group, column, _GROUPS) for column in sums.T], axis=1)
        prompts = _GROUPS
    if prompts == 0:
        return np.zeros((resamples, sums.shape[1]))
    totals = np.empty((resamples, sums.shape[1]))
    width = max(1, min(resamples, _BLOCK // prompts))
    for first in range(0, resamples, width):
        rows = min(width, resamples - first)
        drawn = rng.integers(prompts, size=(rows, prompts))
        drawn += np.arange(rows)[:, None] * prompts
        counts = np.bincount(drawn.ravel(), minlength=rows * prompts).reshape(rows, prompts)
        totals[first : first + rows] = counts @ sums
    return totals


def ends(over: np.ndarray, under: np.ndarray | float, confidence: float = 0.95) -> tuple[float, float]:
    """The middle part of the ratios of two totals; resamples without a denominator take no part.

    Raises:
        ValueError: if `confidence` is not between 0 and 1.

    Example:
        >>> ends(np.array([1.0, 2.0, 3.0]), 2.0, 0.5)
        (0.75, 1.25)
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence is {validate.shown(confidence)}; it must lie between 0 and 1")
    bottom = np.broadcast_to(under, over.shape)
    ratios = over[bottom > 0] / bottom[bottom > 0]
    if not len(ratios):
        return float("nan"), float("nan")
    low, high = np.quantile(ratios, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)
