"""Running theorems on random problems: violations, slack, the tightest problem; and the search for counterexamples."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

from pgdyn import validate
from pgdyn.batch import Batch
from pgdyn.problem import Problem
from pgdyn.theory.check import Check
from pgdyn.theory.theorem import Theorem

_MOVED = ("initial_params", "true_reward", "proxy_reward", "features")


@dataclasses.dataclass(frozen=True)
class Instance:
    """One problem that a theorem was checked on.

    Attributes:
        problem: the problem.
        parameters: the theorem's parameters, as NumPy arrays.
        check: what the check gave, as floats.

    Example:
        >>> from pgdyn.theory import THEOREMS
        >>> tightest = verify(THEOREMS["log_ratio"], 3).tightest
        >>> tightest.problem.num_prompts, tightest.check.holds
        (1, True)
    """

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

    Example:
        >>> from pgdyn.theory import THEOREMS
        >>> result = verify(THEOREMS["log_ratio"], 30)
        >>> result.problems, result.violations, result.as_expected, result.slack.shape
        (30, 0, True, (30,))
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

    Example:
        >>> from pgdyn.theory import THEOREMS
        >>> result = verify(THEOREMS["positive_advantage_attracts"], 30)
        >>> result.theorem.kind, result.violations > 0
        ('known false', True)
    """
    validate.count("problems", problems, minimum=1)
    started = time.perf_counter()
    slacks, candidates = [], []
    tried = violations = done = 0
    sizes = theorem.sizes[: min(problems, len(theorem.sizes))]
    for i, size in enumerate(sizes):
        count = problems // len(sizes) + (i < problems % len(sizes))
        batch = _Examined.drawn(theorem, jax.random.fold_in(jax.random.key(seed), i), count, size)
        done += count
        if progress is not None:
            progress(done, problems)
        if not batch.inside.any():
            continue
        tried += int(batch.inside.sum())
        violations += int(batch.violated.sum())
        slacks.append(batch.slack[batch.inside])
        candidates.append(batch.tightest())
    if not candidates:
        raise ValueError(f"theorem {theorem.name!r}: none of {problems} drawn problems satisfies its assumptions")
    tightest = min(candidates, key=_rank)
    elapsed = time.perf_counter() - started
    return Verification(theorem, seed, tried, violations, np.concatenate(slacks), tightest, elapsed)


def find_counterexample(
    theorem: Theorem,
    *,
    seed: int = 0,
    batch: int = 500,
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

    Example:
        >>> from pgdyn.theory import THEOREMS
        >>> found = find_counterexample(THEOREMS["positive_advantage_attracts"], batch=16)
        >>> found.check.holds, found.check.slack < 0
        (False, True)
    """
    key = jax.random.key(seed)
    starts: list[_Examined] = []
    for i, size in enumerate(theorem.sizes):
        tightest = None
        for j in range(batches):
            drawn = _Examined.drawn(theorem, jax.random.fold_in(jax.random.fold_in(key, i), j), batch, size)
            if drawn.violated.any():
                return drawn.tightest()
            if drawn.inside.any() and (tightest is None or _rank(drawn.tightest()) < _rank(tightest.tightest())):
                tightest = drawn
        if tightest is not None:
            starts.append(tightest)
    for i, start in enumerate(starts):
        for improved in _descend(theorem, start, np.random.default_rng([seed, i]), rounds):
            if improved.violated.any():
                return improved.tightest()
    return None


class _Examined:
    """Problems with their checks, on the host."""

    def __init__(self, theorem: Theorem, batch: Batch, parameters: dict[str, Any]):
        self.batch, self.parameters = batch, parameters
        self.check, self.inside = theorem.examine(batch, **parameters)
        self.slack = np.asarray(self.check.slack, float)
        self.violated = self.inside & ~np.asarray(self.check.holds, bool)

    @classmethod
    def drawn(cls, theorem: Theorem, key: jax.Array, count: int, size: Any) -> _Examined:
        return cls(theorem, *theorem.sample_batch(key, count, size))

    def ranking(self) -> np.ndarray:
        """Indices from the worst: violations first, then by slack; problems outside the assumptions last."""
        slack = np.where(np.isnan(self.slack), -np.inf, self.slack)
        return np.lexsort((slack, ~self.violated, ~self.inside))

    def tightest(self) -> Instance:
        """The worst of the problems within the assumptions, of which there is one."""
        index = int(self.ranking()[0])
        parameters = {name: value[index] for name, value in self.parameters.items()}
        return Instance(self.batch[index], parameters, jax.tree.map(lambda leaf: leaf[index].item(), self.check))


def _rank(instance: Instance) -> tuple[bool, float]:
    slack = instance.check.slack
    return bool(instance.check.holds), -np.inf if np.isnan(slack) else float(slack)


def _descend(theorem: Theorem, start: _Examined, random: np.random.Generator, rounds: int) -> Iterator[_Examined]:
    size = len(start.batch)
    for i in range(rounds):
        kept = start.ranking()[: max(1, size // 10)]
        kept = kept[start.inside[kept]]
        scale = np.full(size, 0.5 * 0.75**i)
        scale[: len(kept)] = 0.0  # the best themselves stay, so that nothing found is lost
        start = _Examined(theorem, *_perturb(start, np.resize(kept, size), scale, random))
        yield start


def _perturb(
    examined: _Examined, parents: np.ndarray, scale: np.ndarray, random: np.random.Generator
) -> tuple[Batch, dict[str, Any]]:
    """Copies of the parents with real numbers moved: free ones by `scale`, positive parameters by a factor e^scale."""
    batch = examined.batch[parents]

    def noise(value: np.ndarray) -> np.ndarray:
        return scale.reshape(-1, *(1,) * (value.ndim - 1)) * random.standard_normal(value.shape)

    moved = {name: getattr(batch, name) for name in _MOVED if getattr(batch, name) is not None}
    parameters = {}
    for name, value in examined.parameters.items():
        value = value[parents]
        if np.issubdtype(value.dtype, np.floating):
            value = np.where(value > 0, value * np.exp(noise(value)), value)
        parameters[name] = value
    return batch.replace(**{name: value + noise(value) for name, value in moved.items()}), parameters
