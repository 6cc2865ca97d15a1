r"""What an estimator's updates are like, beyond their mean.

gradient variance   tr Cov of the estimate ghat in the parameters
signal to noise     |E ghat| / sqrt(tr Cov)
uplift              P(pi_new(y) > pi_old(y) | y in the group)
pass@N              1 - (1 - q)^N, averaged over prompts
"""

from __future__ import annotations

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Float

from pgdyn import policy, validate
from pgdyn.dynamics.optimizer import Optimizer, trace
from pgdyn.estimators.compose import composed
from pgdyn.estimators.enumeration import Outcomes, outcomes
from pgdyn.estimators.episodes import numbers_of_an_episode, roll_out
from pgdyn.estimators.estimator import Estimator, is_flat
from pgdyn.estimators.sample import draw
from pgdyn.estimators.step import Draws, update
from pgdyn.objective import Objective, choose_objective
from pgdyn.problem import Problem, require_single


class Diagnostics(NamedTuple):
    """Moments of one batch of samples.

    Attributes:
        mean: of (theta' - theta)/learning_rate, of the shape of the parameters.
        gradient_variance: trace of its covariance.
        signal_to_noise: norm of the mean over the root of the trace.
        entropy: of the policy that draws the samples, averaged over prompts, in nats; of sequences that of episodes.
        entropy_change: mean change of the entropy by the updates of the batch.
        zero_variance: share of groups whose rewards are all equal.
        clip_low: share of samples whose ratio is clipped below, over all updates of the batch.
        clip_high: share of samples whose ratio is clipped above.
    """

    mean: Any
    gradient_variance: Any
    signal_to_noise: Any
    entropy: Any
    entropy_change: Any
    zero_variance: Any
    clip_low: Any
    clip_high: Any


def diagnose(
    estimator: Estimator,
    problem: Problem,
    params: Any = None,
    *,
    key: Any = None,
    samples: int = 4096,
    objective: Objective | None = None,
    learning_rate: ArrayLike = 1.0,
    optimizer: Any = None,
    reward_to_go: bool = False,
) -> Diagnostics:
    """Moments of the updates of one batch, by enumeration, or of `samples` batches drawn with a key.

    Args:
        estimator: any, or a `Composed`.
        problem: one problem, every prompt of which is visited; of sequences every start that nothing leads to.
        params: theta; None for the initial parameters.
        key: a `jax.random` key or a seed; None to enumerate every group.
        samples: batches that are drawn with a key.
        objective: as in `ascend_sampled`.
        learning_rate: matters where a batch serves several updates.
        optimizer: "sgd" or another; see `outcomes`.
        reward_to_go: as in `ascend_sampled`.

    Raises:
        ValueError: on too many groups to enumerate, or a key that is none.

    Example:
        >>> from pgdyn.estimators import RLOO
        >>> found = diagnose(RLOO(2), Problem.tabular([0.5, 0.5], [1.0, 0.0]))
        >>> round(float(found.zero_variance), 3), round(float(found.gradient_variance), 3)
        (0.5, 0.125)
    """
    require_single(problem, "diagnose")
    params = problem.initial_params if params is None else jnp.asarray(params)
    rate = validate.scalar("learning_rate", learning_rate)
    objective = choose_objective(objective, "diagnose")
    if key is None:
        settings: dict[str, Any] = {"learning_rate": rate, "optimizer": optimizer, "reward_to_go": reward_to_go}
        found = outcomes(estimator, problem, params, objective=objective, **settings)
        probability = found.probability
        flat = jax.vmap(is_flat)(found.rewards)[..., 0]
        ends = (found.params, found.log_policy, flat, found.clipped)
    else:
        count = validate.count("samples", samples, minimum=2)
        if isinstance(key, bool) or not isinstance(key, int | np.integer | jax.Array):
            raise ValueError(f"key is {validate.shown(key)}; it must be a jax.random key or a seed")
        key = jax.random.key(key) if isinstance(key, int | np.integer) else key
        traced = trace(optimizer, rate, problem.initial_params)
        keys = jax.random.split(key, count)
        ends = _sampled(composed(estimator), problem, objective, traced, params, keys, reward_to_go)
        probability = jnp.full_like(rate, 1 / count, shape=(count,))
    return _moments(problem, params, probability, rate, *ends)


