r"""Which critiques a judge learns when only its label is rewarded: sound ones, or flawed ones that guess.

A judge writes a critique, sound with probability pi_0, and then one of L labels (`pgdyn.mdp.two_stage`). After a sound
critique the right label has probability .9, after a flawed one 1/L. Trained on the outcome alone it may learn the right
label after a flawed critique before it learns to write sound ones (the outcome-process inconsistency of RM-NLHF).

The L - 1 wrong labels are alike and stay so. They count as one whose logit is theta / sqrt(L - 1): of the sum of their
probabilities each has its share of the gradient, so that their common logit moves 1/(L - 1) as fast. Every L then has
the same shape.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray

from experiments import grids
from experiments.made_by import recorded
from pgdyn import Batch, flow_many, mdp
from pgdyn.mdp import rewards

RIGHT_AFTER_SOUND = 0.9
STARTS = (*(float(s) for s in np.geomspace(0.01, 0.5, 36)), 0.05, 0.1, 0.3)
BOUNDARY_LABELS = (2, 3, 4, 5, 6, 8, 10, 16, 32, 64, 128, 256, 1024)
LABELS = (2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 14, 16, 20, 24, 28, 32, 40, 48, 56, 64)


@recorded
def run(
    starts: Sequence[float] = STARTS,
    labels: Sequence[int] = LABELS,
    process_weights: Sequence[float] = (0.0, 0.001, 0.003, 0.01, 0.05),
    boundary_labels: Sequence[int] = BOUNDARY_LABELS,
    *,
    start: float = 0.1,
    t1: float = 1e5,
    rtol: float = 1e-8,
    atol: float = 1e-10,
) -> xarray.Dataset:
    """Runs the flow from every start with every number of labels.

    Args:
        starts: pi_0, the initial probability of a sound critique.
        labels: L, 2 or more.
        process_weights: of a reward for sound critiques beside the outcome, in the second part.
        boundary_labels: L at which the boundary between the two phases is looked for.
        start: pi_0 of the second part.
        t1: how long is trained.
        rtol: relative tolerance of the flow.
        atol: absolute tolerance of the flow.

    Returns:
        Along "start" (in order) and "labels": `sound`, the probability of a sound critique at t1, and `outcome`, that
        of the right label, both trained on the outcome. Along "process_weight" and "labels": `processed`, like `sound`,
        with a process reward besides. Along "labels": `gated`, with a reward of the outcome after sound critiques only.
        Along "boundary_labels": `boundary`, the pi_0 from which a sound critique is as likely as a flawed one at t1.
    """
    order, sizes = np.sort(np.unique(np.asarray(starts, float))), np.asarray(labels)
    weights = np.asarray(process_weights, float)
    outcome = rewards.judgement([True, False], 2)
    paid = [rewards.judgement([True, False], 2, process=float(weight)) for weight in weights]
    paid.append(rewards.judgement([True, False], 2, gated=True))
    lanes = [(s, size, outcome) for s in order for size in sizes]
    lanes += [(start, size, reward) for reward in paid for size in sizes]
    batch = judges(*(np.array(column) for column in zip(*lanes, strict=True)), outcome=outcome)
    found = flow_many(batch, t1, rtol=rtol, atol=atol)
    sound = np.exp(np.asarray(found.log_policy)[:, 0, 0])
    right = np.asarray(found.true_value)
    first = len(order) * len(sizes)
    edge = _boundary(np.asarray(boundary_labels), outcome, t1, {"rtol": rtol, "atol": atol})
    chosen = sound[first:].reshape(len(paid), -1)
    probability = {"units": "1", "long_name": "probability of a sound critique at the end"}
    one = {"sound": ("run", sound[:first], probability)}
    one["outcome"] = ("run", right[:first], {"units": "1", "long_name": "probability of the right label at the end"})
    grid = grids.unstack(xarray.Dataset(one), {"start": len(order), "labels": len(sizes)})
    return grid.assign(
        processed=(("process_weight", "labels"), chosen[:-1], probability),
        gated=("labels", chosen[-1], probability),
        boundary=("boundary_labels", edge, {"units": "1", "long_name": "initial probability at the boundary"}),
    ).assign_coords(
        start=("start", order, {"units": "1", "long_name": "initial probability of a sound critique"}),
        labels=("labels", sizes, {"units": "1", "long_name": "labels L"}),
        boundary_labels=("boundary_labels", np.asarray(boundary_labels), {"units": "1", "long_name": "labels L"}),
        process_weight=("process_weight", weights, {"units": "1", "long_name": "weight of the process reward"}),
    ).assign_attrs(dynamics="flow", right_after_sound=RIGHT_AFTER_SOUND)  # fmt: skip


def judges(sound: np.ndarray, labels: np.ndarray, reward: np.ndarray, *, outcome: np.ndarray) -> Batch:
    """Two-stage problems of a critique (sound, flawed) and a label (right, any wrong one).

    Args:
        sound: [N], the initial probability of a sound critique.
        labels: [N], L.
        reward: [N, 2, 2], trained on.
        outcome: [2, 2], the true reward.

    Example:
        >>> reward = rewards.judgement([True, False], 2)
        >>> batch = judges(np.array([0.1]), np.array([5]), reward[None], outcome=reward)
        >>> batch.features[0, 1].round(3).tolist()
        [[0.0, 0.0, 1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.5, 0.0, 0.0]]
    """
    count, wrong = len(sound), np.asarray(labels, float) - 1
    one = mdp.two_stage([0.5, 0.5], [[0.5, 0.5]] * 2, outcome)
    proxy = np.zeros((count, 3, 2))
    proxy[:, 1:] = reward
    right = np.full(count, RIGHT_AFTER_SOUND)
    chances = np.stack([sound, right, 1 / (wrong + 1)], axis=1)
    scale = np.ones((count, 3, 2))
    scale[:, 1:, 1] = 1 / np.sqrt(wrong)[:, None]
    features = np.zeros((count, 3, 2, 6))
    for p in range(3):
        for y in range(2):
            features[:, p, y, 2 * p + y] = scale[:, p, y]
    params = (np.log(np.stack([chances, 1 - chances], axis=-1)) / scale).reshape(count, 6)
    return Batch.linear(features, one.true_reward, proxy, initial_params=params, transitions=one.transitions)


def _boundary(labels: np.ndarray, outcome: np.ndarray, t1: float, tolerances: dict[str, float]) -> np.ndarray:
    """The pi_0 of each L at which pi(sound) is 1/2 in the end, by nested grids of ln pi_0."""
    low, high, many = np.full(len(labels), np.log(1e-5)), np.full(len(labels), np.log(0.9)), 24
    rows = np.arange(len(labels))
    for _ in range(5):
        tried = np.linspace(low, high, many)  # [many, L]
        sound = np.exp(tried.ravel())
        rewarded = np.broadcast_to(outcome, (sound.size, 2, 2))
        found = flow_many(judges(sound, np.tile(labels, many), rewarded, outcome=outcome), t1, **tolerances)
        first = (np.asarray(found.log_policy)[:, 0, 0].reshape(tried.shape) > np.log(0.5)).argmax(axis=0)
        low, high = tried[first - 1, rows], tried[first, rows]
    return np.exp((low + high) / 2)
