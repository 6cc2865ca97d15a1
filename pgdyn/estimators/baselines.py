r"""Estimators whose advantage is the reward less a baseline, or that over a mean.

    Reinforce     a_i = r_i - b
    RLOO          a_i = r_i - mean of the others = G/(G-1) (r_i - rbar)
    Centred       a_i = r_i - rbar                              (Dr. GRPO)
    ReinforcePP   a_i = (r_i - rbar) / std over the batch       (REINFORCE++ with a group baseline)
    MaxRL         a_i = (r_i - rbar) / rbar

rbar is the mean of the group. The expectations are the exact gradient g for the first two and (1 - 1/G) g for the
third.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from pgdyn import reduction, validate
from pgdyn.estimators.estimator import Estimator, amount, as_type, group_mean, is_flat, size
from pgdyn.estimators.sample import Sample

BASELINES = ("value", "optimal", "greedy")


class Reinforce(Estimator):
    """REINFORCE (Williams 1992): a_i = r_i - b, unbiased for any baseline b that does not depend on the sample.

    Attributes:
        baseline: None for none (as in arXiv 2604.25872, appendix C), a number, or what a simulator knows of the current
            policy on each prompt: "value" for the exact expected reward; "optimal" for E[w r]/E[w], w the squared norm
            of the score (Greensmith, Bartlett and Baxter 2004), which minimises the variance; "greedy" for the reward
            of the likeliest output (ReMax, arXiv 2310.10505). Of sequences r is the return and w that of the score of
            the whole episode, and greedy takes the likeliest output at every decision, on average over what chance
            does.
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

    def __init__(self, baseline: ArrayLike | Literal["value", "optimal", "greedy"] | None = None, group_size: int = 1):
        if isinstance(baseline, str):
            validate.choice("baseline", baseline, BASELINES)
            self.baseline = baseline
        else:
            self.baseline = None if baseline is None else validate.scalar("baseline", baseline)
        self.group_size = validate.count("group_size", group_size, minimum=1)

    @property
    def depends_on(self) -> str:
        """What the advantages are made of."""
        return "group" if isinstance(self.baseline, str) else "rewards"

    def advantages(self, sample: Sample) -> Float[Array, "P G"]:
        """r_i - b."""
        if self.baseline is None:
            return sample.rewards
        if not isinstance(self.baseline, str):
            return sample.rewards - as_type(self.baseline, sample.rewards)
        known = sample.values if self.baseline == "value" else getattr(sample, self.baseline)
        if known is not None:
            return sample.rewards - known[:, None]
        reward = sample.exact("reward_table", f"baseline {self.baseline!r}")
        log_policy = sample.exact("log_policy", f"baseline {self.baseline!r}")
        if self.baseline == "greedy":
            likeliest = jnp.argmax(log_policy, axis=1, keepdims=True)
            return sample.rewards - jnp.take_along_axis(reward, likeliest, axis=1)
        weight = jnp.exp(log_policy) * sample.exact("score_norms", "baseline 'optimal'")
        total = reduction.add(1, weight)
        best = reduction.add(1, weight, reward) / jnp.where(total > 0, total, 1)
        return sample.rewards - best


class RLOO(Estimator):
    """REINFORCE leave-one-out (Kool et al. 2019; Ahmadian et al. 2024): the mean of the others is the baseline.

    Unbiased: E[ghat] is the exact gradient.

    Attributes:
        group_size: G, outputs drawn for each prompt and update, at least 2.

    Raises:
        ValueError: on a group smaller than 2.

    Example:
        >>> rewards = jnp.array([[6.0, 2, 2, 0, 0]]) / 5
        >>> sample = Sample(jnp.arange(5)[None], rewards, -jnp.ones((1, 5)), jnp.ones(1))
        >>> RLOO(5).advantages(sample).round(4)[0].tolist()
        [1.0, 0.0, 0.0, -0.5, -0.5]
    """

    group_size: int = eqx.field(default=4, static=True, converter=size(minimum=2))

    depends_on: ClassVar[str] = "rewards"

    def advantages(self, sample: Sample) -> Float[Array, "P G"]:
        """G/(G-1) (r_i - rbar)."""
        count = sample.group_size
        return (sample.rewards - group_mean(sample.rewards)) * (count / (count - 1))


