r"""Convergence rates of softmax policy gradient on a bandit (Mei et al., arXiv 2005.06392).

Rewards in [0, 1], one prompt, tabular; a* the best output, V* its reward, Delta its lead over the second best,
delta_t = V* - V_t. Steps are theta_{t+1} = theta_t + (2/5) grad V, t counted from 0. V is 5/2-smooth, so a step gains
at least |grad V|^2 / 5 (lemma 2), and at most (3/5) |grad V|^2. Then, with c = min_t pi_t(a*),

    |grad V|_2 >= pi(a*) delta,      delta_t <= 5/(c^2 t),      delta_t >= 1/[1/delta_s + (9/7) (t - s)] for late s
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Float

from pgdyn.batch import Batch
from pgdyn.objective import Objective
from pgdyn.problem import Problem
from pgdyn.solve import ascend_many
from pgdyn.theory import draws, flows
from pgdyn.theory.check import EPS, Check
from pgdyn.theory.draws import Drawn, Stream, streamed
from pgdyn.theory.premises import is_orthonormal
from pgdyn.theory.starts import initial_log_policy
from pgdyn.theory.theorem import Theorem

STEP = 0.4
_UPDATES = 2000
_PULL_UPDATES = 32_000
PULL_GAP = 0.09
LEAST_FACTOR = 20.0
_MEI = "Mei, Xiao, Szepesvari, Schuurmans, arXiv 2005.06392"
_MARGIN = "the worst of 2,000 updates; holds up to 1e-9"


def is_bandit(problem: Problem, **parameters: Any) -> Any:
    """Tells whether there is one prompt, tabular at temperature 1, proxy = true reward in [0, 1].

    Example:
        >>> bool(is_bandit(Problem.tabular(None, [1.0, 0.5])))
        True
    """
    reward = problem.true_reward
    inside = jnp.all((reward >= 0) & (reward <= 1))
    return is_orthonormal(problem) & inside & jnp.all(problem.proxy_reward == reward)


@streamed
def _draw_bandit(stream: Stream, outputs: int) -> Drawn:
    reward = (1 + draws.rewards(stream, (1, outputs))) / 2
    return Problem.tabular(draws.policy(stream, (1, outputs), (0.1, 3.0)), reward), {}


def _lojasiewicz(problem: Problem) -> Check:
    probabilities, reward = jnp.exp(initial_log_policy(problem)[0]), problem.true_reward[0]
    gradient = Objective().gradient(problem, problem.initial_params)
    best = jnp.argmax(reward)
    # delta as sum pi (r* - r), without the cancellation of V* - V.
    bound = probabilities[best] * jnp.sum(probabilities * (reward[best] - reward))
    return Check.at_least(jnp.sqrt(jnp.sum(gradient**2)), bound, rounding=64 * EPS)


lojasiewicz = Theorem(
    name="lojasiewicz",
    statement="|grad V|_2 >= pi(a*) (V* - V).",
    source=_MEI + ", lemma 3",
    kind="bound",
    unit="the norm; holds up to 64 eps",
    draw=_draw_bandit,
    claim=_lojasiewicz,
    premise=is_bandit,
    sizes=(2, 5, 30),
)


def _path(batch: Batch) -> tuple[Float[np.ndarray, "N S"], Float[np.ndarray, "N S"]]:
    """(delta_t, pi_t(a*)) for t = 0, 1, ..., 2,000."""
    run = ascend_many(batch, _UPDATES, learning_rate=STEP, save_every=1)
    probabilities, reward = np.exp(run.log_policy[:, :, 0]), batch.true_reward[:, 0]
    gaps = np.einsum("nsk,nk->ns", probabilities, np.max(reward, axis=1, keepdims=True) - reward)
    best = np.argmax(reward, axis=1)
    return gaps, np.take_along_axis(probabilities, best[:, None, None], axis=2)[..., 0]


def _margin(gaps: Float[np.ndarray, "N S"], bound: Float[np.ndarray, "N S"]) -> Check:
    """delta <= bound along every path, in ln, so that late times weigh as much as early ones."""
    margin = np.log(np.maximum(gaps, np.finfo(float).tiny)) - np.log(bound)
    worst = np.argmax(margin, axis=1)[:, None]
    gap, least = (np.take_along_axis(array, worst, axis=1)[:, 0] for array in (gaps, bound))
    return Check.at_most(np.log(np.maximum(gap, np.finfo(float).tiny)), np.log(least), rounding=1e-9)


def _global_rate(batch: Batch) -> Check:
    gaps, best = _path(batch)
    return _margin(gaps[:, 1:], rate_bound(best))


def rate_bound(best: Float[np.ndarray, "N S"]) -> Float[np.ndarray, "N S-1"]:
    """Computes 5/(c^2 t) at t = 1, 2, ... of the probabilities of the best output at t = 0, 1, ...

    Example:
        >>> rate_bound(np.array([[0.5, 0.25, 1.0]])).tolist()
        [[20.0, 40.0]]
    """
    least = np.minimum.accumulate(best, axis=1)[:, :-1]
    return 5 / (least**2 * np.arange(1, best.shape[1]))


global_rate = Theorem(
    name="global_rate",
    statement="V* - V_t <= 5/(c^2 t), c the least pi_s(a*) up to then, at every t.",
    source=_MEI + ", theorem 2",
    kind="bound",
    unit="ln of bound over V* - V_t, " + _MARGIN,
    draw=_draw_bandit,
    batch_claim=_global_rate,
    premise=is_bandit,
    sizes=(5, 2, 30),
)


def _global_rate_sum(batch: Batch) -> Check:
    gaps, best = _path(batch)
    return _margin(gaps[:, 1:], sum_bound(gaps[:, :1], best))


def sum_bound(start: Float[np.ndarray, "N 1"], best: Float[np.ndarray, "N S"]) -> Float[np.ndarray, "N S-1"]:
    """Computes 1/[1/delta_0 + (1/5) sum_{s<t} pi_s(a*)^2] at t = 1, 2, ...; 1 where delta_0 = 0.

    Example:
        >>> sum_bound(np.array([[0.5]]), np.array([[0.5, 1.0, 1.0]])).round(4).tolist()
        [[0.4878, 0.4444]]
    """
    bound = 1 / (1 / np.where(start > 0, start, np.nan) + np.cumsum(best[:, :-1] ** 2, axis=1) / 5)
    return np.where(start > 0, bound, 1.0)


global_rate_sum = Theorem(
    name="global_rate_sum",
    statement="V* - V_t <= 1 / [1/(V* - V_0) + (1/5) sum_{s<t} pi_s(a*)^2], which implies global_rate and is sharper.",
    source="derived here, from the proof of " + _MEI + ", theorem 2",
    kind="bound",
    unit="ln of bound over V* - V_t, " + _MARGIN,
    draw=_draw_bandit,
    batch_claim=_global_rate_sum,
    premise=is_bandit,
    sizes=(5, 2, 30),
)


def _uniform_rate(batch: Batch) -> Check:
    gaps = _path(batch)[0][:, 1:]
    return _margin(gaps, np.broadcast_to(uniform_bound(batch.num_outputs, _UPDATES), gaps.shape))


def uniform_bound(outputs: int, updates: int) -> Float[np.ndarray, " S"]:
    """Computes 5 K^2 / t at t = 1, 2, ...

    Example:
        >>> uniform_bound(3, 2).tolist()
        [45.0, 22.5]
    """
    return 5 * outputs**2 / np.arange(1, updates + 1)


@streamed
def _draw_uniform(stream: Stream, outputs: int) -> Drawn:
    return Problem.tabular(None, (1 + draws.rewards(stream, (1, outputs))) / 2), {}


uniform_rate = Theorem(
    name="uniform_rate",
    statement="From the uniform policy V* - V_t <= 5 K^2 / t.",
    source=_MEI + ", theorem 3 (bandit with uniform start)",
    kind="bound",
    unit="ln of bound over V* - V_t, " + _MARGIN,
    draw=_draw_uniform,
    batch_claim=_uniform_rate,
    premise=lambda problem, **_: is_bandit(problem) & (jnp.ptp(problem.initial_params) < 1e-12),
    sizes=(5, 2, 30),
)


def lower_bound(since: np.ndarray, gap: np.ndarray) -> np.ndarray:
    """Computes 1/[1/delta_s + (9/7) (t - s)] from t - s and delta_s.

    Example:
        >>> float(lower_bound(np.array(7.0), np.array(0.5)).round(6))
        0.090909
    """
    return 1 / (1 / gap + 9 / 7 * since)


def _rate_lower(batch: Batch) -> Check:
    gaps, _ = _path(batch)
    ordered = np.sort(batch.true_reward[:, 0], axis=1)
    lead = (ordered[:, -1] - ordered[:, -2])[:, None]
    late = gaps <= lead / 18
    first = np.argmax(late, axis=1)[:, None]
    times = np.arange(gaps.shape[1])
    since = times - first
    level = np.take_along_axis(gaps, first, axis=1)
    margin = np.log(gaps) - np.log(lower_bound(np.maximum(since, 0), level))
    # Mei's rate, from where the bound above implies it.
    mei = np.log(gaps) - np.log(lead**2 / (6 * np.maximum(times, 1)))
    implied = times >= np.maximum((1 / level - 9 / 7 * first) / (6 / lead**2 - 9 / 7), 1)
    checked = np.any(late, axis=1, keepdims=True) & (since >= 1)
    margins = (np.where(checked, margin, np.inf), np.where(checked & implied, mei, np.inf))
    return Check.each_of(*(Check.at_least(np.min(each, axis=1), 0.0, rounding=1e-9) for each in margins))


@streamed
def _draw_near_optimum(stream: Stream, outputs: int) -> Drawn:
    lead = stream.uniform(0.1, 1.0)
    others = jnp.append(1 - lead, (1 - lead) * stream.uniform(shape=(outputs - 2,)))
    left = lead / 18 * stream.uniform(0.1, 3.0)
    rest = left * stream.simplex(outputs - 1)
    return Problem.tabular(jnp.append(1 - left, rest), jnp.append(1.0, others)), {}


rate_lower = Theorem(
    name="rate_lower",
    statement=(
        "One best output, lead Delta: from the first s with V* - V_s <= Delta/18 on, V* - V_t >= 1 / [1/(V* - V_s) + "
        "(9/7) (t - s)], whatever Delta; hence V* - V_t >= Delta^2/(6 t) from t = [1/(V* - V_s) - (9/7) s] / (6/Delta^2"
        " - 9/7) on. Proof: every other output is below V, so that |grad V|^2 <= 2 pi(a*)^2 delta^2, a step takes at "
        "most (3/5) |grad V|^2 <= (6/5) delta^2 off delta, and 1/delta grows by at most (6/5)/(1 - 1/15)."
    ),
    source=_MEI + ", theorem 9, which says Delta^2/(6 t) 'for large enough t'; the sharper form is derived here",
    kind="bound",
    unit="ln of V* - V_t over the bound, " + _MARGIN,
    draw=_draw_near_optimum,
    batch_claim=_rate_lower,
    premise=lambda problem, **_: (
        is_bandit(problem) & (jnp.sum(problem.true_reward == jnp.max(problem.true_reward)) == 1)
    ),
    sizes=(2, 5, 30),
)


def updates_to(batch: Batch, gap: ArrayLike = PULL_GAP) -> Float[np.ndarray, " N"]:
    """Counts updates of 2/5 until V* - V_t <= gap; inf where more than 32,000.

    Example:
        >>> updates_to(Batch.tabular([[[0.05, 0.01, 0.94]]], [1.0, 0.9, 0.1])).tolist()
        [53.0]
    """
    target = np.max(batch.true_reward, axis=(1, 2)) - gap
    return ascend_many(batch, _PULL_UPDATES, learning_rate=STEP, target=target).hitting_time


def _gravitational_pull(batch: Batch) -> Check:
    mirrored = batch.replace(initial_params=batch.initial_params[:, :, [1, 0, 2]])
    reward = batch.true_reward[:, 0]
    gap = 0.9 * (reward[:, 0] - reward[:, 1])
    factor = np.log(updates_to(batch, gap) / updates_to(mirrored, gap))
    flow = [flows.arrival_times(each, reward[:, 0] - gap) for each in (batch, mirrored)]
    return Check.each_of(
        Check.near(factor, np.log(flow[0] / flow[1]), 0.06), Check.at_least(factor, np.log(LEAST_FACTOR))
    )


@streamed
def _draw_pull(stream: Stream, _: Any) -> Drawn:
    best, second = stream.uniform(0.0085, 0.0125), stream.uniform(0.04, 0.06)
    reward = jnp.stack([jnp.ones(()), stream.uniform(0.87, 0.9), stream.uniform(0.0, 0.2)])
    return Problem.tabular(jnp.stack([best, second, 1 - best - second]), reward), {}


def _is_pulled(problem: Problem, **parameters: Any) -> Any:
    if problem.num_outputs != 3 or problem.num_prompts != 1:
        return False
    start, reward = jnp.exp(initial_log_policy(problem)[0]), problem.true_reward[0]
    rewards = (reward[0] == 1) & (reward[1] >= 0.87) & (reward[1] <= 0.9) & (reward[2] <= 0.2)
    masses = (start[0] >= 0.0085) & (start[0] <= 0.0125) & (start[1] >= 0.04) & (start[1] <= 0.06)
    return is_bandit(problem) & rewards & masses


gravitational_pull = Theorem(
    name="gravitational_pull",
    statement=(
        "r = (1, .9, .1), steps 2/5: from (.05, .01, .94) V* - V <= .09 takes 53 updates, from (.01, .05, .94) it "
        "takes 7367 (the 7368th policy, counted from 1): the second best output first takes all. With rewards (1, .87 "
        "to .9, 0 to .2), .0085 to .0125 on the best and .04 to .06 on the second, and the gap nine tenths of their "
        "difference, exchanging these masses changes the number of updates by more than a factor of 20, the factor "
        "being that of gradient flow."
    ),
    source=_MEI + ", section 3 (softmax gravitational well); the gap .09 was found here to give their 7368",
    kind="law",
    unit="left over of a tolerance of .06 in ln of the factor beside the flow's, or ln of the factor less ln 20",
    draw=_draw_pull,
    batch_claim=_gravitational_pull,
    premise=_is_pulled,
    sizes=(3,),
)


# E1 to E4 of docs/theory.md.
THEOREMS = [lojasiewicz, global_rate, global_rate_sum, uniform_rate, rate_lower, gravitational_pull]
