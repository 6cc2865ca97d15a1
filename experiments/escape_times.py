"""How long the escape to a rare best output takes: time to V_G = .9 against its initial probability.

Outputs (y*, y_med, n bad ones) with ground truth (1, .8, -1, ...) and the proxy that rates the mediocre output -1. The
initial policy gives y_med one half and shares the rest among the bad outputs. Training on the ground truth takes
Theta(p_0^-(n+1)) (`pgdyn.theory.corner_laws`), on the proxy Theta(1/p_0). Beside the measured times are the lower
bounds of `mediocre_lower` (arXiv 2604.25872, Theorem 1, has exponent 14/13) and the upper bound of
`no_mediocre_orthonormal`.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
import xarray

from experiments import controlled_problems as paper
from experiments import grids
from experiments.made_by import recorded
from pgdyn import Batch, flow_many, validate
from pgdyn.theory.mediocre_lower_bounds import simple_lower_bound, stall_lower_bound
from pgdyn.theory.no_mediocre_output import escape_integral
from pgdyn.theory.theorem import for_each
from pgdyn.validate import Numbers

PROBABILITIES = tuple(np.logspace(-1, -5.5, 37))
BEST, MEDIOCRE, BAD = 1.0, 0.8, -1.0
REWARDS = ("ground truth", "proxy")
LATEST = 1e30


def starts(initial_probabilities: Numbers, mediocre: float, bad_outputs: int) -> np.ndarray:
    """Gives [N, K] policies (p, mediocre, q, ..., q).

    Raises:
        ValueError: if a p leaves nothing for the bad outputs.

    Example:
        >>> starts([0.1], 0.5, 2).round(3).tolist()
        [[0.1, 0.5, 0.2, 0.2]]
    """
    best = validate.as_floats("initial_probabilities", initial_probabilities)
    rest = 1 - mediocre - best
    validate.require("initial_probabilities", best, (best > 0) & (rest > 0), "it must lie between 0 and 1 - mediocre")
    bad = np.repeat(rest[:, None] / bad_outputs, bad_outputs, axis=1)
    return np.concatenate([best[:, None], np.full((len(best), 1), mediocre), bad], axis=1)


def local_exponents(times: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Gives -d log T / d log p_0 by central differences in logarithms, one-sided at the ends, along the last axis.

    Example:
        >>> local_exponents(np.array([1.0, 100.0]), np.array([1.0, 0.1])).round(3).tolist()
        [2.0, 2.0]
    """
    return -np.gradient(np.log(times), np.log(probabilities), axis=-1)


@recorded
def run(
    bad_outputs: Sequence[int] = (1, 2, 3),
    initial_probabilities: Numbers = PROBABILITIES,
    *,
    mediocre: float = 0.5,
    target: float = 0.9,
    rtol: float = 1e-8,
    atol: float = 1e-10,
) -> xarray.Dataset:
    """Measures times to the target, their local exponents and bounds, for every number of bad outputs and every start.

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
    rows = [
        _row(validate.count("bad_outputs", count, minimum=1), probabilities, mediocre, target, rtol, atol)
        for count in bad_outputs
    ]
    dataset = xarray.concat(rows, "bad_outputs", combine_attrs="drop_conflicts").assign_coords(
        bad_outputs=list(bad_outputs),
        training_reward=paper.labels(REWARDS),
        initial_probability=(
            "initial_probability",
            probabilities,
            {"units": "1", "long_name": "initial probability of y*"},
        ),
    )
    hits = dataset["hitting_time"]
    exponents = local_exponents(hits.values, probabilities)
    return dataset.assign(exponent=(hits.dims, exponents, {"units": "1", "long_name": "-d log T / d log p"}))


def _row(
    count: int, probabilities: np.ndarray, mediocre: float, target: float, rtol: float, atol: float
) -> xarray.Dataset:
    """Gives the times and bounds with `count` bad outputs."""
    policies = starts(probabilities, mediocre, count)
    reward = np.array([BEST, MEDIOCRE, *[BAD] * count])
    proxy = np.array([BEST, BAD, *[BAD] * count])
    axes = {"training_reward": 2, "initial_probability": len(policies)}
    proxies = np.repeat(np.stack([reward, proxy]), len(policies), axis=0)[:, None]
    problems = Batch.tabular(np.tile(policies, (2, 1))[:, None], reward, proxies)
    solution = flow_many(problems, LATEST, target=target, stop_at_target=True, rtol=rtol, atol=atol)
    on_truth, goals = problems[: len(policies)], np.full(len(policies), target)
    simple, stall = (for_each(on_truth, bound, goals) for bound in (simple_lower_bound, stall_lower_bound))
    # V_G >= target once pi(y*) is above the mass at which even the worst rest leaves V_G there.
    reached = (target - BAD) / (BEST - BAD)
    integral = jax.jit(escape_integral)(jnp.asarray(probabilities), jnp.asarray(reached))
    upper = np.asarray(integral) * (count + 1) / (count + 2) / (BEST - BAD)

    def along(values: np.ndarray, words: str) -> tuple[str, np.ndarray, dict[str, str]]:
        return "initial_probability", np.asarray(values), {"units": "1", "long_name": words}

    return grids.unstack(solution.to_dataset()[["hitting_time"]], axes).assign(
        lower_bound=along(np.maximum(simple, stall), "lower bound, ground truth"),
        simple_lower_bound=along(simple, "lower bound (i), ground truth"),
        upper_bound=along(upper, "upper bound, proxy"),
    )
