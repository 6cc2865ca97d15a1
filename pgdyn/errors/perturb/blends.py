"""Errors on all outputs at once: the truth with noise added, or mixed with another reward."""

from __future__ import annotations

from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from pgdyn import validate
from pgdyn.errors.perturb.family import Errors, Family, arrays_of, listed
from pgdyn.problem import Problem
from pgdyn.validate import Numbers

_BLOCK = 64  # draws of one compiled call


class Noise(Family):
    """Gaussian noise, `draws` of it at each scale: M = S draws.

    Correlated through the features, eps_p = Phi_p w / rms with w standard normal and rms^2 the mean squared norm of the
    features, so that a draw's variance, averaged over outputs, is sigma^2. A tabular policy's features are orthonormal,
    for which that is independent noise.

    Attributes:
        scales: [S], standard deviations sigma >= 0.
        draws: proxies at each scale.
        correlation: "independent" or "features".

    Raises:
        ValueError: on negative scales, fewer than one draw, or another correlation.

    Example:
        >>> errors = Noise([0.0, 1.0], draws=2)(Problem.tabular(None, [1.0, 0.0]), jax.random.key(0))
        >>> errors.proxy_rewards.shape, errors.proxy_rewards[0].tolist(), errors.label(3)
        ((4, 1, 2), [[1.0, 0.0]], 'scale 1, draw 1')
    """

    scales: tuple[float, ...] = eqx.field(static=True)
    draws: int = eqx.field(static=True)
    correlation: str = eqx.field(static=True)

    def __init__(
        self,
        scales: Numbers = (0.03, 0.1, 0.3, 1.0),
        draws: int = 32,
        correlation: Literal["independent", "features"] = "independent",
    ):
        self.scales = listed("scales", scales, minimum=0.0)
        self.draws = validate.count("draws", draws, minimum=1)
        validate.choice("correlation", correlation, ("independent", "features"))
        self.correlation = correlation

    def _make(self, problem: Problem, key: Array | None) -> Errors:
        if key is None:
            raise ValueError("Noise draws at random and needs a key, for instance jax.random.key(0)")
        size = len(self.scales) * self.draws
        features = problem.features if self.correlation == "features" else None
        numbers = range(-(-size // _BLOCK))
        blocks = [_draw(problem.true_reward, features, jax.random.fold_in(key, number)) for number in numbers]
        traced = any(map(validate.is_traced, (*jax.tree.leaves(problem), key)))
        xp = jnp if traced else np
        noise = xp.concatenate([xp.asarray(part) for part in blocks])[:size]
        scale = np.repeat(self.scales, self.draws)
        draw = np.tile(np.arange(self.draws), len(self.scales))
        proxies = xp.asarray(problem.true_reward)[None] + scale[:, None, None] * noise
        return Errors(proxies, {"scale": scale, "draw": draw})


@jax.jit
def _draw(like: Float[Array, "P K"], features: Float[Array, "P K D"] | None, key: Array) -> Float[Array, "B P K"]:
    if features is None:
        return jax.random.normal(key, (_BLOCK, *like.shape), like.dtype)
    weights = jax.random.normal(key, (_BLOCK, features.shape[2]), like.dtype)
    mean_square = jnp.mean(jnp.sum(features**2, axis=2))
    return jnp.einsum("pkd,bd->bpk", features / jnp.sqrt(jnp.where(mean_square > 0, mean_square, 1.0)), weights)


class Mixture(Family):
    """The truth mixed with another reward.

    Attributes:
        weights: a, the other reward's weights; M = len(weights).
        other: [K] or [P, K]; None for the problem's own proxy.

    Raises:
        ValueError: on numbers that are not finite, and when called with a problem whose rewards have another shape.

    Example:
        >>> Mixture([0.5], [0.0, 4.0])(Problem.tabular(None, [1.0, 0.0])).proxy_rewards.tolist()
        [[[0.5, 2.0]]]
    """

    weights: tuple[float, ...] = eqx.field(static=True)
    other: np.ndarray | Array | None

    def __init__(self, weights: Numbers = (0.1, 0.25, 0.5, 0.75, 0.9, 1.0), other: Numbers | None = None):
        self.weights = listed("weights", weights)
        self.other = None if other is None else validate.as_floats("other", other)
        if self.other is not None:
            validate.require_finite("other", self.other)

    def _make(self, problem: Problem, key: Array | None) -> Errors:
        xp, problem = arrays_of(problem)
        shape = problem.true_reward.shape
        other = problem.proxy_reward if self.other is None else self.other
        if other.shape not in (shape, shape[1:]):
            raise ValueError(f"other has shape {other.shape} but the problem's rewards have {shape}")
        weights = np.asarray(self.weights)
        share = weights[:, None, None]
        mixed = (1 - share) * problem.true_reward[None] + share * xp.broadcast_to(other, (1, *shape))
        return Errors(mixed, {"weight": weights})
