"""The tables that `pgdyn evaluate` shows: metrics by reward model, kinds of errors, and the worst prompts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import Console

from pgdyn.cli import tables
from pgdyn.evaluate import Evaluation
from pgdyn.scores.judgement import ESCAPES, HARMFUL, HARMLESS, WHY, WRONG

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


def show(found: Evaluation, remarks: Iterable[str]) -> None:
    """Prints what was found.

    Example:
        >>> from pgdyn.evaluate import evaluate
        >>> show(evaluate({"prompt": [1, 1], "true_reward": [1, 0], "rm": [2.0, 3.0]}), [])
        <BLANKLINE>
        metric ... rm
        ...
    """
    console = tables.console(120)
    for words in remarks:
        console.print(words, soft_wrap=True)
    names = list(found.judgements)
    for first in range(0, len(names), _SIDE_BY_SIDE):
        _metrics(console, found, names[first : first + _SIDE_BY_SIDE])
    for words in _legend(found):
        console.print(words, soft_wrap=True)
    left: dict[str, list[str]] = {}
    for one in found.judgements.values():
        for metric, words in one.left_out.items():
            if metric not in left.setdefault(words, []):
                left[words].append(metric)
    for words, metrics in left.items():
        console.print(f"left out: {', '.join(metrics)}: {words}", soft_wrap=True)
    _errors(console, found)
    _takeovers(console, found)
    for name, one in found.judgements.items():
        if not one.worst:
            continue
        columns = ("line", "chosen", "rejected", "mean", "margin", "wrong pairs", "prompt")
        table = tables.table(
            *columns, left=["prompt"], title=f"{_short(name)}: the worst prompts (margin in standard deviations)"
        )
        for row in one.worst:
            numbers = (row.chosen, row.rejected, row.mean_reward, row.margin)
            cells = ("" if value != value else f"{value:.4g}" for value in numbers)
            table.add_row(str(row.line), *cells, f"{row.wrong} of {row.pairs}", _short(row.prompt))
        console.print(table)


def _metrics(console: Console, found: Evaluation, names: Sequence[str]) -> None:
    table = tables.table("metric", *map(_short, names), left=["metric"])
    table.columns[0].no_wrap = True
    order = dict.fromkeys(metric for name in names for metric in found.judgements[name].metrics)
    for metric in order:
        cells = []
        for name in names:
            one = found.judgements[name].metrics.get(metric)
            cells.append("" if one is None else f"{one.value:.4g} [{one.low:.4g}, {one.high:.4g}] n={one.n}")
        table.add_row(metric, *cells)
    console.print(table)


def _legend(found: Evaluation) -> list[str]:
    """How the metrics that are there are read."""
    metrics = {metric for one in found.judgements.values() for metric in one.metrics}
    first = f"value [{found.confidence:.0%} bootstrap interval over prompts] n=prompts that take part"
    shown = [words for part, words in _READ.items() if any(part in metric for metric in metrics)]
    return [first, *shown] if metrics else []


def _short(text: str) -> str:
    words = " ".join(text.split()).encode("utf-8", "replace").decode()
    words = "".join(letter if letter.isprintable() else "\ufffd" for letter in words)
    return words if len(words) <= _TEXT else words[: _TEXT - 1] + "…"


def _takeovers(console: Console, found: Evaluation) -> None:
    for name, one in found.judgements.items():
        if not one.takeovers:
            continue
        columns = ("line", "score", "true reward", "before", "after", "prompt")
        title = f"{_short(name)}: forecast, what gains most probability"
        table = tables.table(*columns, left=["prompt"], title=title)
        for row in one.takeovers:
            numbers = (row.score, row.true_reward, row.before, row.after)
            table.add_row(str(row.line), *("" if x != x else f"{x:.3g}" for x in numbers), _short(row.prompt))
        console.print(table)


def _errors(console: Console, found: Evaluation) -> None:
    seen = {kind for one in found.judgements.values() for kind, count in one.errors.items() if count}
    if not seen:
        return
    table = tables.table(
        "pairs",
        *map(_short, found.judgements),
        "why",
        left=["pairs", "why"],
        title="which errors are harmful or harmless",
    )
    order = ("right", *HARMLESS, *HARMFUL, WRONG, ESCAPES)
    for kind in order:
        if kind not in seen and kind != "right":
            continue
        word = "harmless: " if kind in HARMLESS else "harmful: " if kind in HARMFUL else ""
        label = "responses that help: " + kind if kind == ESCAPES else word + kind
        counts = (one.errors.get(kind, 0) for one in found.judgements.values())
        table.add_row(label, *(f"{count:,}" for count in counts), WHY.get(kind, "the better response scores higher"))
    console.print(table)
