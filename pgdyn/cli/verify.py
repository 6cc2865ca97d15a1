"""`pgdyn verify`: the theorems of `pgdyn.theory` on random problems, as a table and files of the tightest ones."""

from __future__ import annotations

import difflib
import pathlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from pgdyn.cli import INTERRUPTED, enable_cache, fail, options, output, progress

if TYPE_CHECKING:
    from pgdyn.theory.theorem import Theorem
    from pgdyn.theory.verify import Verification

_TABLE = "verification.csv"


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME]...", help="Theorems to check; all without a name.")
@options.number("--problems", int, 1000, "Random problems a theorem.", smallest=1)
@options.number("--seed", int, 0, "Seed of the random problems.", smallest=0)
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
    from pgdyn.cli import verification_table
    from pgdyn.theory import THEOREMS

    output.require_writable(out, overwrite, {_TABLE, *(f"{name}.toml" for name in THEOREMS)})
    chosen = _choose(names, THEOREMS)
    if listed:
        verification_table.show_statements(chosen)
        return 0
    enable_cache()
    results: list[Verification] = []
    try:
        _run(chosen, problems, seed, results)
    except KeyboardInterrupt:
        verification_table.show(results)
        unwritten = "" if out is None else "; nothing has been written"
        return fail(f"interrupted after {len(results)} of {len(chosen)} theorems{unwritten}", INTERRUPTED)
    verification_table.show(results)
    written = output.write(out, overwrite, lambda folder: _fill(folder, results))
    wrong = [result.theorem.name for result in results if not result.as_expected]
    if wrong:
        kinds = "a claim is not of its kind" if len(wrong) == 1 else f"{len(wrong)} claims are not of their kind"
        return fail(f"{kinds}: {', '.join(wrong)}", 1)
    return written


def _choose(names: Sequence[str], theorems: Mapping[str, Theorem]) -> list[Theorem]:
    for name in names:
        if name not in theorems:
            close = difflib.get_close_matches(name, theorems, n=1, cutoff=0.5)
            hint = f"did you mean {close[0]!r}?" if close else "pgdyn verify --list shows all"
            raise ValueError(f"there is no theorem {name!r:.80}; {hint}")
    return [theorems[name] for name in dict.fromkeys(names)] if names else [*theorems.values()]


def _run(theorems: Sequence[Theorem], problems: int, seed: int, results: list[Verification]) -> None:
    from pgdyn.theory.verify import verify as check

    with progress.shown("verify", "problems") as show:
        for i, theorem in enumerate(theorems):

            def tell(done: int, _: int, before: int = i * problems, name: str = theorem.name) -> None:
                show(before + done, len(theorems) * problems, name)

            tell(0, problems)
            results.append(check(theorem, problems, seed=seed, progress=tell))


def _fill(folder: pathlib.Path, results: Sequence[Verification]) -> None:
    import pandas

    from pgdyn.cli.verification_table import row
    from pgdyn.io import problem_file, tables

    pandas.DataFrame([row(result) for result in results]).to_csv(folder / _TABLE, index=False)
    for result in results:
        path = folder / f"{result.theorem.name}.toml"
        problem_file.save_problem(result.tightest.problem, path)
        with open(path, "a", encoding="utf-8", newline="\n") as file:
            # Readers of problem files skip this table.
            file.write("\n" + tables.dumps({"provenance": _provenance(result)}, "toml"))


def _provenance(result: Verification) -> dict[str, Any]:
    """What the tightest problem is the tightest of."""
    from pgdyn.io import provenance

    theorem, check = result.theorem, result.tightest.check
    return {
        "theorem": theorem.name,
        **{name: getattr(theorem, name) for name in ("kind", "statement", "source", "unit")},
        **{name: getattr(result, name) for name in ("problems", "violations", "seed")},
        **{name: getattr(check, name) for name in ("holds", "slack", "measured", "bound")},
        **provenance.attributes(),
        "parameters": {name: value.tolist() for name, value in result.tightest.parameters.items()},
    }
