"""What makes the ensemble engine fast without changing what it computes, each with a switch: for measuring it.

    with tuning.using(tuning.ALL._replace(streams=False)):
        flow_many(...)

`python -m experiments.benchmarks.ablation` measures each of them; all are on by default.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import NamedTuple


class Tuning(NamedTuple):
    """Which devices are used.

    Attributes:
        one_kernel: small flows are compiled into one kernel (`xla.as_one_kernel`).
        wide_vectors: vectors of 512 bits where the CPU has them (`xla.compiler_options`).
        keep_barriers: XLA's pass that drops optimization barriers is left out (`xla.compiler_options`).
        streams: XLA runs chunks side by side, begun by one thread (`xla.stream`), instead of a thread each.
        unroll: long reductions are written out (`pgdyn.reduction`).
        ahead: a core has its next chunk before it is done.
    """

    one_kernel: bool = True
    wide_vectors: bool = True
    keep_barriers: bool = True
    streams: bool = True
    unroll: bool = True
    ahead: bool = True

    @property
    def of_programs(self) -> Tuning:
        """The same where it decides what is compiled, and on elsewhere: programs are kept by it.

        Example:
            >>> Tuning(ahead=False, unroll=False).of_programs == Tuning(unroll=False)
            True
        """
        return Tuning(wide_vectors=self.wide_vectors, keep_barriers=self.keep_barriers, unroll=self.unroll)


ALL = Tuning()
_current = [ALL]


def current() -> Tuning:
    """The devices in use."""
    return _current[0]


@contextlib.contextmanager
def using(tuning: Tuning) -> Iterator[None]:
    """Uses other devices within the block, in all threads.

    Example:
        >>> with using(ALL._replace(ahead=False)):
        ...     current().ahead
        False
    """
    before, _current[0] = _current[0], tuning
    try:
        yield
    finally:
        _current[0] = before
