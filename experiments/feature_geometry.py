"""The exponent of the stall against the inner product of the two best outputs' features.

Outputs (y*, y_med, n bad ones), ground truth (1, .8, -1, ...), features with |phi*|^2 = 2.25 and |phi_med|^2 = 1 as in
appendix C of arXiv 2604.25872, bad ones orthogonal and of unit length, kappa = <phi*, phi_med> on a fine grid. For
kappa > -H, H = 1/n here, times to V_G = .9 grow like p_0^-g with g = (a_m + H)/(kappa + H); for kappa < -H the best
output is never found and its probability falls like t^(-(a_m - kappa)/(a_m + H)) (`pgdyn.theory.feature_geometry`).
"""

from __future__ import annotations

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
import xarray

from experiments import grids
from experiments.made_by import recorded
from pgdyn import Batch, flow_many, validate
from pgdyn.theory.trap_features import trap_features
from pgdyn.validate import Numbers

INNER_PRODUCTS = tuple(np.round(np.arange(-1.2, 1.2001, 0.05), 10))
LATEST = 1e30
_EARLIER, _LATER = 1e9, 1e13  # between which the fall of a stalled output's probability is measured


@recorded
def run(
    inner_products: Numbers = INNER_PRODUCTS,
    bad_outputs: Sequence[int] = (1, 2, 3),
    *,
    best_square: float = 2.25,
    mediocre_square: float = 1.0,
    largest_exponent: float = 6.0,
    horizon: float = 1e20,
    target: float = 0.9,
    rtol: float = 1e-8,
    atol: float = 1e-10,
) -> xarray.Dataset:
    """Measures the exponents over inner products and numbers of bad outputs, beside the predicted ones.

    Args:
        inner_products: kappa, [N], each with kappa^2 < best_square * mediocre_square.
        bad_outputs: numbers n of bad outputs.
        best_square: |phi*|^2.
        mediocre_square: |phi_med|^2.
        largest_exponent: no escape is measured where the law predicts more than this, since y* would have to be too
            likely for the law to have set in.
        horizon: about how long the measured escapes last; it fixes p_0 = horizon^(-1/g).
        target: true value that is waited for.
        rtol: relative tolerance of the flow.
        atol: absolute tolerance of the flow.

    Returns:
        Dimensions "bad_outputs" and "inner_product": `exponent` and `predicted_exponent` (nan where not measured, or
        where y* never escapes), `decay` and `predicted_decay` (of its probability, in the permanent stall; nan
        elsewhere), `escaped` (whether the target was reached before t = 1e30), `initial_probability` and `threshold`
        (-H).

    Raises:
        ValueError: if an inner product is impossible for these norms.
    """
    inner = validate.as_floats("inner_products", inner_products)
    possible = inner**2 < best_square * mediocre_square
    validate.require("inner_products", inner, possible, "its square must be below best_square * mediocre_square")
    squares = (best_square, mediocre_square)
    counts = [validate.count("bad_outputs", n, minimum=1) for n in bad_outputs]
    tolerances = {"rtol": rtol, "atol": atol}
    rows = [_row(inner, n, squares, largest_exponent, horizon, target, tolerances) for n in counts]
    return xarray.concat(rows, "bad_outputs", combine_attrs="drop_conflicts").assign_coords(
        bad_outputs=counts,
        inner_product=("inner_product", inner, {"units": "1", "long_name": "<phi(y*), phi(y_med)>"}),
        threshold=("bad_outputs", [-1 / n for n in counts], {"units": "1", "long_name": "-H"}),
    )


def _row(
    inner: np.ndarray,
    count: int,
    squares: tuple[float, float],
    largest: float,
    horizon: float,
    target: float,
    tolerances: dict[str, float],
) -> xarray.Dataset:
    """Gives the exponents with `count` bad outputs, over "inner_product"."""
    harmonic = 1 / count
    with np.errstate(divide="ignore"):
        exponent = (squares[1] + harmonic) / (inner + harmonic)
    escapes = (exponent > 0) & (exponent <= largest)
    stalls = inner < -harmonic - 0.02
    best = np.where(escapes, np.minimum(horizon ** (-1 / np.where(escapes, exponent, 1.0)), 1e-3), 1e-4)
    # Stalled runs start near the corner, where the fall is a pure power from early on.
    rest = np.where(stalls, 1e-2, 0.5)
    s = np.where(stalls, -0.1 * (inner + harmonic) / (squares[0] - inner), 1.0)
    best = np.where(stalls, s * rest * 1.8 / 0.2, best)
    likely, rarer = (_problems(inner, p, count, squares, rest) for p in (best, best / np.sqrt(10)))
    # Times from both starts; and from the likelier one the states at two times, under a target that no reward reaches.
    cases = likely.concatenate(rarer).concatenate(likely).concatenate(likely)
    ends, goals = (LATEST, LATEST, _EARLIER, _LATER), (target, target, 2.0, 2.0)
    axes = {"case": len(ends), "inner_product": len(inner)}
    t1, wanted = (np.repeat(values, len(inner)) for values in (ends, goals))
    solution = flow_many(cases, t1, target=wanted, stop_at_target=True, **tolerances)
    runs = grids.unstack(solution.to_dataset()[["hitting_time", "log_policy"]], axes)
    times, logs = runs["hitting_time"].values, runs["log_policy"].isel(prompt=0, output=0).values
    with np.errstate(invalid="ignore"):
        measured = np.log(times[1] / times[0]) / np.log(np.sqrt(10))
    decay = (logs[3] - logs[2]) / np.log(_LATER / _EARLIER)
    fall = -(squares[1] - inner) / (squares[1] + harmonic)
    found = {
        "exponent": (np.where(escapes, measured, np.nan), "-d log T / d log p_0, measured"),
        "predicted_exponent": (np.where(exponent > 0, exponent, np.nan), "(a_m + H)/(kappa + H)"),
        "decay": (np.where(stalls, decay, np.nan), "d log pi(y*) / d log t, measured"),
        "predicted_decay": (np.where(inner < -harmonic, fall, np.nan), "-(a_m - kappa)/(a_m + H)"),
        "escaped": (np.isfinite(times[0]), "target reached"),
        "initial_probability": (best, "initial probability of y*"),
    }
    return xarray.Dataset(
        {
            name: ("inner_product", values, {"units": "1", "long_name": words})
            for name, (values, words) in found.items()
        },
        attrs=runs.attrs,
    )


def _problems(inner: np.ndarray, best: np.ndarray, count: int, squares: tuple[float, float], rest: np.ndarray) -> Batch:
    """Makes one problem for each inner product; `rest` is what y* and y_med leave to the bad outputs, [N]."""
    features = np.stack([np.asarray(trap_features(squares[0], squares[1], k, jnp.ones(count))) for k in inner])
    policies = np.concatenate(
        [best[:, None], (1 - best - rest)[:, None], np.tile(rest[:, None] / count, count)], axis=1
    )
    params = np.linalg.solve(features, np.log(policies)[..., None])[..., 0]
    return Batch.linear(features[:, None], [1.0, 0.8, *[-1.0] * count], initial_params=params)
