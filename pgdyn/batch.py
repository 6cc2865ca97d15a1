"""Many problems of one shape: arrays with a leading axis N, and which of them are shared, known here alone.

A shared array is kept once, whatever N is. The arrays of a batch whose values are known are NumPy's, so that no new N
compiles anything; under `jax.jit` and `jax.vmap` they are JAX's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from pgdyn import construct, validate
from pgdyn.network import Network
from pgdyn.problem import ARRAYS, Problem, present, problem_of, require_alike, structure
from pgdyn.transitions import Transitions
from pgdyn.validate import Numbers


class Batch(eqx.Module):
    """N problems of one shape. Make one with `pgdyn.stack`, `problem.with_proxy`, `tabular`, `linear` or `from_arrays`.

    The fields of `Problem` are attributes here too, always with the leading axis N: a shared one is a view.

    Attributes:
        problems: the fields as they are kept, with the leading axis N unless shared.
        shared: names of the fields that all problems share.

    Example:
        >>> batch = Batch.tabular([[0.2, 0.8]], [[[1, 0]], [[0, 1]], [[1, 1]]])
        >>> len(batch), batch.true_reward.shape, sorted(batch.shared)
        (3, (3, 1, 2), ['initial_params', 'prompt_weights', 'temperature'])
        >>> batch[1].true_reward.tolist()
        [[0.0, 1.0]]
    """

    problems: Problem
    shared: frozenset[str] = eqx.field(static=True)

    @classmethod
    def tabular(
        cls,
        initial_policy: Numbers | None,
        true_reward: Numbers,
        proxy_reward: Numbers | None = None,
        *,
        temperature: Numbers = 1.0,
        prompt_weights: Numbers | None = None,
        transitions: Transitions | Numbers | None = None,
        mask: Numbers | None = None,
    ) -> Batch:
        """As `Problem.tabular`, each argument for all problems or, with a leading axis N, one for each.

        Args:
            initial_policy: [K], [P, K] or [N, P, K]; None for the uniform policy.
            true_reward: [K], [P, K] or [N, P, K].
            proxy_reward: like `true_reward`; None means the ground truth itself.
            temperature: a number or [N].
            prompt_weights: [P] or [N, P]; None for equal weights.
            transitions: as in `Problem`, the same for all problems.
            mask: as in `Problem`, the same for all problems.

        Raises:
            ValueError: as `Problem.tabular`, and if no argument has a leading axis N.

        Example:
            >>> len(Batch.tabular(None, [1.0, 0.0], temperature=[1.0, 2.0]))
            2
        """
        arrays = construct.arrays(
            {"true_reward": true_reward, "proxy_reward": proxy_reward, "initial_policy": initial_policy},
            temperature=temperature,
            prompt_weights=prompt_weights,
            transitions=(made := construct.structure(transitions, mask, true_reward)),
            batched=True,
        )
        return cls._of_arrays(arrays, common={"transitions": made})

    @classmethod
    def linear(
        cls,
        features: Numbers,
        true_reward: Numbers,
        proxy_reward: Numbers | None = None,
        *,
        initial_params: Numbers | None = None,
        initial_policy: Numbers | None = None,
        temperature: Numbers = 1.0,
        prompt_weights: Numbers | None = None,
        transitions: Transitions | Numbers | None = None,
        mask: Numbers | None = None,
    ) -> Batch:
        """As `Problem.linear`, each argument for all problems or, with a leading axis N, one for each.

        Args:
            features: [K, D], [P, K, D] or [N, P, K, D].
            true_reward: [K], [P, K] or [N, P, K].
            proxy_reward: like `true_reward`; None means the ground truth itself.
            initial_params: [D] or [N, D].
            initial_policy: [K], [P, K] or [N, P, K].
            temperature: a number or [N].
            prompt_weights: [P] or [N, P]; None for equal weights.
            transitions: as in `Problem`, the same for all problems.
            mask: as in `Problem`, the same for all problems.

        Raises:
            ValueError: as `Problem.linear`, and if no argument has a leading axis N.

        Example:
            >>> batch = Batch.linear([[1.0], [0.0]], [[[1, 0]], [[0, 1]]])
            >>> len(batch), "features" in batch.shared
            (2, True)
        """
        arrays = construct.arrays(
            {
                "true_reward": true_reward,
                "proxy_reward": proxy_reward,
                "initial_policy": initial_policy,
                "features": features,
            },
            initial_params=initial_params,
            temperature=temperature,
            prompt_weights=prompt_weights,
            transitions=(made := construct.structure(transitions, mask, true_reward)),
            batched=True,
        )
        return cls._of_arrays(arrays, common={"transitions": made})

    @classmethod
    def from_arrays(cls, problems: Problem, shared: Sequence[str] = ()) -> Batch:
        """A batch of a problem whose arrays have a leading axis N, such as `jax.vmap` of a constructor gives.

        Args:
            problems: the arrays; fields in `shared` without the axis.
            shared: names of fields.

        Raises:
            ValueError: if a field has the wrong number of axes, or lengths differ.

        Example:
            >>> import jax, jax.numpy as jnp
            >>> stacked = jax.vmap(lambda r: Problem.tabular(None, r))(jnp.eye(3))
            >>> len(Batch.from_arrays(stacked))
            3
        """
        core = {"features": 3, "true_reward": 2, "proxy_reward": 2, "temperature": 0, "prompt_weights": 1}
        core["initial_params"] = 2 if problems.is_tabular else 1
        arrays = present(problems)
        for name in shared:
            validate.choice("shared", name, tuple(core))
        for name, array in arrays.items():
            wanted = core[name] + (name not in shared)
            if array.ndim != wanted:
                raise ValueError(f"{name} has shape {array.shape}; in this batch it must have {wanted} axes")
        arrays = {name: _host(array) for name, array in arrays.items()}
        kept = frozenset(name for name in shared if name in arrays)
        return cls._of_arrays(arrays, kept, structure(problems))

    @classmethod
    def of(cls, problem: Any) -> Batch:
        """A batch of one problem; a batch is returned as it is.

        Raises:
            ValueError: if it is neither.

        Example:
            >>> len(Batch.of(Problem.tabular([0.2, 0.8], [1, 0])))
            1
        """
        if isinstance(problem, Batch):
            return problem
        if not isinstance(problem, Problem) or problem.true_reward.ndim != 2:
            raise ValueError(f"problem is {validate.shown(problem)}; it must be a pgdyn.Problem or a pgdyn.Batch")
        return cls.from_arrays(jax.tree.map(lambda leaf: _host(leaf)[None], problem))

    @classmethod
    def sharing(cls, problem: Problem, **own: Any) -> Batch:
        """Problems that share everything of `problem` but the fields given, which have a leading axis N.

        Raises:
            ValueError: on a name that is no field, a shape that does not fit, or lengths that differ.

        Example:
            >>> problem = Problem.tabular([0.2, 0.8], [1, 0])
            >>> len(Batch.sharing(problem, proxy_reward=np.zeros((4, 1, 2))))
            4
        """
        kept = {name: _host(array) for name, array in present(problem).items()}
        arrays = {**kept, **_fitted(own, {name: array.shape for name, array in kept.items()})}
        return cls._of_arrays(arrays, frozenset(kept) - {*own}, structure(problem))

    @classmethod
    def _of_arrays(
        cls, arrays: dict[str, Any], shared: frozenset[str] | None = None, common: Mapping[str, Any] | None = None
    ) -> Batch:
        if shared is None:
            start = 2 if arrays.get("features") is None else 1
            core = {"features": 3, "temperature": 0, "prompt_weights": 1, "initial_params": start}
            shared = frozenset(name for name, array in arrays.items() if array.ndim == core.get(name, 2))
        sizes = {name: array.shape[0] for name, array in arrays.items() if name not in shared}
        if not sizes:
            raise ValueError("no argument has a leading axis N; a batch of one is Batch.of(problem)")
        if len(set(sizes.values())) > 1:
            listed = ", ".join(f"{name} has {size}" for name, size in sizes.items())
            raise ValueError(f"the number of problems differs: {listed}")
        dtype = validate.float_dtype()
        arrays = {name: array.astype(dtype) if array.dtype != dtype else array for name, array in arrays.items()}
        for array in arrays.values():
            if isinstance(array, np.ndarray):
                array.setflags(write=False)  # a batch is a value
        # Past the class's own constructor, whose arrays are those of one problem.
        return cls(problem_of({**arrays, **(common or {})}), shared)

    @property
    def size(self) -> int:
        """N."""
        return next(array.shape[0] for name, array in present(self.problems).items() if name not in self.shared)

    def __len__(self) -> int:
        return self.size

    @property
    def features(self) -> Any:
        """[N, P, K, D], or None for tabular policies."""
        return self._stacked("features")

    @property
    def true_reward(self) -> Any:
        """[N, P, K]."""
        return self._stacked("true_reward")

    @property
    def proxy_reward(self) -> Any:
        """[N, P, K]."""
        return self._stacked("proxy_reward")

    @property
    def initial_params(self) -> Any:
        """[N, P, K] when tabular, [N, D] with features."""
        return self._stacked("initial_params")

    @property
    def temperature(self) -> Any:
        """[N]."""
        return self._stacked("temperature")

    @property
    def prompt_weights(self) -> Any:
        """[N, P]."""
        return self._stacked("prompt_weights")

    @property
    def transitions(self) -> Transitions | None:
        """Where outputs lead, the same for all problems."""
        return self.problems.transitions

    @property
    def network(self) -> Network | None:
        """The network, the same for all problems."""
        return self.problems.network

    def _stacked(self, name: str) -> Any:
        array = getattr(self.problems, name)
        if array is None or name not in self.shared:
            return array
        broadcast = np.broadcast_to if isinstance(array, np.ndarray) else jnp.broadcast_to
        return broadcast(array, (self.size, *array.shape))

    def stacked(self) -> dict[str, Any]:
        """All fields by name, with the leading axis N; shared ones are views.

        Example:
            >>> Batch.tabular(None, [[[1.0, 0.0]], [[0.0, 3.0]]]).stacked()["temperature"].shape
            (2,)
        """
        return {name: self._stacked(name) for name in ARRAYS}

    @property
    def is_tabular(self) -> bool:
        """Whether every prompt and output has a free logit of its own."""
        return self.problems.is_tabular

    @property
    def num_prompts(self) -> int:
        """P."""
        return self.problems.num_prompts

    @property
    def num_outputs(self) -> int:
        """K."""
        return self.problems.num_outputs

    @property
    def params_shape(self) -> tuple[int, ...]:
        """Shape of one problem's parameters: (P, K) when tabular, (D,) with features."""
        return self.problems.params_shape

    @property
    def axes(self) -> Problem:
        """`in_axes` of `problems` for `jax.vmap`: 0 for an array with the leading axis, None for a shared one."""
        axes = {name: None if name in self.shared else 0 for name in present(self.problems)}
        return problem_of({**axes, **structure(self.problems)})

    def map(self, function: Callable[..., Any], *rows: Any) -> Any:
        """`function(problem, *row)` for every problem, as one vectorized call.

        Args:
            function: takes one `Problem`, and one entry of each of `rows`.
            rows: pytrees whose arrays have a leading axis N; a None is passed on.

        Returns:
            What `function` returns, with a leading axis N.

        Example:
            >>> batch = Batch.tabular(None, [[[1.0, 0.0]], [[0.0, 3.0]]])
            >>> batch.map(lambda problem, c: c * problem.true_reward.max(), np.array([1.0, 2.0])).tolist()
            [1.0, 6.0]
        """
        axes = (self.axes, *(None if row is None else 0 for row in rows))
        return jax.vmap(function, in_axes=axes)(jax.tree.map(construct.to_device, self.problems), *rows)

    def replace(self, **own: Any) -> Batch:
        """The same batch with other values [N, ...] of the fields given; the values themselves are not checked.

        Raises:
            ValueError: on a name that is no field, a shape that does not fit, or lengths that differ.

        Example:
            >>> batch = Batch.tabular(None, [[[1.0, 0.0]], [[0.0, 3.0]]])
            >>> batch.replace(proxy_reward=np.zeros((2, 1, 2))).proxy_reward.sum()
            np.float64(0.0)
        """
        kept = present(self.problems)
        shapes = {name: array.shape[name not in self.shared :] for name, array in kept.items()}
        own = _fitted(own, shapes)
        for name, array in own.items():
            if len(array) != self.size:
                raise ValueError(f"{name} has {len(array)} problems but the batch has {self.size}")
        return self._of_arrays({**kept, **own}, self.shared - {*own}, structure(self.problems))

    def concatenate(self, other: Batch) -> Batch:
        """This batch followed by another; what both share, the same array, stays shared.

        Raises:
            ValueError: if the two differ in kind or shape.

        Example:
            >>> one = Batch.tabular(None, [[[1.0, 0.0]]])
            >>> len(one.concatenate(one))
            2
        """
        require_alike(self.problems, other.problems, ("this batch", "the other"))
        both = {name: (array, getattr(other.problems, name)) for name, array in present(self.problems).items()}
        shared = frozenset(name for name in self.shared & other.shared if _is_same(*both[name]))
        joined = {}
        for name, (first, _) in both.items():
            parts = (self._stacked(name), other._stacked(name))
            numpy = all(isinstance(part, np.ndarray) for part in parts)
            joined[name] = first if name in shared else (np if numpy else jnp).concatenate(parts)
        return self._of_arrays(joined, shared, structure(self.problems))

    def __getitem__(self, index: Any) -> Any:
        """Problem `index`, or the batch of a slice, of an array of numbers, or of a mask [N]."""
        if isinstance(index, slice):
            return self._each(lambda array: array[index])
        size, traced = self.size, validate.is_traced(index)
        if not traced and not isinstance(index, tuple):
            try:
                index = np.asarray(index)
            except (ValueError, TypeError):  # ragged lists, keys: refused below
                index = np.ones((1, 1))
            index = index.astype(int) if index.size == 0 else index
            if index.dtype.kind == "b" and index.shape == (size,):
                index = np.flatnonzero(index)
        if isinstance(index, tuple) or index.ndim > 1 or not jnp.issubdtype(index.dtype, jnp.integer):
            raise IndexError(f"a batch has one axis, of {size} problems: index it by numbers, a slice or a mask")
        if not traced:
            for number in index[(index < -size) | (index >= size)].flat:
                raise IndexError(f"problem {number} of a batch of {size}")  # JAX would clamp it in silence
        taken = self._each(lambda array: (jnp.asarray(array) if traced else array)[index])
        return taken if index.ndim else jax.tree.map(construct.to_device, taken.problems)

    def __iter__(self) -> Iterator[Problem]:
        return (self[i] for i in range(len(self)))

    def _each(self, function: Callable[[Any], Any]) -> Batch:
        """`function` of every array that is not shared."""
        kept = present(self.problems)
        moved = {name: array if name in self.shared else function(array) for name, array in kept.items()}
        return Batch(problem_of({**moved, **structure(self.problems)}), self.shared)


