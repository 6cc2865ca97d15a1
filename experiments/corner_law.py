"""The stall on a mediocre output, from random problems onto one curve.

Problems with random gaps and random masses of n bad outputs start near the mediocre output, with a rare best output.
Each is run to several fractions of its escape time T = (1/u) sum_j e_j(c)/[(j+1)(j+2)], u = D* p_0 and c_b = D_b q_b /
u, and the best output's probability is divided by its least value p_0 ((n+2)/2)^2 ((n+2)/n)^n / prod_b c_b (both from
`pgdyn.theory.corner_laws`, the latter for rare y*). In these units all problems with the same n are one:

    p/p_min = (n/(n+2))^n (2/(n+2))^2 / [(1-x)^2 x^n],      t/T = x^(n+1) (n+2 - (n+1) x),      0 < x < 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray

from pgdyn import provenance, validate
from pgdyn.dynamics.ensemble import flow_many
from pgdyn.problem import Problem
from pgdyn.theory.corner_laws import corner_problem, escape_time

LATEST = 1e30


def curve(n: int, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(t/T, p/p_min) at the stage x of the closed form, for rare y*."""
    time = x ** (n + 1) * (n + 2 - (n + 1) * x)
    return time, (n / (n + 2)) ** n * (2 / (n + 2)) ** 2 / ((1 - x) ** 2 * x**n)


def run(
    bad_outputs: Sequence[int] = (1, 2, 3),
    problems: int = 24,
    stages: int = 20,
    *,
    rarity: tuple[float, float] = (1e-5, 1e-3),
    pull: tuple[float, float] = (1e-6, 3e-5),
    seed: int = 0,
    rtol: float = 1e-8,
    atol: float = 1e-10,
) -> xarray.Dataset:
    """Random problems for every number of bad outputs, each at several stages of its escape.

    Args:
        bad_outputs: numbers n of bad outputs.
        problems: random problems for each n.
        stages: times at which each is looked at, evenly spaced in the stage x of the closed form.
        rarity: range of u / w_b, the pull of the best output against that of a bad one; log-uniform.
        pull: range of w_b = D_b q_b; log-uniform, within a factor of 5 in one problem.
        seed: of the problems.
        rtol: relative tolerance of the flow.
        atol: absolute tolerance of the flow.

    Returns:
        Dimensions "bad_outputs", "problem", "stage": `scaled_time` t/T, which is that of the stage on the curve, and
        `scaled_probability` p/p_min. Along the first two: `escape_time` (to the value halfway from the mediocre to the
        best reward) and `predicted_escape_time`. Along "bad_outputs" and "curve_stage": `curve_time` and
        `curve_probability`.

    Raises:
        ValueError: on counts below 1.
    """
    validate.count("problems", problems, minimum=1)
    stage = np.linspace(0.03, 0.97, validate.count("stages", stages, minimum=1))
    rng = np.random.default_rng(seed)
    rows = [_row(n, problems, stage, rarity, pull, rng, {"rtol": rtol, "atol": atol}) for n in bad_outputs]
    full, pair = ("bad_outputs", "problem", "stage"), ("bad_outputs", "problem")
    dims = {"scaled_time": full, "scaled_probability": full, "escape_time": pair, "predicted_escape_time": pair}
    names = {
        "scaled_time": "time over predicted escape time",
        "scaled_probability": "probability of y* over its predicted minimum",
        "escape_time": "time to halfway between mediocre and best reward",
        "predicted_escape_time": "the same by the closed form",
    }
    variables: dict[str, Any] = {
        name: (dims[name], np.stack([row[name] for row in rows]), {"units": "1", "long_name": words})
        for name, words in names.items()
    }
    fine = np.linspace(0.012, 0.985, 400)
    curves = np.stack([curve(n, fine) for n in bad_outputs])
    drawn = ("bad_outputs", "curve_stage")
    variables["curve_time"] = (drawn, curves[:, 0], {"units": "1", "long_name": "t/T on the curve"})
    variables["curve_probability"] = (drawn, curves[:, 1], {"units": "1", "long_name": "p/p_min on the curve"})
    dataset = xarray.Dataset(
        variables,
        coords={
            "bad_outputs": list(bad_outputs),
            "curve_stage": ("curve_stage", fine, {"units": "1", "long_name": "stage x of the closed form"}),
            "stage": ("stage", stage, {"units": "1", "long_name": "stage x of the closed form"}),
        },
    )
    settings = {"rarity": rarity, "pull": pull, "seed": seed, "rtol": rtol, "atol": atol}
    dataset.attrs.update(provenance.attributes(settings), dynamics="flow")
    return dataset


def _row(
    n: int,
    count: int,
    stage: np.ndarray,
    rarity: tuple[float, float],
    pull: tuple[float, float],
    rng: np.random.Generator,
    settings: dict[str, Any],
) -> dict[str, np.ndarray]:
    def log_uniform(low: float, high: float, shape: tuple[int, ...]) -> np.ndarray:
        return np.exp(rng.uniform(np.log(low), np.log(high), shape))

    gaps = np.concatenate(
        [log_uniform(0.1, 1.0, (count, 1)), np.zeros((count, 1)), -rng.uniform(0.3, 2.0, (count, n))], axis=1
    )
    level = log_uniform(*pull, (count, 1))
    w = level * log_uniform(1 / np.sqrt(5), np.sqrt(5), (count, n))
    u = level[:, 0] * log_uniform(*rarity, (count,))
    batch = jax.vmap(corner_problem)(jnp.asarray(gaps), jnp.asarray(u), jnp.asarray(w))
    escape = np.asarray(jax.vmap(escape_time)(jnp.asarray(u), jnp.asarray(w)))
    time = curve(n, stage)[0]
    # Every problem at every stage, and once more to the end; a target that only the last can reach ends it there.
    many: Problem = batch[np.repeat(np.arange(count), len(stage) + 1)]
    end = np.concatenate([escape[:, None] * time, np.full((count, 1), LATEST)], axis=1)
    reward = np.asarray(many.true_reward)[:, 0]
    last = np.tile(np.arange(len(stage) + 1) == len(stage), count)
    target = np.where(last, (reward[:, 0] + reward[:, 1]) / 2, reward[:, 0] + 1)
    outcome = flow_many(many, end.ravel(), target=target, stop_at_target=True, **settings)
    log_p = np.asarray(outcome.log_policy)[:, 0, 0].reshape(count, -1)[:, :-1]
    start = np.log(u / gaps[:, 0])
    lowest = start + np.log(((n + 2) / 2) ** 2 * ((n + 2) / n) ** n) - np.log(w / u[:, None]).sum(axis=1)
    return {
        "scaled_time": np.broadcast_to(time, log_p.shape),
        "scaled_probability": np.exp(log_p - lowest[:, None]),
        "escape_time": np.asarray(outcome.hitting_time).reshape(count, -1)[:, -1],
        "predicted_escape_time": escape,
    }
