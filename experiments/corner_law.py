"""The stall on a mediocre output, from random problems onto one curve.

Problems with random gaps and random masses of n bad outputs start near the mediocre output, with a rare best output.
Each is run to several fractions of its escape time T = (1/u) sum_j e_j(c)/[(j+1)(j+2)], u = D* p_0 and c_b = D_b q_b /
u, and the best output's probability is divided by its least value p_0 ((n+2)/2)^2 ((n+2)/n)^n / prod_b c_b (both from
`pgdyn.theory.corner_laws`, the latter for rare y*). In these units all problems with the same n are one:

    p/p_min = (n/(n+2))^n (2/(n+2))^2 / [(1-x)^2 x^n],      t/T = x^(n+1) (n+2 - (n+1) x),      0 < x < 1.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
import xarray

from experiments import grids
from experiments.made_by import recorded
from pgdyn import Batch, flow_many, validate
from pgdyn.theory.corner_laws import corner_problem, escape_time

LATEST = 1e30


def curve(n: int, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Gives (t/T, p/p_min) at the stage x of the closed form, for rare y*.

    Example:
        >>> [round(float(value), 4) for value in curve(1, np.array(0.5))]
        [0.5, 1.1852]
    """
    time = x ** (n + 1) * (n + 2 - (n + 1) * x)
    return time, (n / (n + 2)) ** n * (2 / (n + 2)) ** 2 / ((1 - x) ** 2 * x**n)


@recorded
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
    """Runs random problems with every number of bad outputs to several stages of their escape.

    Args:
        bad_outputs: numbers n of bad outputs.
        problems: random problems for each n.
        stages: number of times at which the state is recorded, evenly spaced in the stage x of the closed form.
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
    rows = [_row(n, problems, stage, rarity, pull, rng, rtol, atol) for n in bad_outputs]
    fine = np.linspace(0.012, 0.985, 400)
    curves = np.stack([curve(n, fine) for n in bad_outputs])
    drawn, described = ("bad_outputs", "curve_stage"), {"units": "1", "long_name": "stage x of the closed form"}
    return (
        xarray.concat(rows, "bad_outputs", combine_attrs="drop_conflicts")
        .assign(
            curve_time=(drawn, curves[:, 0], {"units": "1", "long_name": "t/T on the curve"}),
            curve_probability=(drawn, curves[:, 1], {"units": "1", "long_name": "p/p_min on the curve"}),
        )
        .assign_coords(
            bad_outputs=list(bad_outputs),
            curve_stage=("curve_stage", fine, described),
            stage=("stage", stage, described),
        )
    )


def _row(
    n: int,
    count: int,
    stage: np.ndarray,
    rarity: tuple[float, float],
    pull: tuple[float, float],
    rng: np.random.Generator,
    rtol: float,
    atol: float,
) -> xarray.Dataset:
    """Runs the problems with n bad outputs; gives their variables over "problem" and "stage"."""

    def log_uniform(low: float, high: float, shape: tuple[int, ...]) -> np.ndarray:
        return np.exp(rng.uniform(np.log(low), np.log(high), shape))

    gaps = np.concatenate(
        [log_uniform(0.1, 1.0, (count, 1)), np.zeros((count, 1)), -rng.uniform(0.3, 2.0, (count, n))], axis=1
    )
    level = log_uniform(*pull, (count, 1))
    w = level * log_uniform(1 / np.sqrt(5), np.sqrt(5), (count, n))
    u = level[:, 0] * log_uniform(*rarity, (count,))
    pulls = jnp.asarray(u), jnp.asarray(w)
    batch = Batch.from_arrays(jax.jit(jax.vmap(corner_problem))(jnp.asarray(gaps), *pulls))
    escape = np.asarray(jax.jit(jax.vmap(escape_time))(*pulls))
    time = curve(n, stage)[0]
    # Every problem runs to every stage, and once more until it escapes. Only the last run can reach its target.
    axes = {"problem": count, "stage": len(stage) + 1}
    end = np.concatenate([escape[:, None] * time, np.full((count, 1), LATEST)], axis=1)
    reward = np.repeat(gaps, axes["stage"], axis=0)
    last = np.tile(np.arange(axes["stage"]) == len(stage), count)
    target = np.where(last, (reward[:, 0] + reward[:, 1]) / 2, reward[:, 0] + 1)
    many = batch[np.repeat(np.arange(count), axes["stage"])]
    solution = flow_many(many, end.ravel(), target=target, stop_at_target=True, rtol=rtol, atol=atol)
    runs = grids.unstack(solution.to_dataset()[["log_policy", "hitting_time"]], axes).isel(prompt=0, output=0)
    start = np.log(u / gaps[:, 0])
    lowest = start + np.log(((n + 2) / 2) ** 2 * ((n + 2) / n) ** n) - np.log(w / u[:, None]).sum(axis=1)
    scaled = np.exp(runs["log_policy"].values[:, :-1] - lowest[:, None])
    found = {
        "scaled_time": (np.broadcast_to(time, scaled.shape), "time over predicted escape time"),
        "scaled_probability": (scaled, "probability of y* over its predicted minimum"),
        "escape_time": (runs["hitting_time"].values[:, -1], "time to halfway between mediocre and best reward"),
        "predicted_escape_time": (escape, "escape time by the closed form"),
    }
    dims = ("problem", "stage")
    return xarray.Dataset(
        {
            name: (dims[: values.ndim], values, {"units": "1", "long_name": words})
            for name, (values, words) in found.items()
        },
        attrs=runs.attrs,
    )
