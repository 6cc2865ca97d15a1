"""REINFORCE on the ground truth and on a flawed proxy, over many seeds (arXiv 2604.25872, appendix C).

The six runs of `experiments.controlled` with one sampled output an update and no baseline: the loss of an update is
-r(y) log pi(y). Every run and seed has a key of its own, folded from one root seed, so that more seeds extend fewer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import xarray
from jaxtyping import Array

import pgdyn
from experiments import controlled_problems as paper
from experiments import log_time
from pgdyn import Problem, Trajectory, validate
from pgdyn.estimators import Estimator, Reinforce
from pgdyn.validate import Numbers

SEEDS = 200
_UNUSED = ("params", "reward_variance", "kl", "proxy_value")  # bulk that can be had from log_policy


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
    progress: Callable[[int, int], None] | None = None,
) -> xarray.Dataset:
    """Every initial policy under every training reward and seed, as sampled ascent.

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
    shape = problems.true_reward.shape[:2]
    root = jax.random.key(validate.count("root_seed", root_seed, minimum=0))
    steps = validate.count("steps", steps, minimum=1)
    rate = validate.scalar("learning_rate", learning_rate, positive=True)
    goal = validate.scalar("target", target)
    estimator = Reinforce() if estimator is None else estimator
    numbers = jnp.arange(shape[0] * shape[1]).reshape(shape)
    dims = ("initial_probability", "training_reward", "seed")
    parts = []
    for first in range(0, seeds, chunk):
        last = min(first + chunk, seeds)
        part = _runs(problems, numbers, jnp.arange(first, last), root, rate, goal, estimator, steps).to_dataset(dims)
        parts.append(part.drop_vars(_UNUSED).assign_coords(seed=np.arange(first, last)))
        if progress is not None:
            progress(last, seeds)
    varying = ["true_value", "log_policy", "hitting_time", "result", "steps"]
    shared = parts[0].drop_vars(varying).isel(seed=0, drop=True)
    dataset = xarray.concat([part[varying] for part in parts], dim="seed", combine_attrs="override")
    dataset = dataset.merge(shared).rename(time="update")
    dataset.attrs = {
        **parts[0].attrs,
        "settings": {"optimizer": "sgd", "estimator": type(estimator).__name__, "group_size": estimator.group_size},
        "learning_rate": learning_rate,
        "steps": steps,
        "target": target,
        "seeds": seeds,
        "root_seed": root_seed,
        "keys": "fold_in(fold_in(key(root_seed), number of the problem in the grid), seed)",
    }
    return dataset.assign_coords(coordinates)


@eqx.filter_jit
def _runs(
    problems: Problem,
    numbers: Array,
    seeds: Array,
    root: Array,
    learning_rate: Array,
    target: Array,
    estimator: Estimator,
    steps: int,
) -> Trajectory:
    def one(problem: Problem, number: Array, seed: Array) -> Trajectory:
        key = jax.random.fold_in(jax.random.fold_in(root, number), seed)

        def part(updates: int, save_every: int) -> Trajectory:
            return pgdyn.ascend_sampled(
                problem,
                updates,
                key,
                estimator=estimator,
                optimizer=optax.sgd(learning_rate),
                target=target,
                save_every=save_every,
            )

        return log_time.join(part, steps)

    over_seeds = jax.vmap(one, in_axes=(None, None, 0))
    return jax.vmap(jax.vmap(over_seeds, in_axes=(0, 0, None)), in_axes=(0, 0, None))(problems, numbers, seeds)
