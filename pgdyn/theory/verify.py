"""Running theorems on random problems: violations, slack, the tightest problem; and the search for counterexamples."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from pgdyn import validate
from pgdyn.problem import Problem
from pgdyn.theory.theorem import Check, Theorem


@dataclasses.dataclass(frozen=True)
class Instance:
    """One problem with its parameters and what the check gave: floats and NumPy arrays, but for the problem."""

    problem: Problem
    parameters: dict[str, Any]
    check: Check


@dataclasses.dataclass(frozen=True)
class Verification:
    """What came of checking a theorem on random problems.

    Attributes:
        theorem: the theorem.
        seed: seed of the draw.
        problems: problems tried, all of which satisfy the assumptions.
        violations: how many of them the statement failed on, by more than its rounding.
        slack: [problems], in the theorem's unit.
        tightest: the instance of least slack; a violation where there is one.
        seconds: wall-clock time, compilation included.
    """

    theorem: Theorem
    seed: int
    problems: int
    violations: int
    slack: np.ndarray
    tightest: Instance
    seconds: float

    @property
    def smallest_slack(self) -> float:
        """The least slack; nan where a measurement failed."""
        return float(np.min(self.slack))

    @property
    def median_slack(self) -> float:
        """The median slack."""
        return float(np.median(np.where(np.isnan(self.slack), -np.inf, self.slack)))

    @property
    def as_expected(self) -> bool:
        """Whether this is what the theorem's kind promises.

        At least one violation for "known false", none for the others. A "law" is asymptotic: its draw stays where the
        leading order is to hold within its tolerance, so a violation refutes the law there, or the tolerance.
        """
        return self.violations > 0 if self.theorem.kind == "known false" else self.violations == 0


def verify(
    theorem: Theorem,
    problems: int = 1000,
    *,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Verification:
    """Checks a theorem on random problems of its own draw.

    Args:
        theorem: what is checked.
        problems: how many problems, shared out evenly among the theorem's sizes. Draws outside the assumptions are not
            counted among them.
        seed: of the draw; the same seed gives the same problems.
        progress: called with (problems tried, problems) after each size.

    Raises:
        ValueError: if no drawn problem satisfies the assumptions, or on a count below 1.
    """
    validate.count("problems", problems, minimum=1)
    started = time.perf_counter()
    slacks, candidates = [], []
    tried = violations = done = 0
    sizes = theorem.sizes[: min(problems, len(theorem.sizes))]
    for i, size in enumerate(sizes):
        count = problems // len(sizes) + (i < problems % len(sizes))
        batch = _Batch.drawn(theorem, jax.random.fold_in(jax.random.key(seed), i), count, size)
        done += count
        if progress is not None:
            progress(done, problems)
        if not batch.inside.any():
            continue
        tried += int(batch.inside.sum())
        violations += int(batch.violated.sum())
        slacks.append(batch.slack[batch.inside])
        candidates.append(batch.instance(batch.ranking()[0]))
    if not candidates:
        raise ValueError(f"theorem {theorem.name!r}: none of {problems} drawn problems satisfies its assumptions")
    tightest = min(candidates, key=_rank)
    elapsed = time.perf_counter() - started
    return Verification(theorem, seed, tried, violations, np.concatenate(slacks), tightest, elapsed)


def find_counterexample(
    theorem: Theorem,
    *,
    seed: int = 0,
    batch: int = 1000,
    batches: int = 10,
    rounds: int = 20,
) -> Instance | None:
    """Searches for a problem that satisfies the assumptions and violates the statement.

    First random problems of the theorem's draw; where those all hold, a search towards less slack from the tightest of
    them: start, rewards, features and real-valued parameters are perturbed, what leaves the assumptions is dropped, and
    the tightest tenth goes on with smaller and smaller perturbations.

    Args:
        theorem: the conjecture; its kind plays no role.
        seed: of the draws and perturbations.
        batch: problems checked at once, of each of the theorem's sizes.
        batches: random batches of each size.
        rounds: rounds of the search for each size.

    Returns:
        The worst violation of the first batch that has one, or None where none was found, which proves nothing.
    """
    key = jax.random.key(seed)
    tightest: list[_Batch] = []
    for i, size in enumerate(theorem.sizes):
        best = None
        for j in range(batches):
            drawn = _Batch.drawn(theorem, jax.random.fold_in(jax.random.fold_in(key, i), j), batch, size)
            if drawn.violated.any():
                return drawn.instance(drawn.ranking()[0])
            if best is None or (drawn.inside.any() and _rank(drawn.tightest()) < _rank(best.tightest())):
                best = drawn
        if best is not None and best.inside.any():
            tightest.append(best)
    for i, start in enumerate(tightest):
        for improved in _descend(theorem, start, jax.random.fold_in(key, len(theorem.sizes) + i), rounds):
            if improved.violated.any():
                return improved.instance(improved.ranking()[0])
    return None


class _Batch:
    """Problems with their checks, on the host."""

    def __init__(self, theorem: Theorem, problems: Problem, parameters: dict[str, Any]):
        self.problems, self.parameters = problems, parameters
        check = jax.tree.map(np.asarray, theorem.batch_check(problems, **parameters))
        self.check: Check = check
        self.slack = np.asarray(check.slack, float)
        self.inside = np.asarray(theorem.batch_assumptions(problems, **parameters), bool)
        self.violated = self.inside & ~np.asarray(check.holds, bool)

    @classmethod
    def drawn(cls, theorem: Theorem, key: jax.Array, count: int, size: Any) -> _Batch:
        return cls(theorem, *theorem.sample_batch(key, count, size))

    def ranking(self) -> np.ndarray:
        """Indices from the worst: violations first, then by slack; problems outside the assumptions last."""
        slack = np.where(np.isnan(self.slack), -np.inf, self.slack)
        return np.lexsort((slack, ~self.violated, ~self.inside))

    def tightest(self) -> Instance:
        return self.instance(self.ranking()[0])

    def instance(self, index: int) -> Instance:
        parameters = {name: np.asarray(value)[index] for name, value in self.parameters.items()}
        check = jax.tree.map(lambda leaf: leaf[index].item(), self.check)
        return Instance(self.problems[int(index)], parameters, check)


def _rank(instance: Instance) -> tuple[bool, float]:
    slack = instance.check.slack
    return bool(instance.check.holds), -np.inf if np.isnan(slack) else float(slack)


def _descend(theorem: Theorem, batch: _Batch, key: jax.Array, rounds: int) -> Iterator[_Batch]:
    size = len(batch.problems)
    for i in range(rounds):
        kept = batch.ranking()[: max(1, size // 10)]
        kept = kept[batch.inside[kept]]
        parents = np.resize(kept, size)
        scale = np.full(size, 0.5 * 0.75**i)
        scale[: len(kept)] = 0.0  # the best themselves stay, so that nothing found is lost
        moved = _perturb(batch, parents, jnp.asarray(scale), jax.random.fold_in(key, i))
        batch = _Batch(theorem, *moved)
        yield batch


def _perturb(batch: _Batch, parents: np.ndarray, scale: jax.Array, key: jax.Array) -> tuple[Problem, dict[str, Any]]:
    """Copies of the parents with real numbers moved: free ones by `scale`, positive parameters by a factor e^scale."""
    problems = jax.tree.map(lambda leaf: leaf[parents], batch.problems)
    keys = iter(jax.random.split(key, 4 + len(batch.parameters)))

    def noise(leaf: Any) -> jax.Array:
        spread = scale.reshape(-1, *(1,) * (leaf.ndim - 1))
        return spread * jax.random.normal(next(keys), leaf.shape)

    moved = [problems.initial_params, problems.true_reward, problems.proxy_reward]
    moved = [leaf + noise(leaf) for leaf in moved]
    problems = eqx.tree_at(lambda p: [p.initial_params, p.true_reward, p.proxy_reward], problems, moved)
    if problems.features is not None:
        problems = eqx.tree_at(lambda p: p.features, problems, problems.features + noise(problems.features))
    parameters = {}
    for name, value in batch.parameters.items():
        value = jnp.asarray(value)[parents]
        if jnp.issubdtype(value.dtype, jnp.floating):
            value = jnp.where(value > 0, value * jnp.exp(noise(value)), value)
        parameters[name] = value
    return problems, parameters
