r"""What makes a teacher is not accuracy, and depends on the pupil (arXiv 2503.15477, theorems 2 and 3).

    accurate_proxy    values in (0, 1/T) in the true order:          T_gamma >= 2 |S| (1 - e^{-gamma/2}) T
    spotlight_proxy   1 on a good output y, (0, pi_0(y)) elsewhere:  T_gamma <= 4 |S| / (1 - rho)^4 (1/pi_0(y) - 1/rho)

with rho = (V_G(0) + gamma + 1)/(r_G(y) + 1), for |S| prompts of equal weight and rewards in [-1, 1], tabular.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from pgdyn import policy
from pgdyn.batch import Batch
from pgdyn.problem import Problem
from pgdyn.theory import draws, flows
from pgdyn.theory.check import Check
from pgdyn.theory.draws import Drawn, Stream, streamed
from pgdyn.theory.premises import is_plain_tabular
from pgdyn.theory.reward_variance import LATEST, LOG_TIMES, PAPER, no_sooner, room, tabular_bound
from pgdyn.theory.starts import initial_log_policy
from pgdyn.theory.theorem import Theorem, for_each


def accurate_proxy(true_reward: Float[Array, "P K"], slowness: Array) -> Float[Array, "P K"]:
    """Gives values in (0, 1/slowness) in the order of the true reward.

    Example:
        >>> accurate_proxy(jnp.array([[0.3, -1.0, 0.9]]), jnp.asarray(2.0)).tolist()
        [[0.25, 0.125, 0.375]]
    """
    ranks = jnp.argsort(jnp.argsort(true_reward, axis=-1), axis=-1).astype(true_reward.dtype)
    return (ranks + 1) / (true_reward.shape[-1] + 1) / slowness


def spotlight_proxy(true_reward: Float[Array, "P K"], start: Float[Array, "P K"]) -> Float[Array, "P K"]:
    """Gives 1 to the best output, and to all others in (0, pi_0(best)) the reverse of their true order: accuracy 2/K.

    Example:
        >>> spotlight_proxy(jnp.array([[0.3, -1.0, 0.9]]), jnp.array([[0.2, 0.3, 0.5]])).round(2).tolist()
        [[0.2, 0.3, 1.0]]
    """
    best = jnp.argmax(true_reward, axis=-1, keepdims=True)
    inverse = jnp.argsort(jnp.argsort(-true_reward, axis=-1), axis=-1).astype(true_reward.dtype)
    low = jnp.take_along_axis(start, best, axis=-1) * (inverse + 1) / (true_reward.shape[-1] + 2)
    return jnp.where(jnp.arange(true_reward.shape[-1])[None] == best, 1.0, low)


def _accurate_but_slow(batch: Batch, gamma: np.ndarray, slowness: np.ndarray) -> Check:
    return no_sooner(batch, gamma, slow_bound(batch.num_prompts, gamma, slowness))


def slow_bound(prompts: int, gamma: np.ndarray, slowness: np.ndarray) -> np.ndarray:
    """Computes 2 |S| (1 - e^{-gamma/2}) T.

    Example:
        >>> float(slow_bound(3, np.array(1.0), np.array(10.0)).round(3))
        23.608
    """
    return 2 * prompts * -np.expm1(-gamma / 2) * slowness


@streamed
def _draw_slow(stream: Stream, size: Any) -> Drawn:
    start = draws.policy(stream, size[:2], (0.1, 3.0))
    true = stream.uniform(-1.0, 1.0, size[:2])  # all different within a prompt
    slowness = stream.log_uniform(1.0, 1e3)
    problem = Problem.tabular(start, true, accurate_proxy(true, slowness))
    return problem, {"gamma": stream.uniform(0.05, 0.95) * room(problem), "slowness": slowness}


def _is_accurate(problem: Problem, slowness: Array, **parameters: Any) -> Any:
    def above(reward: Array) -> Array:
        return reward[:, :, None] > reward[:, None, :]

    same = jnp.all(above(problem.proxy_reward) == above(problem.true_reward)) & (slowness >= 1)
    small = jnp.all((problem.proxy_reward > 0) & (problem.proxy_reward < 1 / slowness))
    return is_plain_tabular(problem) & same & small


accurate_but_slow = Theorem(
    name="accurate_but_slow",
    statement=(
        "For every T >= 1 a perfectly accurate proxy, with values in (0, 1/T) in the true order, has "
        "T_gamma >= 2 |S| (1 - e^(-gamma/2)) T."
    ),
    source=PAPER + ", Theorem 2",
    kind="bound",
    unit=LOG_TIMES,
    draw=_draw_slow,
    batch_claim=_accurate_but_slow,
    premise=_is_accurate,
    sizes=((1, 5, None), (3, 5, None), (1, 30, None)),
    defaults={"gamma": 0.1, "slowness": 10.0},
)


def spotlight_bound(problem: Problem, gamma: Array) -> Array:
    """Computes the largest 4 |S| / (1 - rho)^4 (1/pi_0(y) - 1/rho) over prompts, with rho of this module's docstring.

    Example:
        >>> float(spotlight_bound(Problem.tabular([0.25, 0.75], [1, 0]), jnp.asarray(0.35)).round(2))
        6875.0
    """
    start = initial_log_policy(problem)
    best = jnp.argmax(problem.proxy_reward, axis=-1)[:, None]
    mass = jnp.exp(jnp.take_along_axis(start, best, axis=-1))[:, 0]
    reward = jnp.take_along_axis(problem.true_reward, best, axis=-1)[:, 0]
    rho = (policy.prompt_values(start, problem.true_reward) + gamma + 1) / (reward + 1)
    return jnp.max(4 * problem.num_prompts / (1 - rho) ** 4 * (1 / mass - 1 / rho))


def no_later(batch: Batch, gamma: np.ndarray) -> Check:
    """Checks T_gamma <= `spotlight_bound`, in ln."""
    bound = for_each(batch, spotlight_bound, gamma)
    return Check.at_most(np.log(flows.rise_times(batch, gamma, LATEST)), np.log(bound), rounding=1e-5)


@streamed
def _draw_fast(stream: Stream, size: Any) -> Drawn:
    prompts, outputs, _ = size
    true = stream.uniform(-1.0, 1.0, (prompts, outputs))
    # Starts with a best output of 1e-3 at least keep the times of the slowest below the end of the runs.
    start = jax.nn.softmax(
        jnp.clip(stream.log_uniform(0.1, 2.0) * stream.normal((prompts, outputs)), -3.0, 3.0), axis=-1
    )
    least = jnp.min(jnp.max(true, axis=-1) - jnp.sum(start * true, axis=-1))  # that any prompt's value can rise
    return Problem.tabular(start, true, spotlight_proxy(true, start)), {"gamma": stream.uniform(0.05, 0.9) * least}


def _is_spotlight(problem: Problem, gamma: Array, **parameters: Any) -> Any:
    start = jnp.exp(initial_log_policy(problem))
    best = jnp.argmax(problem.proxy_reward, axis=-1)[:, None]
    mass = jnp.take_along_axis(start, best, axis=-1)
    reward = jnp.take_along_axis(problem.true_reward, best, axis=-1)
    chosen = jnp.arange(problem.num_outputs)[None] == best
    low = jnp.all(
        jnp.where(chosen, problem.proxy_reward == 1, (problem.proxy_reward > 0) & (problem.proxy_reward < mass))
    )
    values = jnp.sum(start * problem.true_reward, axis=-1, keepdims=True)
    return is_plain_tabular(problem) & low & jnp.all(reward > values + gamma)


inaccurate_but_fast = Theorem(
    name="inaccurate_but_fast",
    statement=(
        "A proxy that is 1 on an output y of true reward above V_G(0) + gamma and in (0, pi_0(y)) elsewhere, in any "
        "order (accuracy down to 2/K), has T_gamma <= 4 |S| / (1 - rho)^4 (1/pi_0(y) - 1/rho), "
        "rho = (V_G(0) + gamma + 1)/(r_G(y) + 1), the largest over prompts."
    ),
    source=PAPER + ", Theorem 2; the largest over prompts added here",
    kind="bound",
    unit=LOG_TIMES,
    draw=_draw_fast,
    batch_claim=no_later,
    premise=_is_spotlight,
    sizes=((1, 5, None), (3, 5, None), (1, 30, None)),
    defaults={"gamma": 0.1},
)


def teachers(outputs: int) -> tuple[np.ndarray, np.ndarray]:
    """Gives two proxies, each 1 on one of the first two outputs and 0 elsewhere.

    Example:
        >>> [proxy.tolist() for proxy in teachers(3)]
        [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]
    """
    return np.eye(outputs)[0], np.eye(outputs)[1]


def _policy_dependent_teacher(batch: Batch, mirrored: np.ndarray, gamma: np.ndarray) -> Check:
    # A spotlight without lower values: with the others all at 0 the time of `inaccurate_but_fast` still bounds it.
    checks = []
    for i, pupil in enumerate((batch, batch.replace(initial_params=mirrored))):
        for j, proxy in enumerate(teachers(batch.num_outputs)):
            taught = pupil.replace(proxy_reward=np.broadcast_to(proxy, batch.true_reward.shape))
            slow = i != j
            checks.append(
                no_sooner(taught, gamma, for_each(taught, tabular_bound, gamma)) if slow else no_later(taught, gamma)
            )
    # What makes it matter: for either pupil the slow bound lies above the fast one.
    checks.append(Check.at_most(checks[0].bound, checks[1].bound))
    checks.append(Check.at_most(checks[3].bound, checks[2].bound))
    return Check.each_of(*checks)


@streamed
def _draw_pupils(stream: Stream, outputs: int) -> Drawn:
    likely, rare = stream.uniform(0.1, 0.3), stream.log_uniform(1e-20, 1e-16)
    rest = jnp.full(outputs - 2, 1.0) * (1 - likely - rare) / (outputs - 2)
    true = jnp.concatenate([stream.uniform(0.8, 1.0, (2,)), stream.uniform(-1.0, -0.2, (outputs - 2,))])
    start = jnp.concatenate([jnp.stack([likely, rare]), rest])
    swapped = jnp.concatenate([jnp.stack([rare, likely]), rest])
    gamma = stream.uniform(0.1, 0.5)
    problem = Problem.tabular(start, true, jnp.asarray(teachers(outputs)[0]))
    return problem, {"mirrored": jnp.log(swapped)[None], "gamma": gamma}


def _has_pupils(problem: Problem, mirrored: Array, gamma: Array) -> Any:
    if not problem.is_tabular or problem.num_prompts > 1 or problem.num_outputs < 3:
        return False
    start, reward = initial_log_policy(problem), problem.true_reward[0]
    other = jax.nn.log_softmax(mirrored, axis=-1)
    order = jnp.asarray([1, 0, *range(2, problem.num_outputs)])
    exchanged = jnp.max(jnp.abs(other - start[:, order]) / (1 + jnp.abs(other))) < 1e-9
    values = jnp.stack([policy.prompt_values(each, problem.true_reward)[0] for each in (start, other)])
    good = jnp.min(reward[:2]) > jnp.max(values) + gamma
    likely, rare = jnp.exp(start[0, 0]), jnp.exp(start[0, 1])
    rho = (jnp.max(values) + gamma + 1) / (jnp.min(reward[:2]) + 1)
    apart = jnp.sqrt(rare) <= -jnp.expm1(-gamma / 2) * (1 - rho) ** 4 * likely / 2
    taught = jnp.all(problem.proxy_reward[0] == jnp.eye(problem.num_outputs)[0])
    return is_plain_tabular(problem) & exchanged & good & taught & apart


policy_dependent_teacher = Theorem(
    name="policy_dependent_teacher",
    statement=(
        "Two good outputs, two proxies that each reward one of them, two families of initial policies that each rarely "
        "produce the other: each proxy is fast for its own family (T_gamma bounded by 1/pi_0 as in "
        "inaccurate_but_fast) and slow for the other (T_gamma >= 2 (1 - e^(-gamma/2)) / sqrt(pi_0 (1 - pi_0)), "
        "beyond any bound as pi_0 falls). The second bound is the larger once pi_0 of the rare one is at most [(1 - "
        "e^(-gamma/2)) (1 - rho)^4 pi_0 / 2]^2, pi_0 of the likely one."
    ),
    source=PAPER + ", Theorem 3; this construction derived here",
    kind="bound",
    unit=LOG_TIMES,
    draw=_draw_pupils,
    batch_claim=_policy_dependent_teacher,
    premise=_has_pupils,
    sizes=(4, 3, 30),
)


# D4 and D5 of docs/theory.md.
THEOREMS = [accurate_but_slow, inaccurate_but_fast, policy_dependent_teacher]
