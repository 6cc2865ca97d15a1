r"""Rewards that are drawn anew for every sample, which no table of rewards can hold.

    RandomReward    Bernoulli(p), whatever the output is
    NoisyVerifier   1 with probability TPR where the output is right, FPR where it is wrong

Each is given by its atoms: the values that a sample's reward may take and their probabilities, so that expectations can
be enumerated.
"""

from __future__ import annotations

import abc

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from pgdyn.estimators.estimator import amount, as_type


class RewardDraw(eqx.Module):
    """A distribution of the reward of a sample, given the reward of its output. Subclass it with a method `atoms`.

    Example:
        >>> from pgdyn.estimators import RandomReward
        >>> isinstance(RandomReward(), RewardDraw)
        True
    """

    @abc.abstractmethod
    def atoms(self, rewards: Float[Array, "..."]) -> tuple[Float[Array, "... B"], Float[Array, "... B"]]:
        """The B values that a reward may take, and their probabilities.

        Args:
            rewards: those of the table, of any shape.
        """


class RandomReward(RewardDraw):
    """Rewards that know nothing: 1 with probability p, else 0, independent of the output.

    Attributes:
        p: probability of a reward of 1, between 0 and 1.

    Raises:
        ValueError: on a p out of range.

    Example:
        >>> RandomReward().atoms(jnp.ones(1))[1].tolist()
        [[0.5, 0.5]]
    """

    p: float = eqx.field(default=0.5, converter=amount("p", minimum=0.0, maximum=1.0))

    def atoms(self, rewards: Float[Array, "..."]) -> tuple[Float[Array, "... B"], Float[Array, "... B"]]:
        """0 and 1."""
        return _binary(jnp.broadcast_to(as_type(self.p, rewards), rewards.shape))


class NoisyVerifier(RewardDraw):
    """A verifier that errs (arXiv 2601.04411): reward 1 with probability FPR + (TPR - FPR) r, else 0.

    Rewards r below 0 count as 0, and above 1 as 1.

    Attributes:
        true_positive: TPR, the probability that an output of reward 1 passes.
        false_positive: FPR, the probability that an output of reward 0 passes.

    Raises:
        ValueError: on a rate out of range.

    Example:
        >>> NoisyVerifier(0.9, 0.2).atoms(jnp.array([1.0, 0.0]))[1].round(3).tolist()
        [[0.1, 0.9], [0.8, 0.2]]
    """

    true_positive: float = eqx.field(default=0.9, converter=amount("true_positive", minimum=0.0, maximum=1.0))
    false_positive: float = eqx.field(default=0.1, converter=amount("false_positive", minimum=0.0, maximum=1.0))

    def atoms(self, rewards: Float[Array, "..."]) -> tuple[Float[Array, "... B"], Float[Array, "... B"]]:
        """0 and 1."""
        low, high = as_type(self.false_positive, rewards), as_type(self.true_positive, rewards)
        return _binary(low + (high - low) * jnp.clip(rewards, 0, 1))


def _binary(chance: Float[Array, "..."]) -> tuple[Float[Array, "... B"], Float[Array, "... B"]]:
    values = jnp.broadcast_to(jnp.arange(2).astype(chance.dtype), (*chance.shape, 2))
    return values, jnp.stack([1 - chance, chance], axis=-1)


def choose(draw: RewardDraw, rewards: Float[Array, "P G"], noise: Array) -> Float[Array, "P G"]:
    """The rewards drawn by uniform numbers `noise` [P, G], or the atoms of these indices where `noise` is integer.

    Example:
        >>> choose(RandomReward(), jnp.zeros((1, 2)), jnp.array([[0.4, 0.6]])).tolist()
        [[0.0, 1.0]]
    """
    values, chances = draw.atoms(rewards)
    if jnp.issubdtype(noise.dtype, jnp.integer):
        index = noise
    else:
        index = jnp.sum(noise[..., None] >= jnp.cumsum(chances, axis=-1)[..., :-1], axis=-1)
    return jnp.take_along_axis(values, index[..., None], axis=-1)[..., 0]
