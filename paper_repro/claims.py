"""A claim and its check: from an experiment's dataset to what was expected, what was measured, and a verdict."""

from __future__ import annotations

import dataclasses
import enum
import math
from collections.abc import Callable

import xarray


class Verdict(enum.Enum):
    """What became of a claim."""

    passed = "passed"
    failed = "failed"
    measured = "measured"  # a number reported for its own sake: nothing is expected of it
    not_checked = "not checked"

    @property
    def symbol(self) -> str:
        """One character that does not rely on colour."""
        return {"passed": "✓", "failed": "✗", "measured": "•", "not checked": "–"}[self.value]


@dataclasses.dataclass(frozen=True)
class Finding:
    """What a check found.

    Attributes:
        expected: what the claim says, as it is printed.
        measured: what the dataset says.
        tolerance: how far they may be apart.
        verdict: the outcome.
    """

    expected: str
    measured: str
    tolerance: str
    verdict: Verdict


@dataclasses.dataclass(frozen=True)
class Claim:
    """A statement that a dataset can bear out or contradict.

    Attributes:
        name: unique within its reproduction; lower case with hyphens.
        statement: one sentence.
        source: paper and section, or where else it comes from.
        check: from the experiment's dataset to a `Finding`.
        needs_full: whether the reduced setting of --quick cannot decide it.
    """

    name: str
    statement: str
    source: str
    check: Callable[[xarray.Dataset], Finding]
    needs_full: bool = False

    def judge(self, dataset: xarray.Dataset, *, quick: bool = False) -> Finding:
        """The finding; a check that fails to run counts as failed, and says why."""
        if quick and self.needs_full:
            return Finding("", "", "", Verdict.not_checked)
        try:
            return self.check(dataset)
        except Exception as error:  # one broken check must not take the report with it
            return Finding("", f"the check did not run: {type(error).__name__}: {error}", "", Verdict.failed)


Measure = Callable[[xarray.Dataset], float]


def value_claim(
    name: str,
    statement: str,
    source: str,
    measure: Measure,
    expected: float,
    tolerance: float,
    needs_full: bool = False,
) -> Claim:
    """A number that must lie within `tolerance` of `expected`."""

    def check(dataset: xarray.Dataset) -> Finding:
        found = measure(dataset)
        good = abs(found - expected) <= tolerance
        return Finding(f"{expected:.5f}", f"{found:.5f}", f"± {tolerance:g}", _verdict(good))

    return Claim(name, statement, source, check, needs_full)


def hit_claim(
    name: str,
    statement: str,
    source: str,
    measure: Measure,
    expected: float,
    tolerance: float,
    needs_full: bool = False,
) -> Claim:
    """A hitting time within the fraction `tolerance` of `expected`; infinite means never, and must match."""

    def check(dataset: xarray.Dataset) -> Finding:
        found = measure(dataset)
        never = math.isinf(expected)
        good = math.isinf(found) if never else abs(found - expected) <= tolerance * expected
        allowed = "exact" if never else f"± {100 * tolerance:g} %"
        return Finding(count(expected), count(found), allowed, _verdict(good))

    return Claim(name, statement, source, check, needs_full)


def fact_claim(
    name: str,
    statement: str,
    source: str,
    expected: str,
    check: Callable[[xarray.Dataset], tuple[bool, str]],
    needs_full: bool = False,
) -> Claim:
    """A qualitative fact: `check` gives whether it holds, and the numbers that decide it."""

    def judge(dataset: xarray.Dataset) -> Finding:
        good, found = check(dataset)
        return Finding(expected, found, "", _verdict(good))

    return Claim(name, statement, source, judge, needs_full)


def measurement(name: str, statement: str, source: str, measure: Callable[[xarray.Dataset], str]) -> Claim:
    """A number that is reported and not judged."""

    def check(dataset: xarray.Dataset) -> Finding:
        return Finding("", measure(dataset), "", Verdict.measured)

    return Claim(name, statement, source, check)


def count(updates: float) -> str:
    """A number of updates as it is printed; "never" where infinite."""
    if math.isinf(updates):
        return "never"
    return f"{updates:,.0f}" if float(updates).is_integer() else f"{updates:,.1f}"


def _verdict(good: bool) -> Verdict:
    return Verdict.passed if good else Verdict.failed
