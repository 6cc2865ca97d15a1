r"""The problem template of a sweep, and the batch of problems that its axes make of it.

A template holds arrays under the names of a problem file, some of which may be distributions instead:

    true_reward = {uniform = [-1.0, 1.0]}       # low, high
    initial_params = {normal = [0.0, 1.0]}      # mean, standard deviation
    outputs = 5                                 # K; also prompts (P, 1 if not given) and dimension (D, with features)

These are drawn anew for every seed: those of seed s from the key fold_in(key(s), 2^31 + j), with j the position of the
field among features, true_reward, proxy_reward and initial_params. A draw depends on its seed alone, never on the
other points of the sweep.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from pgdyn import construct, validate
from pgdyn.batch import Batch
from pgdyn.io import problem_file, tables
from pgdyn.sweep.axis import FIELDS, Index

_SIZES = ("outputs", "prompts", "dimension")
_MOST_NUMBERS = 10**8
_DRAWN = ("features", "true_reward", "proxy_reward", "initial_params")
_DISTRIBUTIONS: dict[str, tuple[str, Callable[[float, float], bool], str]] = {  # the names of functions of jax.random
    "uniform": ("[low, high]", lambda low, high: low < high, "low must be below high"),
    "normal": ("[mean, standard deviation]", lambda mean, deviation: deviation > 0, "the deviation must be positive"),
}
_STREAM = 2**31  # keeps the draws of a problem apart from those of a sampled run, which folds small counts into its key


@dataclasses.dataclass(frozen=True, eq=False)
class Template:
    """A problem with some of its arrays random.

    Attributes:
        arrays: field -> array, shaped as given ([K] or [P, K], ...).
        draws: field -> {"uniform": [low, high]} or {"normal": [mean, deviation]}, of independent entries.
        sizes: "outputs", "prompts" and (with features) "dimension".

    Example:
        >>> template = Template.from_table({"true_reward": {"normal": [0, 1]}, "outputs": 3})
        >>> template.batch(2, seeds=np.array([0, 1])).true_reward.shape
        (2, 1, 3)
    """

    arrays: dict[str, np.ndarray]
    draws: dict[str, dict[str, list[float]]]
    sizes: dict[str, int]

    @classmethod
    def from_table(cls, table: Mapping[str, Any]) -> Template:
        """The template of a spec file's [problem] entry; a ValueError names the key or entry that is wrong."""
        # A mapping from Python may hold arrays where a file holds lists.
        rest = {key: value.tolist() if hasattr(value, "tolist") else value for key, value in table.items()}
        sizes = [key for key in _SIZES if key in rest]
        given = {key: validate.count(key, rest.pop(key), minimum=1, maximum=_MOST_NUMBERS) for key in sizes}
        draws = {}
        for key in [key for key, value in rest.items() if isinstance(value, Mapping)]:
            if key not in _DRAWN and key in FIELDS:
                raise ValueError(f"{key} cannot be random; distributions are for {', '.join(_DRAWN)}")
            validate.refuse_unknown({key: None}, _DRAWN)
            with tables.within(key):
                draws[key] = _distribution(rest.pop(key))
        arrays, _ = problem_file.table_arrays(rest, complete="true_reward" not in draws)
        if both := [key for key in draws if key in arrays]:
            raise ValueError(f"{both[0]} is given twice")
        if "initial_params" in draws and "initial_policy" in arrays:
            raise ValueError("give initial_params or initial_policy, not both: each of them sets the start")
        return cls(arrays, draws, _sizes(arrays, "features" in {*arrays, *draws}, given))

    def to_table(self) -> dict[str, Any]:
        """A table that `from_table` reads back to the same bits."""
        return {name: array.tolist() for name, array in self.arrays.items()} | self.draws | self.sizes

    @property
    def has_features(self) -> bool:
        """Whether the policy is linear in features."""
        return "dimension" in self.sizes

    def shape(self, base: str) -> tuple[int, ...]:
        """The shape of a field of one problem."""
        return tuple(self.sizes[axis] for axis in _axes(base, self.has_features))

    def given_shape(self, base: str) -> tuple[int, ...]:
        """The shape that an index into a field refers to: as the template gives it, or without P where that is 1."""
        if base in self.arrays:
            return self.arrays[base].shape
        if base == "features" and not self.has_features:
            raise ValueError("the problem has no features")
        for one, other in (("initial_params", "initial_policy"), ("initial_policy", "initial_params")):
            if base == one and (other in self.arrays or other in self.draws):
                raise ValueError(f"the problem starts from {other}, so no field takes {one}")
        if base in ("proxy_reward", "initial_policy") and base not in self.draws:
            return self.given_shape("true_reward")
        shape = self.shape(base)
        return shape[1:] if len(shape) > 1 and shape[0] == 1 else shape

    def batch(
        self,
        size: int,
        entries: Sequence[tuple[str, Index | None, np.ndarray]] = (),
        seeds: np.ndarray | None = None,
    ) -> Batch:
        """`size` problems, each with its own entries: (field, index or None for all of it, values [N] or [N, ...]).

        Distributions are drawn for `seeds` [N].
        """
        own = {} if seeds is None else {base: self._drawn(base, seeds) for base in self.draws}  # [N, ...]
        fixed = np.zeros(self.shape("initial_policy"), bool)
        # The proxy that an axis changes entries of is the ground truth until it says otherwise.
        for base, index, values in sorted(entries, key=lambda entry: entry[0] != "true_reward"):
            own[base] = array = np.array(self._base(own, base, size))
            # A field given without the axis P is that of every prompt.
            place = (slice(None), ..., *(index or ()))
            lacking = array[place].ndim - values.ndim
            array[place] = values.reshape(size, *(1,) * lacking, *values.shape[1:])
            if base == "initial_policy" and index is not None:
                fixed[place[1:]] = True
        if fixed.any():
            own["initial_policy"] = _renormalised(own["initial_policy"], fixed)
        arrays: dict[str, Any] = self.arrays | own
        if "true_reward" not in own:
            arrays["true_reward"] = np.broadcast_to(arrays["true_reward"], self.shape("true_reward"))
        arrays["temperature"] = np.broadcast_to(arrays.get("temperature", 1.0), (size,))  # so that there is an axis N
        if self.has_features:
            return Batch.linear(arrays.pop("features"), **arrays)
        start = arrays.pop("initial_params", None)
        batch = Batch.tabular(arrays.pop("initial_policy", None), **arrays)
        if start is None:
            return batch
        start = np.broadcast_to(start, (size, *self.shape("initial_params")))
        construct.require_finite_logits(None, start, arrays["temperature"])
        return batch.replace(initial_params=start)

    def _base(self, own: Mapping[str, np.ndarray], base: str, size: int) -> np.ndarray:
        """[N, ...], what an entry of the field is set in."""
        if base in own:
            return own[base]
        if base == "proxy_reward" and base not in self.arrays:
            return self._base(own, "true_reward", size)
        shape = self.shape(base)
        fill = 0.0 if base == "initial_params" else 1 / (shape or (1,))[-1]
        return np.broadcast_to(self.arrays.get(base, fill), (size, *shape))

    def _drawn(self, base: str, seeds: np.ndarray) -> np.ndarray:
        ((distribution, (a, b)),) = self.draws[base].items()
        unit = np.asarray(_standard(jnp.asarray(seeds), _DRAWN.index(base), self.shape(base), distribution))
        return a + unit * (b - a if distribution == "uniform" else b)


