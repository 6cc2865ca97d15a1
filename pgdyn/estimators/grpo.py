r"""GRPO (arXiv 2402.03300): the reward of each sample, standardised within its group.

    a_i = (r_i - rbar) / (std + eps)

With binary rewards of success q, eps = 0 and groups of zero std at 0, the expected update is w_G(q) grad q,

    w_G(q) = E_{k ~ Bin(G, q)} sqrt(k (G - k)) / (G q (1 - q))     (times sqrt((G - 1)/G) for ddof 1),

which tends to 1/sqrt(q (1 - q)) for large groups.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from pgdyn import validate
from pgdyn.estimators.estimator import Estimator, amount, as_type, group_mean, is_flat, size
from pgdyn.estimators.sample import Sample

# What training libraries do by default.
PRESETS: Mapping[str, Mapping[str, Any]] = {
    "open_instruct": {"ddof": 0, "eps": 1e-8},
    "trl": {"ddof": 1, "eps": 1e-4},
    "verl": {"ddof": 1, "eps": 1e-6},
}


class GRPO(Estimator):
    """GRPO: a_i = (r_i - rbar)/(std + eps); a group of equal rewards stands still.

    With ddof 1 and the group's scale, a group of one sample counts as one of mean 0 and standard deviation 1, as in
    verl.

    Attributes:
        group_size: G, outputs drawn for each prompt and update.
        ddof: 0 or 1, what the squares of a group are divided by is G less this.
        eps: added to the standard deviation.
        scale: the standard deviation of the "group", that of the rewards of the whole "batch", or "none" for no
            division at all.
        zero_std: "keep" groups of equal rewards, which count in the mean over prompts, or "drop" them: the others then
            share their weight.

    Raises:
        ValueError: on an unknown option, a group too small to differ from its mean, or a negative eps.

    Example:
        >>> rewards = jnp.array([[1.0, 1, 1, 0, 0, 0, 0, 0]])
        >>> sample = Sample(jnp.arange(8)[None], rewards, -jnp.ones((1, 8)), jnp.ones(1))
        >>> GRPO(8, ddof=1, eps=0.0).advantages(sample).round(4)[0, 2:4].tolist()
        [1.2076, -0.7246]
    """

    group_size: int = eqx.field(default=8, static=True, converter=size())
    ddof: int = eqx.field(default=0, static=True, converter=validate.counts("ddof", minimum=0, maximum=1))
    eps: float = eqx.field(default=1e-8, converter=amount("eps", minimum=0.0))
    scale: Literal["group", "batch", "none"] = eqx.field(
        default="group", static=True, converter=validate.choices("scale", ("group", "batch", "none"))
    )
    zero_std: Literal["keep", "drop"] = eqx.field(
        default="keep", static=True, converter=validate.choices("zero_std", ("keep", "drop"))
    )

    def __check_init__(self):
        if self.group_size == 1 and not (self.ddof == 1 and self.scale == "group"):
            raise ValueError(
                "group_size is 1; it must be at least 2, as a single sample is its own mean (with ddof 1 and scale "
                "'group' it counts as one of mean 0 and standard deviation 1)"
            )

    @classmethod
    def preset(cls, name: str, group_size: int = 8, **options: Any) -> GRPO:
        """The settings of a training library.

        Args:
            name: "open_instruct" (ddof 0, eps 1e-8), "trl" (ddof 1, eps 1e-4) or "verl" (ddof 1, eps 1e-6).
            group_size: G.
            options: further fields.

        Raises:
            ValueError: on another name.

        Example:
            >>> GRPO.preset("trl", 4).ddof
            1
        """
        validate.choice("preset", name, tuple(PRESETS))
        return cls(group_size, **{**PRESETS[name], **options})

    @property
    def depends_on(self) -> str:
        """What the advantages are made of."""
        return "batch" if self.scale == "batch" or self.zero_std == "drop" else "rewards"

    def advantages(self, sample: Sample) -> Float[Array, "P G"]:
        """(r_i - rbar)/(std + eps)."""
        rewards, flat = sample.rewards, is_flat(sample.rewards)
        eps = as_type(self.eps, rewards)
        if sample.group_size == 1 and self.ddof == 1 and self.scale == "group":
            return rewards / (1 + eps)
        centred = jnp.where(flat, 0, rewards - group_mean(rewards))
        found = centred
        if self.scale != "none":
            squares = centred if self.scale == "group" else rewards - jnp.mean(rewards)
            axis, count = (1, rewards.shape[1]) if self.scale == "group" else (None, rewards.size)
            total = jnp.sum(squares**2, axis=axis, keepdims=True)
            still = flat if self.scale == "group" else jnp.all(flat)[None, None] | (total == 0)
            std = jnp.sqrt(jnp.where(still, 1, total) / max(count - self.ddof, 1))
            found = jnp.where(still, 0, centred / (std + eps))
        if self.zero_std == "keep":
            return found
        weights = jnp.full_like(sample.values, 1 / sample.values.size) if sample.weights is None else sample.weights
        kept = jnp.sum(jnp.where(flat[:, 0], 0, weights))
        return found * (jnp.sum(weights) / jnp.where(kept > 0, kept, 1))


def binary_weight(success: Any, group_size: int, ddof: int = 0) -> np.ndarray:
    r"""w_G(q), by which GRPO's expected update with a binary reward differs from grad q (eps = 0).

    Args:
        success: q, strictly between 0 and 1, of any shape.
        group_size: G.
        ddof: 0 or 1.

    Returns:
        Of the shape of `success`.

    Example:
        >>> [round(float(binary_weight(0.05, size)), 2) for size in (2, 4, 8, 96)]
        [1.0, 1.71, 2.47, 4.44]
    """
    q = np.asarray(success, float)[..., None]
    k = np.arange(1, group_size)
    logs = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, group_size + 1)))])
    chance = np.exp(logs[group_size] - logs[k] - logs[group_size - k] + k * np.log(q) + (group_size - k) * np.log1p(-q))
    mean = (chance * np.sqrt(k * (group_size - k))).sum(-1) / (group_size * (q * (1 - q))[..., 0])
    return mean * np.sqrt((group_size - 1) / group_size) if ddof else mean
