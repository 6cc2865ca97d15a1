"""Batches of flows, and calls that run them, for tests of how the engine behaves."""

import jax
import numpy as np

import pgdyn
from pgdyn.solution import OBSERVED

ONE = jax.local_devices()[:1]
FIELDS = (*OBSERVED, "hitting_time", "steps", "result")
T1, TARGET = 500.0, 0.5
COUNT = 900  # far more than are stepped at once


def tabular(count=COUNT, seed=0):
    rng = np.random.default_rng(seed)
    policy = rng.dirichlet(np.ones(5), (count, 1)) * 0.99 + 0.002
    reward = rng.uniform(-1, 1, (count, 1, 5))
    return pgdyn.Batch.tabular(policy, reward, reward + 0.3 * rng.normal(size=reward.shape))


def run(problems, **options):
    return pgdyn.flow_many(problems, T1, **{"target": TARGET, "devices": ONE, **options})


def assert_same_bits(found, expected, where=slice(None), among=slice(None)):
    """Every field of `found[where]` equals `expected[among]` to the last bit."""
    for name in FIELDS:
        np.testing.assert_array_equal(getattr(found, name)[where], getattr(expected, name)[among], err_msg=name)
