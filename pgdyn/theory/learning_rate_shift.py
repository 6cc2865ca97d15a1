r"""What a finite learning rate does to exact ascent: it gains on the flow by a known amount.

In the coordinates of `exact_solution`, an update of size eta multiplies x_y by e^{-eta pi_y A_y} and moves tau by
eta/Z. The product of all x is conserved as by the flow, so to second order in eta

    x_y = 1/pi_0(y) + nu - r_y tau + (eta/2) int pi_y A_y^2 dtau,

nu from the same equation as before, and N updates take

    eta N = sum Z dtau = int Z dtau - (eta/2) ln(Z_end/Z_0).

In time s = int Z dtau and logits z = -ln x, with g = pi A, that is the flow z' = g - (eta/2) (g^2 - pi |g|^2), which is
what is integrated here, in steps of its own.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from pgdyn.batch import Batch
from pgdyn.problem import Problem
from pgdyn.solve import ascend_many
from pgdyn.theory import flows
from pgdyn.theory.check import Check
from pgdyn.theory.draws import Drawn, Stream, streamed
from pgdyn.theory.mediocre_trap import draw_rewards
from pgdyn.theory.premises import is_orthonormal
from pgdyn.theory.theorem import Theorem

LEARNING_RATE = 0.1
_UPDATES = 3000
_STEP = 0.5  # of the scheme of fourth order
_UPDATE, _SHARE = 0.1, 0.01


def shifted_rate(z: Float[Array, " K"], reward: Float[Array, " K"], eta: Array | float) -> Float[Array, " K"]:
    """Computes z' of this module's docstring.

    Example:
        >>> shifted_rate(jnp.zeros(2), jnp.array([1.0, -1.0]), 0.1).tolist()
        [0.5, -0.5]
    """
    policy = jax.nn.softmax(z)
    g = policy * (reward - policy @ reward)
    return g - eta / 2 * (g**2 - policy * jnp.sum(g**2))


@jax.jit
def _time_to(log_start: Float[Array, " K"], reward: Float[Array, " K"], target: Array, eta: Array) -> Array:
    """eta N at which the value reaches the target."""

    def value(z: Array) -> Array:
        return jax.nn.softmax(z) @ reward

    def step(carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        count, z, _ = carry
        one = shifted_rate(z, reward, eta)
        two = shifted_rate(z + _STEP / 2 * one, reward, eta)
        three = shifted_rate(z + _STEP / 2 * two, reward, eta)
        four = shifted_rate(z + _STEP * three, reward, eta)
        return count + 1, z + _STEP / 6 * (one + 2 * two + 2 * three + four), z

    def before(carry: tuple[Array, Array, Array]) -> Array:
        return (value(carry[1]) < target) & (carry[0] < 2 * _UPDATES)

    count, z, last = jax.lax.while_loop(before, step, (jnp.zeros(()), log_start, log_start))
    share = (target - value(last)) / (value(z) - value(last))
    log_mass = jax.nn.logsumexp(last) + share * (jax.nn.logsumexp(z) - jax.nn.logsumexp(last))
    return _STEP * (count - 1 + share) - eta / 2 * log_mass


_times_to = jax.jit(jax.vmap(_time_to, in_axes=(0, 0, 0, None)))


def shifted_time(batch: Batch, target: Float[np.ndarray, " N"], eta: float) -> Float[np.ndarray, " N"]:
    """Computes eta times the number of updates of exact ascent until the true value reaches `target`.

    Example:
        >>> batch = Batch.tabular([0.1, 0.5, 0.4 / 3, 0.4 / 3, 0.4 / 3], [[[1, 0.8, -1, -1, -1]]])
        >>> shifted_time(batch, np.array([0.9]), 0.1).round(1).tolist()  # 10,690 updates; the flow takes 1076.9
        [1069.0]
    """
    start, reward = flows.start_log_policy(batch)[:, 0], np.asarray(batch.true_reward)[:, 0]
    return np.asarray(_times_to(start, reward, target, eta))


def _claim(batch: Batch) -> Check:
    reached = np.asarray(ascend_many(batch, _UPDATES, learning_rate=LEARNING_RATE, save_every=_UPDATES).true_value)[
        :, -1
    ]
    flow_time = flows.arrival_times(batch, reached)
    gained = flow_time / LEARNING_RATE - _UPDATES
    stated = (flow_time - shifted_time(batch, reached, LEARNING_RATE)) / LEARNING_RATE
    return Check.near(gained, stated, _UPDATE + _SHARE * np.abs(stated))


@streamed
def _draw(stream: Stream, n: int) -> Drawn:
    # A stall that ends, or nearly, within the updates: T = prod D_b q_b / [(n+1)(n+2) (D* p)^(n+1)] or so.
    rewards = draw_rewards(stream, n)
    mediocre, shares = stream.uniform(0.3, 0.7), stream.uniform(0.5, 1.0, (n,))
    bad = (0.9 - mediocre) * shares / jnp.sum(shares)
    size = jnp.prod((rewards[1] - rewards[2:]) * bad) / ((n + 1) * (n + 2))
    gain = rewards[0] - rewards[1]
    p = jnp.minimum((size / stream.log_uniform(100.0, 280.0)) ** (1 / (n + 1)) / gain, 0.3)
    start = jnp.concatenate([jnp.stack([p, mediocre]), bad])
    return Problem.tabular(start / jnp.sum(start), rewards), {}


def _premise(problem: Problem, **_: Any) -> Any:
    on_truth = jnp.all(problem.proxy_reward == problem.true_reward)
    spread = jnp.ptp(problem.true_reward[0])
    return is_orthonormal(problem) & on_truth & (spread > 0) & (spread <= 4)


learning_rate_shift = Theorem(
    name="learning_rate_shift",
    statement=(
        "Tabular exact ascent with learning rate eta, N updates: to second order eta N = int Z dtau - (eta/2) "
        "ln(Z_end/Z_0) along x_y = 1/pi_0(y) + nu - r_y tau + (eta/2) int pi_y A_y^2 dtau, which is the flow z' = g - "
        "(eta/2)(g^2 - pi |g|^2), g = pi A. Ascent is ahead of the flow in a stall (controlled problem with p_0 = .1, "
        "eta = .1: by .734 %, of which .732 % are this)."
    ),
    source="derived here",
    kind="law",
    unit="left over of a tolerance of .1 updates and 1 % in the updates that ascent gains on the flow in 3000",
    draw=_draw,
    batch_claim=_claim,
    premise=_premise,
    sizes=(2, 3),
)


# F8 of docs/theory.md.
THEOREMS = [learning_rate_shift]