def stack(problems: Sequence[Problem]) -> Batch:
    """A batch of problems: every array gains a leading axis N.

    Args:
        problems: one or more problems of the same kind (all tabular or all linear), the same P, K and D, and the same
            transitions.

    Raises:
        ValueError: if there are none, or one differs in kind or shape from the first.

    Example:
        >>> len(stack([Problem.tabular([0.2, 0.8], [1, 0]), Problem.tabular([0.5, 0.5], [1, 0])]))
        2
    """
    problems = list(problems) if isinstance(problems, Iterable) and getattr(problems, "ndim", 1) else []
    if not problems:
        raise ValueError("stack needs at least one problem")
    for i, problem in enumerate(problems):
        if isinstance(problem, Batch):
            raise ValueError(f"problems[{i}] is already a batch; stack takes single problems")
        if not isinstance(problem, Problem):
            raise ValueError(f"problems[{i}] is {validate.shown(problem)}, not a Problem")
        require_alike(problem, problems[0], (f"problems[{i}]", "problems[0]"))

    def together(*leaves: Any) -> Any:
        known = [_host(leaf) for leaf in leaves]
        return np.stack(known) if all(isinstance(leaf, np.ndarray) for leaf in known) else jnp.stack(leaves)

    return Batch.from_arrays(jax.tree.map(together, *problems))


def _host(array: Any) -> Any:
    """A NumPy array, unless its values are not known yet; a copy, if somebody could write to the one given."""
    if validate.is_traced(array):
        return array
    array = np.asarray(array)
    return array.copy() if array.flags.writeable else array


def _fitted(own: dict[str, Any], shapes: dict[str, tuple[int, ...]]) -> dict[str, Any]:
    """Arrays of `own` for fields whose `shapes` are those of one problem."""
    own = {name: _host(array) for name, array in own.items()}
    validate.refuse_unknown(own, tuple(shapes))
    for name, array in own.items():
        if array.ndim == 0 or array.shape[1:] != shapes[name]:
            raise ValueError(f"{name} has shape {array.shape}; it must be [N] of {shapes[name]}")
    return own


def _is_same(one: Any, other: Any) -> bool:
    """Whether two arrays are one, or two views of the same numbers in memory."""
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        return one.__array_interface__ == other.__array_interface__
    return one is other
