"""What a run of the reproductions found, as plain values: the HTML, Markdown and JSON reports are written from them."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Mapping
from typing import Any

from paper_repro.claims import Claim, Finding, Verdict
from paper_repro.reproduction import Reproduction


@dataclasses.dataclass(frozen=True)
class ReproductionRun:
    """One run of a reproduction.

    Attributes:
        reproduction: what was run.
        reduced: whether it ran at the smaller settings of --quick.
        settings: the keyword settings it ran with; those not named are the experiment's defaults.
        findings: (claim, finding) for every claim.
        figures: paths of its pictures (PNG), relative to the output folder.
        data: path of its data, relative to the output folder; None if there is none.
        seconds: wall time of the experiment, its figures and its checks.
        error: what stopped it; None if nothing did.
    """

    reproduction: Reproduction
    reduced: bool
    settings: Mapping[str, Any]
    findings: tuple[tuple[Claim, Finding], ...]
    figures: tuple[str, ...]
    data: str | None
    seconds: float
    error: str | None = None

    @property
    def counts(self) -> collections.Counter[Verdict]:
        """The number of claims with each verdict."""
        return collections.Counter(finding.verdict for _, finding in self.findings)

    @property
    def failed(self) -> bool:
        """Whether a claim failed or the experiment did not run."""
        return self.error is not None or self.counts[Verdict.failed] > 0


@dataclasses.dataclass(frozen=True)
class ReproductionReport:
    """Everything that the report files say.

    Attributes:
        runs: the reproductions that were run.
        pending: names of those that were asked for and have not run.
        quick: whether --quick was given.
        interrupted: whether the run was stopped before its end.
        made_by: versions, precision, device and git revision.
    """

    runs: tuple[ReproductionRun, ...]
    pending: tuple[str, ...]
    quick: bool
    interrupted: bool
    made_by: Mapping[str, Any]

    @property
    def counts(self) -> collections.Counter[Verdict]:
        """The number of claims with each verdict."""
        return sum((run.counts for run in self.runs), collections.Counter())

    @property
    def failed(self) -> bool:
        """Whether anything failed."""
        return any(run.failed for run in self.runs)

    @property
    def headline(self) -> str:
        """The result in one sentence."""
        counts = self.counts
        judged = counts[Verdict.passed] + counts[Verdict.failed]
        words = f"{counts[Verdict.passed]} of {judged} checked claims hold"
        if counts[Verdict.not_checked]:
            words += f"; {counts[Verdict.not_checked]} not checked (quick)"
        if counts[Verdict.measured]:
            words += f"; {counts[Verdict.measured]} further measurements reported"
        broken = [run.reproduction.name for run in self.runs if run.error is not None]
        if broken:
            words += f"; did not run: {', '.join(broken)}"
        if self.pending:
            words += f"; {'interrupted' if self.interrupted else 'unfinished'}, still to run: {', '.join(self.pending)}"
        return words + "."

    @property
    def quick_note(self) -> str | None:
        """What --quick changed, or None for a full run."""
        if not self.quick:
            return None
        smaller = [f"{one.reproduction.name} ({_listed(one.settings)})" for one in self.runs if one.reduced]
        if not smaller:
            return "Quick run. Every experiment in it ran at its full settings."
        return (
            f"Quick run, at smaller settings: {'; '.join(smaller)}. Claims that need the full settings are marked "
            "“not checked (quick)”."
        )


def _listed(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} = {value}" for name, value in settings.items())


def verdict_text(finding: Finding) -> str:
    """Puts the verdict in words.

    Example:
        >>> verdict_text(Finding("", "", "", Verdict.not_checked))
        'not checked (quick)'
    """
    return "not checked (quick)" if finding.verdict is Verdict.not_checked else finding.verdict.value


def provenance_lines(made_by: Mapping[str, Any]) -> list[str]:
    """Lists the versions and the revision, one a line.

    Example:
        >>> provenance_lines({"jax_version": "0.9"})
        ['jax: 0.9']
    """
    names = {
        "pgdyn_version": "pgdyn",
        "jax_version": "jax",
        "dtype": "precision",
        "device": "device",
        "git_revision": "git revision",
    }
    return [f"{words}: {made_by[name]}" for name, words in names.items() if name in made_by]
