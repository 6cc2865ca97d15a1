"""How often the a-priori mechanism of a reward error predicts what training on it does, over random problems."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import xarray

from pgdyn import Problem, provenance, validate
from pgdyn.dynamics.ensemble import flow_many
from pgdyn.errors.categorize import classify, compare_times
from pgdyn.errors.mechanism import MECHANISMS, PREDICTED, dominant, output_types

Progress = Callable[[int, int], None]


def run(
    count: int = 100_000,
    *,
    outputs: int = 5,
    most_changed: int = 3,
    spread: float = 1.5,
    t1: float = 1e6,
    tolerance: float = 0.01,
    seed: int = 0,
    progress: Progress | None = None,
) -> xarray.Dataset:
    """Random problems with random errors: simulated category beside a-priori mechanism.

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
        progress: called with (flows ended, all flows).

    Returns:
        Over "problem": `category`, `mechanism`, `predicted`, `speedup`, `changed` (outputs changed), `heaviest_error`
        (the change of the reward of the output whose type is the mechanism) and the rewards and initial policies.

    Raises:
        ValueError: on settings out of range.
    """
    count = validate.count("count", count, minimum=1)
    outputs = validate.count("outputs", outputs, minimum=3)
    most = validate.count("most_changed", most_changed, minimum=1)
    policy, truth, proxy, goal, changed = _draw(count, outputs, most, spread, np.random.default_rng(seed))
    problems = Problem.tabular(policy[:, None], truth[:, None])
    erroneous = problems.with_proxy(proxy[:, None])
    base = flow_many(problems, t1, target=goal, progress=_shifted(progress, 0, 2 * count))
    found = flow_many(erroneous, t1, target=goal, progress=_shifted(progress, count, 2 * count))
    category = classify(
        base.hitting_time, found.hitting_time, base.true_value, found.true_value, tolerance, np.ptp(truth, axis=1)
    )
    types, weights = _types(erroneous, jnp.asarray(goal))
    code = np.asarray(jax.vmap(dominant)(types, weights))
    mechanism = np.asarray(MECHANISMS, dtype=object)[code]
    heavy = np.where(np.asarray(types)[:, 0] == code[:, None], np.asarray(weights)[:, 0], -1.0).argmax(axis=1)
    error = np.take_along_axis(proxy - truth, heavy[:, None], axis=1)[:, 0]
    row = ("problem", "output")
    return xarray.Dataset(
        {
            "category": ("problem", category.astype(object), {"long_name": "simulated category"}),
            "mechanism": ("problem", mechanism, {"long_name": "a-priori mechanism"}),
            "predicted": ("problem", np.array([PREDICTED[name] for name in mechanism], dtype=object)),
            "speedup": ("problem", compare_times(base.hitting_time, found.hitting_time), {"units": "1"}),
            "changed": ("problem", changed, {"units": "1", "long_name": "outputs with a wrong reward"}),
            "heaviest_error": ("problem", error, {"units": "reward"}),
            "initial_policy": (row, policy, {"units": "1"}),
            "true_reward": (row, truth, {"units": "reward"}),
            "proxy_reward": (row, proxy, {"units": "reward"}),
            "target": ("problem", goal, {"units": "reward"}),
        },
        attrs={
            "dynamics": "flow",
            **provenance.attributes({"t1": t1, "tolerance": tolerance, "seed": seed, "spread": spread}),
        },
    )


def _shifted(progress: Progress | None, before: int, total: int) -> Progress | None:
    return None if progress is None else lambda ended, _: progress(before + ended, total)


@jax.jit
def _types(problems: Problem, goal: jax.Array) -> tuple[jax.Array, jax.Array]:
    return jax.vmap(lambda problem, target: output_types(problem, problem.proxy_reward, target))(problems, goal)


def _draw(count: int, outputs: int, most: int, spread: float, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
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
