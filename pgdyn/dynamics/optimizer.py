"""optax optimisers as values, so that two equal optimisers share one compiled program.

`optax.sgd(0.1)` written twice gives two pairs of closures that compare unequal, and JAX would compile a run anew for
each. Here an optimiser is traced once for the shape of the parameters; what it computes (the jaxpr) is its identity,
and the numbers and arrays in it, such as a learning rate, are ordinary inputs: another rate compiles nothing, and a
rate may be traced.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import eval_jaxpr
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal, Var
from jaxtyping import Array, ArrayLike, PyTree

from pgdyn import validate

OPTIMIZERS = ("sgd", "adam")  # functions of optax, which is imported when one of them is wanted


class GradientTransformation(Protocol):
    """What an optax transformation is to pgdyn; optax itself takes a tenth of the time that pgdyn takes to import."""

    @property
    def init(self) -> Any:
        """params -> state."""

    @property
    def update(self) -> Any:
        """(gradient, state, params) -> (updates, state)."""


class _Program:
    """A jaxpr with its constants and float scalars as inputs, and its output structure.

    Equal to another that prints the same and holds the same arrays. Keeping the jaxpr keeps alive whatever functions it
    names by address, so that an address in the text cannot come to mean something else.
    """

    def __init__(self, traced: ClosedJaxpr, structure: Any):
        self._jaxpr, scalars = _lift_scalars(traced.jaxpr)
        self.numbers: list[Any] = [*scalars, *traced.consts]  # not part of the identity
        self._scalars = len(scalars)
        self._structure = structure
        arrays = tuple((array.dtype.str, array.shape, array.tobytes()) for array in _in_equations(self._jaxpr))
        self._identity = (str(self._jaxpr), structure, arrays)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Program) and self._identity == other._identity

    def __hash__(self) -> int:
        return hash(self._identity[0])

    def __call__(self, numbers: list[Array], *arguments: PyTree) -> PyTree:
        scalars, consts = numbers[: self._scalars], numbers[self._scalars :]
        leaves = eval_jaxpr(self._jaxpr, consts, *scalars, *jax.tree.leaves(arguments))
        return jax.tree.unflatten(self._structure, leaves)


def _lift_scalars(jaxpr: Jaxpr) -> tuple[Jaxpr, list[np.ndarray]]:
    """A jaxpr that takes the float scalars written into its equations as its first inputs, and these scalars."""
    variables, scalars, equations = [], [], []
    for equation in jaxpr.eqns:
        operands = list(equation.invars)
        for i, operand in enumerate(operands):
            aval: Any = operand.aval
            if isinstance(operand, Literal) and not aval.shape and jnp.issubdtype(aval.dtype, jnp.floating):
                operands[i] = Var(aval)
                variables.append(operands[i])
                scalars.append(np.asarray(operand.val, aval.dtype))
        equations.append(equation.replace(invars=operands))
    return jaxpr.replace(invars=[*variables, *jaxpr.invars], eqns=equations), scalars


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
    """A traced `optax.GradientTransformation` for parameters of one shape.

    Example:
        >>> trace("sgd", 0.1, jnp.zeros(2)).init(jnp.zeros(2))
        (EmptyState(), EmptyState())
    """

    _init: _Program = eqx.field(static=True)
    _update: _Program = eqx.field(static=True)
    _init_numbers: list[Array]
    _update_numbers: list[Array]

    def init(self, params: Array) -> PyTree:
        """The optimiser's state at `params`."""
        return self._init(self._init_numbers, params)

    def ascend(self, gradient: Array, state: PyTree, params: Array) -> tuple[Array, PyTree]:
        """Parameters after one step uphill along `gradient` (optax steps downhill), and the new state."""
        updates, state = self._update(self._update_numbers, -gradient, state, params)
        return params + updates, state


def check_optimizer(value: Any) -> Any:
    """A converter of a settings field: None, the name of an optimiser, or an optax transformation.

    Raises:
        ValueError: if it is something else.

    Example:
        >>> check_optimizer("adam")
        'adam'
    """
    if value is None or (isinstance(value, str) and value in OPTIMIZERS):
        return value
    if callable(getattr(value, "init", None)) and callable(getattr(value, "update", None)):
        return value
    names = ", ".join(map(repr, OPTIMIZERS))
    raise ValueError(
        f"optimizer must be an optax gradient transformation, or one of {names}, got {validate.shown(value)}"
    )


def trace(optimizer: Any, learning_rate: ArrayLike, params: Array | jax.ShapeDtypeStruct) -> Optimizer:
    """`optimizer` as a value, for parameters like `params`.

    Args:
        optimizer: a name of `OPTIMIZERS`, which takes the learning rate; None for "sgd"; or an optax transformation.
        learning_rate: of an optimiser given by its name.
        params: an array, or its shape and type.
    """
    shape = jax.ShapeDtypeStruct(params.shape, params.dtype)
    if optimizer is None or isinstance(optimizer, str):
        import optax

        optimizer = getattr(optax, optimizer or "sgd")(jnp.asarray(learning_rate, params.dtype))

    def strong(tree: PyTree) -> PyTree:
        # A scan needs the state to keep its types, and optax starts some counters as weakly typed numbers.
        return jax.tree.map(lambda leaf: jax.lax.convert_element_type(leaf, jax.numpy.asarray(leaf).dtype), tree)

    # Some of optax (Adam's bias correction) mixes floats and integers, which a user's strict setting would refuse.
    with jax.numpy_dtype_promotion("standard"):
        init, state = jax.make_jaxpr(lambda p: strong(optimizer.init(p)), return_shape=True)(shape)
        update, out = jax.make_jaxpr(lambda g, s, p: strong(optimizer.update(g, s, p)), return_shape=True)(
            shape, state, shape
        )
    first, second = _Program(init, jax.tree.structure(state)), _Program(update, jax.tree.structure(out))
    return Optimizer(first, second, first.numbers, second.numbers)
