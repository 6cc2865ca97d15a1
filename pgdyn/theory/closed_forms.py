r"""Flows whose clock can be written down: two outputs, and one good output among equals.

    K = 2, phi_1 orthogonal to phi_2:        sinh u + u = (a + b) D s / 2 + const
    one reward D above N = K - 1 equal ones: (e^u + 2 N u - N^2 e^-u) / N = D K s / (K - 1) + const

u is the logit difference, a and b squared feature norms, s = t / T^2 at temperature T. Each is compared with `pgdyn`'s
integration of the same problem. What is allowed is the integrator's own error; the formulas themselves are exact.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from pgdyn.batch import Batch
from pgdyn.problem import Problem
from pgdyn.theory import draws, flows
from pgdyn.theory.check import EPS, Check
from pgdyn.theory.draws import Drawn, Stream, streamed
from pgdyn.theory.theorem import Theorem

_SAVES = 6
_TIGHT: dict[str, Any] = {"rtol": 1e-10, "atol": 1e-12}
_CLOCK = 1e-8
_CLOCK_UNIT = "error of the logit difference, in nats; holds up to 1e-8 (integrated at rtol 1e-10)"


def _clock_error(elapsed: Float[np.ndarray, "N S"], slope: Float[np.ndarray, "N S"]) -> np.ndarray:
    """|F(u_t) - F(u_0) - c t| as an error of u: divided by the largest F' so far (F' is convex: at one of the ends).

    An error of u that the integrator makes at time s moves F by F'(u_s) times it, and stays in F from then on.
    """
    return np.max(np.abs(elapsed / np.maximum(slope, slope[:, :1])), axis=1)


def _two_outputs(batch: Batch, t1: np.ndarray) -> Check:
    squares = np.sum(batch.features[:, 0] ** 2, axis=(1, 2))
    gap = batch.proxy_reward[:, 0, 0] - batch.proxy_reward[:, 0, 1]
    times = flows.log_times(t1, _SAVES)
    log_policy = flows.path(batch, times, **_TIGHT)[:, :, 0]
    u = log_policy[..., 0] - log_policy[..., 1]
    clock = np.sinh(u) + u
    # The gap enters with its sign, so the clock runs backwards for gap < 0.
    elapsed = clock - clock[:, :1] - (squares * gap / batch.temperature**2)[:, None] * times / 2
    return Check.identity(_clock_error(elapsed, np.cosh(u) + 1), _CLOCK)


def _orthogonal_pair(problem: Problem, **_: Any) -> Array | bool:
    if problem.features is None or problem.num_outputs != 2 or problem.num_prompts != 1:
        return False
    first, second = problem.features[0]
    inner = jnp.abs(jnp.sum(first * second))
    size = jnp.sqrt(jnp.sum(first**2) * jnp.sum(second**2))
    return inner <= 64 * EPS * size


@streamed
def _draw_pair(stream: Stream, width: int) -> Drawn:
    first, second = stream.normal((2, width))
    second = second - jnp.sum(first * second) / jnp.sum(first**2) * first
    second = second - jnp.sum(first * second) / jnp.sum(first**2) * first  # once more: orthogonal to the last digit
    features = jnp.stack([first, second])
    squares = jnp.sum(features**2, axis=-1)
    u0 = stream.uniform(-8.0, 4.0)
    u1 = u0 + stream.uniform(0.5, 8.0)
    low = stream.uniform(-1.0, 1.0)
    gap = stream.log_uniform(0.01, 2.0)
    params = jnp.sum(features * (jnp.stack([u0, -u0]) / 2 / squares)[:, None], axis=0)
    t1 = (jnp.sinh(u1) + u1 - jnp.sinh(u0) - u0) * 2 / (jnp.sum(squares) * gap)
    heat = draws.temperature(stream)
    rewards = jnp.stack([low + gap, low])
    return Problem.linear(features, rewards, initial_params=heat * params, temperature=heat), {"t1": heat**2 * t1}


two_outputs_closed_form = Theorem(
    name="two_outputs_closed_form",
    statement=(
        "K = 2, orthogonal features of squared norms a and b, rewards with gap D, temperature T: the logit difference "
        "u follows sinh u + u = (a + b) D t / (2 T^2) + sinh u_0 + u_0."
    ),
    source="derived here",
    kind="exact",
    unit=_CLOCK_UNIT,
    draw=_draw_pair,
    batch_claim=_two_outputs,
    premise=_orthogonal_pair,
    sizes=(3,),
    defaults={"t1": 10.0},
)


def _two_level(batch: Batch, t1: np.ndarray) -> Check:
    others = batch.num_outputs - 1
    gap = batch.proxy_reward[:, 0, 0] - batch.proxy_reward[:, 0, 1]
    times = flows.log_times(t1, _SAVES)
    log_policy = flows.path(batch, times, **_TIGHT)[:, :, 0]
    u = log_policy[..., 0] - log_policy[..., 1]
    clock = (np.exp(u) + 2 * others * u - others**2 * np.exp(-u)) / others
    slope = (np.exp(u) + 2 * others + others**2 * np.exp(-u)) / others
    pace = gap * batch.num_outputs / (others * batch.temperature**2)
    elapsed = clock - clock[:, :1] - pace[:, None] * times
    spread = np.max(np.ptp(log_policy[..., 1:], axis=-1), axis=1)
    return Check.each_of(Check.identity(_clock_error(elapsed, slope), _CLOCK), Check.identity(spread, _CLOCK))


def _is_two_level(problem: Problem, **_: Any) -> Array | bool:
    if not problem.is_tabular or problem.num_prompts != 1:
        return False
    start, reward = problem.initial_params[0], problem.proxy_reward[0]
    equal = jnp.all(start[1:] == start[1]) & jnp.all(reward[1:] == reward[1])
    return equal & (reward[0] > reward[1])


@streamed
def _draw_two_level(stream: Stream, outputs: int) -> Drawn:
    others = outputs - 1
    u0 = stream.uniform(-8.0, 3.0)
    u1 = u0 + stream.uniform(0.5, 9.0)
    low, gap = stream.uniform(-1.0, 1.0), stream.log_uniform(0.01, 2.0)
    best = jax.nn.sigmoid(u0 - jnp.log(float(others)))
    start = jnp.full(outputs, (1 - best) / others).at[0].set(best)
    reward = jnp.full(outputs, low).at[0].set(low + gap)

    def clock(u: Array) -> Array:
        return (jnp.exp(u) + 2 * others * u - others**2 * jnp.exp(-u)) / others

    heat = draws.temperature(stream)
    t1 = heat**2 * (clock(u1) - clock(u0)) * others / (gap * outputs)
    return Problem.tabular(start, reward, temperature=heat), {"t1": t1}


two_level_closed_form = Theorem(
    name="two_level_closed_form",
    statement=(
        "Tabular, one output with a reward D above N = K - 1 others of equal reward and initial probability: the logit "
        "difference u has F(u_t) - F(u_0) = D K t / ((K - 1) T^2), F(u) = (e^u + 2 N u - N^2 e^-u) / N, at temperature "
        "T. (K = 5, p_0 = .05, D = 2, T = 1: p = .9 at t = 15.2478337688.)"
    ),
    source="derived here",
    kind="exact",
    unit=_CLOCK_UNIT,
    draw=_draw_two_level,
    batch_claim=_two_level,
    premise=_is_two_level,
    sizes=(5, 2, 30),
    defaults={"t1": 10.0},
)


# A5 and A6 of docs/theory.md.
THEOREMS = [two_outputs_closed_form, two_level_closed_form]
