r"""Estimators of the gradient of the best of several samples.

    MaxAtK            E[max of k samples], from G >= k samples: k times the mean, over the k-subsets that hold sample i,
                      of their maximum, less a baseline of the other samples (PKPO, arXiv 2505.15201)
    BestOfN           the same for any N, with weights N E[max(r_i, M_{N-1})] that a simulator knows exactly
    TailExtrapolated  B_N = mu + sigma c for a Gaussian tail, mu and sigma the mean and spread of the best alpha of the
                      samples: the influence function of that estimate (TEA)

TEA's constants: with z the (1 - alpha) quantile of the standard normal, l = phi(z)/alpha and c_N the expected maximum
of N standard normals, c = (c_N - l)/sqrt(1 + z l - l^2). Prefix-TEA combines estimates of the first m_1 < .. < m_J
samples with weights w_j, sum w_j = 1, sum w_j m_j^-i = 0, to cancel orders of the bias in 1/m.
"""

from __future__ import annotations

import math
from typing import ClassVar, Literal

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from pgdyn import validate
from pgdyn.estimators.estimator import Estimator, size
from pgdyn.estimators.sample import Sample


class MaxAtK(Estimator):
    """max@k, pass@k with binary rewards: unbiased for the gradient of E[max of k samples].

    Attributes:
        group_size: G, outputs drawn for each prompt and update, at least k.
        k: samples whose maximum counts.
        baseline: "loo" for the mean over the k-subsets of the other samples, which needs G > k; "subset" for that over
            their (k-1)-subsets (what sample i adds to a subset), which needs k > 1; None for none. All are unbiased.

    Raises:
        ValueError: on an unknown option, or a group too small.

    Example:
        >>> sample = Sample(jnp.arange(3)[None], jnp.array([[1.0, 0.0, 0.0]]), -jnp.ones((1, 3)), jnp.ones(1))
        >>> MaxAtK(3, 2, None).advantages(sample).tolist()
        [[2.0, 1.0, 1.0]]
    """

    group_size: int = eqx.field(default=8, static=True, converter=size())
    k: int = eqx.field(default=2, static=True, converter=validate.counts("k", minimum=1))
    baseline: Literal["loo", "subset"] | None = eqx.field(
        default="loo", static=True, converter=validate.choices("baseline", ("loo", "subset", None))
    )

    depends_on: ClassVar[str] = "rewards"

    def __check_init__(self):
        least = self.k + (self.baseline == "loo")
        if self.group_size < least:
            raise ValueError(f"group_size is {self.group_size}; max@{self.k} with this baseline needs at least {least}")
        if self.baseline == "subset" and self.k == 1:
            raise ValueError("k is 1; the baseline 'subset' needs at least 2")

    def advantages(self, sample: Sample) -> Float[Array, "P G"]:
        """k times (mean of the maxima of subsets with sample i, less the baseline)."""
        order = jnp.argsort(sample.rewards, axis=1)
        climbing = jnp.take_along_axis(sample.rewards, order, axis=1)
        weights = _subset_weights(sample.group_size, self.k, self.baseline).astype(climbing.dtype)
        found = jnp.sum(jnp.asarray(weights)[None] * climbing[:, None, :], axis=2)
        return jnp.take_along_axis(found, jnp.argsort(order, axis=1), axis=1)


def _subset_weights(group: int, k: int, baseline: str | None) -> np.ndarray:
    """[G, G]: from rewards in rising order to advantages in that order."""
    weights = np.zeros((group, group))
    for i in range(group):
        for j in range(group):
            inside = math.comb(i, k - 1) if j == i else math.comb(j - 1, k - 2) if j > i and k > 1 else 0
            weights[i, j] = inside / math.comb(group - 1, k - 1)
            if baseline is not None and j != i:
                taken = k if baseline == "loo" else k - 1
                below = j if j < i else j - 1
                weights[i, j] -= math.comb(below, taken - 1) / math.comb(group - 1, taken)
    return k * weights


