"""The plain engine: one batched Runge-Kutta loop in plain JAX, as a reader of the ensemble engine would first write it.

Lanes last, so that every operation runs over them; chunks of 250 lanes, hardest first, so that few lanes wait for
slower ones; one chunk a core at a time. The pair is Tsitouras' of orders 5 and 4 (Computers & Mathematics with
Applications 62, 2011), with the coefficients that diffrax publishes as `diffrax.Tsit5.tableau`.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple

import diffrax
import jax
import jax.numpy as jnp
import numpy as np

from experiments.benchmarks.machine import cores
from experiments.benchmarks.peer import ABSOLUTE, Ends, Solve, plain_arrays
from experiments.benchmarks.workloads import Workload

CHUNK = 250
_TABLEAU = diffrax.Tsit5.tableau
_ROWS = [np.asarray(row) for row in _TABLEAU.a_lower]  # the last row is the solution: its slope is the next first one
_ERROR = np.asarray(_TABLEAU.b_error)


class _State(NamedTuple):
    """Of each lane: logits [K, L], their slope [K, L], and [1, L] time, next step, last error, steps tried."""

    logits: Any
    slope: Any
    time: Any
    step: Any
    error: Any
    tried: Any


def _slope(logits: Any, reward: Any) -> Any:
    weights = jnp.exp(logits - logits.max(axis=0, keepdims=True))
    policy = weights / weights.sum(axis=0, keepdims=True)
    return policy * (reward - (policy * reward).sum(axis=0, keepdims=True))


@partial(jax.jit, static_argnames="t1")
def solve_chunk(start: Any, reward: Any, rtol: Any, atol: Any, t1: float) -> tuple[Any, Any]:
    """The flows of one chunk.

    Args:
        start: [K, L], logits.
        reward: [K, L].
        rtol: relative tolerance of a step.
        atol: absolute tolerance of a step.
        t1: end time.

    Returns:
        log pi at t1 [K, L] in nats, and the steps tried [L].

    Example:
        >>> log_policy, steps = solve_chunk(np.zeros((2, 1)), np.array([[1.0], [0.0]]), 1e-8, 1e-11, t1=1.0)
        >>> np.exp(log_policy).sum().round(12).item()
        1.0
    """

    def advance(state: _State) -> _State:
        left = t1 - state.time
        last = state.step >= left
        step = jnp.minimum(state.step, left)
        slopes = [state.slope]
        for row in _ROWS:
            new = state.logits + step * sum(weight * slope for weight, slope in zip(row, slopes, strict=True))
            slopes.append(_slope(new, reward))
        error = step * sum(weight * slope for weight, slope in zip(_ERROR, slopes, strict=True))
        scale = atol + rtol * jnp.maximum(jnp.abs(state.logits), jnp.abs(new))
        ratio = jnp.sqrt(jnp.mean((error / scale) ** 2, axis=0, keepdims=True))
        kept = (ratio <= 1) & (left > 0)
        factor = jnp.clip(0.9 * jnp.maximum(ratio, 1e-10) ** -0.14 * state.error**0.08, 0.2, 10.0)
        return _State(
            jnp.where(kept, new, state.logits),
            jnp.where(kept, slopes[-1], state.slope),
            jnp.where(kept, jnp.where(last, t1, state.time + step), state.time),
            step * factor,
            jnp.where(kept, jnp.maximum(ratio, 1e-4), state.error),
            jnp.where(left > 0, state.tried + 1, state.tried),
        )

    first = _slope(start, reward)
    nothing = jnp.zeros_like(first[:1])
    step = 0.01 / jnp.maximum(jnp.abs(first).max(axis=0, keepdims=True), 1e-3)
    begin = _State(start, first, nothing, step, nothing + 1, nothing)
    end = jax.lax.while_loop(lambda state: jnp.any(state.time < t1), advance, begin)
    return jax.nn.log_softmax(end.logits, axis=0), end.tried[0]


def hardest_first(start: np.ndarray, reward: np.ndarray) -> np.ndarray:
    """The order of the lanes: by -log pi_0 of the best output, largest first.

    Example:
        >>> hardest_first(np.array([[0.0, 0.0], [0.0, 3.0]]), np.array([[1.0, 0.0], [1.0, 0.0]]))
        array([1, 0])
    """
    log_policy = start - np.log(np.exp(start).sum(axis=1, keepdims=True))
    return np.argsort(log_policy[np.arange(len(start)), reward.argmax(axis=1)], kind="stable")


def prepare(workload: Workload) -> Solve:
    """How the peer is prepared: a thread a core, each with a chunk at a time."""
    start, reward = plain_arrays(workload)
    pool = ThreadPoolExecutor(cores())

    def solve(rtol: float) -> Ends:
        order = hardest_first(start, reward)
        log_policy, steps = np.empty_like(start), np.empty(len(start))

        def one(first: int) -> None:
            lanes = order[first : first + CHUNK]
            padded = np.resize(lanes, CHUNK)
            found, tried = solve_chunk(start[padded].T, reward[padded].T, rtol, ABSOLUTE * rtol, t1=workload.t1)
            log_policy[lanes], steps[lanes] = np.asarray(found).T[: len(lanes)], np.asarray(tried)[: len(lanes)]

        list(pool.map(one, range(0, len(order), CHUNK)))
        return Ends(log_policy[:, None], steps)

    return solve
