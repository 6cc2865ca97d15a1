r"""Surrogate losses: what is climbed where one batch of samples serves several updates.

With rho_i = pi(y_i)/pi_old(y_i), pi_old the policy that drew the samples, the gradient in the logits is
(1/G) sum_i c_i (onehot(y_i) - pi), with

    ppo     the gradient of min(rho A, clip(rho) A): c = rho A, but 0 where A > 0 and rho > 1 + high, or A < 0 and
            rho < 1 - low; with a dual clip d > 1, that of max(.., d A) where A < 0: 0 also where A < 0 and rho > d
    cispo   c = clip(rho, 1 - low, 1 + high) A, the ratio held constant (arXiv 2506.13585)
"""

from __future__ import annotations

from typing import Any, Literal

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from pgdyn import validate
from pgdyn.estimators.estimator import amount, as_type


class Surrogate(eqx.Module):
    """A clipped surrogate loss, and how often a batch of samples is gone through.

    Attributes:
        clip_low: how far the ratio may fall below 1; None for no such clip.
        clip_high: how far the ratio may rise above 1; None for no such clip.
        dual_clip: ratio above which an output of negative advantage no longer counts (PPO only); None for no such clip.
        epochs: times that each batch of samples is gone through.
        minibatches: parts of each group that are taken in turn, each an update of the optimiser; a divisor of the group
            size.
        kind: "ppo" or "cispo".
        level: ratios of the whole "sequence" or of each "token".

    Raises:
        ValueError: on an unknown option, a negative clip, or a dual clip of 1 or less.

    Example:
        >>> ratios, advantages = jnp.log(jnp.array([[1.5, 1.5]])), jnp.array([[1.0, -1.0]])
        >>> Surrogate().coefficients(ratios, advantages).tolist()
        [[0.0, -1.5]]
    """

    clip_low: float | None = eqx.field(default=0.2, converter=amount("clip_low", minimum=0.0, optional=True))
    clip_high: float | None = eqx.field(default=0.2, converter=amount("clip_high", minimum=0.0, optional=True))
    dual_clip: float | None = eqx.field(default=None, converter=amount("dual_clip", positive=True, optional=True))
    epochs: int = eqx.field(default=1, converter=lambda value: _epochs(value))
    minibatches: int = eqx.field(default=1, static=True, converter=validate.counts("minibatches", minimum=1))
    kind: Literal["ppo", "cispo"] = eqx.field(
        default="ppo", static=True, converter=validate.choices("kind", ("ppo", "cispo"))
    )
    level: Literal["sequence", "token"] = eqx.field(
        default="sequence", static=True, converter=validate.choices("level", ("sequence", "token"))
    )

    def __check_init__(self):
        if self.dual_clip is not None and not validate.is_traced(self.dual_clip):
            validate.require("dual_clip", self.dual_clip, self.dual_clip > 1, "it must be more than 1")

    @property
    def updates(self) -> int:
        """Updates of the optimiser that one batch of samples serves."""
        return int(self.epochs) * self.minibatches

    def coefficients(self, log_ratio: Float[Array, "..."], advantages: Float[Array, "..."]) -> Float[Array, "..."]:
        """c of every sample."""
        ratio = jnp.exp(log_ratio)
        low, high = self.clipped(log_ratio, advantages)
        if self.kind == "ppo":
            return jnp.where(low | high, 0, ratio * advantages)
        if self.clip_low is not None:
            ratio = jnp.maximum(ratio, 1 - as_type(self.clip_low, ratio))
        if self.clip_high is not None:
            ratio = jnp.minimum(ratio, 1 + as_type(self.clip_high, ratio))
        return ratio * advantages

    def clipped(
        self, log_ratio: Float[Array, "..."], advantages: Float[Array, "..."]
    ) -> tuple[Bool[Array, "..."], Bool[Array, "..."]]:
        """Whether the clip below, and that above, is in force; the dual clip counts as one above."""
        ratio = jnp.exp(log_ratio)
        ppo = self.kind == "ppo"
        low = high = jnp.zeros(ratio.shape, bool)
        if self.clip_low is not None:
            low = (ratio < 1 - as_type(self.clip_low, ratio)) & ((advantages < 0) | (not ppo))
        if self.clip_high is not None:
            high = (ratio > 1 + as_type(self.clip_high, ratio)) & ((advantages > 0) | (not ppo))
        if self.dual_clip is not None and ppo:
            high |= (ratio > as_type(self.dual_clip, ratio)) & (advantages < 0)
        return low, high


def _epochs(value: Any) -> Any:
    """A JAX scalar, so that another number of epochs compiles nothing."""
    if eqx.is_array(value):
        return value
    return jnp.asarray(validate.count("epochs", value, minimum=1, maximum=2**31 - 1), jnp.int32)
