"""Rewards fitted to few or noisy labels of the truth: the errors of a trained reward model."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from pgdyn import validate
from pgdyn.errors.perturb.family import Errors, Family, listed
from pgdyn.problem import Problem
from pgdyn.validate import Numbers

_BLOCK = 64  # fits of one compiled call


class Fitted(Family):
    """Bradley-Terry rewards of labelled pairs: `draws` of them for each number of labels and each rate of flips.

    A label compares two different outputs of a prompt, drawn evenly; the better one wins with probability
    sigma(r(y) - r(y')), and the label is then flipped with probability e. The fit minimises the mean loss of a prompt's
    labels plus ridge / 2 |r|^2, and has the truth's mean on every prompt, a constant that changes nothing.

    Attributes:
        labels: for each prompt.
        flips: e in [0, 1/2].
        draws: fits of each kind.
        ridge: positive, so that the fit exists however few labels there are.

    Raises:
        ValueError: on settings out of range.

    Example:
        >>> errors = Fitted(labels=(5,), flips=(0.0,), draws=4)(Problem.tabular(None, [1.0, 0.0]), jax.random.key(0))
        >>> errors.proxy_rewards.shape, errors.label(1)
        ((4, 1, 2), 'labels 5, flip 0, draw 1')
    """

    labels: tuple[int, ...] = eqx.field(static=True)
    flips: tuple[float, ...] = eqx.field(static=True)
    draws: int = eqx.field(static=True)
    ridge: float = eqx.field(static=True)

    def __init__(
        self, labels: tuple[int, ...] = (20, 200), flips: Numbers = (0.0, 0.2), draws: int = 16, ridge: float = 0.03
    ):
        self.labels = tuple(validate.count(f"labels[{i}]", count, minimum=1) for i, count in enumerate(labels))
        self.flips = listed("flips", flips, minimum=0.0, maximum=0.5)
        self.draws = validate.count("draws", draws, minimum=1)
        self.ridge = float(validate.number("ridge", ridge, positive=True))

    def _make(self, problem: Problem, key: Array | None) -> Errors:
        if key is None:
            raise ValueError("Fitted draws at random and needs a key, for instance jax.random.key(0)")
        if problem.num_outputs < 2:
            raise ValueError("a prompt with a single output has no pairs to label")
        kinds = [(count, flip) for count in self.labels for flip in self.flips]
        size = len(kinds) * self.draws
        counts, flips = (np.repeat(column, self.draws) for column in zip(*kinds, strict=True))
        found = []
        for block, first in enumerate(range(0, size, _BLOCK)):
            rows = np.minimum(np.arange(first, first + _BLOCK), size - 1)
            keys = jax.random.split(jax.random.fold_in(key, block), _BLOCK)
            found.append(_fits(problem.true_reward, keys, max(self.labels), counts[rows], flips[rows], self.ridge))
        traced = any(map(validate.is_traced, (*jax.tree.leaves(problem), key)))
        xp = jnp if traced else np
        parameters = {
            "labels": counts,
            "flip": flips,
            "draw": np.tile(np.arange(self.draws), len(kinds)),
        }
        return Errors(xp.concatenate([xp.asarray(part) for part in found])[:size], parameters)


@eqx.filter_jit
def _fits(
    truth: Float[Array | np.ndarray, "P K"],
    keys: Array,
    most: int,
    counts: Array | np.ndarray,
    flips: Array | np.ndarray,
    ridge: float,
) -> Float[Array, "M P K"]:
    """Fits to the first `counts[m]` of `most` labels."""
    truth = jnp.asarray(truth)
    outputs = truth.shape[1]
    mean = jnp.mean(truth, axis=1, keepdims=True)
    # Differences are taken before anything else, so that a constant added to the truth changes no label.
    gaps = truth[:, :, None] - truth[:, None, :]

    def wins(draws: Float[Array, "3 L"], gap: Float[Array, "K K"], count: Array, flip: Array) -> Float[Array, "K K"]:
        one = jnp.floor(draws[0] * outputs).astype(jnp.int32)
        other = (one + 1 + jnp.floor(draws[1] * (outputs - 1)).astype(jnp.int32)) % outputs
        won = draws[2] < (1 - 2 * flip) * jax.nn.sigmoid(gap[one, other]) + flip
        high, low = jnp.where(won, one, other), jnp.where(won, other, one)
        used = jnp.where(jnp.arange(most, dtype=truth.dtype) < count, 1 / count, 0.0).astype(truth.dtype)
        return jnp.zeros_like(gap).at[high, low].add(used)

    def sample(key: Array, count: Array, flip: Array) -> Float[Array, "P K K"]:
        # One stream of random numbers: every further one takes seconds to compile.
        draws = jax.random.uniform(key, (truth.shape[0], 3, most), truth.dtype)
        return jax.vmap(lambda own, gap: wins(own, gap, count, flip))(draws, gaps)

    tables = jax.vmap(sample)(keys, jnp.asarray(counts, truth.dtype), jnp.asarray(flips, truth.dtype))
    # The loss of a prompt bends by at least `ridge` and at most by `most_bent`: an edge of weight w adds at most w / 2.
    most_bent = ridge + 0.5
    momentum = (1 - np.sqrt(ridge / most_bent)) / (1 + np.sqrt(ridge / most_bent))
    steps = int(np.ceil(36 * np.sqrt(most_bent / ridge)))

    def step(_: int, state: tuple[Array, Array]) -> tuple[Array, Array]:
        reward, ahead = state
        slope = tables * (jax.nn.sigmoid(ahead[..., :, None] - ahead[..., None, :]) - 1)
        gradient = jnp.sum(slope, axis=-1) - jnp.sum(slope, axis=-2) + ridge * ahead
        new = ahead - gradient / most_bent
        return new, new + momentum * (new - reward)

    start = jnp.zeros(tables.shape[:-1], truth.dtype)
    found, _ = jax.lax.fori_loop(0, steps, step, (start, start))
    return mean[None] + (found - jnp.mean(found, axis=2, keepdims=True))
