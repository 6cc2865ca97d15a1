"""How long the escape to a rare best output takes: time to V_G = .9 against its initial probability.

Outputs (y*, y_med, n bad ones) with ground truth (1, .8, -1, ...) and the proxy that rates the mediocre output -1. The
initial policy gives y_med one half and shares the rest among the bad outputs. Training on the ground truth takes
Theta(p_0^-(n+1)) (`pgdyn.theory.corner_laws`), on the proxy Theta(1/p_0); beside the measured times go the lower
bounds of `mediocre_lower` (arXiv 2604.25872, Theorem 1, has exponent 14/13) and the upper bound of
`no_mediocre_orthonormal`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray

from pgdyn import Problem, provenance, validate
from pgdyn.dynamics.ensemble import flow_many
from pgdyn.objective import Objective
from pgdyn.theory.escape_bounds import simple_lower_bound, stall_lower_bound
from pgdyn.theory.paper_bounds import escape_integral
from pgdyn.validate import Numbers

PROBABILITIES = tuple(np.logspace(-1, -5.5, 37))
BEST, MEDIOCRE, BAD = 1.0, 0.8, -1.0
REWARDS = ("ground truth", "proxy")
LATEST = 1e30


def starts(initial_probabilities: Numbers, mediocre: float, bad_outputs: int) -> np.ndarray:
    """[N, K] policies (p, mediocre, q, ..., q).

    Raises:
        ValueError: if a p leaves nothing for the bad outputs.
    """
    best = validate.as_floats("initial_probabilities", initial_probabilities)
    rest = 1 - mediocre - best
    validate.require("initial_probabilities", best, (best > 0) & (rest > 0), "it must lie between 0 and 1 - mediocre")
    bad = np.repeat(rest[:, None] / bad_outputs, bad_outputs, axis=1)
    return np.concatenate([best[:, None], np.full((len(best), 1), mediocre), bad], axis=1)


def local_exponents(times: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """-d log T / d log p_0 by central differences in logarithms (one-sided at the ends), along the last axis."""
    return -np.gradient(np.log(times), np.log(probabilities), axis=-1)


def _lower_bounds(problems: Problem, target: float) -> tuple[np.ndarray, np.ndarray]:
    both = jax.vmap(lambda p: (simple_lower_bound(p, jnp.asarray(target)), stall_lower_bound(p, jnp.asarray(target))))
    first, second = both(problems)
    return np.asarray(first), np.asarray(second)


def run(
    bad_outputs: Sequence[int] = (1, 2, 3),
    initial_probabilities: Numbers = PROBABILITIES,
    *,
    mediocre: float = 0.5,
    target: float = 0.9,
    rtol: float = 1e-8,
    atol: float = 1e-10,
) -> xarray.Dataset:
    """Times to the target, their local exponents and the bounds, for every number of bad outputs and every start.

    Args:
        bad_outputs: numbers n of bad outputs.
        initial_probabilities: [N] of y*, in falling order.
        mediocre: initial probability of y_med.
        target: true value that is waited for.
        rtol: relative tolerance of the flow.
        atol: absolute tolerance of the flow.

    Returns:
        Dimensions "bad_outputs", "training_reward" and "initial_probability"; `hitting_time` and `exponent` over all
        of them, `lower_bound` (ground truth) and `upper_bound` (proxy) over the first and the last.

    Raises:
        ValueError: naming the setting that is wrong.
    """
    probabilities = validate.as_floats("initial_probabilities", initial_probabilities)
    times, lower, simple, upper = [], [], [], []
    for count in bad_outputs:
        policies = starts(probabilities, mediocre, validate.count("bad_outputs", count, minimum=1))
        reward = np.array([BEST, MEDIOCRE, *[BAD] * count])
        proxy = np.array([BEST, BAD, *[BAD] * count])
        problems = Problem.tabular(np.tile(policies, (2, 1))[:, None], reward)
        proxies = np.repeat(np.stack([reward, proxy]), len(policies), axis=0)[:, None]
        outcome = flow_many(
            problems.with_proxy(proxies),
            LATEST,
            objective=Objective(),
            target=target,
            stop_at_target=True,
            rtol=rtol,
            atol=atol,
        )
        times.append(np.asarray(outcome.hitting_time).reshape(2, -1))
        first, second = _lower_bounds(problems[: len(policies)], target)
        simple.append(first)
        lower.append(np.maximum(first, second))
        # V_G >= target once pi(y*) is above the mass at which even the worst rest leaves V_G there.
        reached = (target - BAD) / (BEST - BAD)
        integral = np.asarray(escape_integral(jnp.asarray(probabilities), jnp.asarray(reached)))
        upper.append(integral * (count + 1) / (count + 2) / (BEST - BAD))
    hits = np.stack(times)
    dims = ("bad_outputs", "training_reward", "initial_probability")
    pair = ("bad_outputs", "initial_probability")
    dataset = xarray.Dataset(
        {
            "hitting_time": (dims, hits, {"units": "1", "long_name": "time to the target"}),
            "exponent": (dims, local_exponents(hits, probabilities), {"units": "1", "long_name": "-d log T / d log p"}),
            "lower_bound": (pair, np.stack(lower), {"units": "1", "long_name": "lower bound, ground truth"}),
            "simple_lower_bound": (
                pair,
                np.stack(simple),
                {"units": "1", "long_name": "lower bound (i), ground truth"},
            ),
            "upper_bound": (pair, np.stack(upper), {"units": "1", "long_name": "upper bound, proxy"}),
        },
        coords={
            "bad_outputs": list(bad_outputs),
            "training_reward": np.array(REWARDS, dtype=object),
            "initial_probability": (
                "initial_probability",
                probabilities,
                {"units": "1", "long_name": "initial probability of y*"},
            ),
        },
    )
    settings: dict[str, Any] = {"mediocre": mediocre, "target": target, "rtol": rtol, "atol": atol}
    dataset.attrs.update(provenance.attributes(settings), dynamics="flow", target=target)
    return dataset
