"""What was tried and what survived, and how much there is to try."""

from __future__ import annotations

import contextlib
import dataclasses
import random
import re
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

SHOWN = 3  # failures of a kind that are printed
LONGEST = 1000  # characters of a sentence
# What Python, NumPy and JAX say of their own affairs, which is of no use to somebody who wrote a file.
FOREIGN = re.compile(
    r"Traceback|object has no attribute|NoneType|not subscriptable|unsupported operand|could not convert"
    r"|setting an array element|inhomogeneous|could not be broadcast|ufunc"
    r"|unhashable|not callable|keyword argument|positional argument|codec can't|set_int_max_str_digits|JitTracer"
    r"|must be real number, not|is not supported between|object is not|not enough values|out of bounds for axis"
)


class Hung(BaseException):
    """What was tried takes longer than a user would wait."""


@dataclasses.dataclass
class Row:
    """One kind of fault or input."""

    tried: int = 0
    survived: int = 0
    failures: list[str] = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class Effort:
    """How much is tried: `count(100_000)` is a share of it, and `spent` says when to stop."""

    seed: int = 0
    share: float = 1.0
    seconds: float = float("inf")
    begun: float = dataclasses.field(default_factory=time.monotonic)

    def count(self, whole: int, least: int = 1) -> int:
        return max(least, round(whole * self.share))

    @property
    def spent(self) -> bool:
        return time.monotonic() - self.begun > self.seconds

    def random(self, *names: str) -> random.Random:
        return random.Random(":".join([str(self.seed), *names]))


class Tally:
    """Counts by kind."""

    def __init__(self) -> None:
        self.rows: dict[str, Row] = {}

    def note(self, kind: str, wrong: str | None, what: Any = "") -> None:
        """Counts one more of a kind; `wrong` says how it failed, empty or None where it survived."""
        row = self.rows.setdefault(kind, Row())
        row.tried += 1
        row.survived += not wrong
        if wrong:
            row.failures.append(f"{wrong}  <-  {what!s:.400}" if what != "" else wrong)

    def attempt(self, kind: str, action: Callable[[], str | None], what: Any = "", seconds: float = 20.0) -> None:
        """Notes what an action gives back, or what is wrong with the error that it raises."""
        try:
            with no_longer_than(seconds):
                wrong = action()
        except Hung:
            wrong = f"took longer than {seconds:g} s"
        except Exception as error:
            wrong = complaint(error)
        self.note(kind, wrong, what)

    @property
    def failures(self) -> list[str]:
        return [f"{kind}: {failure}" for kind, row in self.rows.items() for failure in row.failures]

    def table(self) -> str:
        width = max([len(kind) for kind in self.rows], default=4)
        lines = [f"{'kind of fault or input':<{width}}  {'tried':>8}  {'survived':>8}"]
        for kind, row in self.rows.items():
            lines.append(f"{kind:<{width}}  {row.tried:>8,}  {row.survived:>8,}")
            seen = dict.fromkeys(row.failures)
            lines += [f"    {failure}" for failure in list(seen)[:SHOWN]]
        tried, survived = (sum(getattr(row, name) for row in self.rows.values()) for name in ("tried", "survived"))
        return "\n".join([*lines, f"{'in all':<{width}}  {tried:>8,}  {survived:>8,}"])


def complaint(error: BaseException, place: str = "") -> str:
    """What is wrong with a refusal; empty if it is one clear sentence."""
    text, name = str(error), type(error).__name__
    if not isinstance(error, ValueError | OSError) or isinstance(error, UnicodeError):
        return f"{name}: {text:.200}"
    if isinstance(error, OSError) and error.strerror and str(error).startswith("[Errno"):
        text = f"{error.filename}: {error.strerror}"  # as the command line says it
    if len(text.strip()) < 10:
        return f"{name} says next to nothing: {text!r}"
    if len(text) > LONGEST:
        return f"{name} of {len(text)} characters: {text:.200}"
    if found := FOREIGN.search(text):
        return f"{name} speaks of {found[0]!r}: {text:.200}"
    if place not in text:
        return f"{name} does not name {place}: {text:.200}"
    return ""


@contextlib.contextmanager
def no_longer_than(seconds: float) -> Iterator[None]:
    """Raises `Hung` in the block after so long."""

    def ring(*_: Any) -> None:
        raise Hung

    handler = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
