r"""A theorem as an object: what it says, on which problems, and a check that measures how close it comes to failing.

A `Theorem` is made of functions of one problem, written in JAX. `claim` measures and compares, `premise` says whether a
problem satisfies the assumptions, and `draw` builds a random problem that does. Batches come from `jax.vmap`, so one
compiled program checks a thousand problems. A claim about where flows end or when they arrive is given for a whole
batch instead (`batch_claim`): it runs them by `pgdyn.theory.flows` and compares on the host.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pgdyn import validate
from pgdyn.batch import Batch
from pgdyn.problem import Problem
from pgdyn.theory.check import Check
from pgdyn.theory.draws import Drawn, draw_many

KINDS = ("exact", "bound", "law", "known false")

Parameters = Mapping[str, Any]


def for_each(batch: Batch, function: Callable[..., Any], *rows: Any) -> Any:
    """Computes `function(problem, *row)` of every problem by one compiled program, on the host.

    Example:
        >>> batch = Batch.tabular(None, [[[1.0, 0.0]], [[0.0, 3.0]]])
        >>> for_each(batch, lambda problem: problem.true_reward.max()).tolist()
        [1.0, 3.0]
    """
    return jax.tree.map(np.asarray, _program(function)(batch, rows))


@functools.lru_cache(maxsize=256)
def _program(function: Callable[..., Any]) -> Callable[[Batch, Any], Any]:
    return jax.jit(lambda batch, rows: batch.map(function, *rows))


def always(problem: Problem, **parameters: Any) -> bool:
    """Accepts every problem: the premise of a theorem without assumptions."""
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
        batch_claim: instead of `claim`, `batch_claim(batch, **parameters) -> Check` for a `pgdyn.Batch` of N problems,
            every parameter with a leading axis N, giving arrays [N].
        premise: `premise(problem, **parameters) -> bool` for one problem, traceable.
        sizes: what `draw` may be given as `size`, for instance numbers of outputs. Each costs one compilation.
        defaults: values of parameters that need not be given.

    Example:
        >>> from pgdyn.theory import THEOREMS
        >>> theorem = THEOREMS["log_ratio"]
        >>> theorem.kind, theorem.sizes
        ('exact', (2, 5, 30))
        >>> problem, parameters = theorem.sample(jax.random.key(0), 5)
        >>> theorem.assumptions(problem), bool(theorem.check(problem).holds)
        (True, True)
    """

    name: str
    statement: str
    source: str
    kind: str
    draw: Callable[[jax.Array, Any], Drawn]
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
        """Tells whether `problem` satisfies the theorem's assumptions: a bool, or a traced one under `jax.vmap`.

        Every theorem here is about one decision and features that stand still: a problem with transitions, or a
        network, satisfies none.

        Example:
            >>> from pgdyn.theory import THEOREMS
            >>> two_prompts = Problem.tabular(None, [[1.0, 0.0], [0.0, 1.0]])
            >>> THEOREMS["log_ratio"].assumptions(two_prompts)
            False
        """
        self._require_single(problem)
        parameters = self._complete(parameters)
        if problem.transitions is not None or problem.network is not None:
            return False
        answer = self.premise(problem, **parameters)
        return answer if validate.is_traced(answer) else bool(answer)

    def check(self, problem: Problem, **parameters: Any) -> Check:
        """Measures the statement on one problem, whether or not it satisfies the assumptions.

        Args:
            problem: one problem.
            parameters: the theorem's parameters; those left out take their defaults.

        Raises:
            ValueError: on a batch, or a parameter that is missing or unknown.

        Example:
            >>> from pgdyn.theory import THEOREMS
            >>> problem = Problem.tabular([0.05, 0.5, 0.15, 0.15, 0.15], [1, 0.8, -1, -1, -1])
            >>> check = THEOREMS["variance_gradient"].check(problem)
            >>> bool(check.holds), round(float(check.measured), 3), round(float(check.bound), 3)
            (True, 0.9, 0.906)
        """
        self._require_single(problem)
        parameters = self._complete(parameters)
        if self.claim is not None:
            return self.claim(problem, **parameters)
        alone = {name: np.asarray(value)[None] for name, value in parameters.items()}
        return jax.tree.map(lambda leaf: leaf[0], self._claim_on(Batch.of(problem), alone))

    def sample(self, key: jax.Array, size: Any = None) -> Drawn:
        """Draws a problem and parameters that satisfy the assumptions.

        Args:
            key: a `jax.random` key.
            size: one of `sizes`; None for the first.
        """
        problem, parameters = self.draw(key, self.sizes[0] if size is None else size)
        return problem, self._complete(parameters)

    def sample_batch(self, key: jax.Array, n: int, size: Any = None) -> tuple[Batch, dict[str, Any]]:
        """Draws `n` problems as one batch, and their parameters with a leading axis n.

        Example:
            >>> from pgdyn.theory import THEOREMS
            >>> batch, parameters = THEOREMS["advantage_sign"].sample_batch(jax.random.key(0), 4)
            >>> len(batch), batch.num_outputs, parameters["output"].shape
            (4, 2, (4,))
        """
        problems, parameters = draw_many(self.draw, key, n, self.sizes[0] if size is None else size)
        batch = Batch.from_arrays(problems)
        return batch, self._complete_batch(batch, parameters)

    def batch_check(self, batch: Batch, **parameters: Any) -> Check:
        """Measures the statement on N problems by one compiled program.

        Args:
            batch: the problems.
            parameters: each with a leading axis N, or a number for all.

        Returns:
            A `Check` of arrays [N].
        """
        parameters = self._complete_batch(batch, parameters)
        if self.batch_claim is not None:
            return self._claim_on(batch, parameters)
        return for_each(batch, self._claim_and_premise, parameters)[0]

    def batch_assumptions(self, batch: Batch, **parameters: Any) -> np.ndarray:
        """Tells which of N problems satisfy the assumptions, [N]."""
        return for_each(batch, self._premise, self._complete_batch(batch, parameters))

    def examine(self, batch: Batch, **parameters: Any) -> tuple[Check, np.ndarray]:
        """Does `batch_check` and `batch_assumptions` at once, on the host.

        A claim that runs whole batches may be given nothing outside of the assumptions: one problem within takes the
        place of each that is outside, whose slack is nan.

        Example:
            >>> from pgdyn.theory import THEOREMS
            >>> theorem = THEOREMS["advantage_sign"]
            >>> batch, parameters = theorem.sample_batch(jax.random.key(0), 4)
            >>> check, inside = theorem.examine(batch, **parameters)
            >>> bool(check.holds.all()), bool(inside.all())
            (True, True)
        """
        parameters = self._complete_batch(batch, parameters)
        if self.batch_claim is None:
            return for_each(batch, self._claim_and_premise, parameters)
        inside = for_each(batch, self._premise, parameters)
        if not inside.any():
            nothing = np.full(inside.shape, np.nan)
            return Check(inside, nothing, nothing, nothing), inside
        if not inside.all():
            rows = np.where(inside, np.arange(inside.size), np.argmax(inside))
            batch, parameters = batch[rows], {name: value[rows] for name, value in parameters.items()}
        check = self._claim_on(batch, parameters)
        return dataclasses.replace(check, slack=np.where(inside, check.slack, np.nan)), inside

    def _claim_on(self, batch: Batch, parameters: Parameters) -> Check:
        claim: Any = self.batch_claim
        with np.errstate(all="ignore"):  # what cannot be measured is nan, which counts as a violation
            return jax.tree.map(np.asarray, claim(batch, **parameters))

    # Attributes, so that `for_each` knows the program of a theorem when it sees it again.
    @functools.cached_property
    def _premise(self) -> Callable[[Problem, Parameters], jax.Array]:
        return lambda problem, parameters: jnp.asarray(self.premise(problem, **parameters))

    @functools.cached_property
    def _claim_and_premise(self) -> Callable[[Problem, Parameters], tuple[Check, jax.Array]]:
        claim: Any = self.claim
        return lambda problem, parameters: (claim(problem, **parameters), self._premise(problem, parameters))

    def _complete(self, parameters: Parameters) -> dict[str, Any]:
        complete = {**self.defaults, **parameters}
        function: Any = self.claim or self.batch_claim
        try:
            inspect.signature(function).bind(None, **complete)
        except TypeError as error:
            raise ValueError(f"theorem {self.name!r}: {error}") from None
        return complete

    def _complete_batch(self, batch: Any, parameters: Parameters) -> dict[str, Any]:
        if not isinstance(batch, Batch):
            raise ValueError(f"theorem {self.name!r}: one problem where a batch is needed; use check or pgdyn.stack")
        size = len(batch)
        completed = {}
        for name, value in self._complete(parameters).items():
            value = np.asarray(value)
            shared = name not in parameters or value.ndim == 0
            completed[name] = np.broadcast_to(value, (size, *value.shape)) if shared else value
            if completed[name].shape[0] != size:
                raise ValueError(f"{name} has {completed[name].shape[0]} entries but the batch has {size} problems")
        return completed

    def _require_single(self, problem: Any) -> None:
        if isinstance(problem, Batch):
            raise ValueError(f"theorem {self.name!r}: this is a batch of {len(problem)}; use batch_check")
        if not isinstance(problem, Problem):
            raise ValueError(f"problem is {validate.shown(problem)}; theorem {self.name!r} takes a pgdyn.Problem")
