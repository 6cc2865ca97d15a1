"""Many arrays a lane as one row of numbers.

Where many operations of a compiled program could run side by side, XLA:CPU hands some of them to other threads, and
goes on in whichever ends last. An array for everything that is known of a lane makes this happen at each start and end
of a program, and programs that run at once get into each other's way. One array does not, is passed more cheaply, and
lets a lane be moved by copying a row.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


class Packing(NamedTuple):
    """How a tree of arrays [..., L], lanes last, is laid out as one float64 array [R, L], leaf after leaf.

    On the host the same numbers are [L, R], a row a lane.

    Attributes:
        treedef: the tree.
        leaves: of each leaf its shape without the lanes, its type (booleans and integers below 2^53 are exact in
            float64), and the place of its first number and of the one behind its last.
        size: R, the numbers of a lane.
    """

    treedef: Any
    leaves: tuple[tuple[tuple[int, ...], np.dtype, int, int], ...]
    size: int

    @classmethod
    def of(cls, tree: Any) -> Packing:
        """The packing of a tree of arrays [..., L], or of their shapes and types."""
        arrays, treedef = jax.tree.flatten(tree)
        return _packing(treedef, tuple((array.shape[:-1], array.dtype) for array in arrays))

    @classmethod
    def of_rows(cls, tree: Any) -> Packing:
        """The packing of a tree of arrays [L, ...]."""
        arrays, treedef = jax.tree.flatten(tree)
        return _packing(treedef, tuple((array.shape[1:], array.dtype) for array in arrays))

    @property
    def structs(self) -> Any:
        """The tree's shapes and types for one lane."""
        leaves = [jax.ShapeDtypeStruct((*shape, 1), dtype) for shape, dtype, _, _ in self.leaves]
        return jax.tree.unflatten(self.treedef, leaves)

    def pack(self, tree: Any) -> jax.Array:
        """[R, L], in compiled code."""
        leaves = jax.tree.leaves(tree)
        return jnp.concatenate([leaf.reshape(-1, leaf.shape[-1]).astype(jnp.float64) for leaf in leaves])

    def unpack(self, array: jax.Array) -> Any:
        """The tree of an array [R, L], in compiled code."""
        leaves = []
        for shape, dtype, start, stop in self.leaves:
            leaves.append(array[start:stop].reshape(*shape, array.shape[-1]).astype(dtype))
        return jax.tree.unflatten(self.treedef, leaves)

    def empty(self, lanes: int) -> Any:
        """A tree of arrays [L, ...], undefined."""
        leaves = [np.empty((lanes, *shape), dtype) for shape, dtype, _, _ in self.leaves]
        return jax.tree.unflatten(self.treedef, leaves)

    def fill(self, rows: np.ndarray, tree: Any, chosen: np.ndarray | None = None) -> None:
        """Writes a tree of arrays [L, ...] into rows [L, R]; of arrays [N, ...] those that are chosen."""
        for leaf, (*_, start, stop) in zip(jax.tree.leaves(tree), self.leaves, strict=True):
            leaf = leaf if chosen is None else leaf.take(chosen, axis=0)
            rows[:, start:stop] = leaf.reshape(len(rows), stop - start)

    def take_apart(self, rows: np.ndarray) -> Any:
        """The tree of arrays [L, ...] of rows [L, R]; views, where they are float64."""
        leaves = []
        for shape, dtype, start, stop in self.leaves:
            leaf = rows[:, start:stop].reshape(len(rows), *shape)
            leaves.append(leaf if dtype == np.float64 else leaf.astype(dtype))
        return jax.tree.unflatten(self.treedef, leaves)


@lru_cache(maxsize=1024)
def _packing(treedef: Any, arrays: tuple[tuple[tuple[int, ...], Any], ...]) -> Packing:
    leaves, start = [], 0
    for shape, dtype in arrays:
        stop = start + math.prod(shape)
        leaves.append((shape, np.dtype(dtype), start, stop))
        start = stop
    return Packing(treedef, tuple(leaves), start)
