"""What a way to solve a batch of flows is to the benchmark: a name, a function to time, and what it leaves behind."""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from experiments.benchmarks.workloads import Workload

ABSOLUTE = 1e-3  # absolute tolerance over relative tolerance


class Ends(NamedTuple):
    """What a peer leaves behind, for the first n of the N problems.

    Attributes:
        log_policy: [n, P, K]; None where the peer solves nothing.
        steps: [n], steps tried; None where steps are fixed.
        hitting_time: [n], or None.
        finished: [n], whether the flow reached t1; None where the peer does not say.
    """

    log_policy: np.ndarray | None
    steps: np.ndarray | None = None
    hitting_time: np.ndarray | None = None
    finished: np.ndarray | None = None


Solve = Callable[[float], Ends]


@dataclasses.dataclass(frozen=True)
class Peer:
    """A way to solve a batch.

    `prepare(workload)` gives a function from a relative tolerance to `Ends`; the absolute one is a thousandth of it.
    What a user would do once (moving arrays, compiling) is done there or in the first call; later calls are timed.

    Attributes:
        name: its name in tables.
        prepare: from a workload to the function that is timed.
        dtype: of its arithmetic.
        adaptive: whether it takes a tolerance.
        most: problems it is run on, at most; its times are scaled to the batch. None for all.
        on_cpu_only: whether it makes no sense on an accelerator.
        available: says whether what it needs is installed.
        needs: what that is, in words.

    Example:
        >>> peer = Peer("nothing", lambda workload: lambda rtol: Ends(None))
        >>> peer.available()
        True
    """

    name: str
    prepare: Callable[[Workload], Solve]
    dtype: str = "float64"
    adaptive: bool = True
    most: int | None = None
    on_cpu_only: bool = False
    available: Callable[[], bool] = lambda: True
    needs: str = ""


def installed(package: str) -> bool:
    """Whether a package can be imported.

    Example:
        >>> installed("numpy")
        True
    """
    return importlib.util.find_spec(package) is not None


def plain_arrays(workload: Workload) -> tuple[np.ndarray, np.ndarray]:
    """(start, reward), each [N, K], of a workload of tabular problems with one prompt.

    Raises:
        ValueError: for any other workload.

    Example:
        >>> from experiments.benchmarks import workloads
        >>> [array.shape for array in plain_arrays(Workload("standard", workloads.standard(4)))]
        [(4, 5), (4, 5)]
    """
    problems = workload.problems
    if not problems.is_tabular or problems.num_prompts != 1:
        raise ValueError(f"{workload.name}: this peer solves tabular problems of one prompt alone")
    start, reward = np.asarray(problems.initial_params)[:, 0], np.asarray(problems.proxy_reward)[:, 0]
    return np.ascontiguousarray(start), np.ascontiguousarray(reward)
