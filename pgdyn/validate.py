"""What every entry point says about bad input: one sentence naming the field, the index and the value.

Values that are being traced (inside `jax.jit` or `jax.vmap`) have shapes but no numbers yet, so only their shapes are
checked; the same call on concrete values checks everything.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import jax
import numpy as np
from jax.core import Tracer
from jax.typing import ArrayLike

Numbers: TypeAlias = ArrayLike | Sequence[Any]  # what entry points take: an array, a number, or nested lists of numbers

_LARGEST = 2**63 - 1  # of whole numbers


def shown(value: Any) -> str:
    """`value` as an error message shows it: cut to 80 characters, a huge whole number by how long it is."""
    if isinstance(value, np.floating):
        return f"{value:g}"
    if isinstance(value, int) and abs(value) >= 10**80:  # Python refuses to write out the longest ones
        return f"a whole number of about {int(abs(value).bit_length() * 0.30103) + 1} digits"
    text = repr(value)
    return text if len(text) <= 80 else text[:79] + "…"


def refusal(name: str, index: Sequence[int], value: Any, rule: str) -> str:
    """The sentence that refuses a value: `name[index] is value; rule`."""
    text = f"{value:g}" if isinstance(value, float | np.floating) else shown(value)
    return f"{place(name, index)} is {text}; {rule}"


def is_traced(value: Any) -> bool:
    """Whether `value` is an abstract value inside a JAX transformation."""
    return isinstance(value, Tracer)


def require_known(caller: str, tree: Any) -> None:
    """Raises ValueError where some array of a tree is being traced, for what needs its numbers.

    Example:
        >>> require_known("plot", np.ones(3))
    """
    if any(map(is_traced, jax.tree.leaves(tree))):
        raise ValueError(f"{caller} needs numbers, and inside jax.jit or jax.vmap there are none yet; call it outside")


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
    except TypeError:  # a JAX key, or what else refuses to be numbers
        raise ValueError(refusal(name, (), value, f"every entry of {name} must be a real number")) from None
    if array.dtype.kind == "O" and any(is_traced(item) for item in array.flat):
        return jax.numpy.asarray(value, float_dtype())
    if array.size == 0:
        raise ValueError(f"{name} is empty")
    if jax.numpy.issubdtype(array.dtype, jax.numpy.floating):  # bfloat16 and its like are floats to JAX alone
        return array.astype(np.float64)
    if array.dtype.kind not in "iu":
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
            return refusal(name, index, entry, f"every entry of {name} must be a real number")
    return f"{name} must hold real numbers, got {value!r:.80}"


def place(name: str, index: Sequence[int] | np.ndarray) -> str:
    """`name[i, j]`, or `name` alone for a scalar."""
    inside = ", ".join(str(int(i)) for i in index)
    return f"{name}[{inside}]" if inside else name


def require(name: str, array: Any, good: Any, rule: str) -> None:
    """Raises ValueError naming the first entry of `array` where `good` is False, and the rule that it breaks."""
    if is_traced(array) or is_traced(good) or np.all(good):
        return
    index = tuple(np.argwhere(~np.asarray(good))[0])
    raise ValueError(refusal(name, index, float(np.asarray(array)[index]), rule))


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
            raise ValueError(refusal(name, (), float(array), "it must be positive"))
        if minimum is not None and array < minimum:
            raise ValueError(refusal(name, (), float(array), f"it must be at least {minimum:g}"))
    return array


def count(name: str, value: Any, *, minimum: int, maximum: int | None = None) -> int:
    """`value` as a Python int from `minimum` to `maximum`.

    Raises:
        ValueError: if it is not a whole number, too small or too large.
    """
    if is_traced(value):
        raise ValueError(f"{name} sets the shape of the result, so it must be a plain int, not a traced value")
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise ValueError(f"{name} must be a whole number, got {shown(value)}")
    if value < minimum:
        raise ValueError(refusal(name, (), value, f"it must be at least {minimum}"))
    if value > (_LARGEST if maximum is None else maximum):
        raise ValueError(refusal(name, (), value, f"it must be at most {'2^63 - 1' if maximum is None else maximum}"))
    return int(value)


def choice(name: str, value: Any, options: tuple[Any, ...]) -> None:
    """Raises ValueError unless `value` is one of `options`."""
    if not any(value is option or (isinstance(value, str) and value == option) for option in options):
        listed = ", ".join(repr(option) for option in options)
        raise ValueError(refusal(name, (), value, f"it must be one of {listed}"))


def refuse_unknown(table: Mapping[str, Any], known: Iterable[str]) -> None:
    """Raises ValueError for the first key that is not known."""
    known = list(known)
    for key in table:
        if key not in known:
            raise ValueError(f"unknown key {shown(key)}; " + suggestion(str(key), known, "the keys are"))


def suggestion(word: str, known: Iterable[str], otherwise: str) -> str:
    """A near miss of `word` as a question, or the list of what is known.

    Example:
        >>> suggestion("targte", ["target", "t1"], "the keys are")
        "did you mean 'target'?"
    """
    close = difflib.get_close_matches(word, list(known), n=1)
    return f"did you mean {close[0]!r}?" if close else f"{otherwise} {', '.join(known)}"


def numbers(name: str, *, positive: bool = False, optional: bool = False) -> Callable[[Any], Any]:
    """A converter of a settings field: a finite number, or [N] of them for a batch. Numbers become Python's."""

    def convert(value: Any) -> Any:
        if value is None and optional:
            return None
        array = as_floats(name, value)
        if array.ndim > 1:
            raise ValueError(f"{name} has shape {array.shape}; it must be a single number, or [N] for a batch")
        require_finite(name, array)
        if is_traced(array):
            return array
        if positive:
            require(name, array, array > 0, "it must be positive")
        return array if array.ndim else float(array)

    return convert


def counts(name: str, *, minimum: int, maximum: int | None = None, optional: bool = False) -> Callable[[Any], Any]:
    """A converter of a settings field: a whole number."""

    def convert(value: Any) -> int | None:
        if value is None and optional:
            return None
        return count(name, value, minimum=minimum, maximum=maximum)

    return convert


def choices(name: str, options: tuple[Any, ...]) -> Callable[[Any], Any]:
    """A converter of a settings field: one of `options`."""

    def convert(value: Any) -> Any:
        choice(name, value, options)
        return value

    return convert


def truth(name: str) -> Callable[[Any], bool]:
    """A converter of a settings field: True or False."""

    def convert(value: Any) -> bool:
        if not isinstance(value, bool | np.bool_):
            raise ValueError(f"{name} is {shown(value)}; it must be true or false")
        return bool(value)

    return convert
