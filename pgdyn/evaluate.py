r"""`evaluate`: what a table of scores says of reward models, with intervals over prompts.

What can be measured is measured: accuracy where it is known which response is better, the weighted forms where
log-probabilities under the initial policy are there, the harm-aware ones where a prompt's mean score is known or can be
estimated from its responses, benchmark scores of benchmark files. What cannot is left out, with a sentence on what is
missing. The formulas are those of `pgdyn.metrics`.
"""

from __future__ import annotations

import dataclasses
import math
import os
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pgdyn import validate
from pgdyn.metrics.exact import ONE
from pgdyn.metrics.intervals import Interval
from pgdyn.scores import files
from pgdyn.scores.columns import is_text
from pgdyn.scores.judge import judge
from pgdyn.scores.judgement import Judgement, Settings
from pgdyn.scores.kinds import recognize
from pgdyn.scores.means import share_means
from pgdyn.scores.rows import KINDS, RESPONSES, Rows

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MOST_RESAMPLES = 100_000
_NO_FORECAST = "a forecast needs prompts with several responses, one row a response"


@dataclasses.dataclass(frozen=True)
class Evaluation(Mapping[str, Any]):
    """What `evaluate` found. As a mapping it is what `pgdyn evaluate --json` writes.

    Attributes:
        judgements: reward model -> its metrics, errors and worst prompts.
        files: file -> what it was taken for.
        bad: file -> how many rows cannot be used, and the first of them; files without such rows are left out.
        notes: further sentences.
        confidence: of the intervals.
    """

    judgements: dict[str, Judgement]
    files: dict[str, str]
    bad: dict[str, str]
    notes: tuple[str, ...]
    confidence: float

    @property
    def models(self) -> dict[str, dict[str, dict[str, float | int]]]:
        """Reward model -> metric -> {"value", "low", "high", "n"}."""
        return {
            name: {metric: _plain(interval) for metric, interval in one.metrics.items()}
            for name, one in self.judgements.items()
        }

    @property
    def left_out(self) -> dict[str, dict[str, str]]:
        """Reward model -> metric that the data do not allow -> a sentence on what is missing."""
        return {name: dict(one.left_out) for name, one in self.judgements.items()}

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain values."""
        return {
            "models": self.models,
            "left_out": self.left_out,
            "errors": {name: dict(one.errors) for name, one in self.judgements.items()},
            "worst_prompts": {
                name: [_finite(dataclasses.asdict(row)) for row in one.worst] for name, one in self.judgements.items()
            },
            "takeovers": {
                name: [_finite(dataclasses.asdict(row)) for row in one.takeovers]
                for name, one in self.judgements.items()
                if one.takeovers
            },
            "files": dict(self.files),
            "bad_rows": dict(self.bad),
            "notes": list(self.notes),
            "confidence": self.confidence,
        }

    def plot(self) -> Figure:
        """The picture of `pgdyn.plot.evaluation`."""
        from pgdyn.plot import evaluation

        return evaluation(self.judgements)

    def __getitem__(self, key: str) -> Any:
        return self.to_dict()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.to_dict())

    def __len__(self) -> int:
        return len(self.to_dict())


def evaluate(
    scores: Any,
    *,
    columns: Mapping[str, str] | None = None,
    models: Sequence[str] = (),
    skip_bad: bool = False,
    confidence: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
    worst: int = 5,
    forecast: bool = False,
    kl: float = 0.5,
) -> Evaluation:
    """Judges reward models by their scores.

    Args:
        scores: a file or a list of files: RewardBench v1 or v2 scores, pairs, or one row a response, as CSV, JSON, JSON
            lines or Parquet, gzipped or not; or columns, as a dict of lists or a pandas frame. Pairs and responses that
            name the same prompts and models go together: the responses then give the mean scores of the pairs' prompts.
        columns: role -> column, where the names are not among those that are known. The roles are prompt, response,
            logp, true_reward, mean_reward, subset, model and id.
        models: of files with one row a response: the columns that are reward models; all numeric ones where empty.
        skip_bad: use the other rows where some cannot be used.
        confidence: the part of the bootstrap resamples that an interval holds.
        resamples: how many.
        seed: of the resamples.
        worst: how many of the worst prompts to name.
        forecast: of files with one row a response: also train on each model's scores until the mean KL is `kl`, as
            `pgdyn.metrics.forecast` does: forecast_proxy_gain, forecast_kl, with true rewards forecast_true_value and
            forecast_true_gain, and the responses that gain most probability. Intervals are over prompts, each with its
            own responses, so that both kinds of sampling are in them.
        kl: in nats.

    Returns:
        An `Evaluation`: `models[NAME][METRIC]["value"]`, with "low", "high" and "n", the prompts that take part.

    Raises:
        ValueError: on a file that is no known kind, is empty or is cut off; on rows that cannot be used, unless they
            are skipped: how many, and the first of them; on settings out of range.
        OSError: if a file cannot be read.

    Example:
        >>> table = {"prompt": [1, 1, 1], "true_reward": [1, 0.5, 0], "rm": [2.0, 3.0, 1.0]}
        >>> found = evaluate(table)
        >>> found.models["rm"]["accuracy"]["value"].__round__(4), found.models["rm"]["reward_variance"]["n"]
        (0.6667, 1)
        >>> found.left_out["rm"]["weighted_accuracy"]
        'the log-probabilities of the responses under the initial policy are missing'
    """
    settings = Settings(
        confidence,
        validate.count("resamples", resamples, minimum=1, maximum=_MOST_RESAMPLES),
        validate.count("seed", seed, minimum=0),
        validate.count("worst", worst, minimum=0),
        float(validate.number("kl", kl, positive=True)) if forecast else None,
    )
    if isinstance(confidence, bool) or not isinstance(confidence, int | float) or not 0 < confidence < 1:
        raise ValueError(f"confidence is {validate.shown(confidence)}; it must lie between 0 and 1")
    given = dict(columns or {})
    ours = (models,) if isinstance(models, str) else tuple(models)
    taken, bad, notes = {}, {}, []
    read: list[tuple[str, Rows]] = []
    found: list[tuple[str, str, Judgement]] = []
    for name, table in _tables(scores, given):
        reading = recognize(table, given, ours)
        taken[name] = f"{table.form}, {reading.taken_for}"
        if reading.bad:
            place = min(reading.bad)
            rows = f"{len(reading.bad)} of {reading.total} rows cannot be used; the first is {reading.unit} {place}"
            bad[name] = f"{rows}: {reading.bad[place]}"
            if not skip_bad:
                raise ValueError(f"{name}: {bad[name]}; skip_bad uses the rest (--skip-bad on the command line)")
        notes += [f"{name}: {words}" for words in reading.notes]
        read += [(name, rows) for rows in reading.rows]
    if ours and not any(rows.kind == RESPONSES for _, rows in read):
        raise ValueError("models names columns of files of one row a response, and there is no such file")
    notes += share_means([rows for _, rows in read])
    for name, rows in read:
        judged = judge(rows, settings)
        found += [(model, name, one) for model, one in judged.items()]
        notes += [f"{name}: {words}" for words in dict.fromkeys(w for one in judged.values() for w in one.notes)]
    merged, more = _merged(found)
    if forecast:
        for one in merged.values():
            if "forecast_kl" not in one.metrics:
                one.left_out["forecast_kl"] = _NO_FORECAST
        more = [*more, *_ranking(merged, kl)]
    return Evaluation(merged, taken, bad, tuple(dict.fromkeys([*notes, *more])), confidence)


def _tables(scores: Any, columns: Mapping[str, str]) -> Iterator[tuple[str, files.Table]]:
    def text(name: str) -> bool:
        return is_text(name, columns)

    if isinstance(scores, str | os.PathLike):
        scores = [scores]
    if isinstance(scores, Mapping) or hasattr(scores, "columns"):
        yield "scores", files.of_columns({str(name): scores[name] for name in scores}, text)
        return
    if not isinstance(scores, Sequence) or not len(scores):
        raise ValueError(f"scores is {validate.shown(scores)}; it must be a file, a list of files, or columns")
    if all(isinstance(row, Mapping) for row in scores):
        names = dict.fromkeys(key for row in scores for key in row)
        yield "scores", files.of_columns({str(name): [row.get(name) for row in scores] for name in names}, text)
        return
    for path in scores:
        if not isinstance(path, str | os.PathLike):
            raise ValueError(f"scores holds {validate.shown(path)}; it must hold names of files")
        yield str(pathlib.Path(path)), files.read(path, text)


def _merged(found: list[tuple[str, str, Judgement]]) -> tuple[dict[str, Judgement], list[str]]:
    """Judgements by model, and sentences on what two files both say.

    What two kinds of file say of one model is put together; a metric that both give, the errors and the worst prompts
    are those of the kind that knows more. Two files of one kind are two models.
    """
    order = list(dict.fromkeys(model for model, _, _ in found))
    merged: dict[str, Judgement] = {}
    homes: dict[str, dict[str, str]] = {}
    notes = []
    for model, name, one in sorted(found, key=lambda entry: (order.index(entry[0]), KINDS.index(entry[2].kind))):
        there = merged.get(model)
        if there is None:
            merged[model], homes[model] = one, {one.kind: name}
        elif one.kind in homes[model]:
            apart, count = f"{model} ({pathlib.Path(name).name})", 2
            while apart in merged:
                apart, count = f"{model} ({pathlib.Path(name).name}, {count})", count + 1
            merged[apart] = one
        else:
            if both := [metric for metric in one.metrics if metric in there.metrics]:
                fuller = next(iter(homes[model].values()))
                notes.append(f"{model}: {', '.join(both)} taken from {fuller}, not from {name} ({one.kind})")
            homes[model][one.kind] = name
            metrics = {
                **there.metrics,
                **{key: value for key, value in one.metrics.items() if key not in there.metrics},
            }
            left = {key: words for key, words in {**one.left_out, **there.left_out}.items() if key not in metrics}
            if f"{ONE}accuracy" in one.metrics:  # that file knows what is missing for one against many
                left |= {key: words for key, words in one.left_out.items() if key in left and key.startswith(ONE)}
            merged[model] = dataclasses.replace(there, metrics=metrics, left_out=left)
    return merged, notes


def _ranking(judgements: Mapping[str, Judgement], kl: float) -> list[str]:
    """The reward models by what a forecast says of the truth."""
    value = {
        name: one.metrics["forecast_true_value"]
        for name, one in judgements.items()
        if "forecast_true_value" in one.metrics
    }
    if len(value) < 2:
        return []
    order = sorted(value, key=lambda name: -value[name].value)
    words = ", ".join(f"{name} {value[name].value:.4g}" for name in order)
    return [f"by forecast true value, after training to a mean KL of {kl:g} nats, the best first: {words}"]


def _plain(interval: Interval) -> dict[str, float | int]:
    return _finite({"value": interval.value, "low": interval.low, "high": interval.high, "n": interval.n})


def _finite(row: dict[str, Any]) -> dict[str, Any]:
    """JSON has neither nan nor infinity."""
    return {key: None if isinstance(value, float) and not math.isfinite(value) else value for key, value in row.items()}
