r"""A theorem as an object: what it says, on which problems, and a check that measures how close it comes to failing.

A `Theorem` is made of functions of one problem, written in JAX. `claim` measures and compares, `premise` says whether a
problem satisfies the assumptions, and `draw` builds a random problem that does. Batches come from `jax.vmap`, so one
compiled program checks a thousand problems; a claim about where flows end or when they arrive may be given for a whole
batch instead (`batch_claim`), and then runs on `pgdyn.flow_many`.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from pgdyn import validate
from pgdyn.problem import Problem

KINDS = ("exact", "bound", "law", "known false")

Parameters = Mapping[str, Any]


class Check(eqx.Module):
    """What came out of measuring one problem, or many: every field is a scalar, or an array over problems.

    Attributes:
        holds: whether the statement holds, up to the rounding that its theorem states.
        slack: the distance to failing, in the theorem's `unit`; negative by more than rounding iff it fails, nan where
            the measurement itself failed (which counts as a failure).
        measured: the quantity that was measured.
        bound: what it was compared with.
    """

    holds: Any
    slack: Any
    measured: Any
    bound: Any

    @classmethod
    def at_most(cls, measured: ArrayLike, bound: ArrayLike, *, rounding: ArrayLike = 0.0) -> Check:
        """measured <= bound, where a slack (bound - measured) down to `-rounding` still holds."""
        measured, bound = jnp.broadcast_arrays(jnp.asarray(measured), jnp.asarray(bound))
        slack = jnp.where(jnp.isnan(measured) | jnp.isnan(bound), jnp.nan, _difference(bound, measured))
        return cls(slack >= -jnp.asarray(rounding, slack.dtype), slack, measured, bound)

    @classmethod
    def at_least(cls, measured: ArrayLike, bound: ArrayLike, *, rounding: ArrayLike = 0.0) -> Check:
        """measured >= bound, where a slack (measured - bound) down to `-rounding` still holds."""
        turned = cls.at_most(-jnp.asarray(measured), -jnp.asarray(bound), rounding=rounding)
        return cls(turned.holds, turned.slack, -turned.measured, -turned.bound)

    @classmethod
    def ratio_at_most(cls, measured: ArrayLike, bound: ArrayLike, *, rounding: ArrayLike = 0.0) -> Check:
        """measured <= bound for positive numbers, with the slack in decades: log10(bound / measured)."""
        measured, bound = jnp.broadcast_arrays(jnp.asarray(measured), jnp.asarray(bound))
        logs = cls.at_most(jnp.log10(measured), jnp.log10(bound), rounding=rounding)
        return cls(logs.holds, logs.slack, measured, bound)

    @classmethod
    def ratio_at_least(cls, measured: ArrayLike, bound: ArrayLike, *, rounding: ArrayLike = 0.0) -> Check:
        """measured >= bound for positive numbers, with the slack in decades: log10(measured / bound)."""
        measured, bound = jnp.broadcast_arrays(jnp.asarray(measured), jnp.asarray(bound))
        logs = cls.at_least(jnp.log10(measured), jnp.log10(bound), rounding=rounding)
        return cls(logs.holds, logs.slack, measured, bound)

    @classmethod
    def identity(cls, error: ArrayLike, tolerance: ArrayLike) -> Check:
        """An equation, as |error| <= tolerance; the tolerance is what floating point (or the integrator) may leave."""
        return cls.at_most(jnp.abs(jnp.asarray(error)), tolerance)

    def worst(self) -> Check:
        """The entry of least slack (a nan is the least), as one check; how a statement about many points is one."""
        slack = jnp.ravel(self.slack)
        place = jnp.argmin(slack)
        return jax.tree.map(lambda leaf: jnp.ravel(jnp.broadcast_to(leaf, self.slack.shape))[place], self)

    @staticmethod
    def all_of(*checks: Check) -> Check:
        """Several statements in one unit as one: the check of least slack, which holds iff all hold.

        Where the rounding differs between them, a failing one comes before those that hold.
        """
        parts = [check.worst() for check in checks]
        joined = jax.tree.map(lambda *leaves: jnp.stack(leaves), *parts)
        place = jnp.argmin(jnp.where(joined.holds, joined.slack, -jnp.inf))
        return jax.tree.map(lambda leaf: leaf[place], joined)


def _difference(large: jax.Array, small: jax.Array) -> jax.Array:
    # inf - inf: both never happen at all, which is agreement.
    return jnp.where(large == small, jnp.zeros_like(large), large - small)


def always(problem: Problem, **parameters: Any) -> bool:
    """The premise of a theorem about every problem."""
    return True


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Theorem:
    """A statement about policy gradient that can be checked on any problem and on random ones.

    Attributes:
        name: a short identifier, as `pgdyn verify` takes it.
        statement: in plain words and mathematics.
        source: paper with section or equation, or "derived here".
        kind: "exact" (an identity, to rounding), "bound" (a rigorous inequality), "law" (leading-order asymptotics, to
            a stated tolerance) or "known false" (a natural claim that fails on some problems).
        unit: what `Check.slack` is measured in, and the rounding that `Check.holds` allows.
        draw: `draw(key, size) -> (problem, parameters)`, a random problem that satisfies the assumptions by
            construction; traceable, with shapes that depend on `size` alone.
        claim: `claim(problem, **parameters) -> Check` for one problem, traceable.
        batch_claim: instead of `claim`, `batch_claim(problems, **parameters) -> Check` for a batch of N problems, every
            parameter with a leading axis N, giving arrays [N].
        premise: `premise(problem, **parameters) -> bool` for one problem, traceable.
        sizes: what `draw` may be given as `size`, for instance numbers of outputs. Each costs one compilation.
        defaults: values of parameters that need not be given.
    """

    name: str
    statement: str
    source: str
    kind: str
    draw: Callable[[jax.Array, Any], tuple[Problem, Parameters]]
    claim: Callable[..., Check] | None = None
    batch_claim: Callable[..., Check] | None = None
    premise: Callable[..., Any] = always
    sizes: tuple[Any, ...] = (5,)
    defaults: Parameters = dataclasses.field(default_factory=dict)
    unit: str = "the unit of what is measured; no rounding"

    def __post_init__(self):
        validate.choice("kind", self.kind, KINDS)
        if (self.claim is None) == (self.batch_claim is None):
            raise ValueError(f"theorem {self.name!r} needs claim or batch_claim, and not both")
        if not self.sizes:
            raise ValueError(f"theorem {self.name!r} has no sizes; give at least one for its draw")

    def assumptions(self, problem: Problem, **parameters: Any) -> Any:
        """Whether `problem` satisfies the theorem's assumptions: a bool, or a traced one under `jax.vmap`."""
        self._require_single(problem)
        answer = self.premise(problem, **self._complete(parameters))
        return answer if validate.is_traced(answer) else bool(answer)

    def check(self, problem: Problem, **parameters: Any) -> Check:
        """Measures the statement on one problem, whether or not it satisfies the assumptions.

        Args:
            problem: one problem.
            parameters: the theorem's parameters; those left out take their defaults.

        Raises:
            ValueError: on a batch, or a parameter that is missing or unknown.
        """
        self._require_single(problem)
        parameters = self._complete(parameters)
        if self.claim is not None:
            return self.claim(problem, **parameters)
        assert self.batch_claim is not None
        alone = jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], (problem, parameters))
        return jax.tree.map(lambda leaf: leaf[0], self.batch_claim(alone[0], **alone[1]))

    def sample(self, key: jax.Array, size: Any = None) -> tuple[Problem, dict[str, Any]]:
        """A random problem and parameters satisfying the assumptions; `size` is one of `sizes`, None for the first."""
        problem, parameters = self.draw(key, self.sizes[0] if size is None else size)
        return problem, self._complete(parameters)

    def sample_batch(self, key: jax.Array, n: int, size: Any = None) -> tuple[Problem, dict[str, Any]]:
        """`n` random problems as one batch, and their parameters with a leading axis n."""
        size = self.sizes[0] if size is None else size
        return self._sampler(jax.random.split(key, n), size)

    def batch_check(self, problems: Problem, **parameters: Any) -> Check:
        """`check` on a batch of N problems by one compiled program.

        Args:
            problems: a batch.
            parameters: each with a leading axis N, or a number for all.

        Returns:
            A `Check` of arrays [N].
        """
        parameters = self._complete_batch(problems, parameters)
        if self.batch_claim is not None:
            return self.batch_claim(problems, **parameters)
        return self._vmapped_claim(problems, parameters)

    def batch_assumptions(self, problems: Problem, **parameters: Any) -> jax.Array:
        """`assumptions` on a batch of N problems, [N]."""
        return self._vmapped_premise(problems, self._complete_batch(problems, parameters))

    @functools.cached_property
    def _sampler(self) -> Callable:
        def sample(keys: jax.Array, size: Any) -> Any:
            return jax.vmap(lambda key: self.sample(key, size))(keys)

        return jax.jit(sample, static_argnums=1)

    @functools.cached_property
    def _vmapped_claim(self) -> Callable:
        return jax.jit(self._over_batch(self.claim))

    @functools.cached_property
    def _vmapped_premise(self) -> Callable:
        return jax.jit(self._over_batch(lambda *a, **k: jnp.asarray(self.premise(*a, **k))))

    def _over_batch(self, function: Any) -> Callable:
        def over(problems: Problem, parameters: Parameters) -> Any:
            def one(problem: Problem, parameters: Parameters) -> Any:
                return function(problem, **parameters)

            return jax.vmap(one, in_axes=(problems.batch_axes, 0))(problems, parameters)

        return over

    def _complete(self, parameters: Parameters) -> dict[str, Any]:
        complete = {**self.defaults, **parameters}
        function: Any = self.claim or self.batch_claim
        try:
            inspect.signature(function).bind(None, **complete)
        except TypeError as error:
            raise ValueError(f"theorem {self.name!r}: {error}") from None
        return complete

    def _complete_batch(self, problems: Problem, parameters: Parameters) -> dict[str, Any]:
        size = problems.batch_size
        if size is None:
            raise ValueError(f"theorem {self.name!r}: one problem where a batch is needed; use check or pgdyn.stack")
        completed = {}
        for name, value in self._complete(parameters).items():
            value = jnp.asarray(value)
            shared = name not in parameters or value.ndim == 0
            completed[name] = jnp.broadcast_to(value, (size, *value.shape)) if shared else value
            if completed[name].shape[0] != size:
                raise ValueError(f"{name} has {completed[name].shape[0]} entries but the batch has {size} problems")
        return completed

    def _require_single(self, problem: Any) -> None:
        if not isinstance(problem, Problem):
            raise ValueError(f"problem is {problem!r:.80}; theorem {self.name!r} takes a pgdyn.Problem")
        if problem.batch_size is not None:
            raise ValueError(f"theorem {self.name!r}: this is a batch of {problem.batch_size}; use batch_check")
