r"""The proxies that a design may choose from: bounds, a range and a budget, and the projection onto them.

    lower <= r_P <= upper,      max_y r_p(y) - min_y r_p(y) <= max_range in every prompt p,      |r_P - r_G|_2 <= budget

Limits are the user's; `allowed` checks that some proxy meets them all.
"""

from __future__ import annotations

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float

from pgdyn import validate
from pgdyn.problem import Problem
from pgdyn.validate import Numbers


class Region(eqx.Module):
    """The proxies that are allowed.

    Attributes:
        truth: [P, K].
        lower: [P, K].
        upper: [P, K].
        max_range: largest max - min within a prompt.
        budget: largest |r_P - r_G|_2 over all prompts and outputs; inf for no limit.

    Example:
        >>> region = allowed(Problem.tabular(None, [1.0, 0.5, -1.0]), budget=0.5)
        >>> region.project(jnp.array([[1.0, -0.5, -1.0]])).round(6).tolist()
        [[1.0, 0.0, -1.0]]
    """

    truth: Float[Array, "P K"]
    lower: Float[Array, "P K"]
    upper: Float[Array, "P K"]
    max_range: Float[Array, ""]
    budget: Float[Array, ""]

    def project(self, proxy: Float[Array, "P K"]) -> Float[Array, "P K"]:
        """A near proxy that is allowed, and `proxy` itself where it is allowed.

        Entries are clipped to the bounds, then each prompt to a window of width `max_range` around its middle, then the
        error is shrunk to the budget; each step keeps what the ones before it ensured.
        """
        inside = jnp.clip(proxy, self.lower, self.upper)
        middle = (jnp.max(inside, axis=1, keepdims=True) + jnp.min(inside, axis=1, keepdims=True)) / 2
        # A window that meets every output's bounds: its floor lies between these two.
        least = jnp.max(self.lower, axis=1, keepdims=True) - self.max_range
        most = jnp.min(self.upper, axis=1, keepdims=True)
        floor = jnp.clip(middle - self.max_range / 2, least, most)
        inside = jnp.clip(inside, floor, floor + self.max_range)
        error = inside - self.truth
        size = jnp.sqrt(jnp.sum(error**2))
        shrunk = self.truth + error * (self.budget / jnp.where(size > 0, size, 1.0))
        return jnp.where(size > self.budget, shrunk, inside)

    def contains(self, proxy: Float[Array, "P K"], slack: float = 1e-12) -> Bool[Array, ""]:
        """Whether `proxy` is allowed, up to `slack`."""
        width = jnp.max(proxy, axis=1) - jnp.min(proxy, axis=1)
        bounded = jnp.all((proxy >= self.lower - slack) & (proxy <= self.upper + slack))
        small = jnp.sqrt(jnp.sum((proxy - self.truth) ** 2)) <= self.budget + slack
        return bounded & jnp.all(width <= self.max_range + slack) & small


def allowed(
    problem: Problem,
    lower: Numbers | None = None,
    upper: Numbers | None = None,
    max_range: ArrayLike | None = None,
    budget: ArrayLike | None = None,
) -> Region:
    """The region of these limits.

    Args:
        problem: one problem.
        lower: number, [K] or [P, K], the least reward of each output; None for the truth's least.
        upper: likewise the largest; None for the truth's largest.
        max_range: largest max - min within a prompt; None for the largest of the truth's prompts.
        budget: largest Euclidean size of the error r_P - r_G, over all prompts; None for no limit.

    Raises:
        ValueError: on numbers out of range, limits that no proxy can meet, or a budget where the truth is outside of
            the other limits.

    Example:
        >>> region = allowed(Problem.tabular(None, [1.0, 0.5, -1.0]), lower=-2)
        >>> region.lower.tolist(), float(region.max_range), float(region.budget)
        ([[-2.0, -2.0, -2.0]], 2.0, inf)
    """
    truth = np.asarray(problem.true_reward)
    low = _bound("lower", lower, truth, truth.min())
    high = _bound("upper", upper, truth, truth.max())
    validate.require("lower", low, low <= high, "no lower bound may be above its upper one")
    widest = np.ptp(truth, axis=1).max() if max_range is None else max_range
    if max_range is None and widest == 0:
        raise ValueError("all true rewards of a prompt are equal, so they give no range; give max_range")
    width = validate.number("max_range", widest, positive=True)
    gap = (low.max(axis=1) - high.min(axis=1)).max()
    if gap > width:
        raise ValueError(f"max_range is {width:g} but the bounds ask for rewards at least {gap:g} apart")
    inside = (truth >= low).all() and (truth <= high).all() and (np.ptp(truth, axis=1) <= width).all()
    if budget is not None and not inside:
        raise ValueError("with a budget the true reward must itself be within lower, upper and max_range")
    limit = np.inf if budget is None else validate.number("budget", budget, positive=True)
    return Region(*(jnp.asarray(array, validate.float_dtype()) for array in (truth, low, high, width, limit)))


def _bound(name: str, value: Numbers | None, truth: np.ndarray, default: float) -> np.ndarray:
    array = validate.as_floats(name, default if value is None else value)
    validate.require_finite(name, array)
    if array.shape not in ((), truth.shape[1:], truth.shape):
        raise ValueError(f"{name} has shape {array.shape}; it must be a number, [K] or [P, K] = {truth.shape}")
    return np.broadcast_to(array, truth.shape)
