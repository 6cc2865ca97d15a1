"""Claims and their checks: from an experiment's dataset to what was expected, what was measured, and a verdict."""

from __future__ import annotations

import dataclasses
import enum
import math
from collections.abc import Callable

import xarray


class Verdict(enum.Enum):
    """How a claim was judged."""

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
        verdict: passed, failed or neither.
    """

    expected: str
    measured: str
    tolerance: str
    verdict: Verdict


Measure = Callable[[xarray.Dataset], float]
Check = Callable[[xarray.Dataset], Finding]


@dataclasses.dataclass(frozen=True)
class Claim:
    """A statement that a dataset can confirm or contradict.

    Attributes:
        name: unique within its reproduction; lower case with hyphens.
        statement: one sentence.
        source: paper and section, or where else it comes from.
        check: from the experiment's dataset to a `Finding`; made by `number`, `hitting_time`, `fact` or `measurement`.
        needs_full: whether the reduced setting of --quick cannot decide it.
    """

    name: str
    statement: str
    source: str
    check: Check
    needs_full: bool = False

    def judge(self, dataset: xarray.Dataset, *, quick: bool = False) -> Finding:
        """Runs the check; one that raises counts as failed, and says why."""
        if quick and self.needs_full:
            return Finding("", "", "", Verdict.not_checked)
        try:
            return self.check(dataset)
        except Exception as error:  # one broken check must not take the report with it
            return Finding("", f"the check did not run: {type(error).__name__}: {error}", "", Verdict.failed)


def number(measure: Measure, expected: float, tolerance: float) -> Check:
    """Makes a check that a number lies within `tolerance` of `expected`.

    Example:
        >>> number(lambda dataset: 0.501, 0.5, 2e-3)(xarray.Dataset()).verdict.value
        'passed'
    """

    def check(dataset: xarray.Dataset) -> Finding:
        found = measure(dataset)
        good = abs(found - expected) <= tolerance
        return Finding(f"{expected:.5f}", f"{found:.5f}", f"± {tolerance:g}", _verdict(good))

    return check


def hitting_time(measure: Measure, expected: float, tolerance: float) -> Check:
    """Makes a check that a hitting time lies within the fraction `tolerance` of `expected`; infinite means never.

    Example:
        >>> hitting_time(lambda dataset: math.inf, 168, 0.01)(xarray.Dataset()).verdict.value
        'failed'
    """

    def check(dataset: xarray.Dataset) -> Finding:
        found = measure(dataset)
        never = math.isinf(expected)
        good = math.isinf(found) if never else abs(found - expected) <= tolerance * expected
        allowed = "exact" if never else f"± {100 * tolerance:g} %"
        return Finding(count(expected), count(found), allowed, _verdict(good))

    return check


def fact(expected: str, decide: Callable[[xarray.Dataset], tuple[bool, str]]) -> Check:
    """Makes a check of a qualitative fact: `decide` gives whether it holds, and the numbers that decide it.

    Example:
        >>> fact("less than 3", lambda dataset: (2 < 3, "2"))(xarray.Dataset()).measured
        '2'
    """

    def check(dataset: xarray.Dataset) -> Finding:
        good, found = decide(dataset)
        return Finding(expected, found, "", _verdict(good))

    return check


def measurement(measure: Callable[[xarray.Dataset], str]) -> Check:
    """Makes a check that reports a number and judges nothing.

    Example:
        >>> measurement(lambda dataset: "16")(xarray.Dataset()).verdict.value
        'measured'
    """
    return lambda dataset: Finding("", measure(dataset), "", Verdict.measured)


def count(updates: float) -> str:
    """Prints a number of updates; "never" where infinite.

    Example:
        >>> count(10690.0), count(math.inf)
        ('10,690', 'never')
    """
    if math.isinf(updates):
        return "never"
    return f"{updates:,.0f}" if float(updates).is_integer() else f"{updates:,.1f}"


def _verdict(good: bool) -> Verdict:
    return Verdict.passed if good else Verdict.failed
