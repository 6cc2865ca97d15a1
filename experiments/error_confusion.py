"""How often a reward error's effect is predicted before any training, over random problems.

By the exact solution of the flow, and by the a-priori mechanism of the error.
"""

from __future__ import annotations

import numpy as np
import xarray

from experiments.made_by import recorded
from pgdyn import Batch, Flow, flow_many, validate
from pgdyn.errors.categories import UNDECIDED
from pgdyn.errors.categorize import compare
from pgdyn.errors.mechanism import PREDICTED, causes
from pgdyn.errors.prediction import predict
from pgdyn.solve import Progress


@recorded
def run(
    count: int = 100_000,
    *,
    outputs: int = 5,
    most_changed: int = 3,
    spread: float = 1.5,
    t1: float = 1e6,
    tolerance: float = 0.01,
    seed: int = 0,
    max_steps: int = 65536,
    progress: Progress | None = None,
) -> xarray.Dataset:
    """Simulates random problems with random errors: the category of each beside what was predicted.

    A problem has start logits normal with standard deviation `spread` and true rewards uniform in [-1, 1]; its error
    gives 1 to `most_changed` outputs, equally often, new rewards uniform in [-1, 1]. The target is half way between the
    best and the second best true reward; problems that start above it are drawn again.

    Args:
        count: problems.
        outputs: K.
        most_changed: most outputs changed.
        spread: of the start logits.
        t1: end time.
        tolerance: relative difference below which an error is benign.
        seed: of the random numbers.
        max_steps: step budget of each flow.
        progress: called with (flows ended, all flows).

    Returns:
        Over "problem": `category` ("undecided" where a flow broke off before its time was known), `mechanism`,
        `mechanism_category` (which it implies), `predicted` and `predicted_speedup` (by the exact solution), `speedup`
        (nan where undecided), `changed` (outputs changed), `heaviest_error` (the change of the
        reward of the output whose type is the mechanism; nan for "none") and the rewards and initial policies.

    Raises:
        ValueError: on settings out of range.
    """
    count = validate.count("count", count, minimum=1)
    outputs = validate.count("outputs", outputs, minimum=3)
    most = validate.count("most_changed", most_changed, minimum=1)
    policy, truth, proxy, goal, changed = draw_problems(count, outputs, most, spread, np.random.default_rng(seed))
    truths = Batch.tabular(policy[:, None], truth[:, None])
    proxies = truths.replace(proxy_reward=proxy[:, None])
    solutions = [
        flow_many(batch, t1, target=goal, max_steps=max_steps, progress=_shifted(progress, before, 2 * count))
        for batch, before in ((truths, 0), (proxies, count))
    ]
    category, speedup = compare(solutions[0], solutions[1], tolerance)
    told = predict(truths, proxies, Flow(t1=t1, target=goal), tolerance)
    cause = causes(proxies, goal)
    error = np.take_along_axis(proxy - truth, cause.output[:, None], axis=1)[:, 0]
    described = {"units": "1", "long_name": "time on the truth / time on the proxy"}
    row = ("problem", "output")
    return xarray.Dataset(
        {
            "category": ("problem", category.astype(object), {"long_name": "simulated category"}),
            "mechanism": ("problem", cause.mechanism.astype(object), {"long_name": "a-priori mechanism"}),
            "mechanism_category": (
                "problem",
                np.array([PREDICTED[name] for name in cause.mechanism], dtype=object),
                {"long_name": "category that the mechanism implies"},
            ),
            "predicted": ("problem", told.category, {"long_name": "category by the exact solution"}),
            "predicted_speedup": (
                "problem",
                told.speedup,
                {"units": "1", "long_name": "speed-up, exact"},
            ),
            "speedup": ("problem", np.where(category == UNDECIDED, np.nan, speedup), described),
            "changed": ("problem", changed, {"units": "1", "long_name": "outputs with a wrong reward"}),
            "heaviest_error": ("problem", np.where(cause.output < 0, np.nan, error), {"units": "reward"}),
            "initial_policy": (row, policy, {"units": "1"}),
            "true_reward": (row, truth, {"units": "reward"}),
            "proxy_reward": (row, proxy, {"units": "reward"}),
            "target": ("problem", goal, {"units": "reward"}),
        },
        attrs=solutions[1].to_dataset().attrs,
    )


def _shifted(progress: Progress | None, before: int, total: int) -> Progress | None:
    """The progress of one of several batches, the earlier ones counted in."""
    return None if progress is None else lambda ended, _: progress(before + ended, total)


def draw_problems(
    count: int, outputs: int, most: int, spread: float, rng: np.random.Generator
) -> tuple[np.ndarray, ...]:
    """Initial policies [N, K], true and proxy rewards [N, K], targets [N] and how many outputs are changed [N]."""
    kept, have = [], 0
    while have < count:
        logits = spread * rng.normal(size=(count, outputs))
        policy = np.exp(logits - logits.max(axis=1, keepdims=True))
        policy /= policy.sum(axis=1, keepdims=True)
        truth = rng.uniform(-1, 1, (count, outputs))
        changed = rng.integers(1, min(most, outputs) + 1, count)
        # The outputs whose random rank is below `changed` are the changed ones.
        ranks = rng.uniform(size=(count, outputs)).argsort(axis=1).argsort(axis=1)
        proxy = np.where(ranks < changed[:, None], rng.uniform(-1, 1, (count, outputs)), truth)
        goal = np.sort(truth, axis=1)[:, -2:].mean(axis=1)
        below = (policy * truth).sum(axis=1) < goal
        kept.append([array[below] for array in (policy, truth, proxy, goal, changed)])
        have += int(below.sum())
    return tuple(np.concatenate(arrays)[:count] for arrays in zip(*kept, strict=True))
