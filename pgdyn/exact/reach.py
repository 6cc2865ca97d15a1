r"""Which flows are solved exactly, and their reduced coordinates.

A prompt's logits move by z' = w (G / T^2) (pi * A). Where its kernel has the form

    G = diag(a) + b 1' + 1 b'

the vectors b play no part: sum_y pi(y) A(y) = 0, and what is added to all logits changes no policy. What is left is
z_y' = w (a_y / T^2) pi(y) A(y): every output moves by itself, apart from the value V that all share. Of this form are
tabular policies (a = 1), orthogonal features of any norms (a_y = |phi_y|^2), and all features of three outputs
(a_y = <phi_y - phi_u, phi_y - phi_v>) or two. Prompts that share parameters must not move one another: their kernel
is b 1' + 1 c' then.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from pgdyn import policy
from pgdyn.batch import Batch
from pgdyn.objective import Objective
from pgdyn.problem import Problem

CLOSE = 1e-12  # of the kernel's size: what its form may miss by, which is rounding


class Prompts(NamedTuple):
    """Problems in reduced coordinates, lanes last: rewards span 1 to 2 and the largest gain is 1 to 2.

    Attributes:
        gains: [P, K, N], a.
        reward: [P, K, N], the reward that is climbed.
        log_start: [P, K, N], log pi_0.
        true_reward: [P, K, N].
        weights: [P, N], w.
        rate: [P, N], time for a unit of s, where ds = Z dtau.
        moves: [P, N], whether a prompt moves at all.
    """

    gains: Float[Array, "P K N"]
    reward: Float[Array, "P K N"]
    log_start: Float[Array, "P K N"]
    true_reward: Float[Array, "P K N"]
    weights: Float[Array, "P N"]
    rate: Float[Array, "P N"]
    moves: Bool[Array, "P N"]


def gains_and_misfit(features: Float[Array, "P K D"]) -> tuple[Float[Array, "P K"], Float[Array, ""]]:
    """The diagonal a of the form that is nearest to the kernel, and what the kernel differs from it by, relatively.

    Example:
        >>> gains, misfit = gains_and_misfit(jnp.array([[[1.0, 0.0], [0.0, 2.0], [3.0, 0.0]]]))
        >>> gains.round(12).tolist(), float(misfit) < CLOSE
        ([[-2.0, 7.0, 6.0]], True)
    """
    outputs = features.shape[1]
    centred = features - jnp.mean(features, axis=1, keepdims=True)
    gram = jnp.einsum("pkd,qld->pqkl", centred, centred)
    own = jnp.einsum("ppkl->pkl", gram)
    norms = jnp.einsum("pkk->pk", own)
    size = jnp.maximum(jnp.max(norms), jnp.finfo(features.dtype).tiny)
    if outputs <= 2:
        # Two outputs share one difference of logits, to which each may be said to bring half; one does not move.
        gains = jnp.broadcast_to(jnp.sum(norms, axis=1, keepdims=True), norms.shape)
        return gains if outputs == 2 else jnp.ones_like(norms), _coupling(gram) / size
    off = jnp.sum(own, axis=2) - norms
    total = jnp.sum(off, axis=1, keepdims=True) / (2 * (outputs - 1))
    b = (off - total) / (outputs - 2)
    gains = norms - 2 * b
    form = b[:, :, None] + b[:, None, :] + gains[:, :, None] * jnp.eye(outputs)[None]
    misfit = jnp.max(jnp.abs(own - form))
    gains = jnp.where(jnp.abs(gains) <= CLOSE * size, 0.0, gains)
    return gains, jnp.maximum(misfit, _coupling(gram)) / size


def _coupling(gram: Float[Array, "P P K K"]) -> Array:
    """The largest entry by which one prompt moves another: of kernels between them, centred both ways."""
    across = gram - jnp.mean(gram, axis=2, keepdims=True)
    across = across - jnp.mean(across, axis=3, keepdims=True)
    prompts = gram.shape[0]
    return jnp.max(jnp.abs(across) * (1 - jnp.eye(prompts))[:, :, None, None])


def refusal(problem: Problem | Batch, objective: Objective) -> np.ndarray:
    """Why each problem has no exact solution here, a sentence each; an empty one where it has.

    Example:
        >>> refusal(Problem.tabular([0.2, 0.8], [1, 0]), Objective(entropy=0.1)).item()
        'the objective has an entropy bonus, and its flow has no exact solution'
    """
    batch = Batch.of(problem)
    count = len(batch)
    shape = (count,) if isinstance(problem, Batch) else ()
    sentence = ""
    if batch.problems.transitions is not None:
        sentence = "outputs lead to further decisions (or are masked), and flows of sequences have no exact solution"
    elif batch.problems.network is not None:
        sentence = "the policy is a network, whose kernel moves, and its flow has no exact solution"
    elif objective.entropy is not None:
        sentence = "the objective has an entropy bonus, and its flow has no exact solution"
    elif objective.normalize_by_std:
        sentence = "the objective normalises rewards by their standard deviation, and its flow has no exact solution"
    elif objective.kl is not None:
        sentence = "the objective has a KL penalty, and its flow has no exact solution"
    if sentence:
        return np.full(shape, sentence, object)
    found = np.full(count, "", object)
    if not batch.is_tabular:
        features = np.asarray(batch.problems.features)
        features = features[None] if "features" in batch.shared else features
        own = len(features)
        padded = features[
            np.resize(np.arange(own), 1 << (own - 1).bit_length())
        ]  # few sizes, so that little is compiled
        misfits = np.broadcast_to(np.asarray(_misfits(padded))[:own], (count,))
        for i in np.flatnonzero(~(misfits <= CLOSE)):
            found[i] = (
                f"its features' kernel is no diag(a) + b 1' + 1 b' (it misses by {misfits[i]:.2g} of its size), "
                "and its flow has no exact solution"
            )
    return found.reshape(shape)


@jax.jit
def _misfits(features: Float[Array, "N P K D"]) -> Float[Array, " N"]:
    return jax.vmap(lambda own: gains_and_misfit(own)[1])(features)


def reduce(problem: Problem, objective: Objective) -> Prompts:
    """The reduced coordinates of one problem, as one lane."""
    log_start = policy.log_policy(problem, problem.initial_params)
    gains = jnp.ones_like(log_start) if problem.features is None else gains_and_misfit(problem.features)[0]
    reward = objective.training_reward(problem)
    height = power_of_two(jnp.max(reward, axis=1) - jnp.min(reward, axis=1))
    most = power_of_two(jnp.max(gains, axis=1))
    moves = (height > 0) & (most > 0) & (problem.prompt_weights > 0)
    height, most, weights = (jnp.where(moves, size, 1.0) for size in (height, most, problem.prompt_weights))
    one = Prompts(
        gains=jnp.where(moves[:, None], gains / most[:, None], 1.0),
        reward=jnp.where(moves[:, None], reward / height[:, None], 0.0),
        log_start=log_start,
        true_reward=problem.true_reward,
        weights=problem.prompt_weights,
        rate=problem.temperature**2 / weights / height / most,
        moves=moves,
    )
    return jax.tree.map(lambda leaf: leaf[..., None], one)


def power_of_two(size: Array) -> Array:
    """The power of two next below `size`, which is divided by without rounding; 0 of 0."""
    _, exponent = jnp.frexp(jax.lax.stop_gradient(size))
    return jnp.where(size > 0, jnp.ldexp(jnp.ones_like(size), exponent - 1), 0.0)


def known(value: Any) -> Any:
    """A value that derivatives do not pass through."""
    return jax.tree.map(jax.lax.stop_gradient, value)
