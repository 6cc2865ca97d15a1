"""The report as one page of HTML that needs no other file: figures are inlined, the style is in the page."""

from __future__ import annotations

import base64
import html
import pathlib

from paper_repro.claims import Claim, Finding, Verdict
from paper_repro.report import ReproductionReport, ReproductionRun, provenance_lines, verdict_text

_STYLE = """
:root { --ink: #1d1d1f; --soft: #63636b; --rule: #dedee3; --pass: #00694e; --fail: #b3261e; --note: #0b5c94; }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 3rem 1.5rem 5rem; max-width: 72rem; color: var(--ink); background: #fff;
  font: 17px/1.55 Charter, "Bitstream Charter", "Source Serif 4", Georgia, "Liberation Serif", serif; }
h1 { font-size: 2.1rem; line-height: 1.15; margin: 0 0 .8rem; letter-spacing: -.01em; }
h2 { font-size: 1.45rem; line-height: 1.25; margin: 3.4rem 0 .5rem; }
p { max-width: 46rem; margin: .5rem 0 1rem; }
nav { display: flex; flex-wrap: wrap; gap: .4rem 1.6rem; margin: 1.2rem 0 0; }
nav a { color: var(--note); text-decoration: none; }
nav a:hover { text-decoration: underline; }
.banner { border-left: .35rem solid var(--pass); padding: .55rem 1rem; margin: 1.2rem 0; background: #eef6f3;
  font-size: 1.1rem; max-width: none; }
.banner.failed { border-color: var(--fail); background: #fbeeed; }
.banner.open { border-color: #9a6700; background: #fdf6e6; }
.error { color: var(--fail); font-weight: bold; }
figure { margin: 1.4rem 0; }
figure img { width: 100%; max-width: 56rem; height: auto; display: block; }
table { border-collapse: collapse; width: 100%; font-size: .86rem; line-height: 1.4; margin: 1.2rem 0 .6rem;
  font-family: "Helvetica Neue", "Liberation Sans", Arial, sans-serif; }
th { text-align: left; font-weight: 600; color: var(--soft); border-bottom: 1.5px solid var(--ink);
  padding: .35rem .6rem; white-space: nowrap; cursor: pointer; user-select: none; }
th[aria-sort=ascending]::after { content: " ↑"; } th[aria-sort=descending]::after { content: " ↓"; }
td { vertical-align: top; border-bottom: 1px solid var(--rule); padding: .45rem .6rem; }
td.number { font-variant-numeric: tabular-nums; }
td.verdict { white-space: nowrap; font-weight: 600; }
.passed { color: var(--pass); } .failed { color: var(--fail); } .measured { color: var(--note); }
.unchecked { color: var(--soft); }
tr.failed td { background: #fbeeed; color: inherit; }
.source { display: block; color: var(--soft); font-size: .76rem; }
.name { font-family: ui-monospace, "Liberation Mono", monospace; font-size: .72rem; }
col.claim { width: 43%; } col.measured { width: 24%; }
footer, .small { color: var(--soft); font-size: .84rem; }
footer { margin-top: 3.5rem; border-top: 1px solid var(--rule); padding-top: .8rem; }
@media print { body { padding: 0; } tr { break-inside: avoid; } }
"""

# Clicking a heading sorts its table; without scripts the tables stay in the order of the claims.
_SCRIPT = """
document.querySelectorAll("th").forEach(head => head.addEventListener("click", () => {
  const table = head.closest("table"), body = table.tBodies[0], column = head.cellIndex;
  const up = head.getAttribute("aria-sort") !== "ascending";
  table.querySelectorAll("th").forEach(other => other.removeAttribute("aria-sort"));
  head.setAttribute("aria-sort", up ? "ascending" : "descending");
  const key = row => row.cells[column].textContent.trim();
  [...body.rows].sort((a, b) => (up ? 1 : -1) * key(a).localeCompare(key(b), "en", {numeric: true}))
    .forEach(row => body.append(row));
}));
"""

_CLASS = {
    Verdict.passed: "passed",
    Verdict.failed: "failed",
    Verdict.measured: "measured",
    Verdict.not_checked: "unchecked",
}


def render(report: ReproductionReport, folder: pathlib.Path) -> str:
    """Writes the whole page; `folder` is where the figures of the report lie."""
    state = "failed" if report.failed else "open" if report.pending or report.quick else "passed"
    mark = {"failed": "✗", "open": "–", "passed": "✓"}[state]
    parts = [
        "<h1>Reproduction report</h1>",
        "<p>Policy-gradient dynamics under imperfect rewards: what the papers claim, and what these runs measured.</p>",
        f'<p class="banner {state}">{mark} {_text(report.headline)}</p>',
    ]
    if report.quick_note:
        parts.append(f"<p>{_text(report.quick_note)}</p>")
    links = (
        f'<a href="#{_text(one.reproduction.name)}">{_tally(one)} {_text(one.reproduction.title)}</a>'
        for one in report.runs
    )
    parts.append(f"<nav>{''.join(links)}</nav>")
    parts += [_section(run, folder) for run in report.runs]
    parts.append(f"<footer>{' · '.join(map(_text, provenance_lines(report.made_by)))}</footer>")
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>Reproduction report</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        + "\n".join(parts)
        + f"\n<script>{_SCRIPT}</script>\n</body>\n</html>\n"
    )


def _text(words: object) -> str:
    return html.escape(str(words))


def _tally(run: ReproductionRun) -> str:
    return "✗" if run.failed else "✓" if run.counts[Verdict.passed] else "–"


def _section(run: ReproductionRun, folder: pathlib.Path) -> str:
    one = run.reproduction
    parts = [f'<section id="{_text(one.name)}">', f"<h2>{_text(one.title)}</h2>", f"<p>{_text(one.summary)}</p>"]
    if run.error:
        parts.append(f'<p class="error">This part did not finish: {_text(run.error)}</p>')
    for picture in run.figures:
        encoded = base64.b64encode((folder / picture).read_bytes()).decode("ascii")
        name = _text(pathlib.PurePosixPath(picture).stem)
        parts.append(f'<figure><img alt="figure {name}" src="data:image/png;base64,{encoded}"></figure>')
    heads = "".join(f"<th>{head}</th>" for head in ("claim", "expected", "measured", "tolerance", "verdict"))
    rows = "\n".join(_row(claim, finding) for claim, finding in run.findings)
    widths = '<colgroup><col class="claim"><col><col class="measured"></colgroup>'
    parts.append(f"<table>\n{widths}\n<thead><tr>{heads}</tr></thead>\n<tbody>\n{rows}\n</tbody>\n</table>")
    data = f"Data: <code>{_text(run.data)}</code>. " if run.data else ""
    parts.append(f'<p class="small">{data}Time: {run.seconds:.1f} s.</p>\n</section>')
    return "\n".join(parts)


def _row(claim: Claim, finding: Finding) -> str:
    kind = _CLASS[finding.verdict]
    return (
        f'<tr class="{kind if finding.verdict is Verdict.failed else ""}">'
        f'<td>{_text(claim.statement)}<span class="source"><span class="name">{_text(claim.name)}</span>'
        f" · {_text(claim.source)}</span></td>"
        f'<td class="number">{_text(finding.expected)}</td><td class="number">{_text(finding.measured)}</td>'
        f'<td class="number">{_text(finding.tolerance)}</td>'
        f'<td class="verdict {kind}">{finding.verdict.symbol} {_text(verdict_text(finding))}</td></tr>'
    )
