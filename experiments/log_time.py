"""A run kept densely in the logarithm of time, without storing the rest.

A run saved every n updates is too coarse at its start or too bulky at its end. Here a short run saved at every update
and the whole run saved sparsely are joined. Both follow the same path, because neither ascent nor the random numbers of
sampled ascent depend on what is saved.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from pgdyn import Solution
from pgdyn.solution import OBSERVED

_RECORDS = 50  # a record after every 1/50 of the run: every 1,000 updates of the paper's 50,000


def join(run: Callable[[int, int], Solution], steps: int, per_decade: int = 40) -> Solution:
    """Keeps `run(steps, save_every)` at about `per_decade` points a decade and at every fiftieth of the run.

    Args:
        run: from (steps, save_every) to a `Solution` of `ascend`, `ascend_sampled` or their `_many`.
        steps: updates of the whole run.
        per_decade: points kept for each factor of ten in updates.

    Returns:
        The whole run's solution (its hitting time, result and settings) with the thinned path.

    Example:
        >>> import pgdyn
        >>> problem = pgdyn.Problem.tabular([0.2, 0.8], [1, 0])
        >>> path = join(lambda steps, every: pgdyn.ascend(problem, steps, save_every=every), 200, per_decade=3)
        >>> path.t[:10].tolist()
        [0, 1, 2, 4, 5, 8, 10, 12, 16, 20]
    """
    stretch, sparse = max(1, steps // _RECORDS), max(1, steps // (20 * _RECORDS))
    early, whole = run(stretch, 1), run(steps, sparse)
    late = np.append(np.arange(0, steps, sparse), steps)
    available = np.concatenate([np.arange(stretch + 1), late[late > stretch]])
    picked = kept(available, steps, per_decade)
    index_early = picked[picked <= stretch]
    index_late = np.searchsorted(late, picked[picked > stretch])
    axis = np.ndim(whole.result)  # of the path, behind the axes of many runs
    joined = {}
    for name in ("t", *OBSERVED):
        first, rest = (np.asarray(getattr(solution, name)) for solution in (early, whole))
        joined[name] = np.concatenate([first.take(index_early, axis), rest.take(index_late, axis)], axis)
    return dataclasses.replace(whole, **joined)


def kept(available: np.ndarray, steps: int, per_decade: int) -> np.ndarray:
    """Picks of the `available` update counts 0, every fiftieth of `steps`, and those nearest to a logarithmic grid.

    Example:
        >>> kept(np.arange(101), 100, per_decade=2)[:8].tolist()
        [0, 1, 2, 3, 4, 6, 8, 10]
    """
    wanted = np.geomspace(1, steps, max(2, round(per_decade * np.log10(steps)) + 1)) if steps > 1 else np.ones(1)
    nearest = available[np.abs(available[None, :] - wanted[:, None]).argmin(axis=1)]
    records = np.arange(0, steps + 1, max(1, steps // _RECORDS))
    return np.unique(np.concatenate([[0], nearest, np.intersect1d(records, available), [steps]]))
