r"""How the escape time answers to every reward: the elasticities of the corner law.

The leading term of the escape time from near the mediocre output (`corner_laws`), for a rare best one,

    T = prod_b (D_b q_b) / [(n + 1)(n + 2) (D* p_0)^(n+1)],       D* = r* - r_med,  D_b = r_med - r_b,

gives d ln T / d r_b = -1/D_b, d ln T / d r* = -(n + 1)/D* and d ln T / d r_med = sum_b 1/D_b + (n + 1)/D*. The flow's
own are central differences of its arrival times at one target.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from pgdyn.batch import Batch
from pgdyn.problem import Problem
from pgdyn.theory import flows
from pgdyn.theory.check import Check
from pgdyn.theory.corner_laws import corner_problem, in_corner
from pgdyn.theory.draws import Drawn, Stream, streamed
from pgdyn.theory.mediocre_trap import draw_rewards, pulls, value_above
from pgdyn.theory.theorem import Theorem, for_each

_STEP = 1e-3  # of a reward, relative to the least gap
_RARE = 1e-3  # of a pull D* p_0, relative to any D_b q_b
_TOLERANCE = 0.003


def elasticities(problem: Problem) -> Float[Array, " K"]:
    """Computes d ln T / d r of every output, to leading order.

    Example:
        >>> problem = Problem.tabular([0.05, 0.5, 0.15, 0.15, 0.15], [1, 0.8, -1, -1, -1])
        >>> elasticities(problem).round(3).tolist()
        [-20.0, 21.667, -0.556, -0.556, -0.556]
    """
    reward = problem.true_reward[0]
    best = (problem.num_outputs - 1) / (reward[0] - reward[1])
    bad = 1 / (reward[1] - reward[2:])
    return jnp.concatenate([jnp.stack([-best, jnp.sum(bad) + best]), -bad])


def measured_elasticities(batch: Batch, target: np.ndarray) -> Float[np.ndarray, "N K"]:
    """Measures d ln T / d r of every output by central differences."""
    count, outputs = len(batch), batch.num_outputs
    reward = batch.true_reward[:, 0]
    step = _STEP * np.min(-np.diff(np.sort(reward, axis=1)[:, ::-1], axis=1)[:, :1], axis=1)
    step = np.minimum(step, _STEP * (reward[:, 1] - np.max(reward[:, 2:], axis=1)))
    moves = step[:, None, None] * np.concatenate([np.eye(outputs), -np.eye(outputs)])
    moved = (reward[:, None] + moves).reshape(-1, 1, outputs)
    every = batch[np.repeat(np.arange(count), 2 * outputs)].replace(true_reward=moved, proxy_reward=moved)
    log_times = np.log(flows.arrival_times(every, np.repeat(target, 2 * outputs))).reshape(count, 2, outputs)
    return (log_times[:, 0] - log_times[:, 1]) / (2 * step[:, None])


def _claim(batch: Batch, fraction: np.ndarray) -> Check:
    predicted = for_each(batch, elasticities)
    ratio = measured_elasticities(batch, value_above(batch, fraction)) / predicted
    worst = np.argmax(np.abs(ratio - 1), axis=1)[:, None]
    return Check.near(np.take_along_axis(ratio, worst, axis=1)[:, 0], 1.0, _TOLERANCE)


def _rare(problem: Problem, **parameters: Any) -> Any:
    if problem.num_outputs < 3:
        return False
    u, w = pulls(problem)
    return in_corner(problem) & (u <= _RARE * jnp.min(w))


@streamed
def _draw(stream: Stream, n: int) -> Drawn:
    level = stream.log_uniform(1e-8, 3e-7)
    u = level * stream.log_uniform(1e-5, 1e-4)
    w = level * stream.log_uniform(0.2, 5.0, (n,))
    return corner_problem(draw_rewards(stream, n), u, w), {}


corner_elasticities = Theorem(
    name="corner_elasticities",
    statement=(
        "Orthonormal flow on the true reward from near the mediocre output, with D* p_0 far below every D_b q_b: d ln "
        "T / d r_b = -1/D_b, d ln T / d r_med = sum_b 1/D_b + (n+1)/D*, d ln T / d r* = -(n+1)/D*. Rating the mediocre "
        "output lower is what shortens the stall most, and a worse bad output lengthens it."
    ),
    source="derived here, from corner_escape_time",
    kind="law",
    unit="left over of a tolerance of .003 in the ratio of measured and stated elasticity, worst output",
    draw=_draw,
    batch_claim=_claim,
    premise=_rare,
    sizes=(1, 2, 3),
    defaults={"fraction": 0.5},
)


# F4 of docs/theory.md.
THEOREMS = [corner_elasticities]
