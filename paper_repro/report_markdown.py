"""The report as Markdown, its figures as links beside it."""

from __future__ import annotations

from paper_repro.report import ReproductionReport, provenance_lines, verdict_text


def render(report: ReproductionReport) -> str:
    """Writes the whole report."""
    lines = ["# Reproduction report", "", f"**{report.headline}**", ""]
    if report.quick_note:
        lines += [report.quick_note, ""]
    for run in report.runs:
        lines += [f"## {run.reproduction.title}", "", run.reproduction.summary, ""]
        if run.error:
            lines += [f"**This part did not finish: {_cell(run.error)}**", ""]
        lines += [f"![{run.reproduction.title}]({picture})\n" for picture in run.figures]
        lines += [
            "| | claim | expected | measured | tolerance | verdict | source |",
            "|---|---|---|---|---|---|---|",
        ]
        for claim, finding in run.findings:
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
        where = f"Data: `{run.data}`. " if run.data else ""
        lines += ["", f"{where}Time: {run.seconds:.1f} s.", ""]
    lines += ["## Made by", "", *(f"- {line}" for line in provenance_lines(report.made_by)), ""]
    return "\n".join(lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
