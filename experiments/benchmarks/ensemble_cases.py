"""The cases of the ensemble benchmark: which peers solve which batches at which tolerances."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from experiments.benchmarks import workloads
from experiments.benchmarks.peers import ASCENT, DOPRI8, ENGINE, LIMIT, NUMBA5, NUMBA8, PLAIN, SCIPY, TSIT5
from experiments.benchmarks.workloads import Workload

DEFAULT = 1e-6  # the engine's own relative tolerance


@dataclass(frozen=True)
class Scale:
    """How large the cases are.

    Attributes:
        standard: sizes N of the standard case.
        wide: N with K = 64.
        linear: N with features.
        trees: N trees of 31 decision points with two outputs each.
        hitting: N with a target.
        easy: random problems among which plateau problems are mixed.
        plateaus: plateau problems of each of three kinds.
        scaling: sizes N whose cost of a trajectory is compared.
        scaling_slow: those of them that the slower peers solve too.
        streamed: (N, pieces) of the measurement of memory.
        compared: problems whose error is computed, at most.
        checked: problems on which the reference is judged.
        rounds: turns of a peer, at most.
        budget: seconds after which a peer has no more than `at_least` turns.
        at_least: fewest turns of a peer.
    """

    standard: tuple[int, ...]
    wide: int
    linear: int
    trees: int
    hitting: int
    easy: int
    plateaus: int
    scaling: tuple[int, ...]
    scaling_slow: tuple[int, ...]
    streamed: tuple[int, int]
    compared: int
    checked: int
    rounds: int
    budget: float
    at_least: int = 2


FULL = Scale(
    standard=(10_000, 100_000),
    wide=10_000,
    linear=1_000,
    trees=10_000,
    hitting=10_000,
    easy=10_000,
    plateaus=10,
    scaling=(100, 1_000, 10_000, 100_000, 1_000_000),
    scaling_slow=(100, 1_000),
    streamed=(10_000_000, 10),
    compared=4_000,
    checked=12,
    rounds=9,
    budget=4.0,
)
QUICK = Scale(
    standard=(400, 1_000),
    wide=100,
    linear=20,
    trees=40,
    hitting=400,
    easy=400,
    plateaus=2,
    scaling=(100, 1_000, 3_000),
    scaling_slow=(100,),
    streamed=(4_000, 2),
    compared=400,
    checked=2,
    rounds=2,
    budget=0.5,
    at_least=1,
)
# On an accelerator nothing is small, and the peers are those that run there.
GPU = Scale(
    standard=(10_000, 100_000, 1_000_000),
    wide=100_000,
    linear=10_000,
    trees=100_000,
    hitting=100_000,
    easy=100_000,
    plateaus=10,
    scaling=(10_000, 100_000, 1_000_000, 10_000_000),
    scaling_slow=(),
    streamed=(10_000_000, 10),
    compared=4_000,
    checked=12,
    rounds=9,
    budget=4.0,
)


@dataclass(frozen=True)
class Batch:
    """A workload and the tolerances at which each peer solves it.

    Attributes:
        workload: the problems.
        peers: name of a peer -> its relative tolerances.
        hard: [N], which problems are the hard ones among easy ones; None where they are of one kind.
    """

    workload: Workload
    peers: Mapping[str, Sequence[float]]
    hard: np.ndarray | None = None


def decades(first: int, last: int) -> list[float]:
    """10^-first, ..., 10^-last.

    Example:
        >>> decades(3, 5)
        [0.001, 0.0001, 1e-05]
    """
    return [float(f"1e-{exponent}") for exponent in range(first, last + 1)]


# Apart from the first case, a peer has just the tolerances whose errors lie around the engine's at its own.
def _first(scale: Scale) -> list[Batch]:
    peers = {
        ENGINE: decades(3, 10),
        TSIT5: decades(3, 9),
        DOPRI8: decades(3, 8),
        PLAIN: decades(3, 9),
        NUMBA5: decades(3, 10),
        NUMBA8: decades(3, 10),
        SCIPY: decades(4, 8),
        ASCENT: [0.0],
        LIMIT: [DEFAULT],
    }
    return [Batch(Workload("standard", workloads.standard(scale.standard[0])), peers)]


def _larger(size: int) -> list[Batch]:
    peers = {
        ENGINE: decades(6, 7),
        TSIT5: decades(7, 8),
        DOPRI8: decades(5, 7),
        PLAIN: decades(7, 8),
        NUMBA5: decades(6, 8),
        NUMBA8: decades(6, 8),
        LIMIT: [DEFAULT],
    }
    return [Batch(Workload("standard", workloads.standard(size)), peers)]


def _wide(scale: Scale) -> list[Batch]:
    peers = {
        ENGINE: decades(6, 7),
        TSIT5: decades(8, 9),
        DOPRI8: decades(6, 8),
        PLAIN: decades(7, 8),
        NUMBA5: decades(7, 8),
        NUMBA8: decades(7, 9),
        LIMIT: [DEFAULT],
    }
    return [Batch(Workload("K = 64", workloads.standard(scale.wide, outputs=64)), peers)]


def _linear(scale: Scale, shared: bool) -> list[Batch]:
    problems = workloads.linear(scale.linear, prompts=8, outputs=64, width=16, shared=shared)
    peers = {ENGINE: decades(6, 7), TSIT5: decades(7, 8), DOPRI8: decades(6, 7)}
    return [Batch(Workload(f"linear, {'shared' if shared else 'own'} features", problems), peers)]


def _trees(scale: Scale) -> list[Batch]:
    peers = {ENGINE: decades(6, 7), TSIT5: decades(7, 8), DOPRI8: decades(6, 8)}
    return [Batch(Workload("tree, 31 decision points", workloads.trees(scale.trees), t1=100.0), peers)]


def _hitting(scale: Scale) -> list[Batch]:
    problems = workloads.standard(scale.hitting)
    target = workloads.climb_targets(problems)
    return [
        Batch(Workload("without a target", problems), {ENGINE: [DEFAULT]}),
        Batch(Workload("with a target", problems, target=target), {ENGINE: decades(5, 9)}),
    ]


def _scaling(scale: Scale) -> list[Batch]:
    batches = []
    for size in scale.scaling:
        peers: dict[str, Sequence[float]] = {ENGINE: [DEFAULT]}
        if size < scale.scaling[-1]:
            peers |= {PLAIN: [DEFAULT], NUMBA5: [DEFAULT]}
        if size in scale.scaling_slow:
            peers |= {TSIT5: [DEFAULT], DOPRI8: [DEFAULT]}
        batches.append(Batch(Workload("standard", workloads.standard(size)), peers))
    return batches


def _tails(scale: Scale) -> list[Batch]:
    easy, hard = workloads.standard(scale.easy), workloads.plateaus(scale.plateaus)
    both, is_hard = workloads.mixed(easy, hard)
    target = np.where(is_hard, workloads.PLATEAU_TARGET, workloads.climb_targets(both))
    peers = {ENGINE: [DEFAULT, 1e-8], TSIT5: [DEFAULT]}
    late = workloads.LATE_TIME
    return [
        Batch(Workload("random problems alone", easy, late, workloads.climb_targets(easy)), peers),
        Batch(Workload("with plateau problems", both, late, target), peers, is_hard),
    ]


CASES: dict[str, Callable[[Scale], list[Batch]]] = {
    "standard-1e4": _first,
    "standard-1e5": lambda scale: _larger(scale.standard[1]),
    "wide": _wide,
    "linear-shared": lambda scale: _linear(scale, shared=True),
    "linear-own": lambda scale: _linear(scale, shared=False),
    "trees": _trees,
    "hitting": _hitting,
    "tails": _tails,
    "scaling": _scaling,
}
GPU_CASES = CASES | {"standard-1e6": lambda scale: _larger(scale.standard[2])}
