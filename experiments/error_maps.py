"""Maps of reward errors: the speed-up over training on the ground truth, over families of problems and errors.

The problems are those of the controlled experiments (arXiv 2604.25872, appendix C): y* with reward 1, y_med with .8,
bad outputs with -1, and an initial policy (e, .5, q, q, q).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jax
import numpy as np
import xarray
from jaxtyping import Array

from experiments import controlled_problems as paper
from experiments import feature_similarity, grids
from experiments.made_by import recorded
from pgdyn import Batch, Problem, categorize, flow_many, validate
from pgdyn.errors.categories import compare_times
from pgdyn.errors.perturb import SingleOutput
from pgdyn.solve import Progress
from pgdyn.theory import corner_laws, reward_errors

END = 1e18
_NAMES = {0: "y*", 1: "y_med", 2: "bad", 4: "bad, rare"}
# theory C7 (docs/theory.md): output, its new proxy reward, time to the true value .9 by SciPy's DOP853
SINGLE_ERROR_TABLE = tuple(
    (_NAMES[output], value, time)
    for (output, value), time in reward_errors.SINGLE_ERRORS.items()
    if value != reward_errors.TRUE_REWARD[output]
)
_TIME = {"units": "1", "long_name": "gradient-flow time to the target; inf: not before the end"}
_SPEEDUP = {"units": "1", "long_name": "time on the ground truth / time on the proxy"}


@recorded
def probability_map(
    probabilities: Sequence[float] | int = 200,
    rewards: Sequence[float] | int = 200,
    *,
    t1: float = END,
    target: float = paper.TARGET,
    progress: Progress | None = None,
) -> xarray.Dataset:
    """Maps the speed-up over (initial probability of y*, proxy reward of y_med).

    Args:
        probabilities: initial probabilities of y*, or how many between 1e-3 and .2, evenly spaced in the logarithm.
        rewards: proxy rewards of y_med, or how many between -1.5 and .99.
        t1: end time.
        target: true value to reach.
        progress: called with (flows ended, all flows).

    Returns:
        `time` and `speedup` over ("probability", "mediocre_reward") and `law_speedup`, that of the corner law taken at
        the start (`pgdyn.theory.corner_laws.escape_time`; nan where y_med is rated no better than the bad outputs);
        over "probability" `baseline_time` and two rewards: `repelled`, below which A_P(y_med) < 0 at the start
        (theory: advantage_sign), and `unstalled`, below which y* gains on y_med from the start, and so for ever
        (theory: unimodal_escape).

    Raises:
        ValueError: on an empty axis or a probability outside of (0, .5).
    """
    start = _axis("probabilities", probabilities, np.geomspace, 1e-3, 0.2)
    validate.require("probabilities", start, (start > 0) & (start < 0.5), "it must be between 0 and 0.5")
    mediocre = _axis("rewards", rewards, np.linspace, -1.5, 0.99)
    policies = np.stack([paper.initial_policy(float(e)) for e in start])
    problems = Batch.tabular(policies[:, None], paper.TRUE_REWARD)
    others = np.delete(policies, 1, axis=1)
    repelled = others @ np.delete(np.asarray(paper.TRUE_REWARD), 1) / others.sum(axis=1)
    # y* gains on y_med iff p (r* - V) > m (r - V), V = m r + V_others: a linear inequality in r.
    p, m = policies[:, 0], policies[:, 1]
    rest = others @ np.delete(np.asarray(paper.TRUE_REWARD), 1)
    unstalled = (p * (paper.TRUE_REWARD[0] - rest) + m * rest) / (m * (1 - m + p))
    axis = {"units": "1", "long_name": "initial probability of y*"}
    axes = {"probability": ("probability", start, axis), "mediocre_reward": _mediocre_axis(mediocre)}
    return _speedups(problems, axes, t1, target, progress).assign(
        law_speedup=(("probability", "mediocre_reward"), _corner_speedup(policies, mediocre), _SPEEDUP),
        repelled=("probability", repelled, {"units": "reward", "long_name": "mean proxy of the outputs but y_med"}),
        unstalled=("probability", unstalled, {"units": "reward", "long_name": "below it y* gains on y_med at once"}),
    )


def _corner_speedup(policies: np.ndarray, mediocre: np.ndarray) -> np.ndarray:
    """Gives [N, R]: the corner law's time on the ground truth over its time on the proxy, from the start's pulls."""
    best, true, bad = paper.TRUE_REWARD[:3]

    def time(policy: Array, reward: Array) -> Array:
        return corner_laws.escape_time((best - reward) * policy[0], (reward - bad) * policy[2:])

    over_rewards = jax.vmap(time, (None, 0))
    times = jax.jit(jax.vmap(over_rewards, (0, None)))(policies, np.array([*mediocre, true]))
    held = (mediocre > bad) & (mediocre < best)
    return np.where(held, np.asarray(times[:, -1:] / times[:, :-1]), np.nan)


@recorded
def similarity_map(
    cosines: Sequence[float] | int = 200,
    rewards: Sequence[float] | int = 200,
    *,
    probability: float = 1e-3,
    t1: float = 1e30,
    target: float = paper.TARGET,
    progress: Progress | None = None,
) -> xarray.Dataset:
    """Maps the speed-up over (inner product of y* and y_med, proxy reward of y_med), where the conclusion reverses.

    Features: phi(y*) = 1.5 e1, phi(y_med) = (c, sqrt(1 - c^2), 0, ...), the bad outputs the other axes.

    Args:
        cosines: c, or how many between -.95 and .95.
        rewards: proxy rewards of y_med, or how many between -1.5 and .99.
        probability: initial probability of y*.
        t1: end time.
        target: true value to reach.
        progress: called with (flows ended, all flows).

    Returns:
        As `probability_map`, over ("inner_product", "mediocre_reward").

    Raises:
        ValueError: on an empty axis or a cosine outside of (-1, 1).
    """
    cosine = _axis("cosines", cosines, np.linspace, -0.95, 0.95)
    validate.require("cosines", cosine, abs(cosine) < 1, "it must be between -1 and 1")
    mediocre = _axis("rewards", rewards, np.linspace, -1.5, 0.99)
    directions = [(float(c), float(np.sqrt(1 - c**2))) for c in cosine]
    features = np.stack([feature_similarity.similar_features(direction) for direction in directions])[:, None]
    policy = paper.initial_policy(probability)
    problems = Batch.linear(features, paper.TRUE_REWARD, initial_policy=policy)
    product = feature_similarity.BEST_NORM * cosine
    described = {"units": "1", "long_name": "inner product of the features of y* and y_med"}
    axes = {"inner_product": ("inner_product", product, described), "mediocre_reward": _mediocre_axis(mediocre)}
    return _speedups(problems, axes, t1, target, progress)


@recorded
def single_errors(
    values: Sequence[float] | int = 241, *, rare: float = 1e-8, t1: float = END, target: float = paper.TARGET
) -> xarray.Dataset:
    """Simulates every error on one output, over new rewards: the problem of theory C7 (docs/theory.md).

    Args:
        values: new proxy rewards, or how many between -2 and 2.
        rare: initial probability of the rare bad output; the two others share the rest.
        t1: end time.
        target: true value to reach.

    Returns:
        `time`, `speedup`, `category` and `mechanism` over ("output", "value"), `baseline_time`, `true_reward` and
        `initial_probability`; beside them the table of C7, `table_output`, `table_value` and `table_time` over "entry".

    Raises:
        ValueError: on an empty axis.
    """
    new = _axis("values", values, np.linspace, -2.0, 2.0)
    policy = np.array([0.05, 0.5, (0.45 - rare) / 2, (0.45 - rare) / 2, rare])
    problem = Problem.tabular(policy, paper.TRUE_REWARD)
    report = categorize(problem, SingleOutput(new)(problem).proxy_rewards, t1=t1, target=target)
    runs = report.to_dataset().rename(times="time")[["time", "speedup", "category", "mechanism", "baseline_time"]]
    names = ["y*", "y_med", "bad", "bad (twin)", "bad, rare"]
    table = list(zip(*SINGLE_ERROR_TABLE, strict=True))
    return (
        grids.unstack(runs, {"output": len(policy), "value": len(new)}, "error")
        .assign(
            true_reward=("output", np.asarray(paper.TRUE_REWARD, float), {"units": "reward"}),
            initial_probability=("output", policy, {"units": "1"}),
            table_output=("entry", paper.labels(table[0])),
            table_value=("entry", list(table[1]), {"units": "reward"}),
            table_time=("entry", list(table[2]), {"units": "1"}),
        )
        .assign_coords(output=paper.labels(names), value=("value", new, {"units": "reward", "long_name": "new reward"}))
    )


def _axis(name: str, given: Sequence[float] | int, spaced: Callable, low: float, high: float) -> np.ndarray:
    if isinstance(given, int):
        return spaced(low, high, validate.count(name, given, minimum=2))
    axis = validate.as_floats(name, given)
    validate.require_finite(name, axis)
    return axis


def _mediocre_axis(rewards: np.ndarray) -> tuple[str, np.ndarray, dict[str, str]]:
    return "mediocre_reward", rewards, {"units": "reward", "long_name": "proxy reward of y_med"}


def _speedups(
    problems: Batch,
    axes: dict[str, tuple[str, np.ndarray, dict[str, str]]],
    t1: float,
    target: float,
    progress: Progress | None,
) -> xarray.Dataset:
    """Gives `time` and `speedup` over the two axes (problems, rewards of y_med), `baseline_time` over the first.

    Times are those of proxies with y_med at each of the rewards; the baseline is the ground truth.
    """
    (row, column), rewards = axes, axes["mediocre_reward"][1]
    width = len(rewards) + 1  # every proxy, then the ground truth
    batch = problems[np.repeat(np.arange(len(problems)), width)]
    proxies = batch.true_reward.copy()
    proxies[:, 0, 1] = np.tile([*rewards, paper.TRUE_REWARD[1]], len(problems))
    solution = flow_many(batch.replace(proxy_reward=proxies), t1, target=target, stop_at_target=True, progress=progress)
    runs = grids.unstack(solution.to_dataset()[["hitting_time"]], {row: len(problems), column: width})
    times = runs["hitting_time"].values
    return (
        runs.isel({column: slice(-1)})
        .rename(hitting_time="time")
        .assign_coords(axes)
        .assign(
            speedup=((row, column), compare_times(times[:, -1:], times[:, :-1]), _SPEEDUP),
            baseline_time=(row, times[:, -1], _TIME),
        )
    )
