"""`pgdyn evaluate`: reward models judged by files of their scores."""

from __future__ import annotations

import json
import pathlib
import sys
from typing import TYPE_CHECKING, Any

import click

from pgdyn.cli import options, output

if TYPE_CHECKING:
    from pgdyn.evaluate import Evaluation

_FILES = ("evaluation.json", "evaluation.csv", "evaluation.png", "evaluation.pdf")
_ROLES = "prompt, response, logp, true_reward, mean_reward, subset, model, id"
_COLUMNS = f"A column whose name is not known: ROLE=NAME, with ROLE one of {_ROLES}."
_MODELS = "A column of scores in files of one row a response.  [default: all numeric columns without another role]"
_FORECAST = "Forecast what training on each model would do, from files of one row a response."
_JSON = "Write JSON to standard output, and nothing else."


@click.command()
@click.argument("scores", nargs=-1, required=True, metavar="SCORES...", type=options.PATH)
@click.option("--json", "as_json", is_flag=True, help=_JSON)
@click.option("--skip-bad", is_flag=True, help="Use the other rows where some cannot be used.")
@click.option("--column", "columns", multiple=True, metavar="ROLE=NAME", help=_COLUMNS)
@click.option("--model", "models", multiple=True, metavar="NAME", help=_MODELS)
@click.option("--confidence", type=options.NUMBER, default=0.95, help="Part of the resamples that an interval holds.")
@click.option(
    "--resamples", type=options.Value(int, smallest=1), default=1000, help="Bootstrap resamples of the prompts."
)
@click.option("--seed", type=options.SEED, default=0, help="Seed of the resamples.")
@click.option("--forecast", is_flag=True, help=_FORECAST)
@click.option(
    "--kl", type=options.NUMBER, help="Mean KL in nats at which the training of a forecast stops.  [default: 0.5]"
)
@click.option("--worst", type=options.Value(int, smallest=0), default=5, help="Prompts to name for each reward model.")
@options.output(", ".join(_FILES))
def evaluate(
    scores: tuple[pathlib.Path, ...],
    as_json: bool,
    columns: tuple[str, ...],
    kl: float | None,
    out: pathlib.Path | None,
    overwrite: bool,
    **given: Any,
) -> int:
    """Judge reward models by files of their scores.

    SCORES are RewardBench v1 or v2 scores as they are, tables of pairs (prompt, chosen, rejected) or of one row a
    response (prompt, response, a column for each reward model, and where known logp and true_reward), as CSV, JSON,
    JSON lines or Parquet, gzipped or not. Shown is every metric that the data allow with its bootstrap interval over
    prompts, which errors are harmful or harmless and why, and the worst prompts.
    """
    output.require_writable(out, overwrite, _FILES)
    import pgdyn

    roles = {}
    for text in columns:
        role, sign, name = text.partition("=")
        if not sign or not name:
            raise ValueError(f"--column is {text!r:.80}; it must be ROLE=NAME")
        if role.strip() in roles:
            raise ValueError(f"--column names the role {role.strip()!r:.80} twice")
        roles[role.strip()] = name
    if kl is not None:
        if not given["forecast"]:
            raise ValueError("--kl says where a forecast stops; give --forecast too")
        given["kl"] = kl
    found = pgdyn.evaluate(list(scores), columns=roles, **given)
    if as_json:
        for words in _remarks(found):
            print(words, file=sys.stderr)
        print(json.dumps(found.to_dict(), indent=2, allow_nan=False))
    else:
        from pgdyn.cli import evaluation_table

        evaluation_table.show(found, _remarks(found))
    return output.write(out, overwrite, lambda folder: _fill(folder, found))


def _remarks(found: Evaluation) -> list[str]:
    words = [f"{name}: taken for {kind}" for name, kind in found.files.items()]
    return [*words, *(f"{name}: {text}" for name, text in found.bad.items()), *found.notes]


def _fill(folder: pathlib.Path, found: Evaluation) -> None:
    import csv

    (folder / "evaluation.json").write_text(json.dumps(found.to_dict(), indent=2, allow_nan=False) + "\n")
    with (folder / "evaluation.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["model", "metric", "value", "low", "high", "n"])
        for model, metrics in found.models.items():
            writer.writerows([model, metric, *one.values()] for metric, one in metrics.items())
    figure = found.plot()
    figure.savefig(folder / "evaluation.png", dpi=150)
    figure.set_layout_engine("none")
    figure.savefig(folder / "evaluation.pdf", metadata={"CreationDate": None})
