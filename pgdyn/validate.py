"""What every entry point says about bad input: one sentence naming the field, the index and the value.

Values that are being traced (inside `jax.jit` or `jax.vmap`) have shapes but no numbers yet, so only their shapes are
checked; the same call on concrete values checks everything.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypeAlias

import jax
import numpy as np
from jax.core import Tracer
from jax.typing import ArrayLike

Numbers: TypeAlias = ArrayLike | Sequence[Any]  # what entry points take: an array, a number, or nested lists of numbers


def is_traced(value: Any) -> bool:
    """Whether `value` is an abstract value inside a JAX transformation."""
    return isinstance(value, Tracer)


def float_dtype() -> Any:
    """float64 where JAX has it on (the default under pgdyn), float32 under `PGDYN_X64=0`."""
    return jax.dtypes.canonicalize_dtype(np.float64)


def as_floats(name: str, value: Any) -> Any:
    """`value` as a float array: NumPy when concrete, untouched when traced.

    Raises:
        ValueError: if it is not a rectangular array of real numbers. Booleans are not numbers here.
    """
    if is_traced(value):
        return value.astype(float_dtype())
    try:
        array = np.asarray(value)
    except jax.errors.TracerArrayConversionError:
        return jax.numpy.stack([as_floats(name, item) for item in value])
    except ValueError:
        raise ValueError(_ragged(name, value)) from None
    if array.dtype.kind == "O" and any(is_traced(item) for item in array.flat):
        return jax.numpy.asarray(value, float_dtype())
    if array.size == 0:
        raise ValueError(f"{name} is empty")
    if array.dtype.kind not in "fiu":
        raise ValueError(_not_a_number(name, value))
    return array.astype(np.float64)


def _ragged(name: str, rows: Any) -> str:
    # Rows may themselves be ragged, so lengths are compared at this level first and then one level down.
    lengths = [len(row) if hasattr(row, "__len__") and not isinstance(row, str) else None for row in rows]
    for i, length in enumerate(lengths):
        if length != lengths[0]:
            held = ["a single entry" if n is None else f"{n} entries" for n in (length, lengths[0])]
            return f"{name} is not rectangular: {name}[{i}] has {held[0]} but {name}[0] has {held[1]}"
    for i, row in enumerate(rows):
        try:
            np.asarray(row)
        except ValueError:
            return _ragged(place(name, (i,)), row)
    return f"{name} is not rectangular: the rows of its entries differ in shape"


def _not_a_number(name: str, value: Any) -> str:
    entries = np.asarray(value, dtype=object)
    for index in np.ndindex(entries.shape):
        entry = entries[index]
        if isinstance(entry, bool | np.bool_) or not isinstance(entry, int | float | np.integer | np.floating):
            return f"{place(name, index)} is {entry!r:.80}; every entry of {name} must be a real number"
    return f"{name} must hold real numbers, got {value!r:.80}"


def place(name: str, index: tuple[int, ...] | np.ndarray) -> str:
    """`name[i, j]`, or `name` alone for a scalar."""
    inside = ", ".join(str(int(i)) for i in index)
    return f"{name}[{inside}]" if inside else name


def require(name: str, array: Any, good: Any, rule: str) -> None:
    """Raises ValueError naming the first entry of `array` where `good` is False, and the rule that it breaks."""
    if is_traced(array) or is_traced(good) or np.all(good):
        return
    index = tuple(np.argwhere(~np.asarray(good))[0])
    raise ValueError(f"{place(name, index)} is {np.asarray(array)[index]:g}; {rule}")


def require_finite(name: str, array: Any) -> None:
    """Raises ValueError naming the first entry that is nan or infinite."""
    if is_traced(array) or (np.ndim(array) == 0 and math.isfinite(array)):
        return
    require(name, array, np.isfinite(array), f"every entry of {name} must be finite")


def scalar(name: str, value: Any, *, positive: bool = False, minimum: float | None = None) -> Any:
    """`value` as a finite float scalar (a JAX array), checked against its range.

    Raises:
        ValueError: if it is no number, not a scalar, not finite or out of range.
    """
    return jax.numpy.asarray(number(name, value, positive=positive, minimum=minimum), float_dtype())


def number(name: str, value: Any, *, positive: bool = False, minimum: float | None = None) -> Any:
    """The same on the host: a NumPy array unless it is traced."""
    array = as_floats(name, value)
    if array.ndim != 0:
        raise ValueError(f"{name} must be a single number, got an array of shape {array.shape}")
    require_finite(name, array)
    if not is_traced(array):
        if positive and not array > 0:
            raise ValueError(f"{name} is {array:g}; it must be positive")
        if minimum is not None and array < minimum:
            raise ValueError(f"{name} is {array:g}; it must be at least {minimum:g}")
    return array


def count(name: str, value: Any, *, minimum: int) -> int:
    """`value` as a Python int of at least `minimum`.

    Raises:
        ValueError: if it is not a whole number or too small.
    """
    if is_traced(value):
        raise ValueError(f"{name} sets the shape of the result, so it must be a plain int, not a traced value")
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise ValueError(f"{name} must be a whole number, got {value!r:.80}")
    if value < minimum:
        raise ValueError(f"{name} is {value}; it must be at least {minimum}")
    return int(value)


def choice(name: str, value: Any, options: tuple[Any, ...]) -> None:
    """Raises ValueError unless `value` is one of `options`."""
    if not any(value is option or (isinstance(value, str) and value == option) for option in options):
        listed = ", ".join(repr(option) for option in options)
        raise ValueError(f"{name} is {value!r:.80}; it must be one of {listed}")
