"""What a sweep says of itself while it runs, at its end, and when it has to stop."""

from __future__ import annotations

import dataclasses


class SweepStopped(Exception):
    """A sweep that cannot go on, although nothing is wrong with what was asked for. What is done stays done."""


@dataclasses.dataclass(frozen=True)
class Progress:
    """How far a sweep is.

    Attributes:
        phase: "checking" what the store holds, or "running".
        shards_done: whole shards in the store.
        shards: all shards.
        points_done: points in whole shards.
        points: all points.
        computed: points that this process has had computed.
        seconds: since this process began to compute, compilation included.
        pace: points a second since programs were compiled; 0 until that is known.
        waiting: what the sweep waits for and since when, in words; None while all is well.

    Example:
        >>> progress = Progress("running", 2, 4, 200, 400, computed=200, seconds=12.0, pace=50.0)
        >>> progress.rate, progress.remaining
        (50.0, 4.0)
    """

    phase: str
    shards_done: int
    shards: int
    points_done: int
    points: int
    computed: int
    seconds: float
    pace: float = 0.0
    waiting: str | None = None

    @property
    def rate(self) -> float:
        """Points a second computed by this process, without the time of compilation as soon as that is known."""
        return self.pace or (self.computed / self.seconds if self.seconds > 0 else 0.0)

    @property
    def remaining(self) -> float | None:
        """Seconds left at this pace; None before it is known."""
        left = self.points - self.points_done
        return left / self.pace if self.pace else None if left else 0.0


@dataclasses.dataclass(frozen=True)
class Summary:
    """What a call of `run_sweep` did.

    Attributes:
        points: points of the sweep, all of which are in the store.
        shards: shards of the sweep.
        found: shards that were there and whole.
        redone: shards that were damaged and have been made again.
        computed: shards computed by this process (the rest came from others that ran beside it).
        seconds: time spent computing.
        results: how many runs ended in each way, by `pgdyn.Result` code, of the shards computed here.

    Example:
        >>> Summary(points=400, shards=4, found=3, redone=0, computed=1, seconds=2.5, results={0: 100}).computed
        1
    """

    points: int
    shards: int
    found: int
    redone: int
    computed: int
    seconds: float
    results: dict[int, int]
