r"""One batch of samples, and the updates that it serves.

For each epoch and minibatch, with pi the policy of the moment and pi_old the one that drew the samples,

    ghat_p = w_p (1/g) sum_i c_i (onehot(y_i) - pi_p),    c_i = surrogate(rho_i, a_i) - weight k'(log pi(y_i)/ref(y_i))

over the g samples of the minibatch; a_i are made once, of the rewards and log-probabilities at the time of sampling.
Where outputs lead on, samples are whole episodes (`pgdyn.estimators.episodes`).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PyTree

from pgdyn import policy
from pgdyn.dynamics.optimizer import Optimizer
from pgdyn.estimators import episode_sample
from pgdyn.estimators.compose import composed, log_reference
from pgdyn.estimators.draws import choose
from pgdyn.estimators.episodes import Episodes, paid_before
from pgdyn.estimators.estimator import Estimator
from pgdyn.estimators.sample import Sample, look, mark, take
from pgdyn.objective import Objective
from pgdyn.problem import Problem


class Draws(NamedTuple):
    """What chance decides in one update.

    Attributes:
        outputs: [B, G], the outputs drawn for each prompt that is visited; with transitions the `Episodes` from there.
        prompts: [B], the prompts that are visited; None for all of them, in order.
        noise: [B, G], uniform numbers (or indices of atoms) that decide rewards drawn per sample; None where none are.
    """

    outputs: Int[Array, "B G"] | Episodes
    prompts: Int[Array, " B"] | None = None
    noise: Array | None = None


class Updated(NamedTuple):
    """What one batch of samples leads to.

    Attributes:
        params: the new parameters.
        memory: the new state of the optimiser.
        sample: with the rewards that were drawn.
        advantages: [B, G].
        clipped: [2], shares of samples whose ratio was clipped below and above, over all updates of the batch.
    """

    params: Array
    memory: PyTree
    sample: Sample
    advantages: Float[Array, "B G"]
    clipped: Float[Array, "2"]


def logit_gradient(
    estimator: Estimator,
    weights: Float[Array, " P"],
    log_policy: Float[Array, "P K"],
    reward: Float[Array, "P K"],
    outputs: Int[Array, "P G"],
) -> Float[Array, "P K"]:
    """The estimate ghat of dJ/dz from the drawn `outputs`, prompt weights included.

    Args:
        estimator: turns rewards into advantages.
        weights: [P], of the prompts.
        log_policy: [P, K], in nats.
        reward: [P, K], the training reward.
        outputs: [P, G], what was drawn.

    Returns:
        [P, K], ghat of `pgdyn.estimators`.

    Example:
        >>> from pgdyn.estimators import Reinforce
        >>> policy, reward = jnp.log(jnp.array([[0.25, 0.75]])), jnp.array([[2.0, 0.0]])
        >>> logit_gradient(Reinforce(), jnp.ones(1), policy, reward, jnp.array([[0]])).tolist()
        [[1.5, -1.5]]
    """
    hits = mark(outputs, reward)
    values = policy.prompt_values(log_policy, reward)
    drawn = (outputs, take(hits, reward), take(hits, log_policy), values, weights, None, None)
    advantages = estimator.advantages(Sample(*drawn, log_policy, reward))
    return push(weights, advantages, hits, log_policy)


def push(
    weights: Float[Array, " B"],
    coefficients: Float[Array, "B G"],
    hits: Float[Array, "B G K"],
    log_policy: Float[Array, "B K"],
) -> Float[Array, "B K"]:
    """w (1/G) sum_i c_i (onehot(y_i) - pi).

    Example:
        >>> push(jnp.ones(1), jnp.ones((1, 1)), jnp.array([[[1.0, 0.0]]]), jnp.log(jnp.array([[0.25, 0.75]]))).tolist()
        [[0.75, -0.75]]
    """
    coefficients = coefficients / coefficients.shape[1]
    pushed = jnp.sum(coefficients[:, :, None] * hits, axis=1)
    total = jnp.sum(coefficients, axis=1, keepdims=True)
    return weights[:, None] * (pushed - total * jnp.exp(log_policy))


def update(
    estimator: Estimator,
    problem: Problem,
    objective: Objective,
    optimizer: Optimizer,
    reference: Float[Array, "P K"],
    params: Array,
    memory: PyTree,
    draws: Draws,
    reward_to_go: bool = False,
) -> Updated:
    """All updates that one batch of samples serves.

    Args:
        estimator: any, or a `Composed`.
        problem: one problem.
        objective: its reward is sampled; its KL and entropy enter every update by their exact gradients.
        optimizer: traced for the parameters.
        reference: `objective.reference_log_policy(problem)`.
        params: at the time of sampling.
        memory: the state of the optimiser.
        draws: what was drawn.
        reward_to_go: with transitions: whether the rewards before a decision are taken off its advantage.
    """
    parts = composed(estimator)
    log_policy = policy.log_policy(problem, params)
    reward = objective.reward_signal(problem, jnp.exp(log_policy))
    whole = isinstance(draws.outputs, Episodes)
    if isinstance(draws.outputs, Episodes):
        drawn = draws.prompts is not None
        sample = episode_sample.look(problem, log_policy, reward, draws.outputs, reference, drawn, params)
    else:
        sample = look(problem, log_policy, reward, draws.outputs, reference, draws.prompts, params)
    if parts.draw is not None:
        assert draws.noise is not None
        sample = sample.with_rewards(choose(parts.draw, sample.rewards, draws.noise))
    advantages = parts.advantages(sample)
    credit, old, anchored = advantages, sample.log_probs, log_reference(sample)
    by_token = parts.surrogate is not None and parts.surrogate.level == "token"
    if isinstance(draws.outputs, Episodes):
        # [B, G, H] from here on; a sequence's own numbers are the same for all of its tokens.
        credit = jnp.broadcast_to(advantages[:, :, None], draws.outputs.points.shape)
        if reward_to_go:
            credit = credit - paid_before(draws.outputs, reward)
        if by_token:
            old, anchored = draws.outputs.take(log_policy), draws.outputs.take(reference)
        else:
            old, anchored = old[:, :, None], anchored[:, :, None]

    def along(outputs: Any, table: Array) -> tuple[Any, Array]:
        """What `push` needs of the outputs, and their log-probabilities under `table`."""
        if isinstance(outputs, Episodes):
            now = outputs.take(table)
            return outputs, now if by_token else jnp.sum(now, axis=2, keepdims=True)
        rows = table if draws.prompts is None else table[draws.prompts]
        hits = mark(outputs, rows)
        return (hits, rows), take(hits, rows)

    def once(params: Array, memory: PyTree, log_policy: Array, part: Any) -> tuple[Array, PyTree, Array]:
        outputs, own, old, anchored = part
        seen, now = along(outputs, log_policy)
        coefficients, clipped = own, jnp.zeros(2, log_policy.dtype)
        if parts.surrogate is not None:
            ratio = jnp.broadcast_to(now - old, own.shape)
            coefficients = parts.surrogate.coefficients(ratio, own)
            present = outputs.present if whole else jnp.ones(own.shape, bool)
            sides = [side & present for side in parts.surrogate.clipped(ratio, own)]
            clipped = jnp.stack([jnp.sum(side) / jnp.sum(present) for side in sides]).astype(log_policy.dtype)
        if parts.in_loss is not None:
            coefficients = coefficients - parts.in_loss.slope(now - anchored)
        assert sample.weights is not None
        if whole:
            gradient = seen.push(sample.weights, coefficients, log_policy)
        else:
            gradient = push(sample.weights, coefficients, *seen)
            if draws.prompts is not None:
                gradient = jnp.zeros_like(log_policy).at[draws.prompts].add(gradient)
        if objective.kl is not None or objective.entropy is not None:
            gradient += objective.regularizer_gradient(problem, log_policy, reference)
        params, memory = optimizer.ascend(policy.pull_back(problem, gradient, params), memory, params)
        return params, memory, clipped

    arrays = (draws.outputs, credit, old, anchored)
    if parts.surrogate is None:
        params, memory, clipped = once(params, memory, log_policy, arrays)
        return Updated(params, memory, sample, advantages, clipped)
    minibatches = parts.surrogate.minibatches
    count, length = parts.surrogate.epochs * minibatches, sample.group_size // minibatches

    def again(i: Array, state: Any) -> Any:
        params, memory, total = state
        first = (i % minibatches) * length
        part = jax.tree.map(lambda array: jax.lax.dynamic_slice_in_dim(array, first, length, axis=1), arrays)
        params, memory, clipped = once(params, memory, policy.log_policy(problem, params), part)
        return params, memory, total + clipped

    state = (params, memory, jnp.zeros(2, log_policy.dtype))
    params, memory, clipped = jax.lax.fori_loop(0, count, again, state)
    return Updated(params, memory, sample, advantages, clipped / jnp.asarray(count, clipped.dtype))
