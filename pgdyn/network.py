r"""A policy whose logits are any differentiable function of its parameters, a neural network for example.

    z = f(theta) / T,    theta' = J(theta)^T (dJ/dz) / T,    z' = G(theta) (dJ/dz),  G = J J^T / T^2

with J = df/dtheta: the tangent kernel G moves with theta, where that of a linear policy stands still. Parameters may be
any tree of arrays; pgdyn computes with them as one vector [D], and `Network.params` gives the tree back.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PyTree

from pgdyn import validate


class Network:
    """The function from parameters to logits. Hashable: compiled code has it as a constant.

    Attributes:
        logits: takes the tree of parameters and gives logits [P, K].
        size: D, the number of parameters.

    Example:
        >>> network, start = Network.of(lambda p: p["w"] * p["x"][:, None], {"w": np.ones(3), "x": np.zeros(2)})
        >>> network.size, start.tolist(), network(jnp.asarray(start)).shape
        (5, [1.0, 1.0, 1.0, 0.0, 0.0], (2, 3))
    """

    def __init__(self, logits: Callable[[Any], Any], unravel: Callable[[Array], Any], rest: Any, size: int, key: Any):
        self.logits, self.size = logits, size
        self._unravel, self._rest, self._key = unravel, rest, key

    @classmethod
    def of(cls, logits: Callable[[Any], Any], params: PyTree) -> tuple[Network, Float[np.ndarray, " D"]]:
        """The network of a function and the vector of its parameters.

        Args:
            logits: takes a tree like `params`.
            params: any tree with arrays of floats, which are the parameters, and other leaves, which stay as they are:
                an equinox module, the dictionary of a flax one.

        Raises:
            ValueError: if `logits` is no function, or `params` has no array of floats or an entry that is not finite.
        """
        if not callable(logits):
            raise ValueError(f"logits is {validate.shown(logits)}; it must be a function of the parameters")
        arrays, rest = eqx.partition(params, eqx.is_inexact_array)
        leaves = [np.asarray(leaf, validate.float_dtype()) for leaf in jax.tree.leaves(arrays)]
        if not leaves:
            raise ValueError("initial_params has no array of floats; there is nothing to train")
        for i, leaf in enumerate(leaves):
            validate.require_finite(f"initial_params, leaf {i},", leaf)
        flat, unravel = ravel_pytree(jax.tree.unflatten(jax.tree.structure(arrays), leaves))
        constants, treedef = jax.tree.flatten(rest)
        key: Any = (logits, treedef, tuple(leaf.shape for leaf in leaves), tuple(constants))
        try:
            hash(key)
        except TypeError:
            key = (id(logits), object())
        return cls(logits, unravel, rest, int(flat.size), key), np.asarray(flat)

    def __hash__(self) -> int:
        return hash(self._key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Network) and self._key == other._key

    def __repr__(self) -> str:
        return f"Network({getattr(self.logits, '__name__', 'logits')}, D={self.size})"

    def __call__(self, params: Float[Array, " D"]) -> Array:
        """Logits before the temperature, f(theta), [P, K]."""
        return self.logits(self.params(params))

    def params(self, params: Float[Array, " D"]) -> Any:
        """The tree of a vector of parameters, such as a solution's `params[-1]`."""
        return eqx.combine(self._unravel(jnp.asarray(params)), self._rest)

    def jacobian(self, params: Float[Array, " D"]) -> Float[Array, "P K D"]:
        """df/dtheta."""
        return jax.jacrev(self)(params)
