"""What `pgdyn evaluate` shows: metrics by reward model, kinds of errors, and the worst prompts."""

from __future__ import annotations

import csv
import dataclasses
import json
import pathlib
from collections.abc import Iterable, Iterator

from pgdyn.cli import output, tables
from pgdyn.evaluate import Evaluation
from pgdyn.scores.judgement import ESCAPES, HARMFUL, HARMLESS, WHY

_SIDE_BY_SIDE = 4  # reward models in one table
_TEXT = 60
_READ = {  # part of a metric's name -> how it is read
    "accuracy": "accuracy: pairs whose better response scores higher; ties count as wrong",
    "weighted": "weighted: pairs count by the probability of both responses under the initial policy",
    "harm_aware": "harm_aware: a pair ranked wrong is forgiven where the worse response scores below the prompt's mean",
    "one_vs_many": "one_vs_many: the best response against all worse ones of its prompt at once",
    "reciprocal": "mean_reciprocal_rank: 1 / rank of the best response",
    "reward_variance": "reward_variance: of the scores on a prompt; it grows with the square of their scale",
    "forecast": "forecast: after training on the scores from the initial policy; gains are rises of the mean",
}
_KINDS = {"right": "the better response scores higher", **WHY}
_EFFECTS = {
    **dict.fromkeys(HARMLESS, "harmless: "),
    **dict.fromkeys(HARMFUL, "harmful: "),
    ESCAPES: "responses that help: ",
}
_PROMPTS = {  # what is told of prompts -> title and digits
    "takeovers": ("forecast, what gains most probability", 3),
    "worst": ("the worst prompts (margin in standard deviations)", 4),
}


def parts(found: Evaluation, remarks: Iterable[str]) -> Iterator[tables.Part]:
    """What is shown of an evaluation, after sentences on the files."""
    yield from (*remarks, *_metrics(found), *_legend(found), *_errors(found), *_prompts(found))


def _metrics(found: Evaluation) -> Iterator[tables.Part]:
    for first in range(0, len(found.judgements), _SIDE_BY_SIDE):
        judged = dict([*found.judgements.items()][first : first + _SIDE_BY_SIDE])
        rows = []
        for metric in dict.fromkeys(metric for one in judged.values() for metric in one.metrics):
            own = [one.metrics.get(metric) for one in judged.values()]
            cells = (f"{one.value:.4g} [{one.low:.4g}, {one.high:.4g}] n={one.n}" if one else "" for one in own)
            rows.append((metric, *cells))
        made = tables.table(["metric", *map(_short, judged)], rows, left=["metric"])
        made.columns[0].no_wrap = True
        yield made


def _legend(found: Evaluation) -> Iterator[str]:
    """How the metrics that are there are read, and why others are not."""
    metrics = {metric for one in found.judgements.values() for metric in one.metrics}
    if metrics:
        yield f"value [{found.confidence:.0%} bootstrap interval over prompts] n=prompts that take part"
    yield from (words for part, words in _READ.items() if any(part in metric for metric in metrics))
    left: dict[str, dict[str, None]] = {}
    for one in found.judgements.values():
        for metric, words in one.left_out.items():
            left.setdefault(words, {})[metric] = None
    yield from (f"left out: {', '.join(names)}: {words}" for words, names in left.items())


def _errors(found: Evaluation) -> Iterator[tables.Part]:
    counts = {kind: [one.errors.get(kind, 0) for one in found.judgements.values()] for kind in _KINDS}
    if any(map(any, counts.values())):
        columns = ["pairs", *map(_short, found.judgements), "why"]
        shown = {kind: own for kind, own in counts.items() if any(own) or kind == "right"}
        rows = [
            (_EFFECTS.get(kind, "") + kind, *(f"{count:,}" for count in own), _KINDS[kind])
            for kind, own in shown.items()
        ]
        yield tables.table(columns, rows, left=["pairs", "why"], title="which errors are harmful or harmless")


def _prompts(found: Evaluation) -> Iterator[tables.Part]:
    """The fields of every prompt, its text last."""
    for kind, (heading, digits) in _PROMPTS.items():
        for name, one in found.judgements.items():
            if rows := getattr(one, kind):
                prompt, *names = (field.name.replace("_", " ") for field in dataclasses.fields(rows[0]))
                cells = [
                    (*("" if number != number else number for number in numbers), _short(text))
                    for text, *numbers in map(dataclasses.astuple, rows)
                ]
                title = f"{_short(name)}: {heading}"
                yield tables.table([*names, prompt], cells, left=[prompt], title=title, digits=digits)


def _short(text: str) -> str:
    words = " ".join(text.split()).encode("utf-8", "replace").decode()
    words = "".join(letter if letter.isprintable() else "\ufffd" for letter in words)
    return words if len(words) <= _TEXT else words[: _TEXT - 1] + "…"


def as_json(found: Evaluation) -> str:
    """All of an evaluation."""
    return json.dumps(found.to_dict(), indent=2, allow_nan=False)


def fill(folder: pathlib.Path, found: Evaluation) -> None:
    """Writes the files of an evaluation."""
    (folder / "evaluation.json").write_text(as_json(found) + "\n")
    rows = ((model, metric, *one.values()) for model, own in found.models.items() for metric, one in own.items())
    with (folder / "evaluation.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("model", "metric", "value", "low", "high", "n"), *rows])
    output.save_figure(folder, "evaluation", found.plot())
