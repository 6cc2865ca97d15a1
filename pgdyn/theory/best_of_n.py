r"""Best of N: the choice of N samples by a proxy, and the value E[max of N true rewards] of an accurate one's.

pi_N(y) = pi(y) / P(r = r_y) [P(r <= r_y)^N - P(r < r_y)^N]
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from pgdyn.problem import Problem
from pgdyn.theory import draws
from pgdyn.theory.check import EPS, Check
from pgdyn.theory.draws import Drawn, Stream, streamed
from pgdyn.theory.starts import initial_log_policy
from pgdyn.theory.theorem import Theorem


def best_of_n(log_policy: Float[Array, " K"], reward: Float[Array, " K"], count: Array) -> Float[Array, " K"]:
    """Computes the probabilities of the best of `count` samples by `reward`, ties broken evenly.

    Example:
        >>> best_of_n(jnp.log(jnp.array([0.5, 0.5])), jnp.array([1.0, 0.0]), jnp.asarray(2.0)).tolist()
        [0.75, 0.25]
    """
    probabilities = jnp.exp(log_policy)
    below = jnp.sum(jnp.where(reward[None, :] < reward[:, None], probabilities, 0.0), axis=1)
    tied = jnp.sum(jnp.where(reward[None, :] == reward[:, None], probabilities, 0.0), axis=1)
    return probabilities / tied * ((below + tied) ** count - below**count)


def _best_of_n(problem: Problem, count: Array, rival: Array) -> Check:
    log_policy, true = initial_log_policy(problem)[0], problem.true_reward[0]
    count = jnp.asarray(count).astype(log_policy.dtype)
    accurate = jnp.sum(best_of_n(log_policy, problem.proxy_reward[0], count) * true)
    other = jnp.sum(best_of_n(log_policy, rival, count) * true)
    # E max of N samples = lowest reward + sum over steps of P(max reaches the step) times its height.
    order = jnp.argsort(true)
    climbed = jnp.cumsum(jnp.exp(log_policy)[order])[:-1]
    steps = jnp.diff(true[order])
    highest = true[order][0] + jnp.sum((1 - climbed**count) * steps)
    rounding = 64 * problem.num_outputs * EPS * (1 + count)
    return Check.all_of(
        Check.at_least(accurate, other, rounding=rounding), Check.identity(accurate - highest, rounding)
    )


@streamed
def _draw_best(stream: Stream, outputs: int) -> Drawn:
    shape = (1, outputs)
    true = draws.rewards(stream, shape)
    problem = Problem.tabular(
        draws.policy(stream, shape, (0.1, 2.0)), true, jnp.sinh(3 * true) + stream.uniform(-1.0, 1.0)
    )
    count = jnp.floor(stream.log_uniform(1.0, 257.0)).astype(int)
    return problem, {"count": count, "rival": draws.rewards(stream, (outputs,))}


def _same_order(problem: Problem, count: Array, **parameters: Any) -> Any:
    if problem.num_prompts > 1:
        return False
    whole = (count >= 1) & (count == jnp.floor(count))

    def sign(reward: Array) -> Array:
        return jnp.sign(reward[0][:, None] - reward[0][None, :])

    return whole & jnp.all(sign(problem.proxy_reward) == sign(problem.true_reward))


best_of_n_accuracy = Theorem(
    name="best_of_n_accuracy",
    statement=(
        "A perfectly accurate proxy is optimal for best-of-N: its choice has the value E[max of N true rewards], at "
        "least that of any other proxy's choice."
    ),
    source="arXiv 2503.15477, section 4",
    kind="bound",
    unit="true value; holds up to 64 K (1 + N) eps",
    draw=_draw_best,
    claim=_best_of_n,
    premise=_same_order,
    sizes=(3, 2, 30),
    defaults={"count": 4},
)


# D6 of docs/theory.md.
THEOREMS = [best_of_n_accuracy]
