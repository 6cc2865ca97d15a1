"""Exact-gradient training on the ground truth and on a flawed proxy (arXiv 2604.25872, section 3.3 and appendix C).

Three initial policies times two training rewards: six runs of 50,000 updates of plain gradient ascent with learning
rate .1, each also as the gradient flow to t = 5,000.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import xarray

from experiments import controlled_problems as paper
from experiments import exact_runs
from experiments.made_by import recorded
from pgdyn.validate import Numbers


@recorded
def run(
    initial_policies: Numbers = paper.INITIAL_POLICIES,
    true_reward: Numbers = paper.TRUE_REWARD,
    training_rewards: Mapping[str, Numbers] = paper.TRAINING_REWARDS,
    *,
    steps: int = paper.STEPS,
    learning_rate: float = paper.LEARNING_RATE,
    target: float = paper.TARGET,
    output_names: Sequence[str] = paper.OUTPUT_NAMES,
) -> xarray.Dataset:
    """Runs every initial policy under every training reward, as gradient ascent and as gradient flow.

    Args:
        initial_policies: [N, K], positive rows summing to 1.
        true_reward: [K], the ground truth.
        training_rewards: name -> [K], the rewards that are climbed.
        steps: updates of ascent; the flow runs to `learning_rate * steps`.
        learning_rate: of plain SGD.
        target: true value whose hitting times are wanted.
        output_names: [K].

    Returns:
        The dataset of `exact_runs.run` with dimensions "initial_probability" (its coordinate: the initial probability
        of the best output) and "training_reward".

    Raises:
        ValueError: naming the setting that is wrong.
    """
    problems = paper.tabular_grid(initial_policies, true_reward, training_rewards)
    coordinates = paper.grid_coordinates(initial_policies, true_reward, training_rewards, output_names)
    rewards = len(training_rewards)
    axes = {"initial_probability": len(problems) // rewards, "training_reward": rewards}
    dataset = exact_runs.run(problems, axes, steps=steps, learning_rate=learning_rate, target=target)
    return dataset.assign_coords(coordinates)
