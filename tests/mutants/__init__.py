"""Altered lines that the tests must notice: what is altered, how, and the tests that fail then."""

from __future__ import annotations

from typing import NamedTuple


class Mutant(NamedTuple):
    """One altered line.

    Attributes:
        path: the file, from the root of the repository.
        old: text that stands there once.
        new: what it is replaced by.
        tests: arguments of pytest; at least one of the tests that they choose fails.
    """

    path: str
    old: str
    new: str
    tests: tuple[str, ...]
