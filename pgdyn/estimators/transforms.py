r"""Transformations of sampled rewards, before an estimator makes advantages of them.

Whiten         (r - mean)/sqrt(var + 1e-8) [+ mean], over the batch or the group
Unlikeliness   r (1 - beta (G - rank)/G), rank 0 the likeliest of the group (Rewarding the Unlikely, 2506.02355)
RobustBonus    r + delta 1[y = j*], j* = argmax r_j - delta pi_j: the subgradient of worst-case regret in an l1 ball
"""

from __future__ import annotations

import abc
from typing import ClassVar, Literal

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from pgdyn import validate
from pgdyn.estimators.estimator import amount, as_type, is_flat
from pgdyn.estimators.sample import Sample


class Transform(eqx.Module):
    """From the rewards of a sample to others. Subclass it with a method `rewards`, and `depends_on` as an estimator.

    Example:
        >>> class Doubled(Transform):
        ...     def rewards(self, sample):
        ...         return 2 * sample.rewards
        >>> sample = Sample(jnp.array([[0]]), jnp.ones((1, 1)), -jnp.ones((1, 1)), jnp.ones(1))
        >>> Doubled().rewards(sample).tolist()
        [[2.0]]
    """

    @abc.abstractmethod
    def rewards(self, sample: Sample) -> Float[Array, "P G"]:
        """The new rewards."""


class Whiten(Transform):
    """Rewards of mean 0 and variance 1: (s - mean) rsqrt(var + 1e-8), var with ddof 1, [+ mean].

    As the program of arXiv 2604.25872 whitens for RLOO: training is then the same for rewards r and c r + b, c > 0 (to
    the 1e-8).

    Attributes:
        scope: the mean and variance of the whole "batch", or of each "group".
        keep_mean: whether the mean is put back.
        before_kl: whether this comes before a KL penalty in the reward is taken off, or after.

    Raises:
        ValueError: on an unknown option.

    Example:
        >>> sample = Sample(jnp.array([[0, 1]]), jnp.array([[3.0, 1.0]]), -jnp.ones((1, 2)), jnp.ones(1))
        >>> Whiten(keep_mean=True).rewards(sample).round(2).tolist()
        [[2.71, 1.29]]
    """

    scope: Literal["batch", "group"] = eqx.field(
        default="batch", static=True, converter=validate.choices("scope", ("batch", "group"))
    )
    keep_mean: bool = eqx.field(default=False, static=True, converter=validate.truth("keep_mean"))
    before_kl: bool = eqx.field(default=True, static=True, converter=validate.truth("before_kl"))

    @property
    def depends_on(self) -> str:
        """What the new rewards are made of."""
        return "batch" if self.scope == "batch" else "rewards"

    def rewards(self, sample: Sample) -> Float[Array, "P G"]:
        """(s - mean) rsqrt(var + 1e-8) [+ mean]."""
        axis = None if self.scope == "batch" else 1
        count = sample.rewards.size if self.scope == "batch" else sample.group_size
        mean = jnp.mean(sample.rewards, axis=axis, keepdims=True)
        variance = jnp.sum((sample.rewards - mean) ** 2, axis=axis, keepdims=True) / max(count - 1, 1)
        white = (sample.rewards - mean) / jnp.sqrt(variance + 1e-8)
        return white + mean if self.keep_mean else white


class Unlikeliness(Transform):
    """The unlikeliness reward: right outputs that are likely within their group are worth less.

    Attributes:
        beta: what the likeliest loses, between 0 and 1.
        variant: "paper" for r (1 - beta (G - rank)/G), rank 0 the likeliest; "code" for r (1 - beta asc/G), asc 0 the
            least likely, as the released program has it.
        ties: equally likely outputs have their "average" rank, or count in the order of their drawing ("first").
        filter: "before" leaves groups of equal rewards as they are, so that an estimator that compares within the group
            makes nothing of them (as the released program drops them); "after" and None keep them: their rewards then
            differ by rank alone.
        length_normalized: whether ranks are those of log-probabilities per token.

    Raises:
        ValueError: on an unknown option, or a beta out of range.

    Example:
        >>> log_probs = jnp.log(jnp.array([[0.5, 0.1]]))
        >>> sample = Sample(jnp.array([[0, 1]]), jnp.ones((1, 2)), log_probs, jnp.ones(1))
        >>> Unlikeliness(0.5, variant="code", filter=None).rewards(sample).tolist()
        [[0.75, 1.0]]
    """

    beta: float = eqx.field(default=0.25, converter=amount("beta", minimum=0.0, maximum=1.0))
    variant: Literal["paper", "code"] = eqx.field(
        default="paper", static=True, converter=validate.choices("variant", ("paper", "code"))
    )
    ties: Literal["average", "first"] = eqx.field(
        default="average", static=True, converter=validate.choices("ties", ("average", "first"))
    )
    filter: Literal["before", "after"] | None = eqx.field(
        default="before", static=True, converter=validate.choices("filter", ("before", "after", None))
    )
    length_normalized: bool = eqx.field(default=False, static=True, converter=validate.truth("length_normalized"))

    depends_on: ClassVar[str] = "group"

    def rewards(self, sample: Sample) -> Float[Array, "P G"]:
        """r_i less its share of beta."""
        ranked = sample.log_probs / sample.tokens if self.length_normalized else sample.log_probs
        falling = ranks(ranked, self.ties)
        count = sample.group_size
        steps = count - falling if self.variant == "paper" else count - 1 - falling
        found = sample.rewards * (1 - as_type(self.beta, steps) * steps / count)
        return jnp.where(is_flat(sample.rewards), sample.rewards, found) if self.filter == "before" else found


