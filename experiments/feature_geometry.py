"""The exponent of the stall against the inner product of the two best outputs' features.

Outputs (y*, y_med, n bad ones), ground truth (1, .8, -1, ...), features with |phi*|^2 = 2.25 and |phi_med|^2 = 1 as in
appendix C of arXiv 2604.25872, bad ones orthogonal and of unit length, kappa = <phi*, phi_med> on a fine grid. For
kappa > -H, H = 1/n here, times to V_G = .9 grow like p_0^-g with g = (a_m + H)/(kappa + H); for kappa < -H the best
output is never found and its probability falls like t^(-(a_m - kappa)/(a_m + H)) (`pgdyn.theory.feature_geometry`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
import xarray

from pgdyn import Problem, provenance, validate
from pgdyn.dynamics.ensemble import flow_many
from pgdyn.theory.feature_geometry import trap_features
from pgdyn.validate import Numbers

INNER_PRODUCTS = tuple(np.round(np.arange(-1.2, 1.2001, 0.05), 10))
LATEST = 1e30
_EARLIER, _LATER = 1e9, 1e13  # between which the fall of a stalled output's probability is measured


def _problems(
    inner: np.ndarray, best: np.ndarray, count: int, squares: tuple[float, float], rest: np.ndarray
) -> Problem:
    """One problem an inner product; `rest` is what y* and y_med leave to the bad outputs, [N]."""
    features = np.stack([np.asarray(trap_features(squares[0], squares[1], k, jnp.ones(count))) for k in inner])
    policies = np.concatenate(
        [best[:, None], (1 - best - rest)[:, None], np.tile(rest[:, None] / count, count)], axis=1
    )
    params = np.linalg.solve(features, np.log(policies)[..., None])[..., 0]
    reward = np.broadcast_to(np.array([1.0, 0.8, *[-1.0] * count]), (len(inner), 1, count + 2))
    return Problem.linear(features[:, None], reward, initial_params=params)


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
    """Measured and predicted exponents over inner products and numbers of bad outputs.

    Args:
        inner_products: kappa, [N], each with kappa^2 < best_square * mediocre_square.
        bad_outputs: numbers n of bad outputs.
        best_square: |phi*|^2.
        mediocre_square: |phi_med|^2.
        largest_exponent: no escape is measured where the law predicts more than this, since y* would have to be too
        likely for
            the law to have set in.
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
    settings: dict[str, Any] = {"rtol": rtol, "atol": atol}
    rows = [
        _row(inner, validate.count("bad_outputs", n, minimum=1), squares, largest_exponent, horizon, target, settings)
        for n in bad_outputs
    ]
    dims = ("bad_outputs", "inner_product")
    names = {
        "exponent": "-d log T / d log p_0, measured",
        "predicted_exponent": "(a_m + H)/(kappa + H)",
        "decay": "d log pi(y*) / d log t, measured",
        "predicted_decay": "-(a_m - kappa)/(a_m + H)",
        "escaped": "target reached",
        "initial_probability": "initial probability of y*",
    }
    variables = {
        name: (dims, np.stack([row[name] for row in rows]), {"units": "1", "long_name": words})
        for name, words in names.items()
    }
    dataset = xarray.Dataset(
        variables,
        coords={
            "bad_outputs": list(bad_outputs),
            "inner_product": ("inner_product", inner, {"units": "1", "long_name": "<phi(y*), phi(y_med)>"}),
            "threshold": ("bad_outputs", [-1 / n for n in bad_outputs], {"units": "1", "long_name": "-H"}),
        },
    )
    shown = {"best_square": best_square, "mediocre_square": mediocre_square, "horizon": horizon, "target": target}
    dataset.attrs.update(provenance.attributes({**shown, **settings}), dynamics="flow", mediocre_square=mediocre_square)
    return dataset


def _row(
    inner: np.ndarray,
    count: int,
    squares: tuple[float, float],
    largest: float,
    horizon: float,
    target: float,
    settings: dict[str, Any],
) -> dict[str, np.ndarray]:
    harmonic = 1 / count
    with np.errstate(divide="ignore"):
        exponent = (squares[1] + harmonic) / (inner + harmonic)
    escapes = (exponent > 0) & (exponent <= largest)
    stalls = inner < -harmonic - 0.02
    best = np.where(escapes, np.minimum(horizon ** (-1 / np.where(escapes, exponent, 1.0)), 1e-3), 1e-4)
    # In the stall a start near the corner, where the fall is a pure power from early on.
    rest = np.where(stalls, 1e-2, 0.5)
    s = np.where(stalls, -0.1 * (inner + harmonic) / (squares[0] - inner), 1.0)
    best = np.where(stalls, s * rest * 1.8 / 0.2, best)
    both = [_problems(inner, p, count, squares, rest) for p in (best, best / np.sqrt(10))]
    times = [
        np.asarray(flow_many(p, LATEST, target=target, stop_at_target=True, **settings).hitting_time) for p in both
    ]
    with np.errstate(invalid="ignore"):
        measured = np.log(times[1] / times[0]) / np.log(np.sqrt(10))
    # A target beyond every reward is never reached: the same compiled program then runs to the end.
    ends = [
        np.asarray(flow_many(both[0], t, target=2.0, stop_at_target=True, **settings).log_policy)[:, 0, 0]
        for t in (_EARLIER, _LATER)
    ]
    decay = (ends[1] - ends[0]) / np.log(_LATER / _EARLIER)
    return {
        "exponent": np.where(escapes, measured, np.nan),
        "predicted_exponent": np.where(exponent > 0, exponent, np.nan),
        "decay": np.where(stalls, decay, np.nan),
        "predicted_decay": np.where(inner < -harmonic, -(squares[1] - inner) / (squares[1] + harmonic), np.nan),
        "escaped": np.isfinite(times[0]),
        "initial_probability": best,
    }
