"""Datasets with the variables of the controlled experiments and made-up smooth curves: figures need no simulation."""

import numpy as np
import pytest
import xarray

OUTPUTS = np.array(["y*", "y_med", "bad 1", "bad 2", "bad 3"], dtype=object)
REWARDS = np.array(["ground truth", "proxy"], dtype=object)
TRUE = np.array([1.0, 0.8, -1.0, -1.0, -1.0])


def curves(updates, start, escape):
    """Probabilities [S, 5]: the mediocre output takes over, then y* at the update `escape`."""
    late = 1 / (1 + (escape / np.maximum(updates, 1e-3)) ** 4)
    early = 1 / (1 + (60 / np.maximum(updates, 1e-3)) ** 1.5)
    bad = (0.5 - start) / 3 * (1 - early) * (1 - late)
    best = start * (1 - early) * (1 - late) + late
    return np.stack([best, 1 - best - 3 * bad, bad, bad, bad], axis=-1)


def exact(starts_dim, starts, rewards, escapes):
    updates = np.unique(np.geomspace(1, 50_000, 120).round())
    updates = np.concatenate([[0], updates])
    equivalent = np.concatenate([[0], np.geomspace(0.3, 50_000, 150)])

    def paths(at):
        return np.array(
            [[curves(at, 0.05 + 0.05 * i, escapes[i][j]) for j in range(len(rewards))] for i in range(len(starts))]
        )

    dims = (starts_dim, "training_reward")
    ascent, flow = paths(updates), paths(equivalent)
    shape = ascent.shape[:2]
    proxy = np.stack([TRUE, [1, -1, -1, -1, -1]])[: len(rewards)]
    return xarray.Dataset(
        {
            "true_value": ((*dims, "update"), ascent @ TRUE),
            "log_policy": ((*dims, "update", "prompt", "output"), np.log(ascent)[..., None, :]),
            "flow_true_value": ((*dims, "time"), flow @ TRUE),
            "flow_log_policy": ((*dims, "time", "prompt", "output"), np.log(flow)[..., None, :]),
            "hitting_time": (dims, np.array(escapes, float)[:, : len(rewards)]),
            "true_reward": ((*dims, "prompt", "output"), np.broadcast_to(TRUE, (*shape, 1, 5))),
            "proxy_reward": ((*dims, "prompt", "output"), np.broadcast_to(proxy[:, None], (*shape, 1, 5))),
        },
        {
            starts_dim: starts,
            "training_reward": rewards,
            "update": updates,
            "time": equivalent * 0.1,
            "equivalent_update": ("time", equivalent),
            "output": OUTPUTS,
        },
        {"target": 0.9, "learning_rate": 0.1},
    )


@pytest.fixture(scope="module")
def controlled_dataset():
    return exact("initial_probability", [0.05, 0.1, 0.15], REWARDS, [[np.inf, 168], [10_690, 120], [1_393, 101]])


@pytest.fixture(scope="module")
def features_dataset():
    sets = np.array(["orthogonal", "negative", "positive"], dtype=object)
    dataset = exact("feature_set", sets, REWARDS, [[19_165, 82], [np.inf, 75], [443, 120]])
    matrices = np.tile(np.eye(5), (3, 2, 1, 1, 1))
    matrices[..., 0, 0] = 1.5
    matrices[1, ..., 1, :2] = [-0.7, 0.7]
    matrices[2, ..., 1, :2] = [0.7, 0.7]
    dims = ("feature_set", "training_reward", "prompt", "output", "feature")
    return dataset.assign(features=(dims, matrices), inner_product=("feature_set", [0.0, -1.05, 1.05]))


@pytest.fixture(scope="module")
def reinforce_dataset(controlled_dataset):
    rng = np.random.default_rng(0)
    seeds = xarray.DataArray(rng.normal(0, 0.02, 30), dims="seed")
    noisy = controlled_dataset[["true_value"]] + seeds
    log_policy = controlled_dataset["log_policy"] - abs(seeds)
    dataset = xarray.Dataset({"true_value": noisy["true_value"], "log_policy": log_policy})
    dataset = dataset.transpose("initial_probability", "training_reward", "seed", "update", "prompt", "output")
    dataset["true_reward"] = controlled_dataset["true_reward"]
    return dataset.assign_attrs(controlled_dataset.attrs)