def ranks(values: Float[Array, "P G"], ties: str = "average") -> Float[Array, "P G"]:
    """The rank of each value in its group, 0 the largest; equal values have their average rank, or count in order.

    Example:
        >>> ranks(jnp.array([[1.0, 3.0, 1.0]])).tolist(), ranks(jnp.array([[1.0, 3.0, 1.0]]), "first").tolist()
        ([[1.5, 0.0, 1.5]], [[1.0, 0.0, 2.0]])
    """
    above = values[:, None, :] > values[:, :, None]
    same = values[:, None, :] == values[:, :, None]
    if ties == "first":
        earlier = jnp.tril(jnp.ones((values.shape[1],) * 2, bool), -1)[None]
        return jnp.sum(above | (same & earlier), axis=2).astype(values.dtype)
    return jnp.sum(above, axis=2).astype(values.dtype) + (jnp.sum(same, axis=2).astype(values.dtype) - 1) / 2


class RobustBonus(Transform):
    """A bonus for the output where the worst-case regret in an l1 ball of rewards is attained.

    r + delta 1[y = j*], j* = argmax_j r_j - delta pi_j. Outputs that tie for it share the bonus.

    Attributes:
        delta: radius of the ball, at least 0.
        where: the argmax over the sampled "group", before an estimator compares within it, or over all outputs of the
            "policy", which only a simulator knows (of sequences over at most 4096 episodes).

    Raises:
        ValueError: on an unknown option, or a negative delta.

    Example:
        >>> log_probs = jnp.log(jnp.array([[0.9, 0.1]]))
        >>> sample = Sample(jnp.array([[0, 1]]), jnp.array([[1.0, 0.8]]), log_probs, jnp.ones(1))
        >>> RobustBonus(0.5).rewards(sample).tolist()
        [[1.0, 1.3]]
    """

    delta: float = eqx.field(default=0.5, converter=amount("delta", minimum=0.0))
    where: Literal["group", "policy"] = eqx.field(
        default="group", static=True, converter=validate.choices("where", ("group", "policy"))
    )

    depends_on: ClassVar[str] = "group"

    def rewards(self, sample: Sample) -> Float[Array, "P G"]:
        """The rewards with the bonus."""
        delta = as_type(self.delta, sample.rewards)
        score = sample.rewards - delta * jnp.exp(sample.log_probs)
        if self.where == "group":
            best = score == jnp.max(score, axis=1, keepdims=True)
            copies = jnp.sum(sample.outputs[:, None, :] == sample.outputs[:, :, None], axis=2).astype(score.dtype)
            tied = jnp.sum(jnp.where(best, 1 / copies, 0), axis=1, keepdims=True)
            return sample.rewards + jnp.where(best, delta / tied, 0)
        reward = sample.exact("reward_table", "RobustBonus over the policy")
        log_policy = sample.exact("log_policy", "RobustBonus over the policy")
        # The tables of starts with fewer episodes are filled up with copies, whose log-probability is -1e30.
        whole = jnp.where(log_policy > -1e29, reward - delta * jnp.exp(log_policy), -jnp.inf)
        best = whole == jnp.max(whole, axis=1, keepdims=True)
        bonus = jnp.where(best, delta / jnp.sum(best, axis=1, keepdims=True).astype(score.dtype), 0)
        return sample.rewards + jnp.take_along_axis(bonus, sample.outputs, axis=1)
