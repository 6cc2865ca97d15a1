"""Times on a machine that others use too: repeats are taken in turns, so that a bad spell hits every peer alike.

A turn of a short task is several calls on end: after a long task the caches are another's, and the first call or two
would measure that.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

Key = TypeVar("Key", bound=Hashable)


@dataclass
class Timing:
    """Seconds of each call, and what the first gave."""

    seconds: list[float] = field(default_factory=list)
    result: Any = None

    @property
    def median(self) -> float:
        """Median seconds."""
        return statistics.median(self.seconds)


def once(run: Callable[[], Any]) -> tuple[Any, float]:
    """(result, seconds) of one call.

    Example:
        >>> once(lambda: 3)[0]
        3
    """
    start = time.perf_counter()
    result = run()
    return result, time.perf_counter() - start


def in_turns(
    tasks: Mapping[Key, Callable[[], Any]],
    *,
    rounds: int,
    at_least: int = 2,
    budget: float = 10.0,
    turn: float = 0.1,
    long: float = math.inf,
) -> dict[Key, Timing]:
    """Runs every task once a round; the tasks have been warmed up.

    Args:
        tasks: what to time.
        rounds: most turns of a task.
        at_least: fewest turns of a task, however long they take.
        budget: seconds after which a task has no turn beyond `at_least`.
        turn: seconds after which a turn ends with the call in hand.
        long: seconds of a call, after which its task has no further turn.

    Example:
        >>> found = in_turns({"a": lambda: 1, "b": lambda: 2}, rounds=2, turn=0.0)
        >>> found["b"].result, len(found["b"].seconds)
        (2, 2)
    """
    timings = {key: Timing() for key in tasks}
    for number in range(rounds):
        for key, run in tasks.items():
            timing = timings[key]
            if number >= at_least and sum(timing.seconds) >= budget or max(timing.seconds, default=0.0) >= long:
                continue
            before = len(timing.seconds)
            while len(timing.seconds) == before or sum(timing.seconds[before:]) < turn:
                result, seconds = once(run)
                if not timing.seconds:
                    timing.result = result
                timing.seconds.append(seconds)
    return timings
