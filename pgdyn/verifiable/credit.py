r"""Credit: what an outcome that meets some of C constraints is worth, between 0 and 1.

    Binary          prod x_c
    Partial         (1/C) sum x_c
    Weighted        sum w_c x_c / sum w_c
    Lexicographic   sum b^{C-1-c} x_c / sum b^{C-1-c}, b >= 2: an earlier constraint counts more than all later ones
    Thresholded     1[sum x_c >= k]

A verifier that errs reads constraint c as met with probability TPR_c where it is and FPR_c where it is not; `verified`
gives the credit that it pays on average.
"""

from __future__ import annotations

import abc
from typing import Any

import equinox as eqx
import numpy as np

from pgdyn import validate
from pgdyn.validate import Numbers


class Credit(eqx.Module):
    """From which constraints are met to a reward. Subclass it with a method `__call__`.

    Example:
        >>> isinstance(Partial(), Credit)
        True
    """

    @abc.abstractmethod
    def __call__(self, met: np.ndarray) -> np.ndarray:
        """The credit of outcomes.

        Args:
            met: [..., C], ones where a constraint is met.

        Returns:
            [...], between 0 and 1.
        """


class Binary(Credit):
    """1 where all constraints are met, else 0.

    Example:
        >>> Binary()(np.array([[1, 1], [1, 0]])).tolist()
        [1.0, 0.0]
    """

    def __call__(self, met: np.ndarray) -> np.ndarray:
        """prod x_c."""
        return np.prod(np.asarray(met, float), axis=-1)


class Partial(Credit):
    """The share of the constraints that are met (arXiv 2604.25872, section 5).

    Example:
        >>> Partial()(np.array([[1, 1], [1, 0]])).tolist()
        [1.0, 0.5]
    """

    def __call__(self, met: np.ndarray) -> np.ndarray:
        """(1/C) sum x_c."""
        return np.mean(np.asarray(met, float), axis=-1)


class Weighted(Credit):
    """The weight of the constraints that are met, over that of all.

    Attributes:
        weights: [C], nonnegative, not all zero.

    Raises:
        ValueError: on a negative weight, or weights that are all zero.

    Example:
        >>> Weighted((3, 1))(np.array([[1, 0], [0, 1]])).tolist()
        [0.75, 0.25]
    """

    weights: tuple[float, ...] = eqx.field(static=True)

    def __init__(self, weights: Numbers):
        found = np.atleast_1d(validate.as_floats("weights", weights))
        validate.require("weights", found, np.isfinite(found) & (found >= 0), "it must be finite and at least 0")
        if not found.sum() > 0:
            raise ValueError("weights are all zero; give one that is positive")
        self.weights = tuple(found.tolist())

    def __call__(self, met: np.ndarray) -> np.ndarray:
        """sum w_c x_c / sum w_c."""
        return _weighted(met, self.weights)


class Lexicographic(Credit):
    """Earlier constraints first: each counts more than all later ones together.

    Attributes:
        base: b, at least 2; how many times more a constraint counts than the next.

    Raises:
        ValueError: on a base below 2.

    Example:
        >>> Lexicographic()(np.array([[1, 0, 0], [0, 1, 1]])).round(3).tolist()
        [0.571, 0.429]
    """

    base: float = eqx.field(default=2.0, static=True, converter=lambda b: float(validate.number("base", b, minimum=2)))

    def __call__(self, met: np.ndarray) -> np.ndarray:
        """sum b^{C-1-c} x_c / sum b^{C-1-c}."""
        count = np.shape(met)[-1]
        return _weighted(met, self.base ** np.arange(count - 1, -1, -1.0))


class Thresholded(Credit):
    """1 where at least k constraints are met, else 0.

    Attributes:
        k: at least 1.

    Raises:
        ValueError: on a k below 1.

    Example:
        >>> Thresholded(1)(np.array([[1, 0], [0, 0]])).tolist()
        [1.0, 0.0]
    """

    k: int = eqx.field(default=1, static=True, converter=validate.counts("k", minimum=1))

    def __call__(self, met: np.ndarray) -> np.ndarray:
        """1[sum x_c >= k]."""
        return (np.sum(np.asarray(met), axis=-1) >= self.k).astype(float)


def _weighted(met: np.ndarray, weights: Any) -> np.ndarray:
    weights = np.asarray(weights, float)
    if np.shape(met)[-1] != len(weights):
        raise ValueError(f"there are {len(weights)} weights for {np.shape(met)[-1]} constraints")
    return np.asarray(met, float) @ weights / weights.sum()


def verified(
    credit: Credit, met: np.ndarray, true_positive: Numbers = 1.0, false_positive: Numbers = 0.0
) -> np.ndarray:
    """The mean credit that a verifier which errs on each constraint by itself pays an outcome.

    Args:
        credit: of what the verifier reads.
        met: [..., C].
        true_positive: TPR, one number or [C].
        false_positive: FPR, one number or [C].

    Returns:
        [...].

    Raises:
        ValueError: on a rate that is no probability.

    Example:
        >>> verified(Binary(), np.array([[1, 1], [1, 0]]), 0.9, 0.2).round(3).tolist()
        [0.81, 0.18]
    """
    met = np.asarray(met, float)
    rates = {}
    for name, value in (("true_positive", true_positive), ("false_positive", false_positive)):
        rate = np.asarray(validate.as_floats(name, value))
        validate.require(name, rate, (rate >= 0) & (rate <= 1), "it must lie between 0 and 1")
        rates[name] = np.broadcast_to(rate, met.shape[-1:])
    chance = np.where(met > 0, rates["true_positive"], rates["false_positive"])
    from pgdyn.verifiable.constraints import outcomes

    read = outcomes(met.shape[-1])
    likely = np.prod(np.where(read > 0, chance[..., None, :], 1 - chance[..., None, :]), axis=-1)
    return likely @ credit(read)
