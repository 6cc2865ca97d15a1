r"""The problem template of a sweep, and the batch of problems that its axes make of it.

A template holds arrays under the names of a problem file, some of which may be distributions instead:

    true_reward = {uniform = [-1.0, 1.0]}       # low, high
    initial_params = {normal = [0.0, 1.0]}      # mean, standard deviation
    outputs = 5                                 # K; also prompts (P, 1 if not given) and dimension (D, with features)

These are drawn anew for every seed: those of seed s from the key fold_in(key(s), 2^31 + j), with j the place of the
field among features, true_reward, proxy_reward and initial_params. A draw depends on its seed alone, never on the
points beside it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from pgdyn import problem_file, validate
from pgdyn.problem import Problem
from pgdyn.sweep.axis import ARRAYS, Index, refuse_unknown, suggestion

_SIZES = ("outputs", "prompts", "dimension")
_DISTRIBUTIONS = ("uniform", "normal")
_DRAWN = ("features", "true_reward", "proxy_reward", "initial_params")
_STREAM = 2**31  # keeps the draws of a problem apart from those of a sampled run, which folds small counts into its key


@dataclasses.dataclass(frozen=True)
class Draw:
    """A distribution of independent entries: "uniform" on [a, b), or "normal" with mean a and deviation b."""

    distribution: str
    a: float
    b: float


@dataclasses.dataclass(frozen=True, eq=False)
class Template:
    """A problem with some of its arrays random.

    Attributes:
        arrays: field -> array, shaped as given ([K] or [P, K], ...).
        draws: field -> distribution, shaped [P, K], [P, K, D] or [D]; without the P where it is 1.
        sizes: "outputs", "prompts" and (with features) "dimension".
    """

    arrays: dict[str, np.ndarray]
    draws: dict[str, Draw]
    sizes: dict[str, int]

    @classmethod
    def from_problem(cls, problem: Problem) -> Template:
        """The template of one problem.

        Raises:
            ValueError: on a batch.
        """
        if problem.batch_size is not None:
            raise ValueError(
                f"problem is a batch of {problem.batch_size}; a sweep takes one problem and makes the batch"
            )
        names = ("features", "true_reward", "proxy_reward", "initial_params", "temperature", "prompt_weights")
        found = {name: getattr(problem, name) for name in names}
        arrays = {name: np.asarray(value, np.float64) for name, value in found.items() if value is not None}
        if problem.num_prompts == 1:
            arrays |= {name: array[0] for name, array in arrays.items() if array.ndim > 1}
        return cls(arrays, {}, _sizes(arrays, {}))

    @classmethod
    def from_table(cls, table: Mapping[str, Any]) -> Template:
        """The template of a spec file's [problem] entry, or of a mapping with the same keys.

        Raises:
            ValueError: naming the key or entry that is wrong.
        """
        rest = {key: _lists(value) for key, value in table.items()}
        given = {key: rest.pop(key) for key in _SIZES if key in rest}
        for key, size in given.items():
            validate.count(key, size, minimum=1)
        draws = {key: _draw(key, rest.pop(key)) for key in list(rest) if isinstance(rest[key], Mapping)}
        known = (*ARRAYS, "temperature")
        for key in rest:
            if key not in known and key in _DISTRIBUTIONS:
                raise ValueError(f"the key {key} is a distribution; write it as FIELD = {{{key} = [.., ..]}}")
        arrays, _ = problem_file.table_arrays(rest, complete="true_reward" not in draws)
        for key in draws:
            if key in arrays:
                raise ValueError(f"{key} is given twice")
        if "initial_params" in draws and "initial_policy" in arrays:
            raise ValueError("give initial_params or initial_policy, not both: each of them sets the start")
        template = cls(arrays, draws, _sizes(arrays, given, draws))
        for key, size in given.items():
            if template.sizes.get(key) != size:
                found = template.sizes.get(key)
                raise ValueError(f"{key} is {size}, but the arrays have {found if found else 'no features'}")
        return template

    def to_table(self) -> dict[str, Any]:
        """A table that `from_table` reads back to the same bits."""
        table: dict[str, Any] = {name: array.tolist() for name, array in self.arrays.items()}
        table |= {name: {draw.distribution: [draw.a, draw.b]} for name, draw in self.draws.items()}
        return table | self.sizes

    @property
    def has_features(self) -> bool:
        """Whether the policy is linear in features."""
        return "features" in self.arrays or "features" in self.draws

    @property
    def params_shape(self) -> tuple[int, ...]:
        """Shape of one problem's parameters."""
        if self.has_features:
            return (self.sizes["dimension"],)
        return (self.sizes["prompts"], self.sizes["outputs"])

    def field_shape(self, base: str) -> tuple[int, ...]:
        """The shape that an index into the field refers to.

        Raises:
            ValueError: if the template has no such field, with the reason.
        """
        if base in self.arrays:
            return self.arrays[base].shape
        if base in self.draws:
            return self._drawn_shape(base)
        if base == "features":
            raise ValueError("the problem has no features")
        if base == "initial_params" and "initial_policy" in self.arrays:
            raise ValueError("the problem starts from initial_policy, so no field takes initial_params")
        if base == "initial_policy" and ("initial_params" in self.arrays or "initial_params" in self.draws):
            raise ValueError("the problem starts from initial_params, so no field takes initial_policy")
        if base == "initial_params":
            return self._drawn_shape(base)
        if base == "prompt_weights":
            return (self.sizes["prompts"],)
        return self.field_shape("true_reward")

    def batch(
        self,
        size: int,
        entries: Sequence[tuple[str, Index | None, np.ndarray]] = (),
        seeds: np.ndarray | None = None,
    ) -> Problem:
        """`size` problems.

        Args:
            size: N.
            entries: (field, index, values [N] or [N, ...]) to set, one after another.
            seeds: [N] for the distributions; None where there are none.

        Raises:
            ValueError: from the problem's constructor.
        """
        fields = {name: np.broadcast_to(array, (size, *array.shape)) for name, array in self.arrays.items()}
        if self.draws:
            assert seeds is not None
            fields |= self._drawn(seeds)
        own = {base for base, _, _ in entries}
        if "proxy_reward" in own:
            # The proxy that an axis changes entries of is the ground truth until it says otherwise.
            true_entries = [entry for entry in entries if entry[0] == "true_reward"]
            entries = [*true_entries, *(entry for entry in entries if entry[0] != "true_reward")]
        policies: list[tuple[Index, np.ndarray]] = []
        for base, index, values in entries:
            if index is None:
                fields[base] = values
            elif base == "initial_policy":
                policies.append((index, values))
            else:
                fields[base] = _set(self._base(fields, base, size), index, values)
        if policies:
            fields["initial_policy"] = _renormalised(self._base(fields, "initial_policy", size), policies)
        return self._build(fields, size, shared_features="features" in self.arrays and "features" not in own)

    def _base(self, fields: Mapping[str, np.ndarray], base: str, size: int) -> np.ndarray:
        if base in fields:
            return fields[base]
        shape = (size, *self.field_shape(base))
        if base == "proxy_reward":
            return np.broadcast_to(fields["true_reward"], shape)
        fill = {"initial_policy": 1 / shape[-1], "prompt_weights": 1 / shape[-1], "initial_params": 0.0}[base]
        return np.full(shape, fill)

    def _drawn_shape(self, base: str) -> tuple[int, ...]:
        rows = (self.sizes["prompts"],) if self.sizes["prompts"] > 1 else ()
        if base == "initial_params" and self.has_features:
            return (self.sizes["dimension"],)
        return (*rows, self.sizes["outputs"], *((self.sizes["dimension"],) if base == "features" else ()))

    def _drawn(self, seeds: np.ndarray) -> dict[str, np.ndarray]:
        drawn = {}
        for j, base in enumerate(_DRAWN):
            if base not in self.draws:
                continue
            draw = self.draws[base]
            unit = np.asarray(_standard(jnp.asarray(seeds), j, self._drawn_shape(base), draw.distribution))
            drawn[base] = draw.a + unit * (draw.b - draw.a if draw.distribution == "uniform" else draw.b)
        return drawn

    def _build(self, fields: Mapping[str, np.ndarray], size: int, shared_features: bool) -> Problem:
        arrays: dict[str, Any] = {}
        ranks = {"features": 3, "true_reward": 2, "proxy_reward": 2, "initial_policy": 2}
        for name, array in fields.items():
            rank = ranks.get(name)
            short = rank is not None and array.ndim == rank
            arrays[name] = array[:, None] if short else array  # [N, K] is one prompt's, or serves all prompts
        arrays["true_reward"] = np.broadcast_to(
            arrays["true_reward"], (size, self.sizes["prompts"], self.sizes["outputs"])
        )
        temperature = arrays.pop("temperature", None)
        if temperature is not None:
            arrays["temperature"] = np.broadcast_to(temperature, (size,))
        if self.has_features:
            if shared_features:
                arrays["features"] = arrays["features"][0]  # kept once, so that a fit is made once too
            return Problem.linear(arrays.pop("features"), **arrays)
        start = arrays.pop("initial_params", None)
        problem = Problem.tabular(arrays.pop("initial_policy", None), **arrays)
        if start is None:
            return problem
        start = start[:, None] if start.ndim == 2 else start
        params = jnp.asarray(np.broadcast_to(start, problem.true_reward.shape), validate.float_dtype())
        return eqx.tree_at(lambda p: p.initial_params, problem, params)


