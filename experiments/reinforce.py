"""REINFORCE on the ground truth and on a flawed proxy, over many seeds (arXiv 2604.25872, appendix C).

The six runs of `experiments.controlled` with one sampled output an update and no baseline: the loss of an update is
-r(y) log pi(y). Every problem and seed has a key of its own, folded from one root seed: a run with more seeds repeats
those of a run with fewer.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
import xarray
from jaxtyping import Array

import pgdyn
from experiments import controlled_problems as paper
from experiments import grids, log_time
from experiments.made_by import recorded
from pgdyn import AscendSampled, Batch, Solution, validate
from pgdyn.estimators import Estimator
from pgdyn.solve import Progress
from pgdyn.validate import Numbers

SEEDS = 200
_UNUSED = ("params", "reward_variance", "kl", "proxy_value")  # bulk that can be had from log_policy


@recorded
def run(
    initial_policies: Numbers = paper.INITIAL_POLICIES,
    true_reward: Numbers = paper.TRUE_REWARD,
    training_rewards: Mapping[str, Numbers] = paper.TRAINING_REWARDS,
    *,
    seeds: int = SEEDS,
    root_seed: int = 0,
    steps: int = paper.STEPS,
    learning_rate: float = paper.LEARNING_RATE,
    target: float = paper.TARGET,
    estimator: Estimator | None = None,
    output_names: Sequence[str] = paper.OUTPUT_NAMES,
    chunk: int = 25,
    progress: Progress | None = None,
) -> xarray.Dataset:
    """Runs every initial policy under every training reward and seed, as sampled ascent.

    Args:
        initial_policies: [N, K], positive rows summing to 1.
        true_reward: [K], the ground truth.
        training_rewards: name -> [K], the rewards that are climbed.
        seeds: runs of each problem.
        root_seed: the seed from which every key is folded: first the problem's number, then the seed's.
        steps: updates.
        learning_rate: of plain SGD.
        target: true value whose hitting times are wanted.
        estimator: of the gradient; None for REINFORCE with one output and no baseline.
        output_names: [K].
        chunk: seeds run at once; it changes memory and time, not the numbers.
        progress: called with (seeds done, seeds in all) after each chunk.

    Returns:
        `true_value` and `log_policy` along "update", `hitting_time` and `result`, with dimensions
        "initial_probability", "training_reward" and "seed".

    Raises:
        ValueError: naming the setting that is wrong.
    """
    seeds = validate.count("seeds", seeds, minimum=1)
    chunk = validate.count("chunk", chunk, minimum=1)
    problems = paper.tabular_grid(initial_policies, true_reward, training_rewards)
    coordinates = paper.grid_coordinates(initial_policies, true_reward, training_rewards, output_names)
    rewards = len(training_rewards)
    axes = {"initial_probability": len(problems) // rewards, "training_reward": rewards}
    keys = _keys(validate.count("root_seed", root_seed, minimum=0), len(problems), seeds)
    settings = AscendSampled(steps, estimator=estimator, target=target, learning_rate=learning_rate)
    parts: list[xarray.Dataset] = []
    for first in range(0, seeds, chunk):
        last = min(first + chunk, seeds)
        part = _run_seeds(problems, settings, keys[:, first:last]).to_dataset(("run", "seed"))
        parts.append(part.drop_vars(_UNUSED).assign_coords(seed=np.arange(first, last)))
        if progress is not None:
            progress(last, seeds)
    dataset = xarray.concat(
        parts, "seed", data_vars="minimal", coords="minimal", compat="override", combine_attrs="override"
    )
    del dataset["result"].attrs["message"]  # it counts the seeds of the first part alone
    dataset = grids.unstack(dataset, axes).rename(time="update").assign_coords(coordinates)
    return dataset.assign_attrs(keys="fold_in(fold_in(key(root_seed), number of the problem in the grid), seed)")


def _keys(root_seed: int, problems: int, seeds: int) -> Array:
    """Makes the keys [problems, seeds]."""
    fold = jax.vmap(jax.random.fold_in, in_axes=(None, 0))
    of_problems = fold(jax.random.key(root_seed), jnp.arange(problems))
    return jax.vmap(fold, in_axes=(0, None))(of_problems, jnp.arange(seeds))


def _run_seeds(problems: Batch, settings: AscendSampled, keys: Array) -> Solution:
    def part(updates: int, save_every: int) -> Solution:
        return pgdyn.solve(problems, dataclasses.replace(settings, steps=updates, key=keys, save_every=save_every))

    return log_time.join(part, settings.steps)
