r"""The sharp lower bound on the escape from a mediocre output: of order p_0^-(n+1), the true one, for n bad outputs.

Setting and names of `mediocre_lower_bounds`: y* has reward r*, y_med r_med, the n others are bad; orthonormal flow of
V_G from V_0 <= r_med, m_0 >= q_b. On the plane of the exact solution (`pgdyn.exact`), x_y = e^{-z_y} with x_y(0) =
1/pi_0(y), tau = int dt/Z:

    x_m <= 1/m_0 until V = r_med,   so   x_* >= A - D* tau,   B_b + D_b tau <= x_b <= 1/q_b + D_b tau,

A = 1/p_0 - 1/m_0, B_b = 1/q_b - 1/m_0. The product of all x is conserved, so Z >= 1/x_m = m_0 p_0 prod q_b x_* prod
x_b; and V = r_med means D*/x_* = sum_b D_b/x_b >= n/(M + tau), M = mean_b 1/(D_b q_b), which is not before

    L = n/(n+1) [A/D* - M/n]_+.   So   T_v >= m_0 p_0 prod q_b int_0^L (A - D* tau) prod (B_b + D_b tau) dtau.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from pgdyn.batch import Batch
from pgdyn.problem import Problem
from pgdyn.theory import flows
from pgdyn.theory.check import Check
from pgdyn.theory.draws import Drawn, Stream, streamed
from pgdyn.theory.mediocre_lower_bounds import roles
from pgdyn.theory.premises import is_orthonormal
from pgdyn.theory.theorem import Theorem, for_each


def sharp_lower_bound(problem: Problem) -> Array:
    """Computes the bound of this module's docstring; 0 where L is 0.

    Example:
        >>> problem = Problem.tabular([0.05, 0.5, 0.15, 0.15, 0.15], [1, 0.8, -1, -1, -1])
        >>> float(sharp_lower_bound(problem).round(1))  # the time to 0.9 is 33,565
        20980.7
    """
    at = roles(problem)
    n = at.bad.size
    gain, gaps = at.best - at.middle, at.middle - at.low
    a, b = 1 / at.p - 1 / at.m, 1 / at.bad - 1 / at.m
    length = n / (n + 1) * jnp.maximum(a / gain - jnp.mean(1 / (gaps * at.bad)) / n, 0.0)
    nodes, weights = np.polynomial.legendre.leggauss(n // 2 + 2)  # exact for this degree, n + 1
    tau = length * (1 + jnp.asarray(nodes)) / 2
    heights = (a - gain * tau) * jnp.prod(b[:, None] + gaps[:, None] * tau[None], axis=0)
    return at.m * at.p * jnp.prod(at.bad) * length * jnp.sum(weights * heights) / 2


def _stalled(problem: Problem, v: Array) -> Any:
    if problem.num_outputs < 3:
        return False
    at = roles(problem)
    ordered = (at.best > at.middle) & (jnp.max(at.low) < at.middle)
    on_truth = jnp.all(problem.proxy_reward == problem.true_reward)
    likeliest = at.m >= jnp.max(at.bad)
    return is_orthonormal(problem) & on_truth & ordered & likeliest & (at.value <= at.middle) & (v > at.middle)


def _sharp(batch: Batch, v: np.ndarray) -> Check:
    # A bound that is 0 says nothing; any time is above it.
    least = np.maximum(for_each(batch, sharp_lower_bound), 1e-300)
    return Check.ratio_at_least(flows.arrival_times(batch, v), least, rounding=1e-6)


@streamed
def _draw_stalled(stream: Stream, n: int) -> Drawn:
    # Bad outputs from as likely as the mediocre one to a thousand times rarer.
    shares = jnp.concatenate([jnp.ones(1), stream.log_uniform(1e-3, 1.0, (n,))])
    shares = shares / jnp.sum(shares)
    gaps, gain = stream.log_uniform(0.02, 4.0, (n,)), stream.log_uniform(0.02, 2.0)
    # V_0 <= r_med iff p D* <= sum_b D_b q_b.
    odds = stream.log_uniform(1e-6, 0.999) * jnp.sum(gaps * shares[1:]) / gain
    p = odds / (1 + odds)
    middle = stream.uniform(-1.0, 1.0)
    start = jnp.concatenate([p[None], (1 - p) * shares])
    reward = jnp.concatenate([jnp.stack([middle + gain, middle]), middle - gaps])
    turn = stream.uniform(0.0, n + 2.0).astype(int)
    problem = Problem.tabular(jnp.roll(start, turn), jnp.roll(reward, turn))
    return problem, {"v": middle + gain * stream.uniform(0.02, 0.98)}


mediocre_lower_sharp = Theorem(
    name="mediocre_lower_sharp",
    statement=(
        "Orthonormal flow of V_G, V_0 <= r_med < r*, n bad outputs below r_med, m_0 >= max_b q_b, v > r_med: with A = "
        "1/p_0 - 1/m_0, B_b = 1/q_b - 1/m_0, M = mean_b 1/(D_b q_b) and L = n/(n+1) [A/D* - M/n]_+, T_v >= m_0 p_0 "
        "prod_b q_b int_0^L (A - D* tau) prod_b (B_b + D_b tau) dtau. This is Theta(p_0^-(n+1)), the exponent of "
        "corner_law, as a rigorous bound."
    ),
    source="derived here, from the exact solution; setting of arXiv 2604.25872, theorem 1",
    kind="bound",
    unit="decades: log10(time / bound), inf where the target is never reached; rounding 1e-6",
    draw=_draw_stalled,
    batch_claim=_sharp,
    premise=_stalled,
    sizes=(1, 3),
)


# F5 of docs/theory.md.
THEOREMS = [mediocre_lower_sharp]
