"""Random ingredients of problems: traceable, of fixed shape, and fond of the corners.

Every theorem builds the problems of its own assumptions from these. A quarter of the rewards come from {-1, 0, 1}, so
that outputs tie; policies run from nearly uniform to nearly deterministic, with one output of vanishing probability in
a quarter of them.

All numbers of a draw come from one block of uniforms. Each call of a `jax.random` function would put one more generator
into the program, and compiling those took longer than checking the theorem.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from pgdyn.problem import Problem


class Stream:
    """Random numbers of one draw, handed out in order; the same key and calls give the same numbers."""

    def __init__(self, key: Array, budget: int = 512):
        self._numbers = jax.random.uniform(key, (budget,), minval=jnp.finfo(jnp.float64).tiny)
        self._used = 0

    def uniform(self, low: float = 0.0, high: float = 1.0, shape: tuple[int, ...] = ()) -> Array:
        """Uniform on (low, high).

        Raises:
            ValueError: if the draw asks for more numbers than its budget.
        """
        start, self._used = self._used, self._used + math.prod(shape)
        if self._used > self._numbers.size:
            raise ValueError(f"a draw used {self._used} random numbers; give its Stream a larger budget")
        return low + (high - low) * self._numbers[start : self._used].reshape(shape)

    def log_uniform(self, low: float, high: float, shape: tuple[int, ...] = ()) -> Array:
        """Numbers whose logarithm is uniform between those of `low` and `high`."""
        return jnp.exp(self.uniform(math.log(low), math.log(high), shape))

    def normal(self, shape: tuple[int, ...] = ()) -> Array:
        """Standard normal."""
        return jax.scipy.special.ndtri(self.uniform(shape=shape))

    def flag(self, probability: float) -> Array:
        """True with this probability."""
        return self.uniform() < probability

    def simplex(self, size: int) -> Float[Array, " size"]:
        """Uniform on the probability vectors of this size."""
        exponential = -jnp.log(self.uniform(shape=(size,)))
        return exponential / jnp.sum(exponential)


def rewards(stream: Stream, shape: tuple[int, ...]) -> Array:
    """Uniform on [-1, 1]; with probability 1/4 from {-1, 0, 1} instead."""
    uniform = stream.uniform(-1.0, 1.0, shape)
    return jnp.where(stream.flag(0.25), jnp.round(1.5 * uniform), uniform)


def policy(stream: Stream, shape: tuple[int, ...], spread: tuple[float, float] = (0.1, 5.0)) -> Array:
    """Softmax over the last axis of normal logits of a log-uniform scale; with probability 1/4 one output is rare.

    The rare one, the first, is less likely than the likeliest by a factor between e^3 and e^40.
    """
    logits = stream.log_uniform(*spread) * stream.normal(shape)
    floor = jnp.max(logits, axis=-1) - stream.uniform(3.0, 40.0)
    logits = logits.at[..., 0].set(jnp.where(stream.flag(0.25), floor, logits[..., 0]))
    return jax.nn.softmax(logits, axis=-1)


def temperature(stream: Stream) -> Array:
    """1 in half of the draws, else between 1/2 and 2."""
    return jnp.where(stream.flag(0.5), 1.0, stream.log_uniform(0.5, 2.0))


def tabular(stream: Stream, prompts: int, outputs: int) -> Problem:
    """A tabular problem with independent true and proxy rewards, random weights and temperature."""
    shape = (prompts, outputs)
    return Problem.tabular(
        policy(stream, shape),
        rewards(stream, shape),
        rewards(stream, shape),
        temperature=temperature(stream),
        prompt_weights=stream.simplex(prompts),
    )


def linear(stream: Stream, prompts: int, outputs: int, width: int) -> Problem:
    """As `tabular`, with features; in a quarter of the draws two outputs have nearly the same ones."""
    shape = (prompts, outputs)
    phi = stream.normal((*shape, width))
    near = phi[:, 0] + 1e-9 * phi[:, 1]
    phi = phi.at[:, 1].set(jnp.where(stream.flag(0.25), near, phi[:, 1]))
    params = stream.log_uniform(0.1, 5.0) * stream.normal((width,)) / math.sqrt(width)
    return Problem.linear(
        phi,
        rewards(stream, shape),
        rewards(stream, shape),
        initial_params=params,
        temperature=temperature(stream),
        prompt_weights=stream.simplex(prompts),
    )


def problem(stream: Stream, size: tuple[int, int, int | None]) -> Problem:
    """A problem of `size` (P, K, D): tabular where D is None."""
    prompts, outputs, width = size
    return tabular(stream, prompts, outputs) if width is None else linear(stream, prompts, outputs, width)