class BestOfN(Estimator):
    """Best-of-N, exactly: a_i = N E[max(r_i, M)] less its mean, M the best reward of N - 1 further samples.

    The expectation over M is taken by the simulator, who knows policy and rewards; only y_i is sampled. Of sequences
    r is the return and M that of further episodes, of which there may be 4096 at most.

    Attributes:
        N: samples whose best counts.
        group_size: G, outputs drawn for each prompt and update.

    Raises:
        ValueError: on counts below 1; when run, on a sequence of more episodes.

    Example:
        >>> BestOfN(16).group_size
        1
    """

    N: int = eqx.field(default=4, static=True, converter=validate.counts("N", minimum=1))
    group_size: int = eqx.field(default=1, static=True, converter=size())

    depends_on: ClassVar[str] = "group"

    def advantages(self, sample: Sample) -> Float[Array, "P G"]:
        """N (E[max(r_i, M)] - E[max(r, M)])."""
        reward = sample.exact("reward_table", "BestOfN")
        chances = jnp.exp(sample.exact("log_policy", "BestOfN"))
        reached = best_of_n_policy(reward, chances, self.N - 1)
        mean = best_of_n_value(reward, chances, self.N)
        found = jnp.sum(jnp.maximum(sample.rewards[:, :, None], reward[:, None, :]) * reached[:, None, :], axis=2)
        return self.N * ((found if self.N > 1 else sample.rewards) - mean[:, None])


def best_of_n_value(reward: Float[Array, "P K"], chances: Float[Array, "P K"], count: int) -> Float[Array, " P"]:
    """B_N, the expected reward of the best of `count` samples.

    Example:
        >>> best_of_n_value(jnp.array([[1.0, 0.0]]), jnp.array([[0.5, 0.5]]), 2).tolist()
        [0.75]
    """
    return jnp.sum(reward * best_of_n_policy(reward, chances, count), axis=1)


def best_of_n_policy(reward: Float[Array, "P K"], chances: Float[Array, "P K"], count: int) -> Float[Array, "P K"]:
    """pi_N(y) = pi(y)/P(r = r_y) [P(r <= r_y)^N - P(r < r_y)^N], the policy of the best of N samples.

    Args:
        reward: [P, K].
        chances: [P, K], pi.
        count: N; 0 gives zeros.

    Example:
        >>> best_of_n_policy(jnp.array([[1.0, 0.0]]), jnp.array([[0.5, 0.5]]), 2).tolist()
        [[0.75, 0.25]]
    """
    total = jnp.sum(chances, axis=1, keepdims=True)
    below = jnp.sum(jnp.where(reward[:, None, :] < reward[:, :, None], chances[:, None, :], 0), axis=2) / total
    upto = jnp.sum(jnp.where(reward[:, None, :] <= reward[:, :, None], chances[:, None, :], 0), axis=2) / total
    tied = jnp.sum(jnp.where(reward[:, None, :] == reward[:, :, None], chances[:, None, :], 0), axis=2)
    share = chances / jnp.where(tied > 0, tied, 1)
    return share * (upto**count - below**count) if count else jnp.zeros_like(share)


PREFIXES = {1: ((1, 1.0),), 2: ((2, -1.0), (1, 2.0)), 3: ((4, 1 / 3), (2, -2.0), (1, 8 / 3))}


