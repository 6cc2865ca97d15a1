"""The five types of reward errors of arXiv 2604.25872, one error for each, with the paths that they lead along.

All runs start at the policy (.05, .5, .225, .225, 1e-8) over (y*, y_2, two bad outputs, one rare bad output). There are
two settings: y_2 as bad as the others, and y_2 mediocre (true reward .8), as in appendix C of the paper. The harmful
and the benign types need no mediocre output and are shown without one. The beneficial type is about one. Every error is
also made in the other setting, because a mediocre output that competes can reverse its effect (theory:
single_error_table).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import xarray

from experiments import controlled_problems as paper
from experiments import grids
from experiments.made_by import recorded
from pgdyn import Batch, validate
from pgdyn.errors.categories import classify, compare_times
from pgdyn.errors.mechanism import PREDICTED, causes

RARE = 1e-8
MEDIOCRE = 1
OUTPUT_NAMES = ("y*", "y_med", "bad 1", "bad 2", "bad, rare")


@dataclasses.dataclass(frozen=True)
class ErrorType:
    """One type of the paper's table, and an error that belongs to it.

    Attributes:
        name: the type, as `pgdyn.errors.mechanism` names it.
        label: what the table says of it: "harmful", "benign" or "beneficial".
        output: whose reward is wrong.
        value: its proxy reward.
        needs_mediocre: whether the type is about a mediocre output.
    """

    name: str
    label: str
    output: int
    value: float
    needs_mediocre: bool = False


TYPES = (
    ErrorType("reward hacking", "harmful", 2, 1.5),
    ErrorType("stalling", "harmful", 2, 0.8),
    ErrorType("never attracts", "benign", 2, -2.0),
    ErrorType("negligible probability", "benign", 4, 1.5),
    ErrorType("escapes mediocrity", "beneficial", MEDIOCRE, -1.0, needs_mediocre=True),
)


@recorded
def run(
    types: Sequence[ErrorType] = TYPES,
    *,
    t1: float = 1e6,
    target: float = paper.TARGET,
    tolerance: float = 0.01,
    rare: float = RARE,
    saves: int = 400,
    rtol: float = 1e-9,
    atol: float = 1e-11,
) -> xarray.Dataset:
    """Runs gradient flow on the ground truth and on each error's proxy.

    Args:
        types: the errors.
        t1: end time.
        target: true value to reach.
        tolerance: relative difference of times below which an error counts as benign. The types differ by orders of
            magnitude, and even an output that never attracts shifts the mean that others compete against a little.
        rare: initial probability of the rare output; the two other bad ones share the rest.
        saves: points of a path, evenly spaced in log(1 + t).
        rtol: relative tolerance of the flows.
        atol: absolute tolerance of the flows.

    Returns:
        Over "type": `label`, `mechanism` (a priori) and the `mechanism_category` that it implies, `category`
        (simulated), `speedup`, `true_reward`, `proxy_reward` [type, output], `changed_output`; over
        ("type", "training_reward"): `hitting_time`, and along "time" also what else a `Solution` holds. With "other_"
        in front, category and speed-up of the same proxy in the other setting (none for types that need a mediocre
        output).

    Raises:
        ValueError: on an empty list or settings out of range.
    """
    if not types:
        raise ValueError("types is empty; it must hold at least one error")
    rest = (0.45 - float(validate.scalar("rare", rare, positive=True))) / 2
    policy = np.array([0.05, 0.5, rest, rest, rare])
    own, other = (np.stack([_truth(one.needs_mediocre != turned) for one in types]) for turned in (False, True))
    proxies = [_with_errors(truth, types) for truth in (own, other)]
    axes = {"setting": 2, "type": len(types), "training_reward": 2}
    truths = np.broadcast_to(np.stack([own, other])[:, :, None], (*axes.values(), len(policy)))
    trained = np.stack([np.stack([t, p], axis=1) for t, p in zip((own, other), proxies, strict=True)])
    problems = Batch.tabular(policy, *(array.reshape(-1, 1, len(policy)) for array in (truths, trained)))
    paths = grids.flow_paths(problems, t1, target=target, saves=saves, rtol=rtol, atol=atol)
    runs = grids.unstack(paths.to_dataset(), axes).isel(prompt=0)
    hits, ends = runs["hitting_time"].values, runs["true_value"].values[..., -1]
    speedup = compare_times(hits[..., 0], hits[..., 1])
    spread = np.ptp(truths[:, :, 0], axis=-1)
    category = classify(hits[..., 0], hits[..., 1], ends[..., 0], ends[..., 1], tolerance, spread)
    found = paper.labels(causes(Batch.tabular(policy, own[:, None], proxies[0][:, None]), target).mechanism.tolist())
    alone = np.array([not one.needs_mediocre for one in types])
    return (
        runs.isel(setting=0)
        .assign(
            label=("type", paper.labels([one.label for one in types]), {"long_name": "the paper's table"}),
            mechanism=("type", found, {"long_name": "a-priori mechanism"}),
            mechanism_category=("type", paper.labels([PREDICTED[name] for name in found])),
            category=("type", category[0].astype(object), {"long_name": "simulated category"}),
            speedup=("type", speedup[0], {"units": "1", "long_name": "time on the truth / time on the proxy"}),
            other_category=("type", np.where(alone, category[1], "").astype(object)),
            other_speedup=("type", np.where(alone, speedup[1], np.nan), {"units": "1"}),
            changed_output=("type", [one.output for one in types]),
            true_reward=(("type", "output"), own, {"units": "reward"}),
            proxy_reward=(("type", "output"), proxies[0], {"units": "reward"}),
            initial_probability=("output", policy, {"units": "1"}),
        )
        .assign_coords(
            type=paper.labels([one.name for one in types]),
            training_reward=paper.labels(["ground truth", "proxy"]),
            output=paper.labels(OUTPUT_NAMES),
        )
    )


def _truth(mediocre: bool) -> np.ndarray:
    truth = np.asarray(paper.TRUE_REWARD, float).copy()
    if not mediocre:
        truth[MEDIOCRE] = truth.min()
    return truth


def _with_errors(truth: np.ndarray, types: Sequence[ErrorType]) -> np.ndarray:
    proxies = truth.copy()
    for row, one in enumerate(types):
        proxies[row, one.output] = one.value
    return proxies
