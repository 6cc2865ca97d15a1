"""A run kept densely in the logarithm of time, without storing the rest.

A run saved every n updates is too coarse at its start or too bulky at its end. Here a short run saved at every update
and the whole run saved sparsely are joined: both follow the same path, because neither ascent nor the random numbers of
sampled ascent depend on what is saved.
"""

from __future__ import annotations

from collections.abc import Callable

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from pgdyn import Trajectory

_RECORDS = 50  # a record after every 1/50 of the run: every 1,000 updates of the paper's 50,000


def join(run: Callable[[int, int], Trajectory], steps: int, per_decade: int = 40) -> Trajectory:
    """The path of `run(steps, save_every)` at about `per_decade` points a decade and at every fiftieth of the run.

    Args:
        run: from (steps, save_every) to a `Trajectory` of one run of `ascend` or `ascend_sampled`; may be traced.
        steps: updates of the whole run.
        per_decade: points kept for each factor of ten in updates.

    Returns:
        The whole run's trajectory (its hitting time, result and settings) with the thinned path.
    """
    stretch, sparse = max(1, steps // _RECORDS), max(1, steps // (20 * _RECORDS))
    early, whole = run(stretch, 1), run(steps, sparse)
    late = np.append(np.arange(0, steps, sparse), steps)
    available = np.concatenate([np.arange(stretch + 1), late[late > stretch]])
    picked = kept(available, steps, per_decade)
    index_early = picked[picked <= stretch]
    index_late = np.searchsorted(late, picked[picked > stretch])

    def path(trajectory: Trajectory) -> tuple:
        return (
            trajectory.t,
            trajectory.params,
            trajectory.log_policy,
            trajectory.true_value,
            trajectory.proxy_value,
            trajectory.reward_variance,
            trajectory.kl,
        )

    parts = zip(path(early), path(whole), strict=True)
    joined = tuple(jnp.concatenate([first[index_early], rest[index_late]]) for first, rest in parts)
    return eqx.tree_at(path, whole, joined)


def kept(available: np.ndarray, steps: int, per_decade: int) -> np.ndarray:
    """Of the `available` update counts: 0, every fiftieth of `steps`, and those nearest to a logarithmic grid."""
    wanted = np.geomspace(1, steps, max(2, round(per_decade * np.log10(steps)) + 1)) if steps > 1 else np.ones(1)
    nearest = available[np.abs(available[None, :] - wanted[:, None]).argmin(axis=1)]
    records = np.arange(0, steps + 1, max(1, steps // _RECORDS))
    return np.unique(np.concatenate([[0], nearest, np.intersect1d(records, available), [steps]]))
