"""`pgdyn verify`: the theorems of `pgdyn.theory` on random problems, as a table and files of the tightest ones."""

from __future__ import annotations

import difflib
import pathlib
import shutil
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from pgdyn.cli import INTERRUPTED, fail, options, output, progress

if TYPE_CHECKING:
    from pgdyn.cli.tables import Part
    from pgdyn.theory.theorem import Theorem
    from pgdyn.theory.verify import Verification

_TABLE = "verification.csv"
_WIDTH = 150  # whole names and numbers: what is piped is read by programs
_HEADINGS = ("theorem", "kind", "problems", "violations", "least slack", "median slack", "seconds", "outcome")
_WORDS = ("theorem", "kind", "outcome")
_OUTCOMES = {  # kind of theorem -> without and with violations
    "known false": ("NO COUNTEREXAMPLE", "refuted, as known"),
    "law": ("holds", "OUTSIDE TOLERANCE"),
}


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME]...", help="Theorems to check; all without a name.")
@click.option("--problems", type=options.COUNT, default=1000, help="Random problems a theorem.")
@click.option("--seed", type=options.SEED, default=0, help="Seed of the random problems.")
@output.option(f"{_TABLE} and each theorem's tightest problem, NAME.toml, which pgdyn simulate opens")
@click.option("--list", "listed", is_flag=True, help="Show the theorems and what they say, and check none.")
def verify(
    names: tuple[str, ...], problems: int, seed: int, out: pathlib.Path | None, overwrite: bool, listed: bool
) -> None:
    """Check theorems on random problems that satisfy their assumptions.

    Identities (exact) and inequalities (bound) must hold on every problem, up to the rounding that they state, and
    asymptotic laws within their tolerance on every problem of their window; claims known to be false must fail on one.
    The exit code is 1 if a theorem is not what it claims to be or the files cannot be written. Ctrl-C shows what is
    done.
    """
    from pgdyn.cli import tables
    from pgdyn.theory import THEOREMS
    from pgdyn.theory.verify import verify as check

    output.require_writable(out, overwrite, {_TABLE, *(f"{name}.toml" for name in THEOREMS)})
    chosen = _chosen(names, THEOREMS)
    if listed:
        return tables.show(_statements(chosen))
    options.enable_cache()
    results: list[Verification] = []
    try:
        with progress.shown("verify", "problems") as show:

            def tell(done: int = 0, _: int = 0) -> None:
                show(len(results) * problems + done, len(chosen) * problems, chosen[len(results)].name)

            for theorem in chosen:
                tell()
                results.append(check(theorem, problems, seed=seed, progress=tell))
    except KeyboardInterrupt:
        tables.show(_parts(results), _WIDTH)
        sentence = f"interrupted after {len(results)} of {len(chosen)} theorems"
        sentence += "" if out is None else "; nothing has been written"
        raise click.exceptions.Exit(fail(sentence, INTERRUPTED)) from None
    tables.show(_parts(results), _WIDTH)
    output.write(out, overwrite, lambda folder: _fill(folder, results))
    if wrong := [result.theorem.name for result in results if not result.as_expected]:
        kinds = "a claim is not of its kind" if len(wrong) == 1 else f"{len(wrong)} claims are not of their kind"
        raise click.ClickException(f"{kinds}: {', '.join(wrong)}")


def _chosen(names: Sequence[str], theorems: Mapping[str, Theorem]) -> list[Theorem]:
    for name in names:
        if name not in theorems:
            close = difflib.get_close_matches(name, theorems, n=1, cutoff=0.5)
            hint = f"did you mean {close[0]!r}?" if close else "pgdyn verify --list shows all"
            raise ValueError(f"there is no theorem {name!r:.80}; {hint}")
    return [theorems[name] for name in dict.fromkeys(names or theorems)]


def _row(result: Verification, **more: str) -> dict[str, Any]:
    """What the file has of a theorem, and more before the outcome."""
    theorem = result.theorem
    numbers = {name: getattr(result, name) for name in ("problems", "violations", "smallest_slack", "median_slack")}
    outcome = _OUTCOMES.get(theorem.kind, ("holds", "VIOLATED"))[result.violations > 0]
    return {"name": theorem.name, "kind": theorem.kind, **numbers, **more, "outcome": outcome}


def _parts(results: Sequence[Verification]) -> Iterator[Part]:
    """One line a theorem: problems, violations and slack, in each theorem's own unit."""
    from pgdyn.cli import tables

    rows = (_row(result, seconds=f"{result.seconds:.1f}").values() for result in results)
    table = tables.table(_HEADINGS, rows, left=_WORDS, digits=3)
    for row, result in zip(table.rows, results, strict=True):
        row.style = None if result.as_expected else "bold red"
    yield table
    seconds, wrong = sum(result.seconds for result in results), sum(not result.as_expected for result in results)
    theorems = "1 theorem" if len(results) == 1 else f"{len(results)} theorems"
    yield f"{theorems} in {seconds:.0f} s, {wrong} not as claimed"


def _statements(theorems: Sequence[Theorem]) -> Iterator[Part]:
    from pgdyn.cli import tables

    width, indent = min(shutil.get_terminal_size().columns, 110), 4 * " "
    for theorem in theorems:
        yield tables.heading(f"{theorem.name} ({theorem.kind})")
        for text in (theorem.statement, f"Source: {theorem.source}.", f"Slack: {theorem.unit}."):
            yield textwrap.fill(text, width, initial_indent=indent, subsequent_indent=indent)
        yield ""


def _fill(folder: pathlib.Path, results: Sequence[Verification]) -> None:
    import pandas

    from pgdyn.io import problem_file, provenance, tables

    pandas.DataFrame([_row(result) for result in results]).to_csv(folder / _TABLE, index=False)
    for result in results:
        theorem, tightest = result.theorem, result.tightest
        made_by = {
            "theorem": theorem.name,
            **{name: getattr(theorem, name) for name in ("kind", "statement", "source", "unit")},
            **{name: getattr(result, name) for name in ("problems", "violations", "seed")},
            **{name: getattr(tightest.check, name) for name in ("holds", "slack", "measured", "bound")},
            **provenance.attributes(),
            "parameters": {name: value.tolist() for name, value in tightest.parameters.items()},
        }
        problem = problem_file.problem_arrays(tightest.problem)
        tables.write(folder / f"{theorem.name}.toml", {**problem, "provenance": made_by})
