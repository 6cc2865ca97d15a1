r"""Benign errors of arXiv 2604.25872: outputs that never attract, and outputs of negligible probability.

    r_P(y) <= V_P(0):                  z_y never rises, and pi_t(y) <= pi_0(y) / (pi_0(y) + (K - 1) g)
    proxies that differ on mass mu:    |V_G(T) - V'_G(T)| <= mu (e^{5T} - e^T) / sqrt(2) <= 4 mu e^{5T}

Orthonormal gradient flow: tabular, one prompt, temperature 1; g is the geometric mean of the other outputs' pi_0. The
text of the paper's theorems is not at hand, so constants are those derived here. The second: the field grad V is
Lipschitz with constant 5 (5/2 for rewards in [0, 1], arXiv 2005.06392), d ln pi(y)/dt = pi(y) A(y) - B <= 1/2 + 1/2, so
that the fields of the two proxies differ by at most 4 mu e^t, and |grad V_G|_2 <= 1/sqrt(2).
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from pgdyn import policy
from pgdyn.batch import Batch
from pgdyn.problem import Problem
from pgdyn.theory import draws, flows
from pgdyn.theory.check import Check
from pgdyn.theory.draws import Drawn, Stream, streamed
from pgdyn.theory.premises import has_small_rewards, is_orthonormal
from pgdyn.theory.starts import initial_log_policy
from pgdyn.theory.theorem import Theorem

_SAVES = 48
_ROUNDING = 1e-7  # what flows at rtol 1e-9 may be off by, in nats


def _path(batch: Batch, t1: np.ndarray) -> Float[np.ndarray, "N S K"]:
    return flows.path(batch, flows.log_times(t1, _SAVES), rtol=1e-9, atol=1e-11)[:, :, 0]


def _of(path: Float[np.ndarray, "N S K"], output: np.ndarray) -> Float[np.ndarray, "N S"]:
    return np.take_along_axis(path, output[:, None, None], axis=2)[..., 0]


def _logit_never_rises(batch: Batch, t1: np.ndarray, output: np.ndarray) -> Check:
    path = _path(batch, t1)
    # The logits sum to a constant (conserved_sum), so that centring them gives them up to that constant.
    logit = _of(path - np.mean(path, axis=-1, keepdims=True), output)
    return Check.at_most(np.max(np.diff(logit), axis=1), 0.0, rounding=_ROUNDING)


def _below_value(problem: Problem, output: Array, **_: Any) -> Any:
    value = policy.prompt_values(initial_log_policy(problem), problem.proxy_reward)[0]
    return is_orthonormal(problem) & (problem.proxy_reward[0, output] <= value)


@streamed
def _draw_benign(stream: Stream, outputs: int) -> Drawn:
    start = draws.policy(stream, (outputs,))
    proxy = draws.rewards(stream, (outputs,))
    # r(y) <= V iff r(y) is at most the mean over the other outputs.
    others = start[1:] / jnp.sum(start[1:])
    proxy = proxy.at[0].set(jnp.sum(others * proxy[1:]) - stream.log_uniform(1e-6, 1.0))
    turn = stream.uniform(0.0, float(outputs)).astype(int)
    start, proxy = jnp.roll(start, turn), jnp.roll(proxy, turn)
    problem = Problem.tabular(start, draws.rewards(stream, (outputs,)), proxy)
    return problem, {"t1": stream.log_uniform(0.1, 1e4), "output": turn % outputs}


_BENIGN: dict[str, Any] = {
    "draw": _draw_benign,
    "premise": _below_value,
    "sizes": (5, 2, 30),
    "defaults": {"t1": 100.0, "output": 0},
}

benign_never_attracts = Theorem(
    name="benign_never_attracts",
    statement=(
        "Orthonormal flow of V_P: an output y with r_P(y) <= V_P(0) has a logit that never increases, since V_P never "
        "decreases and so A(y) <= 0 for ever."
    ),
    source="arXiv 2604.25872, the benign category 'never attracts'; proof derived here",
    kind="bound",
    unit="largest rise of the logit between two of 48 times, in nats; rounding 1e-7",
    batch_claim=_logit_never_rises,
    **_BENIGN,
)


def _benign_probability(batch: Batch, t1: np.ndarray, output: np.ndarray) -> Check:
    path = _path(batch, t1)
    probability = _of(path, output)
    start = probability[:, 0]
    others = (np.sum(path[:, 0], axis=-1) - start) / (batch.num_outputs - 1)
    bound = -np.logaddexp(0.0, others + np.log(batch.num_outputs - 1.0) - start)
    return Check.at_most(np.max(probability, axis=1), bound, rounding=_ROUNDING)


benign_probability_bound = Theorem(
    name="benign_probability_bound",
    statement=(
        "Orthonormal flow of V_P, r_P(y) <= V_P(0): for all t, pi_t(y) <= pi_0(y) / (pi_0(y) + (K - 1) g), g the "
        "geometric mean of the other outputs' initial probabilities; so also pi_t(y) <= pi_0(y) / (K GeoMean(pi_0)), "
        "which is weaker by the inequality of the means."
    ),
    source="derived here, from conserved_sum and benign_never_attracts",
    kind="bound",
    unit="log-probability, in nats; rounding 1e-7",
    batch_claim=_benign_probability,
    **_BENIGN,
)


def _probability_never_rises(batch: Batch, t1: np.ndarray, output: np.ndarray) -> Check:
    probability = _of(_path(batch, t1), output)
    return Check.at_most(np.max(probability, axis=1), probability[:, 0], rounding=_ROUNDING)


benign_probability_never_rises = Theorem(
    name="benign_probability_never_rises",
    statement=(
        "Claim: orthonormal flow of V_P, r_P(y) <= V_P(0): pi(y) never exceeds its start. False: when likely outputs "
        "of low reward lose their mass, B = Cov_pi(pi, r) < 0 and part of it goes to y, whose own logit falls "
        "meanwhile."
    ),
    source="derived here",
    kind="known false",
    unit="log-probability, in nats; rounding 1e-7",
    batch_claim=_probability_never_rises,
    **_BENIGN,
)


def _negligible(batch: Batch, other_proxy: np.ndarray, t: np.ndarray) -> Check:
    start = np.exp(flows.start_log_policy(batch))
    mass = np.sum(np.where(batch.proxy_reward != other_proxy, start, 0.0), axis=(1, 2))
    both = (batch, batch.replace(proxy_reward=other_proxy))
    ends = [flows.run(each, t, rtol=1e-11, atol=1e-13).true_value for each in both]
    difference = np.abs(ends[0] - ends[1])
    bounds = (negligible_bound(mass, t), sharp_negligible_bound(mass, t))
    return Check.each_of(*(Check.ratio_at_most(difference, bound) for bound in bounds))


def negligible_bound(mass: np.ndarray, t: np.ndarray) -> np.ndarray:
    """Computes 4 mu e^{5T}.

    Example:
        >>> float(negligible_bound(np.array(0.01), np.array(0.0)))
        0.04
    """
    return 4 * mass * np.exp(5 * t)


def sharp_negligible_bound(mass: np.ndarray, t: np.ndarray) -> np.ndarray:
    """Computes mu (e^{5T} - e^T) / sqrt(2), which is 0 at T = 0 as the difference is.

    Example:
        >>> float(sharp_negligible_bound(np.array(0.01), np.array(0.1)).round(6))
        0.003843
    """
    return mass * (np.exp(5 * t) - np.exp(t)) / np.sqrt(2)


def _within_one(problem: Problem, other_proxy: Array, t: Array) -> Any:
    small = has_small_rewards(problem) & jnp.all(jnp.abs(other_proxy) <= 1)
    return is_orthonormal(problem) & small & (t > 0)


@streamed
def _draw_negligible(stream: Stream, outputs: int) -> Drawn:
    mass = stream.log_uniform(1e-7, 0.1)
    rare = jnp.arange(outputs) < jnp.where(stream.flag(0.5), 1, min(2, outputs - 1))
    start = draws.policy(stream, (outputs,), spread=(0.1, 2.0))
    rarely, mostly = (jnp.where(part, start, 0.0) for part in (rare, ~rare))
    start = mass * rarely / jnp.sum(rarely) + (1 - mass) * mostly / jnp.sum(mostly)
    true, proxy, other = (draws.rewards(stream, (outputs,)) for _ in range(3))
    other = jnp.where(other == proxy, proxy - 0.5 * jnp.where(proxy > 0, 1, -1), other)
    problem = Problem.tabular(start, true, proxy)
    return problem, {"other_proxy": jnp.where(rare, other, proxy)[None], "t": stream.log_uniform(0.001, 3.0)}


benign_negligible = Theorem(
    name="benign_negligible",
    statement=(
        "Orthonormal flow, rewards in [-1, 1], two proxies that differ only on outputs of initial mass mu: the true "
        "values after a time T differ by at most 4 mu e^{5T}; more sharply, by at most mu (e^{5T} - e^T) / sqrt(2)."
    ),
    source="arXiv 2604.25872, the benign category 'negligible probability'; constant derived here",
    kind="bound",
    unit="decades: log10(bound / difference), of the sharper bound; no rounding",
    draw=_draw_negligible,
    batch_claim=_negligible,
    premise=_within_one,
    sizes=(5, 2, 30),
    defaults={"t": 1.0},
)


# B1 and B2 of docs/theory.md.
THEOREMS = [benign_never_attracts, benign_probability_bound, benign_probability_never_rises, benign_negligible]
