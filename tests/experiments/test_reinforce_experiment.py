"""The REINFORCE experiment: keys, chunks, dimensions, and its updates against a NumPy replay of the drawn outputs."""

import numpy as np
import pytest

from experiments import controlled_problems, reinforce

STEPS = 60


@pytest.fixture(scope="module")
def five():
    calls = []
    dataset = reinforce.run(seeds=5, steps=STEPS, chunk=2, progress=lambda done, total: calls.append((done, total)))
    return dataset, calls


def test_dimensions_and_progress(five):
    dataset, calls = five
    assert calls == [(2, 5), (4, 5), (5, 5)]
    assert dataset["true_value"].dims == ("initial_probability", "training_reward", "seed", "update")
    assert dataset["hitting_time"].shape == (3, 2, 5)
    assert dataset["seed"].values.tolist() == [0, 1, 2, 3, 4]
    assert "seed" not in dataset["true_reward"].dims
    assert dataset.attrs["dynamics"] == "ascend_sampled" and dataset.attrs["root_seed"] == 0


def test_numbers_depend_on_neither_chunks_nor_the_number_of_seeds(five):
    dataset, _ = five
    other = reinforce.run(seeds=2, steps=STEPS, chunk=2)
    np.testing.assert_array_equal(dataset["true_value"].isel(seed=slice(2)), other["true_value"])


def test_every_run_and_seed_draws_its_own_outputs(five):
    dataset, _ = five
    paths = dataset["log_policy"].values.reshape(30, -1)
    moves = dataset["log_policy"].diff("update").values.reshape(30, -1)
    assert len(np.unique(paths, axis=0)) == 30
    # The two rewards agree on y* and the bad outputs, so shared draws would show as equal first updates of a pair.
    pairs = dataset["log_policy"].isel(update=slice(1, 6), initial_probability=0)
    same = np.isclose(pairs.isel(training_reward=0), pairs.isel(training_reward=1)).all(axis=(1, 2, 3))
    assert not same.all() and np.isfinite(moves).all()


def test_every_update_is_one_sampled_output_without_baseline():
    """Oracle: each update of the logits is lr r(y) (onehot(y) - pi) for one output y; a NumPy replay."""
    dataset = reinforce.run(seeds=2, steps=STEPS, chunk=2)
    log_policy = dataset["log_policy"].isel(prompt=0)
    at = dataset["update"].values
    consecutive = np.flatnonzero(np.diff(at) == 1)
    assert len(consecutive) >= 10
    for j, reward in enumerate(controlled_problems.TRAINING_REWARDS.values()):
        for seed in range(2):
            path = log_policy.isel(initial_probability=0, training_reward=j, seed=seed).values
            for i in consecutive:
                policy = np.exp(path[i])
                logits = path[i] + 0.1 * np.array(reward)[:, None] * (np.eye(5) - policy)
                after = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
                assert np.abs(after - path[i + 1]).max(axis=1).min() < 1e-12


@pytest.mark.parametrize(("name", "value"), [("seeds", 0), ("chunk", 0), ("root_seed", -1)])
def test_refusals(name, value):
    with pytest.raises(ValueError, match=f"{name} is {value}"):
        reinforce.run(**{"steps": 5, name: value})