@eqx.filter_jit
def _standard(seeds: jax.Array, stream: int, shape: tuple[int, ...], distribution: str) -> jax.Array:
    sample = jax.random.uniform if distribution == "uniform" else jax.random.normal

    def one(seed: jax.Array) -> jax.Array:
        return sample(jax.random.fold_in(jax.random.key(seed), _STREAM + stream), shape, jnp.float64)

    return jax.vmap(one)(seeds)


def _set(base: np.ndarray, index: Index, values: np.ndarray) -> np.ndarray:
    changed = np.array(base)
    place = (slice(None), *index)
    rank = changed[place].ndim - 1
    changed[place] = values.reshape(-1, *(1,) * rank) if values.ndim == 1 else values
    return changed


def _renormalised(base: np.ndarray, entries: Sequence[tuple[Index, np.ndarray]]) -> np.ndarray:
    """The entries set, and the others of each prompt scaled so that its probabilities sum to 1."""
    policy = np.array(base)
    fixed = np.zeros(base.shape[1:], bool)
    for index, values in entries:
        policy = _set(policy, index, values)
        fixed[index] = True
    held = np.where(fixed, policy, 0).sum(-1, keepdims=True)
    free = np.where(fixed, 0, policy).sum(-1, keepdims=True)
    touched = fixed.any(-1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        scaled = policy * ((1 - held) / free)
    return np.where(touched & ~fixed, scaled, policy)


def _lists(value: Any) -> Any:
    # A mapping from Python may hold arrays where a file holds lists.
    return value.tolist() if isinstance(value, np.ndarray | np.generic | jax.Array) else value


def _draw(key: str, table: Mapping[str, Any]) -> Draw:
    if key not in _DRAWN:
        if key in (*ARRAYS, "temperature"):
            raise ValueError(f"{key} cannot be random; distributions are for {', '.join(_DRAWN)}")
        raise ValueError(f"unknown key {key!r:.80}; " + suggestion(key, _DRAWN, "the random fields are"))
    try:
        refuse_unknown(table, _DISTRIBUTIONS)
        if len(table) != 1:
            raise ValueError(f"a distribution is one of {', '.join(_DISTRIBUTIONS)}, with its two numbers")
        ((distribution, numbers),) = table.items()
        pair = validate.as_floats(distribution, numbers)
        if pair.shape != (2,):
            wanted = "[low, high]" if distribution == "uniform" else "[mean, standard deviation]"
            raise ValueError(f"{distribution} is {numbers!r:.80}; it must be {wanted}")
        validate.require_finite(distribution, pair)
        if distribution == "uniform" and not pair[0] < pair[1]:
            raise ValueError(f"uniform is [{pair[0]:g}, {pair[1]:g}]; low must be below high")
        if distribution == "normal" and not pair[1] > 0:
            raise ValueError(f"normal has standard deviation {pair[1]:g}; it must be positive")
    except ValueError as error:
        raise ValueError(f"{key}: {error}") from None
    return Draw(distribution, float(pair[0]), float(pair[1]))


def _sizes(
    arrays: Mapping[str, np.ndarray], given: Mapping[str, int], draws: Mapping[str, Draw] | None = None
) -> dict[str, int]:
    draws = {} if draws is None else draws
    rows = [arrays[name] for name in ("true_reward", "proxy_reward", "initial_policy") if name in arrays]
    features = arrays.get("features")
    params = arrays.get("initial_params")
    linear = features is not None or "features" in draws
    if params is not None and not linear:
        rows.append(params)
    outputs = [array.shape[-1] for array in rows] + ([features.shape[-2]] if features is not None else [])
    prompts = [array.shape[0] for array in rows if array.ndim == 2]
    if features is not None and features.ndim == 3:
        prompts.append(features.shape[0])
    if "prompt_weights" in arrays:
        prompts.append(arrays["prompt_weights"].shape[0])
    if not outputs and "outputs" not in given:
        raise ValueError("the key outputs is missing: every array is random, so it must say how many outputs there are")
    sizes = {
        "outputs": outputs[0] if outputs else given["outputs"],
        "prompts": max(prompts) if prompts and max(prompts) > 1 else given.get("prompts", 1),
    }
    if linear:
        widths = ([features.shape[-1]] if features is not None else []) + (
            [params.shape[-1]] if params is not None else []
        )
        if not widths and "dimension" not in given:
            raise ValueError("the key dimension is missing: the features are random, so it must say how many there are")
        sizes["dimension"] = widths[0] if widths else given["dimension"]
    return sizes
