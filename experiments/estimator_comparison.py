"""Estimators on the plateau problem: how often and how soon they escape, against samples used.

The controlled problem of arXiv 2604.25872 at pi_0(y*) = e: a mediocre output holds half of the mass. Every estimator
has the step size, of a few, at which most runs escape (and, among equals, soonest). The escape probability of REINFORCE
is measured where it rises from 0 to 1.
"""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import xarray

from experiments import controlled_problems as paper
from experiments.made_by import recorded
from pgdyn import Batch, ascend_sampled_many, validate
from pgdyn.estimators import GRPO, RLOO, MaxAtK, Reinforce

GROUP = 8
ESTIMATORS: dict[str, Any] = {
    "REINFORCE": Reinforce(group_size=GROUP),
    "RLOO": RLOO(GROUP),
    "GRPO": GRPO(GROUP),
    "max@4": MaxAtK(GROUP, 4),
}
RATES = (0.3, 1.0, 3.0, 10.0, 30.0)  # the best of every estimator lies within
RARE = (0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3, 0.4)  # from hardly ever to nearly always


@recorded
def run(
    *,
    start: float = 0.05,
    seeds: int = 200,
    samples: int = 32_000,
    rare_seeds: int = 300,
    rare_updates: int = 20_000,
    rate: float = 0.1,
    seed: int = 0,
) -> xarray.Dataset:
    """Trains with every estimator at every step size.

    Args:
        start: pi_0(y*) of the comparison.
        seeds: runs of each estimator and step size.
        samples: outputs that each run may draw.
        rare_seeds: runs of REINFORCE for each of the rarer starts.
        rare_updates: of each, one output an update.
        rate: learning rate of these.
        seed: of all keys.

    Returns:
        Along "estimator", "rate" and "seed": `time`, samples used when the true value first is .9; inf for never. Along
        "rare" and "rare_seed": `escaped`, whether REINFORCE ends above .9.

    Raises:
        ValueError: on counts below 1.
    """
    validate.count("seeds", seeds, minimum=1)
    first, second = jax.random.split(jax.random.key(seed))
    updates = samples // GROUP
    starts = np.tile(np.array(paper.initial_policy(start)), (len(RATES), 1, 1))
    batch = Batch.tabular(starts, np.array(paper.TRUE_REWARD))
    keys = jax.random.split(first, seeds)
    times = []
    for estimator in ESTIMATORS.values():
        settings: dict[str, Any] = {"estimator": estimator, "learning_rate": np.array(RATES), "target": paper.TARGET}
        times.append(np.asarray(ascend_sampled_many(batch, updates, keys, **settings).hitting_time) * GROUP)
    policies = np.array([paper.initial_policy(best) for best in RARE])[:, None]
    rarely = Batch.tabular(policies, np.array(paper.TRUE_REWARD))
    end = ascend_sampled_many(rarely, rare_updates, jax.random.split(second, rare_seeds), learning_rate=rate)
    return xarray.Dataset(
        {
            "time": (
                ("estimator", "rate", "seed"),
                np.array(times),
                {"units": "sample", "long_name": "samples used until the true value is .9"},
            ),
            "escaped": (
                ("rare", "rare_seed"),
                (np.asarray(end.true_value) > paper.TARGET).astype(float),
                {"units": "1", "long_name": "ends above .9"},
            ),
        },
        coords={
            "estimator": ("estimator", paper.labels(list(ESTIMATORS))),
            "rate": ("rate", list(RATES), {"units": "1", "long_name": "learning rate"}),
            "rare": ("rare", list(RARE), {"units": "1", "long_name": "initial probability of y*"}),
        },
        attrs={"dynamics": "ascend_sampled", "group_size": GROUP, "samples": samples},
    )
