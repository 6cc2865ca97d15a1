"""How a KL penalty to the start shortens the stall on a mediocre output, and what it costs in the end.

Gradient flow of V_G - beta KL(pi || pi_0) on the controlled problems of arXiv 2604.25872, for weights beta from 0 up.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray

from experiments import controlled_problems as paper
from experiments import grids
from experiments.made_by import recorded
from pgdyn import Batch, Objective, flow_many
from pgdyn.validate import Numbers

WEIGHTS = (0.0, *(float(weight) for weight in np.geomspace(1e-4, 0.3, 57)), 0.001, 0.003, 0.01, 0.03)


@recorded
def run(
    initial_policies: Numbers = paper.INITIAL_POLICIES,
    true_reward: Numbers = paper.TRUE_REWARD,
    weights: Sequence[float] = WEIGHTS,
    *,
    target: float = 0.85,
    t1: float = 1e7,
    rtol: float = 1e-8,
    atol: float = 1e-10,
) -> xarray.Dataset:
    """Runs the flow from every initial policy under every weight.

    Args:
        initial_policies: [N, K].
        true_reward: [K].
        weights: of the penalty, 0 or more.
        target: true value whose hitting times are wanted.
        t1: latest time.
        rtol: relative tolerance of the flow.
        atol: absolute tolerance of the flow.

    Returns:
        Along "initial_probability" and "weight", in order: `hitting_time`, `true_value` at t1, and
        `optimal_value`, the true value of the penalised optimum, in proportion to pi_0 e^{r/beta}.
    """
    order = np.sort(np.asarray(weights, float))
    start, reward = np.asarray(initial_policies, float), np.asarray(true_reward, float)
    axes = {"initial_probability": len(start), "weight": len(order)}
    batch = Batch.tabular(np.repeat(start, len(order), axis=0)[:, None], reward)
    objective = Objective(kl=np.tile(order, len(start)))
    found = flow_many(batch, t1, objective=objective, target=target, rtol=rtol, atol=atol)
    dataset = grids.unstack(found.to_dataset()[["hitting_time", "true_value"]], axes)
    # e^{(r - max r)/beta}, which is 0 but for the best output where beta is 0.
    tilt = (reward - reward.max()) / np.maximum(order, np.finfo(float).tiny)[:, None]
    optimum = start[:, None] * np.exp(tilt)
    value = (optimum * reward).sum(axis=-1) / optimum.sum(axis=-1)
    described = {"units": "1", "long_name": "true value of the penalised optimum"}
    return dataset.assign(optimal_value=(tuple(axes), value, described)).assign_coords(
        initial_probability=(
            "initial_probability",
            start[:, 0],
            {"units": "1", "long_name": "initial probability of y*"},
        ),
        weight=("weight", order, {"units": "1", "long_name": "weight of the KL penalty"}),
    )
