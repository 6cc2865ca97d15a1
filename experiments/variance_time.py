"""Reward variance and training time: what "What Makes a Reward Model a Good Teacher?" (arXiv 2503.15477) bounds.

Three parts, on tabular policies with one prompt and times to a true value `gamma` above the initial one:

- scatter: random problems and proxies of many strengths; time against Var_0[r_P] beside the lower bounds of
  `variance_time_tabular` and `variance_time_general`;
- slowness: one problem, proxies in the true order with all values below 1/T, at random (accuracy 1), against a proxy
  that singles out the best output and has the rest in reverse order (accuracy 2/K);
- pupils: two good outputs, two proxies that each reward one of them, and an initial policy that hardly knows the
  second.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
import xarray

from experiments import controlled_problems as paper
from experiments import grids
from experiments.made_by import recorded
from pgdyn import Batch, Problem, flow_many, validate
from pgdyn.theory import reward_variance, starts, teachers
from pgdyn.theory.theorem import for_each
from pgdyn.validate import Numbers

SLOWNESS = tuple(np.logspace(0, 3, 13))
RARE = tuple(np.logspace(-1.5, -12, 22))
LATEST = 1e12
OUTPUTS = 5


@recorded
def run(
    problems: int = 600,
    slowness: Numbers = SLOWNESS,
    rare: Numbers = RARE,
    *,
    gamma: float = 0.3,
    seed: int = 0,
    rtol: float = 1e-8,
    atol: float = 1e-10,
) -> xarray.Dataset:
    """Measures the times of the three parts, beside their bounds.

    Args:
        problems: random problems of the scatter.
        slowness: T, the accurate proxies' values lie below 1/T; at least 1.
        rare: initial probabilities of the output that the pupil hardly knows, below 1/2.
        gamma: rise of the true value that is waited for, between 0 and 1.
        seed: of the scatter, and of the accurate proxies' values.
        rtol: relative tolerance of the flow.
        atol: absolute tolerance of the flow.

    Returns:
        Along "problem": `time`, `variance`, `tabular_bound`, `general_bound`. Along "slowness": `accurate_time`,
        `accurate_bound`; scalars `inaccurate_time`, `inaccurate_bound`. Along "rare_probability": `pupil_time` (also
        along "teacher"), `own_bound` (an upper bound), `other_bound` (a lower one).

    Raises:
        ValueError: naming the setting that is wrong.
    """
    validate.count("problems", problems, minimum=1)
    slow = validate.as_floats("slowness", slowness)
    validate.require("slowness", slow, slow >= 1, "it must be at least 1")
    probability = validate.as_floats("rare", rare)
    validate.require("rare", probability, (probability > 0) & (probability < 0.5), "it must lie between 0 and 1/2")
    tolerances = {"rtol": rtol, "atol": atol}
    parts = [
        _scatter(problems, gamma, np.random.default_rng(seed), tolerances),
        _slowness(slow, gamma, np.random.default_rng([seed, 1]), tolerances),
        _pupils(probability, gamma, tolerances),
    ]
    dataset = xarray.merge(parts, combine_attrs="drop_conflicts").assign_coords(
        slowness=("slowness", slow, {"long_name": "T, values below 1/T"}),
        rare_probability=("rare_probability", probability, {"long_name": "probability of the rare output"}),
        teacher=paper.labels(["own", "other"]),
    )
    for name, variable in dataset.variables.items():
        variable.attrs = {"units": "1", "long_name": str(name).replace("_", " "), **variable.attrs}
    return dataset


def _scatter(count: int, gamma: float, rng: np.random.Generator, tolerances: dict[str, float]) -> xarray.Dataset:
    policies = rng.dirichlet(np.ones(OUTPUTS), count)
    true = rng.uniform(-1, 1, (count, OUTPUTS))
    # The best output is worth 1, so that the value can rise by gamma from every start.
    true[np.arange(count), true.argmax(axis=1)] = 1.0
    true -= np.maximum((policies * true).sum(axis=1) - (0.9 - gamma), 0)[:, None] * (true < 1)
    true = np.clip(true, -1, 1)
    strength = 10 ** rng.uniform(-2, 0, (count, 1))
    proxy = strength * (0.7 * true + 0.3 * rng.uniform(-1, 1, true.shape))
    problems = Batch.tabular(policies[:, None], true[:, None], proxy[:, None])
    return (
        _rise_times(problems, gamma, tolerances)
        .rename(run="problem", hitting_time="time")
        .assign(
            variance=("problem", _of_each(problems, starts.initial_variance)),
            tabular_bound=("problem", _of_each(problems, reward_variance.tabular_bound, gamma)),
            general_bound=("problem", _of_each(problems, reward_variance.general_bound, gamma, 0.0)),
        )
    )


def _slowness(
    slowness: np.ndarray, gamma: float, rng: np.random.Generator, tolerances: dict[str, float]
) -> xarray.Dataset:
    start = np.array([[0.05, 0.35, 0.3, 0.2, 0.1]])
    true = np.array([[1.0, 0.2, -0.1, -0.5, -1.0]])
    # Values of their own below each 1/T: multiples of one proxy would have times in proportion by a change of units.
    ranks = np.argsort(np.argsort(true)) + 1 + rng.uniform(-0.3, 0.3, (len(slowness), 1, OUTPUTS))
    accurate = ranks / (OUTPUTS + 1.5) / slowness[:, None, None]
    spotlight = np.asarray(teachers.spotlight_proxy(jnp.asarray(true), jnp.asarray(start)))
    problem = Problem.tabular(start, true)
    problems = Batch.sharing(problem, proxy_reward=np.concatenate([accurate, spotlight[None]]))
    runs = _rise_times(problems, gamma, tolerances)
    upper = _of_each(problems[len(slowness) :], teachers.spotlight_bound, gamma)[0]
    accurate_runs = runs.isel(run=slice(-1)).rename(run="slowness", hitting_time="accurate_time")
    return accurate_runs.assign(
        accurate_bound=("slowness", 2 * -np.expm1(-gamma / 2) * slowness),
        inaccurate_time=runs["hitting_time"].isel(run=-1),
        inaccurate_bound=((), np.asarray(upper)),
    )


def _pupils(rare: np.ndarray, gamma: float, tolerances: dict[str, float]) -> xarray.Dataset:
    likely = 0.2
    rest = (1 - likely - rare) / (OUTPUTS - 2)
    policies = np.stack([np.full_like(rare, likely), rare, *[rest] * (OUTPUTS - 2)], axis=1)
    true = np.array([1.0, 1.0, *[-0.5] * (OUTPUTS - 2)])
    own_and_other = teachers.teachers(OUTPUTS)
    proxies = np.repeat(np.stack(own_and_other), len(rare), axis=0)
    problems = Batch.tabular(np.tile(policies, (2, 1))[:, None], true, proxies[:, None])
    axes = {"teacher": 2, "rare_probability": len(rare)}
    runs = grids.unstack(_rise_times(problems, gamma, tolerances), axes).rename(hitting_time="pupil_time")
    own, other = problems[: len(rare)], problems[len(rare) :]
    return runs.assign(
        own_bound=("rare_probability", _of_each(own, teachers.spotlight_bound, gamma)),
        other_bound=("rare_probability", _of_each(other, reward_variance.tabular_bound, gamma)),
    )


def _rise_times(problems: Batch, gamma: float, tolerances: dict[str, float]) -> xarray.Dataset:
    """Gives `hitting_time` over "run": when the true value has risen by gamma."""
    target = _of_each(problems, starts.initial_value) + gamma
    solution = flow_many(problems, LATEST, target=target, stop_at_target=True, **tolerances)
    return solution.to_dataset()[["hitting_time"]]


def _of_each(problems: Batch, function: Callable[..., Any], *numbers: float) -> np.ndarray:
    """Gives [N], `function(problem, *numbers)` of every problem."""
    return for_each(problems, function, *(np.full(len(problems), number) for number in numbers))
