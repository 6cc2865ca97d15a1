"""`pgdyn verify`: the theorems of `pgdyn.theory` on random problems, as a table and files of the tightest ones."""

from __future__ import annotations

import difflib
import json
import pathlib
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from pgdyn.cli.output_folder import require_replaceable

if TYPE_CHECKING:
    from pgdyn.theory.theorem import Theorem
    from pgdyn.theory.verify import Verification

_TABLE = "verification.csv"


def verify(
    names: tyro.conf.Positional[
        Annotated[tuple[str, ...], tyro.conf.arg(metavar="[NAME ...]", help_behavior_hint="(default: all)")]
    ] = (),
    /,
    problems: Annotated[int, tyro.conf.arg(metavar="COUNT")] = 1000,
    seed: Annotated[int, tyro.conf.arg(metavar="INT")] = 0,
    out: Annotated[
        pathlib.Path | None, tyro.conf.arg(metavar="DIR", help_behavior_hint="(default: only show the table)")
    ] = None,
    overwrite: bool = False,
    list: bool = False,
) -> int:
    """Check theorems on random problems that satisfy their assumptions. Exit code 1 if one is not what it claims to be.

    Identities (exact) and inequalities (bound) must hold on every problem, up to the rounding that they state, and
    asymptotic laws within their tolerance on every problem of their window; claims known to be false must fail on one.

    Args:
        names: Theorems to check.
        problems: Random problems a theorem.
        seed: Seed of the random problems.
        out: Folder for verification.csv and each theorem's tightest problem, NAME.toml, which pgdyn simulate opens.
        overwrite: Replace what an earlier run left in that folder.
        list: Show the theorems and what they say, and check none.
    """
    if problems < 1:
        raise ValueError(f"--problems is {problems}; it must be at least 1")
    if not 0 <= seed < 2**63:
        raise ValueError(f"--seed is {seed}; it must be a whole number from 0 to 2^63 - 1")

    from pgdyn.cli import verification_table
    from pgdyn.theory import THEOREMS

    if out is not None:
        require_replaceable(out, overwrite, {_TABLE, *(f"{name}.toml" for name in THEOREMS)})
    chosen = _choose(names, THEOREMS)
    if list:
        verification_table.show_statements(chosen)
        return 0
    results = _run(chosen, problems, seed)
    if out is not None:
        _write(out, overwrite, results)
    verification_table.show(results)
    wrong = [result.theorem.name for result in results if not result.as_expected]
    if wrong:
        kinds = "a claim is not of its kind" if len(wrong) == 1 else f"{len(wrong)} claims are not of their kind"
        print(f"error: {kinds}: {', '.join(wrong)}", file=sys.stderr)
    return 1 if wrong else 0


def _choose(names: Sequence[str], theorems: Mapping[str, Theorem]) -> list[Theorem]:
    for name in names:
        if name not in theorems:
            close = difflib.get_close_matches(name, theorems, n=1, cutoff=0.5)
            hint = f"did you mean {close[0]!r}?" if close else "pgdyn verify --list shows all"
            raise ValueError(f"there is no theorem {name!r:.80}; {hint}")
    return [theorems[name] for name in dict.fromkeys(names)] if names else [*theorems.values()]


def _run(theorems: Sequence[Theorem], problems: int, seed: int) -> list[Verification]:
    import rich.console
    import rich.progress

    from pgdyn.theory.verify import verify as check

    columns = (
        rich.progress.TextColumn("{task.description}", markup=False),
        rich.progress.BarColumn(),
        rich.progress.MofNCompleteColumn(),
        rich.progress.TimeElapsedColumn(),
    )
    results = []
    console = rich.console.Console(stderr=True)
    with rich.progress.Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("", total=len(theorems) * problems)
        for i, theorem in enumerate(theorems):
            progress.update(task, description=theorem.name)

            def tick(done: int, _: int, before: int = i * problems) -> None:
                progress.update(task, completed=before + done)

            results.append(check(theorem, problems, seed=seed, progress=tick))
    return results


def _write(out: pathlib.Path, overwrite: bool, results: Sequence[Verification]) -> None:
    import csv

    from pgdyn import datasets
    from pgdyn.cli.verification_table import outcome
    from pgdyn.problem_file import save_problem

    with datasets.whole_folder(out, overwrite=overwrite) as folder:
        with open(folder / _TABLE, "w", newline="", encoding="utf-8") as file:
            rows = csv.writer(file)
            rows.writerow(["name", "kind", "problems", "violations", "smallest_slack", "median_slack", "outcome"])
            for result in results:
                theorem = result.theorem
                numbers = (result.problems, result.violations, result.smallest_slack, result.median_slack)
                rows.writerow([theorem.name, theorem.kind, *numbers, outcome(result)])
        for result in results:
            path = folder / f"{result.theorem.name}.toml"
            save_problem(result.tightest.problem, path)
            with open(path, "a", encoding="utf-8", newline="\n") as file:
                file.write(_provenance(result))


def _provenance(result: Verification) -> str:
    """What the tightest problem is the tightest of, as a table that readers of problem files skip."""
    from pgdyn import provenance

    theorem, check = result.theorem, result.tightest.check
    entries = {
        "theorem": theorem.name,
        "kind": theorem.kind,
        "statement": theorem.statement,
        "source": theorem.source,
        "unit": theorem.unit,
        "problems": result.problems,
        "violations": result.violations,
        "seed": result.seed,
        "holds": check.holds,
        "slack": check.slack,
        "measured": check.measured,
        "bound": check.bound,
        **provenance.attributes(),
    }
    parameters = {name: value.tolist() for name, value in result.tightest.parameters.items()}
    lines = ["", "[provenance]", *(f"{name} = {_toml(value)}" for name, value in entries.items())]
    if parameters:
        lines += ["", "[provenance.parameters]", *(f"{name} = {_toml(value)}" for name, value in parameters.items())]
    return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, float):
        return repr(value)  # nan and inf are TOML's own words too
    return json.dumps(value, ensure_ascii=True)
