"""The tables that `pgdyn evaluate` shows: metrics by reward model, kinds of errors, and the worst prompts."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from pgdyn.cli import tables
from pgdyn.evaluate import Evaluation
from pgdyn.scores.judgement import ESCAPES, HARMFUL, HARMLESS, WHY, WRONG, Judgement, Takeover, WorstPrompt

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
_KINDS = {  # kind of pairs -> what it is called and why
    "right": ("right", "the better response scores higher"),
    **{kind: (f"harmless: {kind}", WHY[kind]) for kind in HARMLESS},
    **{kind: (f"harmful: {kind}", WHY[kind]) for kind in HARMFUL},
    WRONG: (WRONG, WHY[WRONG]),
    ESCAPES: (f"responses that help: {ESCAPES}", WHY[ESCAPES]),
}
_ERRORS = "which errors are harmful or harmless"
_TAKEOVERS = "forecast, what gains most probability"
_TAKEOVER = ["line", "score", "true reward", "before", "after", "prompt"]
_WORST = "the worst prompts (margin in standard deviations)"
_WORST_PROMPT = ["line", "chosen", "rejected", "mean", "margin", "wrong pairs", "prompt"]


def show(found: Evaluation, remarks: Iterable[str]) -> None:
    """Prints what was found.

    Example:
        >>> from pgdyn.evaluate import evaluate
        >>> show(evaluate({"prompt": [1, 1], "true_reward": [1, 0], "rm": [2.0, 3.0]}), [])
        <BLANKLINE>
        metric ... rm
        ...
    """
    console, judged = tables.console(120), found.judgements
    for line in remarks:
        console.print(line, soft_wrap=True)
    for first in range(0, len(judged), _SIDE_BY_SIDE):
        shown = dict([*judged.items()][first : first + _SIDE_BY_SIDE])
        made = tables.table(["metric", *map(_short, shown)], _metrics(shown), left=["metric"])
        made.columns[0].no_wrap = True
        console.print(made)
    for line in (*_legend(found), *_left_out(found)):
        console.print(line, soft_wrap=True)
    if errors := [*_errors(judged.values())]:
        columns = ["pairs", *map(_short, judged), "why"]
        console.print(tables.table(columns, errors, left=["pairs", "why"], title=_ERRORS))
    for name, one in judged.items():
        if one.takeovers:
            rows = [_takeover(row) for row in one.takeovers]
            console.print(
                tables.table(_TAKEOVER, rows, left=["prompt"], title=f"{_short(name)}: {_TAKEOVERS}", digits=3)
            )
    for name, one in judged.items():
        if one.worst:
            rows = [_worst(row) for row in one.worst]
            console.print(tables.table(_WORST_PROMPT, rows, left=["prompt"], title=f"{_short(name)}: {_WORST}"))


def _metrics(judged: Mapping[str, Judgement]) -> Iterator[list[str]]:
    for metric in dict.fromkeys(metric for one in judged.values() for metric in one.metrics):
        found = [one.metrics.get(metric) for one in judged.values()]
        cells = [f"{one.value:.4g} [{one.low:.4g}, {one.high:.4g}] n={one.n}" if one else "" for one in found]
        yield [metric, *cells]


def _legend(found: Evaluation) -> Iterator[str]:
    """How the metrics that are there are read."""
    metrics = {metric for one in found.judgements.values() for metric in one.metrics}
    if metrics:
        yield f"value [{found.confidence:.0%} bootstrap interval over prompts] n=prompts that take part"
    yield from (words for part, words in _READ.items() if any(part in metric for metric in metrics))


def _left_out(found: Evaluation) -> Iterator[str]:
    metrics: dict[str, dict[str, None]] = {}
    for one in found.judgements.values():
        for metric, words in one.left_out.items():
            metrics.setdefault(words, {})[metric] = None
    yield from (f"left out: {', '.join(names)}: {words}" for words, names in metrics.items())


def _errors(judged: Collection[Judgement]) -> Iterator[list[str]]:
    if not any(count for one in judged for count in one.errors.values()):
        return
    for kind, (label, why) in _KINDS.items():
        counts = [one.errors.get(kind, 0) for one in judged]
        if any(counts) or kind == "right":
            yield [label, *(f"{count:,}" for count in counts), why]


def _takeover(row: Takeover) -> Sequence[object]:
    return row.line, *_known(row.score, row.true_reward, row.before, row.after), _short(row.prompt)


def _worst(row: WorstPrompt) -> Sequence[object]:
    numbers = _known(row.chosen, row.rejected, row.mean_reward, row.margin)
    return row.line, *numbers, f"{row.wrong} of {row.pairs}", _short(row.prompt)


def _known(*numbers: float) -> list[object]:
    return ["" if math.isnan(number) else number for number in numbers]


def _short(text: str) -> str:
    words = " ".join(text.split()).encode("utf-8", "replace").decode()
    words = "".join(letter if letter.isprintable() else "\ufffd" for letter in words)
    return words if len(words) <= _TEXT else words[: _TEXT - 1] + "…"
