"""`pgdyn verify`: the theorems of `pgdyn.theory` on random problems, as a table and files of the tightest ones."""

from __future__ import annotations

import difflib
import pathlib
from collections.abc import Sequence

import click

import pgdyn
from pgdyn.cli import INTERRUPTED, fail, options, output, progress

_TABLE = "verification.csv"
_WIDTH = 150  # whole names and numbers: what is piped is read by programs


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
    from pgdyn.cli import tables, theorems_table

    output.require_writable(out, overwrite, {_TABLE, *(f"{name}.toml" for name in pgdyn.theory.THEOREMS)})
    chosen = _chosen(names)
    if listed:
        return tables.show(theorems_table.statements(chosen))
    options.enable_cache()
    results: list[pgdyn.theory.Verification] = []
    try:
        with progress.shown("verify", "problems") as show:

            def tell(done: int = 0, _: int = 0) -> None:
                show(len(results) * problems + done, len(chosen) * problems, chosen[len(results)].name)

            for theorem in chosen:
                tell()
                results.append(pgdyn.theory.verify(theorem, problems, seed=seed, progress=tell))
    except KeyboardInterrupt:
        tables.show(theorems_table.parts(results), _WIDTH)
        sentence = f"interrupted after {len(results)} of {len(chosen)} theorems"
        sentence += "" if out is None else "; nothing has been written"
        raise click.exceptions.Exit(fail(sentence, INTERRUPTED)) from None
    tables.show(theorems_table.parts(results), _WIDTH)
    output.write(out, overwrite, lambda folder: theorems_table.fill(folder, _TABLE, results))
    if wrong := [result.theorem.name for result in results if not result.as_expected]:
        kinds = "a claim is not of its kind" if len(wrong) == 1 else f"{len(wrong)} claims are not of their kind"
        raise click.ClickException(f"{kinds}: {', '.join(wrong)}")


def _chosen(names: Sequence[str]) -> list[pgdyn.theory.Theorem]:
    theorems = pgdyn.theory.THEOREMS
    for name in names:
        if name not in theorems:
            close = difflib.get_close_matches(name, theorems, n=1, cutoff=0.5)
            hint = f"did you mean {close[0]!r}?" if close else "pgdyn verify --list shows all"
            raise ValueError(f"there is no theorem {name!r:.80}; {hint}")
    return [theorems[name] for name in dict.fromkeys(names or theorems)]