@eqx.filter_jit
def _standard(seeds: jax.Array, stream: int, shape: tuple[int, ...], distribution: str) -> jax.Array:
    def one(seed: jax.Array) -> jax.Array:
        key = jax.random.fold_in(jax.random.key(seed), _STREAM + stream)
        return getattr(jax.random, distribution)(key, shape, jnp.float64)

    return jax.vmap(one)(seeds)


def _renormalised(policy: np.ndarray, fixed: np.ndarray) -> np.ndarray:
    """The entries that are not fixed scaled so that the probabilities of each prompt that has fixed ones sum to 1."""
    held = np.where(fixed, policy, 0).sum(-1, keepdims=True)
    free = np.where(fixed, 0, policy).sum(-1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        scaled = policy * ((1 - held) / free)
    return np.where(fixed.any(-1, keepdims=True) & ~fixed, scaled, policy)


def _axes(base: str, linear: bool) -> Sequence[str]:
    """The names of a field's dimensions; an array may lack that of prompts where there is one."""
    if base == "initial_params" and linear:
        return ("dimension",)
    axes = FIELDS.get(base, ("", ()))[1]
    return () if isinstance(axes, str) else axes


def _distribution(table: Mapping[str, Any]) -> dict[str, list[float]]:
    given = {name: numbers for name, numbers in table.items() if numbers is not None}
    validate.refuse_unknown(given, _DISTRIBUTIONS)
    if len(given) != 1:
        raise ValueError(f"a distribution is one of {', '.join(_DISTRIBUTIONS)}, with its two numbers")
    ((name, numbers),) = given.items()
    wanted, is_good, rule = _DISTRIBUTIONS[name]
    pair = validate.as_floats(name, numbers)
    if pair.shape != (2,):
        raise ValueError(validate.refusal(name, (), numbers, f"it must be {wanted}"))
    validate.require_finite(name, pair)
    if not is_good(*pair):
        raise ValueError(f"{name} is [{pair[0]:g}, {pair[1]:g}]; {rule}")
    return {name: pair.tolist()}


def _sizes(arrays: Mapping[str, np.ndarray], linear: bool, given: Mapping[str, int]) -> dict[str, int]:
    """The sizes that the arrays have, and those given where they leave one open, as one prompt does."""
    found = {"prompts": 1}
    for name, array in arrays.items():
        for axis, size in zip(_axes(name, linear)[::-1], array.shape[::-1], strict=False):
            if found.setdefault(axis, size) != size and (axis != "prompts" or 1 not in (size, found[axis])):
                raise ValueError(f"{name} has shape {array.shape}, but {axis} is {found[axis]} in other arrays")
            found[axis] = max(size, found[axis])
    for key, size in given.items():
        if key == "dimension" and not linear:
            raise ValueError(f"{key} is {size}, but the arrays have no features")
        if found.setdefault(key, size) != size and (key, found[key]) != ("prompts", 1):
            raise ValueError(f"{key} is {size}, but the arrays have {found[key]}")
        found[key] = size
    for key in ("outputs", "dimension") if linear else ("outputs",):
        if key not in found:
            raise ValueError(f"the key {key} is missing: the arrays are random, so it must say how many there are")
    if math.prod(found.values()) > _MOST_NUMBERS:
        listed = ", ".join(f"{axis} is {found[axis]}" for axis in _SIZES if axis in found)
        raise ValueError(f"{listed}; a problem of a sweep has at most 1e8 numbers")
    return {key: found[key] for key in _SIZES if key in found}
