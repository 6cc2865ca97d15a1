"""`pgdyn verify`: the theorems of `pgdyn.theory` on random problems, as a table and files of the tightest ones."""

from __future__ import annotations

import difflib
import pathlib
import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from pgdyn.cli import INTERRUPTED, enable_cache, fail, options, output, progress

if TYPE_CHECKING:
    from pgdyn.theory.theorem import Theorem
    from pgdyn.theory.verify import Verification

_TABLE = "verification.csv"
_WIDTH = 150  # whole names and numbers: what is piped is read by programs


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME]...", help="Theorems to check; all without a name.")
@click.option("--problems", type=options.Value(int, smallest=1), default=1000, help="Random problems a theorem.")
@click.option("--seed", type=options.SEED, default=0, help="Seed of the random problems.")
@options.output(f"{_TABLE} and each theorem's tightest problem, NAME.toml, which pgdyn simulate opens")
@click.option("--list", "listed", is_flag=True, help="Show the theorems and what they say, and check none.")
def verify(
    names: tuple[str, ...], problems: int, seed: int, out: pathlib.Path | None, overwrite: bool, listed: bool
) -> int:
    """Check theorems on random problems that satisfy their assumptions.

    Identities (exact) and inequalities (bound) must hold on every problem, up to the rounding that they state, and
    asymptotic laws within their tolerance on every problem of their window; claims known to be false must fail on one.
    The exit code is 1 if a theorem is not what it claims to be or the files cannot be written. Ctrl-C shows what is
    done.
    """
    from pgdyn.theory import THEOREMS
    from pgdyn.theory.verify import verify as check

    output.require_writable(out, overwrite, {_TABLE, *(f"{name}.toml" for name in THEOREMS)})
    chosen = _chosen(names, THEOREMS)
    if listed:
        _show_statements(chosen)
        return 0
    enable_cache()
    results: list[Verification] = []
    try:
        with progress.shown("verify", "problems") as show:
            for i, theorem in enumerate(chosen):

                def tell(done: int, _: int, before: int = i * problems, name: str = theorem.name) -> None:
                    show(before + done, len(chosen) * problems, name)

                tell(0, problems)
                results.append(check(theorem, problems, seed=seed, progress=tell))
    except KeyboardInterrupt:
        _show(results)
        unwritten = "" if out is None else "; nothing has been written"
        return fail(f"interrupted after {len(results)} of {len(chosen)} theorems{unwritten}", INTERRUPTED)
    _show(results)
    written = output.write(out, overwrite, lambda folder: _fill(folder, results))
    wrong = [result.theorem.name for result in results if not result.as_expected]
    if wrong:
        kinds = "a claim is not of its kind" if len(wrong) == 1 else f"{len(wrong)} claims are not of their kind"
        return fail(f"{kinds}: {', '.join(wrong)}", 1)
    return written


def _chosen(names: Sequence[str], theorems: Mapping[str, Theorem]) -> list[Theorem]:
    for name in names:
        if name not in theorems:
            close = difflib.get_close_matches(name, theorems, n=1, cutoff=0.5)
            hint = f"did you mean {close[0]!r}?" if close else "pgdyn verify --list shows all"
            raise ValueError(f"there is no theorem {name!r:.80}; {hint}")
    return [theorems[name] for name in dict.fromkeys(names)] if names else [*theorems.values()]


def _row(result: Verification) -> dict[str, Any]:
    """One theorem's numbers by name, as the file has them."""
    if result.theorem.kind == "known false":
        outcome = "refuted, as known" if result.violations else "NO COUNTEREXAMPLE"
    elif result.violations:
        outcome = "OUTSIDE TOLERANCE" if result.theorem.kind == "law" else "VIOLATED"
    else:
        outcome = "holds"
    numbers = ("problems", "violations", "smallest_slack", "median_slack")
    words = {"name": result.theorem.name, "kind": result.theorem.kind}
    return words | {name: getattr(result, name) for name in numbers} | {"outcome": outcome}


def _show(results: Sequence[Verification]) -> None:
    """One line a theorem: problems, violations and slack, in each theorem's own unit."""
    from pgdyn.cli import tables

    numbers = ("problems", "violations", "least slack", "median slack", "seconds")
    table = tables.table("theorem", "kind", *numbers, "outcome", left=("theorem", "kind", "outcome"))
    for result in results:
        *cells, outcome = (
            f"{value:.3g}" if isinstance(value, float) else str(value) for value in _row(result).values()
        )
        table.add_row(*cells, f"{result.seconds:.1f}", outcome, style=None if result.as_expected else "bold red")
    console = tables.console(_WIDTH)
    console.print(table)
    seconds = sum(result.seconds for result in results)
    wrong = sum(not result.as_expected for result in results)
    theorems = "1 theorem" if len(results) == 1 else f"{len(results)} theorems"
    console.print(f"{theorems} in {seconds:.0f} s, {wrong} not as claimed")


def _show_statements(theorems: Sequence[Theorem]) -> None:
    from pgdyn.cli import tables

    console = tables.console()
    width = min(console.width, 110) - 4
    for theorem in theorems:
        console.print(f"{theorem.name} ({theorem.kind})", style="bold", soft_wrap=True)
        for text in (theorem.statement, f"Source: {theorem.source}.", f"Slack: {theorem.unit}."):
            console.print(textwrap.indent(textwrap.fill(text, width), "    "), soft_wrap=True)
        console.print()


def _fill(folder: pathlib.Path, results: Sequence[Verification]) -> None:
    import pandas

    from pgdyn.io import problem_file, provenance, tables

    pandas.DataFrame([_row(result) for result in results]).to_csv(folder / _TABLE, index=False)
    for result in results:
        theorem, tightest = result.theorem, result.tightest
        path = folder / f"{theorem.name}.toml"
        problem_file.save_problem(tightest.problem, path)
        made_by = {
            "theorem": theorem.name,
            **{name: getattr(theorem, name) for name in ("kind", "statement", "source", "unit")},
            **{name: getattr(result, name) for name in ("problems", "violations", "seed")},
            **{name: getattr(tightest.check, name) for name in ("holds", "slack", "measured", "bound")},
            **provenance.attributes(),
            "parameters": {name: value.tolist() for name, value in tightest.parameters.items()},
        }
        with open(path, "a", encoding="utf-8", newline="\n") as file:
            # Readers of problem files skip this table.
            file.write("\n" + tables.dumps({"provenance": made_by}, "toml"))