class TailExtrapolated(Estimator):
    """TEA and Prefix-TEA: best-of-N extrapolated from the best alpha of far fewer samples, by a Gaussian tail.

    A = 1[r >= q]/alpha {(r - q) + c/(2 sigma) [(r - mu)^2 - (q - mu)^2]}, q the sample quantile (interpolated), mu and
    sigma the mean and standard deviation of the samples at or above it. Where they are all equal the second term is 0.
    Our reading of a method whose details are not confirmed.

    The tail of a prefix should hold four samples, 16 of them at alpha .2: with two, their spread in the denominator has
    no mean (in a third of groups of eight normal rewards the best sample has a negative advantage). At m = 32 the
    slopes for normal rewards are a fifth to a quarter too small (experiments/tail_extrapolation.py).

    Attributes:
        N: samples whose best is extrapolated to.
        group_size: G, the m samples drawn for each prompt and update.
        alpha: share of the samples in the tail, between 0 and 1.
        center: "emax" for the expected maximum of N standard normals, "quantile" for their (1 - 1/N) quantile.
        prefix_orders: 1 for TEA; 2 and 3 for Prefix-TEA of (m/2, m) with weights (-1, 2) and (m/4, m/2, m) with
            weights (1/3, -2, 8/3).

    Raises:
        ValueError: on an unknown option, or a group that has no such prefixes.

    Example:
        >>> sample = Sample(jnp.arange(4)[None], jnp.array([[3.0, 2.0, 1.0, 0.0]]), -jnp.ones((1, 4)), jnp.ones(1))
        >>> TailExtrapolated(16, 4, alpha=0.5).advantages(sample).round(2).tolist()
        [[0.59, -1.41, 0.0, 0.0]]
    """

    N: int = eqx.field(default=64, static=True, converter=validate.counts("N", minimum=2))
    group_size: int = eqx.field(default=8, static=True, converter=size(minimum=2))
    alpha: float = eqx.field(default=0.2, static=True, converter=lambda value: _share(value))
    center: Literal["emax", "quantile"] = eqx.field(
        default="emax", static=True, converter=validate.choices("center", ("emax", "quantile"))
    )
    prefix_orders: int = eqx.field(
        default=1, static=True, converter=validate.counts("prefix_orders", minimum=1, maximum=3)
    )

    @property
    def depends_on(self) -> str:
        """What the advantages are made of; a prefix depends on the order of the samples."""
        return "rewards" if self.prefix_orders == 1 else "group"

    def __check_init__(self):
        part = 2 ** (self.prefix_orders - 1)
        if self.group_size % part or self.group_size // part < 2:
            raise ValueError(
                f"group_size is {self.group_size}; prefixes of {self.prefix_orders} orders need a multiple of {part}, "
                f"at least {2 * part}"
            )

    def advantages(self, sample: Sample) -> Float[Array, "P G"]:
        """The influence function of the extrapolated value, combined over the prefixes."""
        total = jnp.zeros_like(sample.rewards)
        for part, weight in PREFIXES[self.prefix_orders]:
            length = sample.group_size // part
            one = self._influence(sample.rewards[:, :length])
            total = total.at[:, :length].add(weight * part * one)
        return total

    def _influence(self, rewards: Float[Array, "P m"]) -> Float[Array, "P m"]:
        q = jnp.quantile(rewards, 1 - self.alpha, axis=1, keepdims=True)
        tail = rewards >= q
        count = jnp.sum(tail, axis=1, keepdims=True).astype(rewards.dtype)
        mean = jnp.sum(jnp.where(tail, rewards, 0), axis=1, keepdims=True) / count
        variance = jnp.sum(jnp.where(tail, (rewards - mean) ** 2, 0), axis=1, keepdims=True) / count
        highest = jnp.max(rewards, axis=1, keepdims=True)
        spread = jnp.any(tail & (rewards != highest), axis=1, keepdims=True)
        c = tail_constant(self.N, self.alpha, self.center)
        slope = jnp.where(spread, c / (2 * jnp.sqrt(jnp.where(spread, variance, 1))), 0)
        return jnp.where(tail, (rewards - q) + slope * ((rewards - mean) ** 2 - (q - mean) ** 2), 0) / self.alpha


def tail_constant(N: int, alpha: float, center: str = "emax") -> float:
    """c with B_N = mu + sigma c, for mean mu and standard deviation sigma of the best alpha of a normal distribution.

    Example:
        >>> round(tail_constant(16, 0.2), 4)
        0.7831
    """
    z = _quantile(1 - alpha)
    slope = _density(z) / alpha
    best = expected_normal_maximum(N) if center == "emax" else _quantile(1 - 1 / N)
    return (best - slope) / math.sqrt(1 + z * slope - slope**2)


def expected_normal_maximum(N: int) -> float:
    """c_N, the expected maximum of N standard normals, by quadrature of P(max > x) less 1[x < 0].

    Example:
        >>> [round(expected_normal_maximum(n), 5) for n in (4, 16, 64, 256)]
        [1.02938, 1.76599, 2.34373, 2.82686]
    """
    x = np.linspace(0.0, 12.0, 24_001)
    upper = np.array([0.5 * math.erfc(value / math.sqrt(2)) for value in x])  # P(one > x) = P(one < -x)
    return float(np.trapezoid(-np.expm1(N * np.log1p(-upper)) - upper**N, x))


def _density(z: float) -> float:
    return math.exp(-z * z / 2) / math.sqrt(2 * math.pi)


def _quantile(probability: float) -> float:
    from statistics import NormalDist

    return NormalDist().inv_cdf(probability)


def _share(value: float) -> float:
    number = float(validate.number("alpha", value, positive=True))
    if number >= 1:
        raise ValueError(validate.refusal("alpha", (), number, "it must be below 1"))
    return number
