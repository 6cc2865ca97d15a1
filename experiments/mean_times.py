"""Times at which many flows along one vector field reach a target, by a stepper in NumPy.

`flow_many` compiles the field together with its stepper, which pays where a field is run often. A study of a dozen
fields, each run once, is over sooner when the library's field alone is compiled.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from pgdyn import Problem, policy
from pgdyn.dynamics.flow import velocity
from pgdyn.objective import Objective, choose_objective

# Dormand and Prince 5(4): nodes are not needed, as no field depends on time.
_STAGES = (
    (1 / 5,),
    (3 / 40, 9 / 40),
    (44 / 45, -56 / 15, 32 / 9),
    (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
    (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
    (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
)
_ERROR = (71 / 57600, 0.0, -71 / 16695, 71 / 1920, -17253 / 339200, 22 / 525, -1 / 40)


def hitting_times(
    problem: Problem,
    starts: np.ndarray,
    target: float,
    objective: Objective | None = None,
    *,
    rtol: float = 1e-6,
    most: int = 4000,
) -> np.ndarray:
    """First times at which the true value reaches the target.

    Args:
        problem: gives rewards and features; its own start is not used.
        starts: [N, *params].
        target: true value.
        objective: any objective or mean field; None for the proxy's value.
        rtol: error of a step, relative and absolute.
        most: steps; a flow that needs more counts as one that never arrives.

    Returns:
        [N]; inf for never.
    """
    return hits(problem, starts, target, objective, rtol=rtol, most=most)[0]


def hits(
    problem: Problem,
    starts: np.ndarray,
    target: float,
    objective: Objective | None = None,
    *,
    rtol: float = 1e-6,
    most: int = 4000,
) -> tuple[np.ndarray, np.ndarray]:
    """As `hitting_times`, and the parameters [N, *params] at these times; those of the end where it never arrives."""
    chosen = choose_objective(objective, "hitting_times")
    if chosen.kl is not None:
        raise ValueError("a KL term has a reference of its own in every flow; use flow_many")

    @jax.jit
    @jax.vmap
    def field(params: Any) -> Any:
        return velocity(problem, chosen, params, None)

    @jax.jit
    @jax.vmap
    def value(params: Any) -> Any:
        return policy.value(problem, policy.log_policy(problem, params), problem.true_reward)

    def on_host(function: Callable[[Any], Any]) -> Callable[[np.ndarray], np.ndarray]:
        return lambda params: np.asarray(function(params))

    return _march(on_host(field), on_host(value), np.array(starts, float), target, rtol, most)


def _march(
    field: Callable[[np.ndarray], np.ndarray],
    value: Callable[[np.ndarray], np.ndarray],
    x: np.ndarray,
    target: float,
    rtol: float,
    most: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Every flow has steps of its own; all are stepped together, so that each shape is compiled once."""
    wide = (slice(None), *(None,) * (x.ndim - 1))
    t, first = np.zeros(len(x)), field(x)
    step = 0.1 / (1 + np.abs(first).reshape(len(x), -1).max(axis=1))
    hits, before, found = np.full(len(x), np.inf), value(x), x.copy()
    hits[before >= target] = 0.0
    for _ in range(most):
        running = np.isinf(hits)
        if not running.any():
            break
        slopes = [first]
        for weights in _STAGES:
            moved = sum(w * slope for w, slope in zip(weights, slopes, strict=True))
            new = x + step[wide] * moved
            slopes.append(field(new))
        error = step[wide] * sum(w * slope for w, slope in zip(_ERROR, slopes, strict=True))
        size = np.abs(error / (rtol * (1 + np.abs(x)))).reshape(len(x), -1).max(axis=1)
        good = (size <= 1) & running
        after = value(new)
        crossed = good & (after >= target)
        for i in np.flatnonzero(crossed):
            part, found[i] = _crossing(x[i], new[i], slopes[0][i], slopes[-1][i], step[i], value, target)
            hits[i] = t[i] + step[i] * part
        t, before = np.where(good, t + step, t), np.where(good, after, before)
        x, first = np.where(good[wide], new, x), np.where(good[wide], slopes[-1], first)
        step = step * np.clip(0.9 * np.maximum(size, 1e-12) ** -0.2, 0.2, 5.0)
        found[np.isinf(hits)] = x[np.isinf(hits)]
    return hits, found


def _crossing(
    x: np.ndarray,
    new: np.ndarray,
    slope: np.ndarray,
    last: np.ndarray,
    step: float,
    value: Callable[[np.ndarray], np.ndarray],
    target: float,
) -> tuple[float, np.ndarray]:
    """The part of a step after which a cubic between its ends reaches the target, by bisection on 33 points at once,
    and the cubic there.
    """
    low, high = 0.0, 1.0
    end = new
    shape = (-1, *(1,) * x.ndim)
    for _ in range(4):
        s = np.linspace(low, high, 33).reshape(shape)
        cubic = (1 + 2 * s) * (1 - s) ** 2 * x + s * (1 - s) ** 2 * step * slope
        cubic = cubic + s**2 * (3 - 2 * s) * new + s**2 * (s - 1) * step * last
        above = value(cubic) >= target
        above[-1] = True
        at = int(np.argmax(above))
        low, high, end = float(s[max(at - 1, 0)].item()), float(s[at].item()), cubic[at]
    return high, end