@eqx.filter_jit
def _sampled(
    estimator: Any,
    problem: Problem,
    objective: Objective,
    optimizer: Optimizer,
    params: Array,
    keys: Array,
    reward_to_go: bool,
) -> tuple[Array, ...]:
    reference = objective.reference_log_policy(problem)
    log_policy = policy.log_policy(problem, params)
    ways = problem.transitions
    shape = (problem.num_prompts if ways is None else len(ways.roots), estimator.group_size)

    def one(key: Array) -> tuple[Array, ...]:
        uniforms = jax.random.uniform(key, (2, *shape), params.dtype)
        if ways is None:
            drawn = draw(log_policy, uniforms[0])
        else:
            numbers = jax.random.uniform(
                jax.random.fold_in(key, 1), (*shape, *numbers_of_an_episode(ways)), params.dtype
            )
            drawn = roll_out(problem, log_policy, jnp.asarray(ways.roots), numbers)
        draws, memory = Draws(drawn, None, uniforms[1]), optimizer.init(params)
        found = update(estimator, problem, objective, optimizer, reference, params, memory, draws, reward_to_go)
        flat = is_flat(found.sample.rewards)[:, 0]
        return found.params, policy.log_policy(problem, found.params), flat, found.clipped

    return jax.lax.map(one, keys, batch_size=min(len(keys), 1024))


@eqx.filter_jit
def _moments(
    problem: Problem,
    params: Array,
    probability: Float[Array, " N"],
    rate: Array,
    after: Array,
    log_policy: Float[Array, "N P K"],
    flat: Bool[Array, "N B"],
    clipped: Float[Array, "N 2"],
) -> Diagnostics:
    moves = (after - params[None]) / rate
    mean = jnp.tensordot(probability, moves, axes=1)
    squares = jnp.sum((moves - mean[None]) ** 2, axis=tuple(range(1, moves.ndim)))
    variance = jnp.sum(probability * squares)

    def entropy_of(logs: Array) -> Array:
        return policy.visited_mean(problem, logs, policy.entropies(logs))

    entropy, later = entropy_of(policy.log_policy(problem, params)), jax.vmap(entropy_of)(log_policy)
    sides = jnp.tensordot(probability, clipped, axes=1)
    return Diagnostics(
        mean,
        variance,
        jnp.sqrt(jnp.sum(mean**2)) / jnp.sqrt(jnp.where(variance > 0, variance, jnp.nan)),
        entropy,
        jnp.sum(probability * (later - entropy)),
        jnp.sum(probability * jnp.mean(flat.astype(probability.dtype), axis=1)),
        sides[0],
        sides[1],
    )


def uplift_rate(found: Outcomes) -> np.ndarray:
    """P(pi_new(y) > pi_old(y) | y in the group), for every output, or of sequences for every episode.

    Args:
        found: every outcome of a batch, by `outcomes`.

    Returns:
        [P, K], of sequences of K episodes from each of P starts; nan where an output is never drawn.

    Example:
        >>> from pgdyn.estimators import RLOO
        >>> uplift_rate(outcomes(RLOO(2), Problem.tabular([0.25, 0.75], [1.0, 0.0]))).round(3).tolist()
        [[0.857, 0.0]]
    """
    up = np.asarray(found.output_change) > 1e-15
    outputs, probability = np.asarray(found.outputs), np.asarray(found.probability)
    drawn = (outputs[..., None] == np.arange(up.shape[-1])).any(axis=2)
    share = np.einsum("n,npk->pk", probability, drawn)
    with np.errstate(invalid="ignore"):
        return np.einsum("n,npk->pk", probability, drawn & up) / np.where(share > 0, share, np.nan)


def pass_at_n(success: Any, counts: Any, weights: Any = None) -> np.ndarray:
    """pass@N, the probability that one of N samples is right: 1 - (1 - q)^N, averaged over prompts.

    Args:
        success: [..., P], q of every prompt.
        counts: N, a number or [C].
        weights: [P], of the prompts; None for equal weights.

    Returns:
        [...] or [..., C].

    Example:
        >>> pass_at_n([0.5, 0.1], [1, 2]).round(4).tolist()
        [0.3, 0.47]
    """
    q, n = np.asarray(success, float), np.asarray(counts, float)
    with np.errstate(divide="ignore"):
        logs = np.log1p(-q)  # -inf where an answer is certain
    found = np.average(-np.expm1(n.reshape(-1, *(1,) * q.ndim) * logs), axis=-1, weights=weights)
    return np.moveaxis(found, 0, -1) if n.ndim else found[0]


def tail_miss(success: Any, tail: Any, group_size: int) -> np.ndarray:
    """Probability that a group teaches and misses the tail: (1 - tau)^G - (mu - tau)^G - (1 - mu)^G.

    A group has both right and wrong outputs, and none of a set of right outputs of mass tau (arXiv 2602.06717, lemma
    3.1).

    Args:
        success: mu, the mass of all right outputs.
        tail: tau, the mass of the right outputs in question.
        group_size: G.

    Example:
        >>> [round(float(tail_miss(0.7, 0.05, size)), 4) for size in (4, 8, 16, 32, 64)]
        [0.6279, 0.6315, 0.4391, 0.1937, 0.0375]
    """
    mu, tau = np.asarray(success, float), np.asarray(tail, float)
    return (1 - tau) ** group_size - (mu - tau) ** group_size - (1 - mu) ** group_size
