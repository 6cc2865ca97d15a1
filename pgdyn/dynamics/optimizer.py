"""optax optimisers as values, so that two equal optimisers share one compiled program.

`optax.sgd(0.1)` written twice gives two pairs of closures that compare unequal, and JAX would compile a run anew for
each. Here an optimiser is traced once for the shape of the parameters; what it computes (the jaxpr, with its literals)
is its identity, and the arrays that it closes over are ordinary inputs. Under `jax.vmap` over a learning rate these
inputs are traced values like any other.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import equinox as eqx
import jax
import numpy as np
import optax
from jax.core import eval_jaxpr
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal
from jaxtyping import Array, PyTree


class _Program:
    """A jaxpr and its output structure, equal to another that prints the same and holds the same arrays. Keeping the
    jaxpr keeps alive whatever functions it names by address, so that an address in the text cannot come to mean
    something else.
    """

    def __init__(self, jaxpr: Jaxpr, structure: Any):
        self.jaxpr = jaxpr
        self.structure = structure
        self.text = str(jaxpr)
        arrays = tuple((array.dtype.str, array.shape, array.tobytes()) for array in _in_equations(jaxpr))
        self._identity = (self.text, structure, arrays)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Program) and self._identity == other._identity

    def __hash__(self) -> int:
        return hash(self.text)

    def __call__(self, consts: list[Array], *arguments: PyTree) -> PyTree:
        leaves = eval_jaxpr(self.jaxpr, consts, *jax.tree.leaves(arguments))
        return jax.tree.unflatten(self.structure, leaves)


def _in_equations(jaxpr: Jaxpr) -> Iterator[np.ndarray]:
    # Not its own constants, which from jax 0.11 on it carries: they are inputs, and traced values under `jax.vmap`.
    for equation in jaxpr.eqns:
        yield from _unprinted_arrays(list(equation.invars))
        yield from _unprinted_arrays(list(equation.params.values()))
    yield from _unprinted_arrays(list(jaxpr.outvars))


def _unprinted_arrays(part: Any) -> Iterator[np.ndarray]:
    # A jaxpr prints scalar literals in full but arrays as "[...]": a jitted schedule's table is such an array.
    if isinstance(part, ClosedJaxpr):
        yield from map(np.asarray, part.consts)
    if isinstance(part, Jaxpr):  # from jax 0.11 on a closed one as well, whose `jaxpr` is itself
        yield from _in_equations(part)
    elif isinstance(part, ClosedJaxpr):
        yield from _unprinted_arrays(part.jaxpr)
    elif isinstance(part, Literal):
        yield np.asarray(part.val)
    elif isinstance(part, np.ndarray | jax.Array):
        yield np.asarray(part)
    elif isinstance(part, list | tuple):
        for item in part:
            yield from _unprinted_arrays(item)


class Optimizer(eqx.Module):
    """A traced `optax.GradientTransformation` for parameters of one shape."""

    _init: _Program = eqx.field(static=True)
    _update: _Program = eqx.field(static=True)
    _init_consts: list[Array]
    _update_consts: list[Array]

    def init(self, params: Array) -> PyTree:
        """The optimiser's state at `params`."""
        return self._init(self._init_consts, params)

    def ascend(self, gradient: Array, state: PyTree, params: Array) -> tuple[Array, PyTree]:
        """Parameters after one step uphill along `gradient` (optax steps downhill), and the new state."""
        updates, state = self._update(self._update_consts, -gradient, state, params)
        return params + updates, state

    def describe(self) -> str:
        """The update rule as the text of its jaxpr: exact, if not pretty."""
        return self._update.text


def trace(optimizer: optax.GradientTransformation, params: Array | jax.ShapeDtypeStruct) -> Optimizer:
    """`optimizer` as a value, for parameters like `params`.

    Raises:
        ValueError: if it is not an optax optimiser.
    """
    if not (callable(getattr(optimizer, "init", None)) and callable(getattr(optimizer, "update", None))):
        raise ValueError(f"optimizer must be an optax gradient transformation, got {optimizer!r:.80}")
    shape = jax.ShapeDtypeStruct(params.shape, params.dtype)

    def strong(tree: PyTree) -> PyTree:
        # A scan needs the state to keep its types, and optax starts some counters as weakly typed numbers.
        return jax.tree.map(lambda leaf: jax.lax.convert_element_type(leaf, jax.numpy.asarray(leaf).dtype), tree)

    # Some of optax (Adam's bias correction) mixes floats and integers, which a user's strict setting would refuse.
    with jax.numpy_dtype_promotion("standard"):
        init, state = jax.make_jaxpr(lambda p: strong(optimizer.init(p)), return_shape=True)(shape)
        update, out = jax.make_jaxpr(lambda g, s, p: strong(optimizer.update(g, s, p)), return_shape=True)(
            shape, state, shape
        )
    return Optimizer(
        _Program(init.jaxpr, jax.tree.structure(state)),
        _Program(update.jaxpr, jax.tree.structure(out)),
        init.consts,
        update.consts,
    )
