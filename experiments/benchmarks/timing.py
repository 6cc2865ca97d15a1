"""Times on a machine that others use too: repeats are taken in turns, so that a bad spell hits every peer alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

Key = TypeVar("Key", bound=Hashable)


@dataclass
class Timing:
    """Seconds of each repeat, and what the first gave."""

    seconds: list[float] = field(default_factory=list)
    result: Any = None

    @property
    def median(self) -> float:
        """Median seconds."""
        return statistics.median(self.seconds)


def once(run: Callable[[], Any]) -> tuple[Any, float]:
    """(result, seconds) of one call."""
    start = time.perf_counter()
    result = run()
    return result, time.perf_counter() - start


def in_turns(
    tasks: Mapping[Key, Callable[[], Any]], *, rounds: int, at_least: int = 2, budget: float = 10.0
) -> dict[Key, Timing]:
    """Runs every task once a round; the tasks have been warmed up.

    Args:
        tasks: what to time.
        rounds: most repeats of a task.
        at_least: fewest repeats of a task, however long they take.
        budget: seconds after which a task is not repeated beyond `at_least`.
    """
    timings = {key: Timing() for key in tasks}
    for turn in range(rounds):
        for key, run in tasks.items():
            timing = timings[key]
            if turn >= at_least and sum(timing.seconds) >= budget:
                continue
            result, seconds = once(run)
            timing.seconds.append(seconds)
            if turn == 0:
                timing.result = result
    return timings
