"""Random ingredients of problems: traceable, of fixed shape, and fond of the corners.

Every theorem builds the problems of its own assumptions from these. A quarter of the rewards come from {-1, 0, 1}, so
that outputs tie; policies run from nearly uniform to nearly deterministic, with one output of vanishing probability in
a quarter of them.

All numbers of a draw come from one block of uniforms. A generator of random numbers takes longer to compile than the
rest of a draw, so that the blocks of a batch are made by one program that all theorems share.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from pgdyn.problem import Problem

Drawn: TypeAlias = tuple[Problem, dict[str, Any]]  # a problem and the theorem's parameters
_BUDGET = 512
_LEAST = 16  # draws of fewer problems run the program for this many


class Stream:
    """Random numbers of one draw, in order; the same key and calls give the same numbers.

    Args:
        key: a `jax.random` key.
        budget: how many numbers there are.

    Example:
        >>> stream = Stream(jax.random.key(0))
        >>> bool(0.0 < stream.uniform() < 1.0), stream.simplex(3).shape
        (True, (3,))
    """

    def __init__(self, key: Array, budget: int = _BUDGET):
        self._numbers = _uniforms(key, budget)
        self._used = 0

    @classmethod
    def of_numbers(cls, numbers: Float[Array, " budget"]) -> Stream:
        """Makes the stream of these uniforms."""
        stream = object.__new__(cls)
        stream._numbers, stream._used = numbers, 0
        return stream

    def uniform(self, low: float = 0.0, high: float = 1.0, shape: tuple[int, ...] = ()) -> Array:
        """Draws uniformly from (low, high).

        Raises:
            ValueError: if the draw asks for more numbers than its budget.
        """
        start, self._used = self._used, self._used + math.prod(shape)
        if self._used > self._numbers.size:
            raise ValueError(f"a draw used {self._used} random numbers; give its Stream a larger budget")
        return low + (high - low) * self._numbers[start : self._used].reshape(shape)

    def log_uniform(self, low: float, high: float, shape: tuple[int, ...] = ()) -> Array:
        """Draws numbers whose logarithm is uniform between those of `low` and `high`."""
        return jnp.exp(self.uniform(math.log(low), math.log(high), shape))

    def normal(self, shape: tuple[int, ...] = ()) -> Array:
        """Draws standard normal numbers."""
        return jax.scipy.special.ndtri(self.uniform(shape=shape))

    def flag(self, probability: float) -> Array:
        """Draws True with this probability."""
        return self.uniform() < probability

    def simplex(self, size: int) -> Float[Array, " size"]:
        """Draws uniformly from the probability vectors of this size."""
        exponential = -jnp.log(self.uniform(shape=(size,)))
        return exponential / jnp.sum(exponential)


def _uniforms(key: Array, budget: int) -> Array:
    return jax.random.uniform(key, (budget,), minval=jnp.finfo(jnp.float64).tiny)


class streamed:
    """Makes a `Theorem.draw` of `function(stream, size)`.

    Example:
        >>> @streamed
        ... def draw(stream, outputs):
        ...     return Problem.tabular(policy(stream, (outputs,)), rewards(stream, (outputs,))), {}
        >>> draw(jax.random.key(0), 3)[0].num_outputs
        3
    """

    def __init__(self, function: Callable[[Stream, Any], Drawn]):
        functools.update_wrapper(self, function)
        self._function = function

    def __call__(self, key: Array, size: Any) -> Drawn:
        """Draws from the stream of a key."""
        return self._function(Stream(key), size)

    def of_numbers(self, numbers: Float[Array, " budget"], size: Any) -> Drawn:
        """Draws from a stream that holds these uniforms."""
        return self._function(Stream.of_numbers(numbers), size)


def draw_many(draw: Callable[[Array, Any], Drawn], key: Array, count: int, size: Any) -> Drawn:
    """Makes `count` draws: their arrays with a leading axis, on the host.

    Theorems with the same draw share its program. Counts are rounded up to a power of two for it; the problem in place
    i depends on the key, the size and i alone.
    """
    rounded = max(_LEAST, 1 << (count - 1).bit_length())
    if isinstance(draw, streamed):
        drawn = _program(draw.of_numbers)(_blocks(key, rounded), size)
    else:
        drawn = _program(draw)(jax.random.split(key, rounded), size)
    return jax.tree.map(lambda leaf: np.asarray(leaf)[:count], drawn)


@functools.partial(jax.jit, static_argnums=1)
def _blocks(key: Array, count: int) -> Float[Array, "count budget"]:
    return jax.vmap(lambda each: _uniforms(each, _BUDGET))(jax.random.split(key, count))


@functools.lru_cache(maxsize=256)
def _program(draw: Callable[[Array, Any], Drawn]) -> Callable[[Array, Any], Drawn]:
    def every(rows: Array, size: Any) -> Drawn:
        return jax.vmap(lambda row: draw(row, size))(rows)

    return jax.jit(every, static_argnums=1)


def rewards(stream: Stream, shape: tuple[int, ...]) -> Array:
    """Draws rewards uniform on [-1, 1]; with probability 1/4 from {-1, 0, 1} instead."""
    uniform = stream.uniform(-1.0, 1.0, shape)
    return jnp.where(stream.flag(0.25), jnp.round(1.5 * uniform), uniform)


def policy(stream: Stream, shape: tuple[int, ...], spread: tuple[float, float] = (0.1, 5.0)) -> Array:
    """Draws policies: normal logits of a log-uniform scale, and with probability 1/4 one output that is rare.

    The rare one, the first, is less likely than the likeliest by a factor between e^3 and e^40.
    """
    logits = stream.log_uniform(*spread) * stream.normal(shape)
    floor = jnp.max(logits, axis=-1) - stream.uniform(3.0, 40.0)
    logits = logits.at[..., 0].set(jnp.where(stream.flag(0.25), floor, logits[..., 0]))
    return jax.nn.softmax(logits, axis=-1)


def temperature(stream: Stream) -> Array:
    """Draws a temperature: 1 in half of the draws, else between 1/2 and 2."""
    return jnp.where(stream.flag(0.5), 1.0, stream.log_uniform(0.5, 2.0))


def tabular(stream: Stream, prompts: int, outputs: int) -> Problem:
    """Draws a tabular problem with independent true and proxy rewards, random weights and temperature."""
    shape = (prompts, outputs)
    return Problem.tabular(
        policy(stream, shape),
        rewards(stream, shape),
        rewards(stream, shape),
        temperature=temperature(stream),
        prompt_weights=stream.simplex(prompts),
    )


def linear(stream: Stream, prompts: int, outputs: int, width: int) -> Problem:
    """Draws as `tabular`, with features; in a quarter of the draws two outputs have nearly the same ones."""
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
    """Draws a problem of `size` (P, K, D): tabular where D is None."""
    prompts, outputs, width = size
    return tabular(stream, prompts, outputs) if width is None else linear(stream, prompts, outputs, width)


def plain_tabular(stream: Stream, shape: tuple[int, ...], spread: tuple[float, float] = (0.1, 5.0)) -> Problem:
    """Draws a tabular problem of shape [K] or [P, K] with prompts of equal weight, at temperature 1."""
    return Problem.tabular(policy(stream, shape, spread), rewards(stream, shape), rewards(stream, shape))


@streamed
def any_problem(stream: Stream, size: tuple[int, int, int | None]) -> Drawn:
    """Draws `problem`, without parameters."""
    return problem(stream, size), {}


@streamed
def orthonormal(stream: Stream, outputs: int) -> Drawn:
    """Draws `plain_tabular` with one prompt, without parameters."""
    return plain_tabular(stream, (outputs,)), {}
