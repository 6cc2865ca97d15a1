r"""Sampled estimators of the policy gradient.

For each prompt p a group of G outputs y_1..y_G is drawn from pi_p; an estimator turns their rewards into advantages
a_i, and the gradient estimate in the logits is

    ghat_p = w_p (1/G) sum_i a_i (onehot(y_i) - pi_p).

An estimator is an `Estimator`: a frozen module with a `group_size` and a method `advantages(sample)`. Write your own by
subclassing it; `ascend_sampled` needs nothing else.

Arrays are those of one problem, [P, K] and [P, G]; many runs are made of it by `jax.vmap`.
"""

from __future__ import annotations

import abc
from typing import Literal

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Int

from pgdyn import policy, validate


class Sample(eqx.Module):
    """What an estimator sees of one update.

    Attributes:
        outputs: [P, G], indices of the outputs drawn.
        rewards: [P, G], their training rewards (after the objective's normalisation).
        log_probs: [P, G], their log-probabilities in nats under the policy that drew them.
        values: [P], the exact expected reward <pi_p, r_p>; known to a simulator, not to a practitioner.

    Example:
        >>> sample = Sample(jnp.array([[0, 1]]), jnp.array([[1.0, 0.0]]), jnp.log(jnp.array([[0.2, 0.8]])), jnp.ones(1))
        >>> Reinforce(baseline=0.5).advantages(sample).tolist()
        [[0.5, -0.5]]
    """

    outputs: Int[Array, "P G"]
    rewards: Float[Array, "P G"]
    log_probs: Float[Array, "P G"]
    values: Float[Array, " P"]


class Estimator(eqx.Module):
    """From sampled rewards to advantages. Subclass it with a `group_size` and a method `advantages`.

    Attributes:
        group_size: G, outputs drawn for each prompt and update.

    Example:
        >>> class Centred(Estimator):
        ...     group_size: int = 4
        ...     def advantages(self, sample):
        ...         return sample.rewards - jnp.mean(sample.rewards, axis=1, keepdims=True)
        >>> from pgdyn import Problem, ascend_sampled
        >>> ascend_sampled(Problem.tabular([0.2, 0.8], [1, 0]), 20, 0, estimator=Centred()).steps.item()
        20
    """

    group_size: eqx.AbstractVar[int]

    @abc.abstractmethod
    def advantages(self, sample: Sample) -> Float[Array, "P G"]:
        """The advantage a_i of every sampled output.

        Args:
            sample: one group of outputs for each prompt.
        """


class Reinforce(Estimator):
    """REINFORCE (Williams 1992): a_i = r_i - b, unbiased for any baseline b that does not depend on the sample.

    Attributes:
        baseline: None for none (as in arXiv 2604.25872, appendix C), a number, or "value" for the exact expected
            reward of the current policy on each prompt.
        group_size: G, outputs drawn for each prompt and update; their estimates are averaged.

    Raises:
        ValueError: on another baseline, or a group smaller than 1.

    Example:
        >>> log_probs = jnp.log(jnp.full((1, 2), 0.5))
        >>> sample = Sample(jnp.array([[0, 1]]), jnp.array([[1.0, 0.0]]), log_probs, jnp.ones(1) / 4)
        >>> Reinforce("value", group_size=2).advantages(sample).tolist()
        [[0.75, -0.25]]
    """

    baseline: None | str | Float[Array, ""]
    group_size: int = eqx.field(static=True)

    def __init__(self, baseline: ArrayLike | Literal["value"] | None = None, group_size: int = 1):
        if isinstance(baseline, str):
            validate.choice("baseline", baseline, ("value",))
            self.baseline = baseline
        else:
            self.baseline = None if baseline is None else validate.scalar("baseline", baseline)
        self.group_size = validate.count("group_size", group_size, minimum=1)

    def advantages(self, sample: Sample) -> Float[Array, "P G"]:
        """r_i - b."""
        if self.baseline is None:
            return sample.rewards
        if isinstance(self.baseline, str):
            return sample.rewards - sample.values[:, None]
        return sample.rewards - self.baseline


def draw(log_policy: Float[Array, "P K"], uniforms: Float[Array, "P G"]) -> Int[Array, "P G"]:
    """Outputs by inversion of the cumulative distribution: the first y with pi(1) + ... + pi(y) > u.

    Args:
        log_policy: [P, K], in nats.
        uniforms: [P, G], one number u in [0, 1) for each output.

    Returns:
        [P, G], indices of outputs.

    Example:
        >>> draw(jnp.log(jnp.array([[0.25, 0.25, 0.5]])), jnp.array([[0.1, 0.3, 0.9]])).tolist()
        [[0, 1, 2]]
    """
    cumulative = jnp.cumsum(jnp.exp(log_policy), axis=1)
    below = uniforms[:, :, None] * cumulative[:, None, -1:] >= cumulative[:, None, :-1]
    return jnp.sum(below, axis=2)


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
        [P, K], the module's ghat.

    Example:
        >>> policy, reward = jnp.log(jnp.array([[0.25, 0.75]])), jnp.array([[2.0, 0.0]])
        >>> logit_gradient(Reinforce(), jnp.ones(1), policy, reward, jnp.array([[0]])).tolist()
        [[1.5, -1.5]]
    """
    hits = (outputs[:, :, None] == jnp.arange(reward.shape[1])[None, None, :]).astype(reward.dtype)

    def pick(array: Float[Array, "P K"]) -> Float[Array, "P G"]:
        return jnp.sum(hits * array[:, None, :], axis=2)

    sample = Sample(outputs, pick(reward), pick(log_policy), policy.prompt_values(log_policy, reward))
    advantages = estimator.advantages(sample) / estimator.group_size
    pushed = jnp.sum(advantages[:, :, None] * hits, axis=1)
    total = jnp.sum(advantages, axis=1, keepdims=True)
    return weights[:, None] * (pushed - total * jnp.exp(log_policy))
