"""`pgdyn evaluate`: reward models judged by files of their scores."""

from __future__ import annotations

import pathlib
import sys
from typing import Any

import click

import pgdyn
from pgdyn.cli import options, output

_FILES = ("evaluation.json", "evaluation.csv", "evaluation.png", "evaluation.pdf")
_ROLES = "prompt, response, logp, true_reward, mean_reward, subset, model, id"
_COLUMN = f"A column whose name is not known: ROLE=NAME, with ROLE one of {_ROLES}."
_MODEL = "A column of scores in files of one row a response.  [default: all numeric columns without another role]"
_CONFIDENCE = "Part of the resamples that an interval holds."
_FORECAST = "Forecast what training on each model would do, from files of one row a response."
_KL = "Mean KL in nats at which the training of a forecast stops.  [default: 0.5]"


@click.command()
@click.argument("scores", nargs=-1, required=True, metavar="SCORES...", type=options.PATH)
@click.option("--json", "as_json", is_flag=True, help="Write JSON to standard output, and nothing else.")
@click.option("--skip-bad", is_flag=True, help="Use the other rows where some cannot be used.")
@click.option("--column", "columns", multiple=True, metavar="ROLE=NAME", help=_COLUMN)
@click.option("--model", "models", multiple=True, metavar="NAME", help=_MODEL)
@click.option("--confidence", type=options.NUMBER, default=0.95, help=_CONFIDENCE)
@click.option("--resamples", type=options.COUNT, default=1000, help="Bootstrap resamples of the prompts.")
@click.option("--seed", type=options.SEED, default=0, help="Seed of the resamples.")
@click.option("--forecast", is_flag=True, help=_FORECAST)
@click.option("--kl", type=options.NUMBER, help=_KL)
@click.option("--worst", type=options.SEED, default=5, help="Prompts to name for each reward model.")
@output.option(", ".join(_FILES))
def evaluate(
    scores: tuple[pathlib.Path, ...], out: pathlib.Path | None, overwrite: bool, as_json: bool, **given: Any
) -> None:
    """Judge reward models by files of their scores.

    SCORES are RewardBench v1 or v2 scores as they are, tables of pairs (prompt, chosen, rejected) or of one row a
    response (prompt, response, a column for each reward model, and where known logp and true_reward), as CSV, JSON,
    JSON lines or Parquet, gzipped or not. Shown is every metric that the data allow with its bootstrap interval over
    prompts, which errors are harmful or harmless and why, and the worst prompts.
    """
    output.require_writable(out, overwrite, _FILES)
    given["columns"] = _roles(given["columns"])
    if given["kl"] is None:
        del given["kl"]
    elif not given["forecast"]:
        raise ValueError("--kl says where a forecast stops; give --forecast too")

    from pgdyn.cli import evaluation_table, tables

    found = pgdyn.evaluate(list(scores), **given)
    remarks = [f"{name}: taken for {kind}" for name, kind in found.files.items()]
    remarks += [f"{name}: {text}" for name, text in found.bad.items()]
    remarks += found.notes
    if as_json:
        print(*(f"{words}\n" for words in remarks), sep="", end="", file=sys.stderr)
        print(evaluation_table.as_json(found))
    else:
        tables.show(evaluation_table.parts(found, remarks), width=120)
    output.write(out, overwrite, lambda folder: evaluation_table.fill(folder, found))


def _roles(columns: tuple[str, ...]) -> dict[str, str]:
    """Role -> column, of texts ROLE=NAME."""
    roles: dict[str, str] = {}
    for text in columns:
        role, _, name = text.partition("=")
        if not name:
            raise ValueError(f"--column is {text!r:.80}; it must be ROLE=NAME")
        if role.strip() in roles:
            raise ValueError(f"--column names the role {role.strip()!r:.80} twice")
        roles[role.strip()] = name
    return roles
