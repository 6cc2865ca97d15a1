"""Many arrays a lane as one.

Where many operations of a compiled program could run side by side, XLA:CPU hands some of them to other threads, and
goes on in whichever ends last. An array for everything that is known of a lane makes this happen at each start and end
of a chunk, and programs that run at once get into each other's way. One array does not, and is passed more cheaply.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


class Packing(NamedTuple):
    """How a tree of arrays [..., L] is laid out as one float64 array [R, L], leaf after leaf.

    Attributes:
        treedef: the tree.
        leaves: of each leaf its shape without the lanes, its type (booleans and integers below 2^53 are exact in
            float64), and its first row and the one behind its last.
        rows: R.
    """

    treedef: Any
    leaves: tuple[tuple[tuple[int, ...], np.dtype, int, int], ...]
    rows: int

    @classmethod
    def of(cls, tree: Any) -> Packing:
        """The packing of a tree of arrays, or of their shapes and types."""
        arrays, treedef = jax.tree.flatten(tree)
        leaves, start = [], 0
        for array in arrays:
            stop = start + int(np.prod(array.shape[:-1]))
            leaves.append((array.shape[:-1], np.dtype(array.dtype), start, stop))
            start = stop
        return cls(treedef, tuple(leaves), start)

    @property
    def structs(self) -> Any:
        """The tree's shapes and types for one lane."""
        leaves = [jax.ShapeDtypeStruct((*shape, 1), dtype) for shape, dtype, _, _ in self.leaves]
        return jax.tree.unflatten(self.treedef, leaves)

    def pack(self, tree: Any) -> jax.Array:
        """[R, L], in compiled code."""
        leaves = jax.tree.leaves(tree)
        return jnp.concatenate([leaf.reshape(-1, leaf.shape[-1]).astype(jnp.float64) for leaf in leaves])

    def unpack(self, array: Any) -> Any:
        """The tree of an array [..., R, L]; of a NumPy array the float64 leaves are views."""
        leaves = []
        for shape, dtype, start, stop in self.leaves:
            leaf = array[..., start:stop, :].reshape(*array.shape[:-2], *shape, array.shape[-1])
            leaves.append(leaf if dtype == np.float64 else leaf.astype(dtype))
        return jax.tree.unflatten(self.treedef, leaves)
