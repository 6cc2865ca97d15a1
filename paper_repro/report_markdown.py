"""The report as Markdown, its figures as links beside it."""

from __future__ import annotations

from paper_repro.outcome import Report, provenance_lines, verdict_text


def render(report: Report) -> str:
    """The whole report."""
    lines = ["# Reproduction report", "", f"**{report.headline}**", ""]
    if report.quick_note:
        lines += [report.quick_note, ""]
    for outcome in report.outcomes:
        lines += [f"## {outcome.reproduction.title}", "", outcome.reproduction.summary, ""]
        if outcome.error:
            lines += [f"**This part did not finish: {_cell(outcome.error)}**", ""]
        lines += [f"![{outcome.reproduction.title}]({picture})\n" for picture in outcome.figures]
        lines += [
            "| | claim | expected | measured | tolerance | verdict | source |",
            "|---|---|---|---|---|---|---|",
        ]
        for claim, finding in outcome.findings:
            cells = (
                finding.verdict.symbol,
                f"`{claim.name}` {claim.statement}",
                finding.expected,
                finding.measured,
                finding.tolerance,
                verdict_text(finding),
                claim.source,
            )
            lines.append("| " + " | ".join(_cell(cell) for cell in cells) + " |")
        where = f"Data: `{outcome.data}`. " if outcome.data else ""
        lines += ["", f"{where}Time: {outcome.seconds:.1f} s.", ""]
    lines += ["## Made by", "", *(f"- {line}" for line in provenance_lines(report.made_by)), ""]
    return "\n".join(lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
