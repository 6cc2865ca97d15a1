r"""Exponents of arrival times: the same problems with one output rarer, and the slope of ln T against ln 1/p_0.

A law T = C p_0^{-g} (1 + o(1)) is tested by the local slope g = -d ln T / d ln p_0, taken between a start and one whose
best output is rarer by a factor: constants cancel, and what is left is the correction that the tolerance allows for.
"""

from __future__ import annotations

import math

import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Float, Int

from pgdyn.batch import Batch
from pgdyn.theory.flows import arrival_times, start_log_policy

FACTOR = math.sqrt(10.0)  # between the two starts of a slope
DECADE_UNIT = "slope of log10 T per decade of p_0, fitted over five starts from p_0 down to p_0/10; rounding 1e-3"


def make_rarer(batch: Batch, output: int = 0, factor: float = FACTOR) -> Batch:
    """Divides the odds of one output against all others by `factor`.

    Features must be square and invertible, so that any logits can be had.

    Example:
        >>> rarer = make_rarer(Batch.tabular([[[0.5, 0.5]]], [1, 0]), factor=4.0)
        >>> np.exp(start_log_policy(rarer)).round(3).tolist()
        [[[0.2, 0.8]]]
    """
    change = np.zeros(batch.true_reward.shape)
    change[..., output] = -math.log(factor)
    change = change * batch.temperature[:, None, None]
    if not batch.is_tabular:
        change = np.linalg.solve(batch.features[:, 0], change[:, 0, :, None])[..., 0]
    return batch.replace(initial_params=batch.initial_params + change)


def arrival_exponent(batch: Batch, rarer: Batch, target: ArrayLike, factor: float = FACTOR) -> Float[np.ndarray, " N"]:
    """Measures -d ln T / d ln p_0 between a batch and the same with its best output `factor` times rarer."""
    target = np.tile(np.broadcast_to(target, len(batch)), 2)
    first, later = arrival_times(batch.concatenate(rarer), target).reshape(2, -1)
    return np.log(later / first) / math.log(factor)


def exponent_over_a_decade(
    batch: Batch, best: Int[np.ndarray, " N"], target: ArrayLike, points: int = 5
) -> Float[np.ndarray, " N"]:
    """Fits the slope of log10 T per decade of 1/p_0 by least squares over `points` starts, from p_0 down to p_0/10.

    Mass is moved from the output `best` of each tabular problem to the others in proportion.
    """
    decades = np.linspace(0.0, 1.0, points)
    is_best = np.arange(batch.num_outputs) == best[:, None]  # [N, K]
    log_policy = start_log_policy(batch)[:, 0]
    others = np.where(is_best, -np.inf, log_policy)
    others = others - np.logaddexp.reduce(others, axis=1, keepdims=True)
    wanted = log_policy[is_best][None] - math.log(10.0) * decades[:, None]  # [points, N]
    starts = np.where(is_best, wanted[..., None], others + np.log1p(-np.exp(wanted))[..., None])
    every = batch[np.tile(np.arange(len(batch)), points)]
    every = every.replace(initial_params=starts.reshape(-1, 1, batch.num_outputs))
    times = arrival_times(every, np.tile(np.broadcast_to(target, len(batch)), points))
    slope = (decades - decades.mean()) / ((decades - decades.mean()) ** 2).sum()
    return slope @ np.log10(times).reshape(points, -1)
