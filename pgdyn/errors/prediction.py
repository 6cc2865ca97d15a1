r"""What training on erroneous proxies will do, computed before any of it: by `pgdyn.exact`, without an integrator.

Where a flow has an exact solution, its time T to the target is one root and one quadrature. The rules of
`pgdyn.errors.categories` are applied to T, to T_0 on the ground truth and, where neither arrives before t1, to the
exact true values at t1. Where there is no exact solution nothing is predicted here.

Source: docs/theory.md, F1 and F2.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from pgdyn import exact
from pgdyn.batch import Batch
from pgdyn.dynamics.flow import Flow
from pgdyn.errors.categories import UNDECIDED, classify, compare_times

# No fewer problems go together, so that small batches share a compiled program; of larger problems fewer.
_TOGETHER, _NUMBERS = 256, 2**16


class Prediction(NamedTuple):
    """What is predicted of N proxies.

    Attributes:
        category: [N], "harmful", "benign" or "beneficial"; "undecided" where there is no exact solution.
        speedup: [N], T_0 / T as in `compare_times`; nan where there is no exact solution.
    """

    category: np.ndarray
    speedup: np.ndarray


def predict(baseline: Batch, trained: Batch, flow: Flow, tolerance: float = 0.01) -> Prediction:
    """Predicts categories and speed-ups of proxies from their exact times to the target.

    Args:
        baseline: problems with the ground truth for their proxy, one of them or N.
        trained: N problems with their proxies.
        flow: end time, target, objective and geometry; numbers or [N].
        tolerance: delta, of the rules.

    Raises:
        ValueError: without a target.

    Example:
        >>> from pgdyn.problem import Problem
        >>> problem = Problem.tabular([0.05, 0.5, 0.15, 0.15, 0.15], [1, 0.8, -1, -1, -1])
        >>> proxies = problem.with_proxy([[[1, -1, -1, -1, -1]], [[1, 0.8, 1.5, -1, -1]]])
        >>> found = predict(Batch.of(problem), proxies, Flow(t1=1e6, target=0.9))
        >>> found.category.tolist(), found.speedup.round(4).tolist()
        (['beneficial', 'harmful'], [2009.8423, 0.0])
    """
    if flow.target is None:
        raise ValueError("target is None; the time to a target is what predictions are made from")
    count = len(trained)
    ends, goals = (np.broadcast_to(np.asarray(number, float), (count,)) for number in (flow.t1, flow.target))
    pair = np.zeros(count, int) if len(baseline) == 1 else np.arange(count)
    covered = _covered(baseline, flow)[pair] & _covered(trained, flow)
    rows = np.flatnonzero(covered)
    category, speedup = np.full(count, UNDECIDED, object), np.full(count, np.nan)
    if not rows.size:
        return Prediction(category, speedup)

    def both(function: Callable[..., Any], rows: np.ndarray, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        own = _each(function, trained, rows, numbers, flow)
        if len(baseline) > 1:
            return _each(function, baseline, rows, numbers, flow), own
        distinct, place = np.unique(numbers, return_inverse=True)
        return _each(function, baseline, np.zeros(len(distinct), int), distinct, flow)[place], own

    times = both(exact.hitting_time, rows, goals[rows])
    base, own = (np.where(time <= ends[rows], time, np.where(np.isnan(time), np.nan, np.inf)) for time in times)
    known = ~(np.isnan(base) | np.isnan(own))
    speeds = compare_times(base, own)
    by_value = np.flatnonzero(known & np.isnan(speeds))
    values = np.zeros((2, len(rows)))
    if by_value.size:
        values[:, by_value] = both(exact.true_value, rows[by_value], ends[rows[by_value]])
        known &= np.isfinite(values).all(axis=0)
    width = np.ptp(np.asarray(trained.true_reward)[rows], axis=(-2, -1))
    category[rows] = classify(base, own, values[0], values[1], tolerance, width, known)
    speedup[rows] = speeds
    return Prediction(category, speedup)


def _covered(batch: Batch, flow: Flow) -> np.ndarray:
    """[N], whether there is an exact solution."""
    if flow.geometry != "euclidean":
        return np.zeros(len(batch), bool)
    return np.asarray(exact.covers(batch, objective=flow.objective))


def _each(function: Callable[..., Any], batch: Batch, rows: np.ndarray, numbers: np.ndarray, flow: Flow) -> np.ndarray:
    """The function of some problems of a batch, and of a number for each of them."""
    least = min(_TOGETHER, max(1, _NUMBERS // (batch.num_prompts * batch.num_outputs)))
    padded = np.resize(np.arange(len(rows)), max(len(rows), least))
    found = function(batch[rows[padded]], numbers[padded], objective=flow.objective)
    return np.asarray(found)[: len(rows)]
