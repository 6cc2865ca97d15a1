"""`pgdyn simulate`: one run of a problem file, as a table, a dataset and a picture."""

from __future__ import annotations

import pathlib
from typing import Any

import click

import pgdyn
from pgdyn.cli import options, output, settings

_NAME = "trajectory"
_FILES = output.names(_NAME)


@click.command(params=[*settings.make()])
@options.problem
@output.option(", ".join(_FILES))
def simulate(problem: pathlib.Path, out: pathlib.Path | None, overwrite: bool, **given: Any) -> None:
    """Run one problem and show how it ends.

    The exit code is 1 if the run breaks off or its files cannot be written.
    """
    given = {name: value for name, value in given.items() if value is not None and value != ()}
    settings.check(given)
    output.require_writable(out, overwrite, _FILES)

    from pgdyn.cli import run_table, tables

    loaded = options.load(problem)
    solution = pgdyn.solve(loaded, settings.build(given))
    tables.show(run_table.parts(solution, problem.name))
    output.write(out, overwrite, lambda to: output.save(to, _NAME, solution.to_dataset(), solution.plot(), loaded))
    if int(solution.result) >= pgdyn.Result.step_budget_spent:
        raise click.ClickException(f"the run did not complete: it {solution.message}")
