"""Reward variance and training time: what "What Makes a Reward Model a Good Teacher?" (arXiv 2503.15477) bounds.

Three parts, on tabular policies with one prompt and times to a true value `gamma` above the initial one:

- scatter: random problems and proxies of many strengths; time against Var_0[r_P] beside the lower bounds of
  `variance_time_tabular` and `variance_time_general`;
- slowness: one problem, proxies in the true order with all values below 1/T (accuracy 1), against a proxy that singles
out the
  best output and has the rest in reverse order (accuracy 2/K);
- pupils: two good outputs, two proxies that each reward one of them, and an initial policy that hardly knows the
second.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray

from pgdyn import Problem, provenance, validate
from pgdyn.dynamics.ensemble import flow_many
from pgdyn.theory import predecessor
from pgdyn.validate import Numbers

SLOWNESS = tuple(np.logspace(0, 3, 13))
RARE = tuple(np.logspace(-1.5, -12, 22))
LATEST = 1e12
OUTPUTS = 5


def _rise_times(problems: Problem, gamma: Any, settings: dict[str, Any]) -> np.ndarray:
    target = np.asarray(jax.vmap(predecessor.initial_value)(problems)) + gamma
    return np.asarray(flow_many(problems, LATEST, target=target, stop_at_target=True, **settings).hitting_time)


def _scatter(count: int, gamma: float, rng: np.random.Generator, settings: dict[str, Any]) -> dict[str, np.ndarray]:
    policies = rng.dirichlet(np.ones(OUTPUTS), count)
    true = rng.uniform(-1, 1, (count, OUTPUTS))
    # The best output is worth 1, so that the value can rise by gamma from every start.
    true[np.arange(count), true.argmax(axis=1)] = 1.0
    true -= np.maximum((policies * true).sum(axis=1) - (0.9 - gamma), 0)[:, None] * (true < 1)
    true = np.clip(true, -1, 1)
    strength = 10 ** rng.uniform(-2, 0, (count, 1))
    proxy = strength * (0.7 * true + 0.3 * rng.uniform(-1, 1, true.shape))
    problems = Problem.tabular(policies[:, None], true[:, None], proxy[:, None])
    level = jnp.full(count, gamma)
    return {
        "time": _rise_times(problems, gamma, settings),
        "variance": np.asarray(jax.vmap(predecessor.initial_variance)(problems)),
        "tabular_bound": np.asarray(jax.vmap(predecessor.tabular_bound)(problems, level)),
        "general_bound": np.asarray(jax.vmap(predecessor.general_bound)(problems, level, jnp.zeros(count))),
    }


def _slowness(slowness: np.ndarray, gamma: float, settings: dict[str, Any]) -> dict[str, np.ndarray]:
    start = np.array([[0.05, 0.35, 0.3, 0.2, 0.1]])
    true = np.array([[1.0, 0.2, -0.1, -0.5, -1.0]])
    accurate = np.stack([np.asarray(predecessor.accurate_proxy(jnp.asarray(true), jnp.asarray(s))) for s in slowness])
    spotlight = np.asarray(predecessor.spotlight_proxy(jnp.asarray(true), jnp.asarray(start)))
    problems = Problem.tabular(start, true).with_proxy(np.concatenate([accurate, spotlight[None]]))
    times = _rise_times(problems, gamma, settings)
    upper = predecessor.spotlight_bound(problems[len(slowness)], jnp.asarray(gamma))
    return {
        "accurate_time": times[:-1],
        "accurate_bound": 2 * -np.expm1(-gamma / 2) * slowness,
        "inaccurate_time": times[-1],
        "inaccurate_bound": np.asarray(upper),
    }


def _pupils(rare: np.ndarray, gamma: float, settings: dict[str, Any]) -> dict[str, np.ndarray]:
    likely = 0.2
    rest = (1 - likely - rare) / (OUTPUTS - 2)
    policies = np.stack([np.full_like(rare, likely), rare, *[rest] * (OUTPUTS - 2)], axis=1)
    true = np.array([1.0, 1.0, *[-0.5] * (OUTPUTS - 2)])
    own, other = predecessor.teachers(OUTPUTS)
    proxies = np.repeat(np.stack([own, other]), len(rare), axis=0)[:, None]
    problems = Problem.tabular(np.tile(policies, (2, 1))[:, None], true).with_proxy(proxies)
    times = _rise_times(problems, gamma, settings).reshape(2, -1)
    level = jnp.full(len(rare), gamma)
    return {
        "pupil_time": times,
        "own_bound": np.asarray(jax.vmap(predecessor.spotlight_bound)(problems[: len(rare)], level)),
        "other_bound": np.asarray(jax.vmap(predecessor.tabular_bound)(problems[len(rare) :], level)),
    }


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
    """Times and bounds of the three parts.

    Args:
        problems: random problems of the scatter.
        slowness: T, the accurate proxies' values lie below 1/T; at least 1.
        rare: initial probabilities of the output that the pupil hardly knows, below 1/2.
        gamma: rise of the true value that is waited for, between 0 and 1.
        seed: of the scatter.
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
    settings = {"rtol": rtol, "atol": atol}
    parts = {
        ("problem",): _scatter(problems, gamma, np.random.default_rng(seed), settings),
        ("slowness",): _slowness(slow, gamma, settings),
        ("rare_probability",): _pupils(probability, gamma, settings),
    }
    variables: dict[str, Any] = {}
    for dims, part in parts.items():
        for name, values in part.items():
            words = {"units": "1", "long_name": name.replace("_", " ")}
            variables[name] = (
                (("teacher",) if values.ndim == 2 else ()) + (dims if values.ndim else ()),
                values,
                words,
            )
    dataset = xarray.Dataset(
        variables,
        coords={
            "slowness": ("slowness", slow, {"units": "1", "long_name": "T, values below 1/T"}),
            "rare_probability": (
                "rare_probability",
                probability,
                {"units": "1", "long_name": "probability of the rare output"},
            ),
            "teacher": np.array(["own", "other"], dtype=object),
        },
    )
    dataset.attrs.update(
        provenance.attributes({"gamma": gamma, "seed": seed, **settings}), dynamics="flow", gamma=gamma
    )
    return dataset