class Centred(Estimator):
    """Dr. GRPO (arXiv 2503.20783): a_i = r_i - rbar, no division by the standard deviation.

    E[ghat] = (1 - 1/G) g.

    Attributes:
        group_size: G, outputs drawn for each prompt and update, at least 2.

    Raises:
        ValueError: on a group smaller than 2.

    Example:
        >>> sample = Sample(jnp.array([[0, 1]]), jnp.array([[1.0, 0.0]]), -jnp.ones((1, 2)), jnp.ones(1))
        >>> Centred(2).advantages(sample).tolist()
        [[0.5, -0.5]]
    """

    group_size: int = eqx.field(default=4, static=True, converter=size(minimum=2))

    depends_on: ClassVar[str] = "rewards"

    def advantages(self, sample: Sample) -> Float[Array, "P G"]:
        """r_i - rbar."""
        return sample.rewards - group_mean(sample.rewards)


class ReinforcePP(Estimator):
    """REINFORCE++ with a group baseline (arXiv 2501.03262): centred in the group, whitened over the batch.

    a_i = (r_i - rbar) / sqrt(max(v, eps)), v the mean over all samples of the batch of (r_i - rbar)^2, and a batch of
    equal rewards stands still.

    Attributes:
        group_size: G, outputs drawn for each prompt and update, at least 2.
        eps: smallest variance that is divided by.

    Raises:
        ValueError: on a group smaller than 2, or a negative eps.

    Example:
        >>> sample = Sample(jnp.array([[0, 1]]), jnp.array([[3.0, 0.0]]), -jnp.ones((1, 2)), jnp.ones(1))
        >>> ReinforcePP(2).advantages(sample).tolist()
        [[1.0, -1.0]]
    """

    group_size: int = eqx.field(default=4, static=True, converter=size(minimum=2))
    eps: float = eqx.field(default=1e-8, converter=amount("eps", minimum=0.0))

    depends_on: ClassVar[str] = "batch"

    def advantages(self, sample: Sample) -> Float[Array, "P G"]:
        """(r_i - rbar) / std over the batch."""
        flat = is_flat(sample.rewards)
        centred = jnp.where(flat, 0, sample.rewards - group_mean(sample.rewards))
        variance = jnp.maximum(jnp.mean(centred**2), as_type(self.eps, centred))
        return jnp.where(jnp.all(flat), 0, centred / jnp.sqrt(jnp.where(variance > 0, variance, 1)))


class MaxRL(Estimator):
    """MaxRL: a_i = (r_i - rbar)/rbar, the mean of the scores of right outputs where rewards are 0 and 1.

    It climbs a truncation of the log-likelihood E[log success] in place of the success. A group whose mean is zero
    stands still. Rewards should not be negative: a negative mean turns the update around.

    Attributes:
        group_size: G, outputs drawn for each prompt and update, at least 2.

    Raises:
        ValueError: on a group smaller than 2.

    Example:
        >>> rewards = jnp.array([[1.0, 1, 1, 0, 0, 0, 0, 0]])
        >>> sample = Sample(jnp.arange(8)[None], rewards, -jnp.ones((1, 8)), jnp.ones(1))
        >>> MaxRL(8).advantages(sample).round(3)[0, 2:4].tolist()
        [1.667, -1.0]
    """

    group_size: int = eqx.field(default=4, static=True, converter=size(minimum=2))

    depends_on: ClassVar[str] = "rewards"

    def advantages(self, sample: Sample) -> Float[Array, "P G"]:
        """(r_i - rbar)/rbar."""
        mean = group_mean(sample.rewards)
        flat = is_flat(sample.rewards) | (mean == 0)
        return jnp.where(flat, 0, (sample.rewards - mean) / jnp.where(flat, 1, mean))
