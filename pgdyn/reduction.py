r"""Sums and maxima over prompts, outputs and features, with any number of lanes last: the one reduction that all share.

    reduce(add, axis, a, b)  =  sum_i a_i b_i   along `axis`, which stays with length 1

The two ways to compute it give the same numbers but for rounding. XLA:CPU turns a sum over an axis in the middle into
a loop that it does not vectorize, unless the sum stands inside a larger kernel; a sum written out term by term is
vectorized over the lanes. Small operands are what the ensemble engine compiles into larger kernels, so the size
decides.
"""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
from jaxtyping import Array

_UNROLLED = 8  # terms of a reduction written out
_SMALL = {3: 16, 4: 64}  # by number of axes, lanes included: numbers of a lane up to which a reduction stays whole


_unroll = [True]


@contextlib.contextmanager
def unrolling(on: bool) -> Iterator[None]:
    """Whether long reductions that are traced within the block are written out.

    Example:
        >>> with unrolling(False):
        ...     add(1, jnp.ones((1, 20, 3))).shape
        (1, 1, 3)
    """
    before, _unroll[0] = _unroll[0], on
    try:
        yield
    finally:
        _unroll[0] = before


def is_small(shape: tuple[int, ...]) -> bool:
    """Whether operands of this shape, lanes last, are reduced as a whole."""
    return math.prod(shape[:-1]) <= _SMALL.get(len(shape), 0)


def add(axis: int, *factors: Array) -> Array:
    """The sum along `axis` of the product of `factors`, which broadcast; the axis stays, with length 1.

    Example:
        >>> add(1, jnp.ones((1, 3)), 2 * jnp.ones((1, 3))).tolist()
        [[6.0]]
    """
    return _reduce(jnp.add, axis, factors)


def largest(axis: int, *factors: Array) -> Array:
    """The maximum along `axis` of the product of `factors`, which broadcast; the axis stays, with length 1.

    Example:
        >>> largest(1, jnp.arange(3.0)[None]).tolist()
        [[2.0]]
    """
    return _reduce(jnp.maximum, axis, factors)


def along(weights: Array, like: Array) -> Array:
    """`weights` with axes of length 1 in front, so that they broadcast along the trailing axes of `like`.

    Example:
        >>> along(jnp.ones(4), jnp.ones((2, 3, 4))).shape
        (1, 1, 4)
    """
    return weights.reshape((1,) * (like.ndim - weights.ndim) + weights.shape)


def _reduce(combine: Callable[..., Array], axis: int, factors: tuple[Array, "..."]) -> Array:
    shape = jnp.broadcast_shapes(*(factor.shape for factor in factors))
    if len(shape) <= 2 or is_small(shape) or not _unroll[0]:
        whole = jnp.sum if combine is jnp.add else jnp.max
        return whole(functools.reduce(jnp.multiply, factors), axis=axis, keepdims=True)
    return _unrolled(combine, axis, factors)


def _unrolled(combine: Callable[..., Array], axis: int, factors: tuple[Array, "..."]) -> Array:
    length = max(factor.shape[axis] for factor in factors)

    def part(start: int, stop: int) -> Array:
        # Of the factors, not of their product, which would be written to memory first.
        parts = [f if f.shape[axis] == 1 else jax.lax.slice_in_dim(f, start, stop, axis=axis) for f in factors]
        return functools.reduce(jnp.multiply, parts)

    if length <= _UNROLLED:
        return functools.reduce(combine, [part(i, i + 1) for i in range(length)])
    size = length // _UNROLLED
    eighths = functools.reduce(combine, [part(i * size, (i + 1) * size) for i in range(_UNROLLED)])
    if length % _UNROLLED:
        eighths = jnp.concatenate([eighths, part(_UNROLLED * size, length)], axis=axis)
    return _unrolled(combine, axis, (jax.lax.optimization_barrier(eighths),))
