r"""The escape turns once: under the orthonormal flow of V_G the ratio of y* to any other output falls, then rises.

    d ln(p/m)/dt = m (r* - V) [p/m - (r_med - V)/(r* - V)],

whose threshold (r_med - V)/(r* - V) never increases, as V never decreases. p = pi(y*), m = pi(y_med), y* of the largest
true reward and y_med of the second.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from pgdyn.batch import Batch
from pgdyn.objective import Objective
from pgdyn.problem import Problem
from pgdyn.theory import draws, flows
from pgdyn.theory.check import EPS, Check
from pgdyn.theory.draws import Drawn, Stream, streamed
from pgdyn.theory.mediocre_lower_bounds import roles
from pgdyn.theory.premises import is_orthonormal
from pgdyn.theory.starts import initial_log_rate, initial_velocity
from pgdyn.theory.theorem import Theorem

_SAVES = 64


def _turning_point(problem: Problem) -> Check:
    at = roles(problem)
    rates = initial_log_rate(problem, initial_velocity(problem, Objective(reward="true")))[0]
    best, middle = jnp.argsort(-problem.true_reward[0])[:2]
    # Multiplied by the positive m (r* - V), so that nothing is divided by a vanishing number.
    formula = at.p * (at.best - at.value) - at.m * (at.middle - at.value)
    error = rates[best] - rates[middle] - formula
    size = 2 * jnp.max(jnp.abs(problem.true_reward)) + 1e-100
    return Check.identity(error / size, 16 * problem.num_outputs * EPS)


ratio_turning_point = Theorem(
    name="ratio_turning_point",
    statement=(
        "Orthonormal flow of V_G: d ln(p/m)/dt = m (r* - V) [p/m - (r_med - V)/(r* - V)], so that y* gains on y_med "
        "iff p/m > (r_med - V)/(r* - V)."
    ),
    source="derived here, from log_ratio",
    kind="exact",
    unit="error relative to 2 max |r|; holds up to 16 K eps",
    draw=draws.orthonormal,
    claim=_turning_point,
    premise=is_orthonormal,
    sizes=(2, 5, 30),
)


def bump(path: Float[np.ndarray, "*lead S"]) -> np.ndarray:
    """Measures how far a path rises and then falls again, at most: zero iff it never falls after having risen.

    Example:
        >>> float(bump(np.array([3.0, 1.0, 2.5, 2.0, 4.0])))
        0.5
    """
    before = np.minimum.accumulate(path, axis=-1)
    after = np.minimum.accumulate(path[..., ::-1], axis=-1)[..., ::-1]
    return np.max(np.minimum(path - before, path - after), axis=-1)


def _paths(batch: Batch, t1: np.ndarray) -> Float[np.ndarray, "N K S"]:
    times = flows.log_times(t1, _SAVES)
    on_truth = batch.replace(proxy_reward=batch.true_reward)
    return flows.path(on_truth, times, rtol=1e-9, atol=1e-11)[:, :, 0].swapaxes(1, 2)


def _unimodal(batch: Batch, t1: np.ndarray) -> Check:
    paths = _paths(batch, t1)
    best = np.argmax(batch.true_reward[:, 0], axis=1)[:, None, None]
    # Measured within the path's own range: a ratio of e^1000 is not known to better than its rounding.
    bumps = bump(np.take_along_axis(paths, best, axis=1) - paths)
    return Check.at_most(np.max(bumps, axis=1), 0.0, rounding=1e-6)


@streamed
def _draw_path(stream: Stream, outputs: int) -> Drawn:
    start, true = draws.policy(stream, (outputs,)), draws.rewards(stream, (outputs,))
    return Problem.tabular(start, true), {"t1": stream.log_uniform(1.0, 1e6)}


_PATH: dict[str, Any] = {
    "draw": _draw_path,
    "premise": is_orthonormal,
    "sizes": (5, 3, 30),
    "defaults": {"t1": 1e4},
    "unit": "largest rise of the log-ratio that is lost again, over 64 times, in nats; rounding 1e-6",
}

unimodal_escape = Theorem(
    name="unimodal_escape",
    statement=(
        "Orthonormal flow of V_G, y* an output of the largest reward: for every output j, once pi(y*)/pi(j) "
        "increases it always does. For it increases iff pi(y*)/pi(j) > (r_j - V)/(r* - V), whose right side never "
        "increases, as V never decreases."
    ),
    source="derived here",
    kind="bound",
    batch_claim=_unimodal,
    **_PATH,
)


def _any_unimodal(batch: Batch, t1: np.ndarray) -> Check:
    paths = _paths(batch, t1)
    reward = batch.true_reward[:, 0]
    bumps = bump(paths[:, :, None] - paths[:, None, :])
    better = reward[:, :, None] > reward[:, None, :]
    return Check.at_most(np.max(np.where(better, bumps, 0.0), axis=(1, 2)), 0.0, rounding=1e-6)


any_ratio_unimodal = Theorem(
    name="any_ratio_unimodal",
    statement=(
        "Claim: orthonormal flow of V_G: for any two outputs y better than u, once pi(y)/pi(u) increases it always "
        "does. False unless y is best: when V has risen above r_y, the likely y falls faster than the rare u."
    ),
    source="derived here",
    kind="known false",
    batch_claim=_any_unimodal,
    **_PATH,
)


# B5 of docs/theory.md.
THEOREMS = [ratio_turning_point, unimodal_escape, any_ratio_unimodal]
