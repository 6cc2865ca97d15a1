"""How long REINFORCE takes to find a rare output, by its baseline: over many seeds, beside the inverse gamma law.

Two outputs with rewards r* > r_med and a rare best one, one output drawn an update: the flow does not know of the
baseline, and the sampled runs spread by it. The same with the controlled problems of arXiv 2604.25872, appendix C.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
import xarray

from experiments import controlled_problems as paper
from experiments.made_by import recorded
from pgdyn import Batch, Problem, ascend_sampled_many, exact, validate
from pgdyn.theory import reinforce_escape as law
from pgdyn.theory.theorem import for_each

BASELINES = (0.0, 0.5, 0.8)


@recorded
def run(
    baselines: Sequence[float] = BASELINES,
    rewards: tuple[float, float] = (1.0, 0.8),
    initial_probability: float = 0.001,
    *,
    seeds: int = 600,
    updates: int = 120_000,
    paper_seeds: int = 200,
    root_seed: int = 0,
) -> xarray.Dataset:
    """Runs REINFORCE with every baseline.

    Args:
        baselines: constants that are taken off every reward.
        rewards: of the best and of the mediocre output.
        initial_probability: of the best output.
        seeds: runs with each baseline.
        updates: of each run; the learning rate is that of `pgdyn.theory.reinforce_escape`.
        paper_seeds: runs of each controlled problem, of 50,000 updates.
        root_seed: the seed of all keys.

    Returns:
        Along "baseline" and "seed": `hitting_time`, updates until the best output has probability 1/2, inf where that
        was not seen. Along "baseline" and "update": `law`, the probability to have found it by then. `flow_time`, the
        flow's time over the learning rate. Along "initial_probability" and "controlled_baseline" (none, or r_med):
        `escaped`, the share of seeds that end with a true value above .9.

    Raises:
        ValueError: on counts below 1.
    """
    validate.count("seeds", seeds, minimum=1)
    count = len(baselines)
    start, reward = np.array([initial_probability, 1 - initial_probability]), np.array(rewards, float)
    shifted = reward - np.asarray(baselines)[:, None]
    # Of a true reward that is 1 on the best output alone, the value is its probability.
    batch = Batch.tabular(np.tile(start, (count, 1, 1)), np.array([1.0, 0.0]), shifted[:, None])
    keys, paper_keys = jax.random.split(jax.random.key(root_seed))
    settings: dict[str, Any] = {"learning_rate": law.LEARNING_RATE, "target": 0.5, "save_every": updates}
    hits = ascend_sampled_many(batch, updates, jax.random.split(keys, (count, seeds)), **settings).hitting_time
    at = np.geomspace(updates / 14, updates, 200)
    own = Batch.tabular(np.tile(start, (count * len(at), 1, 1)), reward)
    found = for_each(own, law.escape_law, np.repeat(np.asarray(baselines, float), len(at)), np.tile(at, count))
    flow_time = float(exact.hitting_time(Problem.tabular(start, [1.0, 0.0], reward), 0.5)) / law.LEARNING_RATE
    described = {"units": "update", "long_name": "updates until the best output has probability 1/2"}
    return xarray.Dataset(
        {
            "hitting_time": (("baseline", "seed"), np.asarray(hits), described),
            "law": (("baseline", "update"), found.reshape(count, -1), {"units": "1", "long_name": "found, by the law"}),
            "flow_time": ((), flow_time, {"units": "update", "long_name": "time of the flow over the learning rate"}),
            "escaped": (
                ("initial_probability", "controlled_baseline"),
                _controlled(paper_seeds, paper_keys),
                {"units": "1", "long_name": "share of seeds that end above .9"},
            ),
        },
        coords={
            "baseline": ("baseline", np.asarray(baselines, float), {"units": "1", "long_name": "baseline"}),
            "update": ("update", at, {"units": "update", "long_name": "updates"}),
            "initial_probability": (
                "initial_probability",
                [policy[0] for policy in paper.INITIAL_POLICIES],
                {"units": "1"},
            ),
            "controlled_baseline": ("controlled_baseline", [0.0, 0.8], {"units": "1"}),
        },
        attrs={"dynamics": "ascend_sampled", "gap": rewards[0] - rewards[1], "learning_rate": law.LEARNING_RATE},
    )


def _controlled(seeds: int, key: Any) -> np.ndarray:
    """Shares of seeds of the controlled problems that escape, without baseline and with r_med as one."""
    policies, truth = np.asarray(paper.INITIAL_POLICIES, float), np.asarray(paper.TRUE_REWARD, float)
    start = np.repeat(policies, 2, axis=0)[:, None]
    proxy = np.tile(np.stack([truth, truth - 0.8]), (len(policies), 1))[:, None]
    batch = Batch.tabular(start, truth, proxy)
    keys = jax.random.split(key, (len(batch), seeds))
    end = ascend_sampled_many(batch, paper.STEPS, keys, learning_rate=paper.LEARNING_RATE, save_every=paper.STEPS)
    return (np.asarray(end.true_value)[..., -1] > paper.TARGET).mean(axis=1).reshape(len(policies), 2)
