r"""From the rows of a file to each model's metrics with intervals, kinds of errors, and worst prompts.

An item that is ranked wrong is of one of these kinds (arXiv 2604.25872, the table of error types; V_P is the mean score
of the prompt's responses under the initial policy):

    never attracts           rejected < V_P                                     harmless
    negligible probability   p(rejected) <= 1e-3 p(chosen), and not the above   harmless
    reward hacking           no response of the prompt scores higher            harmful
    stalling                 rejected >= V_P, but some other scores higher      harmful
    wrong                    V_P is not known                                   not known

and a response whose true reward lies between the prompt's mean and its best, scored below V_P, helps (escapes
mediocrity).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np

from pgdyn.metrics import benchmarks, intervals
from pgdyn.metrics.exact import ONE, one_vs_many
from pgdyn.metrics.forecast import Forecast, forecast
from pgdyn.metrics.items import Items, ordered_pairs
from pgdyn.scores.kinds import RESPONSES, V1, V2, Rows

NEVER, NEGLIGIBLE, HACKING, STALLING, WRONG = (
    "never attracts", "negligible probability", "reward hacking", "stalling", "wrong",
)  # fmt: skip
ESCAPES = "escapes mediocrity"
HARMLESS, HARMFUL = (NEVER, NEGLIGIBLE), (HACKING, STALLING)
WHY = {
    NEVER: "the rejected response scores below the prompt's mean, so it attracts no probability at first",
    NEGLIGIBLE: "the rejected response is a thousand times less likely than the chosen one",
    HACKING: "the rejected response scores highest, so training moves to it",
    STALLING: "the rejected response scores above the mean, so training moves to it first",
    WRONG: "the mean score of the prompt is not known, so what the error does is not known either",
    ESCAPES: "a mediocre response scores below the mean, so training does not stall at it",
}
_NEGLIGIBLE = np.log(1e-3)
_BLOCK = 2**21  # pairs held at once
_KEPT = 2**23  # pairs kept for the next model


@dataclasses.dataclass(frozen=True)
class WorstPrompt:
    """A prompt on which a model's errors do most harm.

    Attributes:
        prompt: its text, as far as the file has it.
        line: of its first row that takes part.
        chosen: score of the better response of the worst pair.
        rejected: score of the worse one.
        mean_reward: V_P, nan where it is not known.
        margin: how far the worse response scores above the better one and V_P, in standard deviations of all scores.
        wrong: pairs of the prompt that are ranked wrong.
        pairs: pairs of the prompt.
    """

    prompt: str
    line: int
    chosen: float
    rejected: float
    mean_reward: float
    margin: float
    wrong: int
    pairs: int


@dataclasses.dataclass(frozen=True)
class Takeover:
    """A response that training on a model's scores would move to.

    Attributes:
        prompt: its prompt's text, as far as the file has it.
        line: its place in the file.
        score: of the model.
        true_reward: nan where it is not known.
        before: probability at the start.
        after: probability when training stops.
    """

    prompt: str
    line: int
    score: float
    true_reward: float
    before: float
    after: float


@dataclasses.dataclass
class Judgement:
    """What one file says of one model.

    Attributes:
        kind: of the file.
        metrics: name -> `Interval`.
        left_out: name -> a sentence on what is missing.
        errors: kind -> number of items, and "right"; of `ESCAPES`, the number of responses.
        worst: the worst prompts, the worst first.
        notes: further sentences.
        takeovers: where a forecast was asked for: the responses that gain most probability.
    """

    kind: str
    metrics: dict[str, intervals.Interval]
    left_out: dict[str, str]
    errors: dict[str, int] = dataclasses.field(default_factory=dict)
    worst: list[WorstPrompt] = dataclasses.field(default_factory=list)
    notes: list[str] = dataclasses.field(default_factory=list)
    takeovers: list[Takeover] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True)
class Settings:
    """How intervals are made and how many prompts are shown.

    Attributes:
        confidence: the part of the resamples that an interval holds.
        resamples: how many.
        seed: of the resamples.
        worst: prompts to name.
        forecast: KL at which a forecast stops, in nats; None for no forecast.
    """

    confidence: float = 0.95
    resamples: int = 1000
    seed: int = 0
    worst: int = 5
    forecast: float | None = None


def judge(rows: Rows, settings: Settings) -> dict[str, Judgement]:
    """Each model of the rows.

    Example:
        >>> rows = Rows("pairs", np.array([0, 1]), ["a", "b"], np.array([2, 3]),
        ...             {"rm": {"chosen": np.array([1.0, 0.0]), "rejected": np.array([0.0, 1.0])}})
        >>> judge(rows, Settings())["rm"].metrics["accuracy"].value
        0.5
    """
    way = {RESPONSES: _responses, V2: _lists}.get(rows.kind, _pairs)
    return {name: way(rows, name, settings) for name in rows.scores}


class _Tally:
    """Sums over prompts of one model, block by block of pairs, and what is worst."""

    def __init__(self, prompts: int, spread: float):
        self.over: dict[str, np.ndarray] = {}
        self.under: dict[str, np.ndarray] = {}
        self.errors: dict[str, int] = {}
        self.prompts, self.spread = prompts, spread if spread > 0 else 1.0
        self.margin = np.full(prompts, -np.inf)
        self.pair = np.zeros((prompts, 3))
        self.wrong, self.pairs = np.zeros(prompts, int), np.zeros(prompts, int)
        self.peaks: dict[str, float] = {}

    def add(self, items: Items, peak: float, top: np.ndarray | None, log_ratio: np.ndarray | None) -> None:
        """Adds items; `peak` is the largest log weight so far, `top` whether the rejected one is the prompt's best."""
        for name, over, under in items.sums():
            # Each block's weights are relative to its own largest one.
            shift = 1.0
            if "weighted" in name:
                assert items.log_weight is not None
                known = slice(None)
                if "harm" in name and items.mean_reward is not None:
                    known = ~np.isnan(items.mean_reward)
                shift = float(np.exp(items.log_weight[known].max() - peak))
            self.over[name] = self.over.get(name, 0.0) + shift * over
            self.under[name] = self.under.get(name, 0.0) + shift * under
        wrong = ~items.right()
        mean = np.full(len(wrong), np.nan) if items.mean_reward is None else items.mean_reward
        self._count("right", ~wrong)
        unknown = wrong & np.isnan(mean)
        never = wrong & (items.rejected < mean)
        rest = wrong & ~unknown & ~never
        small = rest & (log_ratio <= _NEGLIGIBLE) if log_ratio is not None else np.zeros(len(wrong), bool)
        rest &= ~small
        hacking = rest if top is None else rest & top
        for kind, which in (
            (WRONG, unknown),
            (NEVER, never),
            (NEGLIGIBLE, small),
            (HACKING, hacking),
            (STALLING, rest & ~hacking),
        ):
            self._count(kind, which)
        self.pairs += np.bincount(items.prompt, minlength=self.prompts)
        self.wrong += np.bincount(items.prompt[wrong], minlength=self.prompts)
        margin = (items.rejected - np.fmax(items.chosen, mean)) / self.spread
        margin[~(rest | unknown)] = -np.inf
        order = np.lexsort((margin, items.prompt))
        last = order[np.flatnonzero(np.r_[items.prompt[order][1:] != items.prompt[order][:-1], True])]
        better = last[margin[last] > self.margin[items.prompt[last]]]
        at = items.prompt[better]
        self.margin[at] = margin[better]
        self.pair[at] = np.stack([items.chosen[better], items.rejected[better], mean[better]], axis=1)

    def _count(self, kind: str, which: np.ndarray) -> None:
        self.errors[kind] = self.errors.get(kind, 0) + int(np.sum(which))

    def worst(self, count: int, shown: list[str], codes: np.ndarray, lines: np.ndarray) -> list[WorstPrompt]:
        """The prompts with the largest margins."""
        order = np.argsort(-self.margin, kind="stable")[:count]
        return [
            WorstPrompt(
                shown[codes[i]] if shown else "",
                int(lines[i]),
                *map(float, self.pair[i]),
                margin=float(self.margin[i]),
                wrong=int(self.wrong[i]),
                pairs=int(self.pairs[i]),
            )
            for i in order
            if self.margin[i] > -np.inf
        ]


def _ratios(sums: dict[str, tuple[np.ndarray, np.ndarray]], settings: Settings) -> dict[str, intervals.Interval]:
    """Intervals of several ratios from the same resamples."""
    if not sums:
        return {}
    columns = np.stack([column for pair in sums.values() for column in pair], axis=1)
    draws = intervals.resampled(columns, resamples=settings.resamples, seed=settings.seed)
    found = {}
    for i, (name, (over, under)) in enumerate(sums.items()):
        low, high = intervals.ends(draws[:, 2 * i], draws[:, 2 * i + 1], settings.confidence)
        found[name] = intervals.Interval(float(over.sum() / under.sum()), low, high, int(np.sum(under > 0)))
    return found


_NO_LOGP = "the log-probabilities of the responses under the initial policy are missing"
_NO_MEAN = "the mean score of each prompt's responses under the initial policy is missing"
_NO_TRUTH = "the true rewards are missing, so no response is known to be better than another"
_NO_MANY = "there is no prompt with one right response and several wrong ones"
_NO_SPREAD = "no prompt has several responses sampled from the initial policy"


def _missing(found: dict[str, intervals.Interval], why: dict[str, str], kind: str) -> dict[str, str]:
    return {name: words for name, words in why.items() if name not in found} | _benchmarks(kind)


def _benchmarks(kind: str) -> dict[str, str]:
    first = "the file holds no RewardBench {} scores"
    return {
        **({} if kind == V1 else {"rewardbench": first.format("v1")}),
        **({} if kind == V2 else {"rewardbench2": first.format("v2")}),
    }


def _wanted(logp: bool, mean: bool, many: bool) -> dict[str, str]:
    found = {
        "weighted_accuracy": _NO_LOGP,
        "harm_aware_accuracy": _NO_MEAN,
        "weighted_harm_aware_accuracy": _NO_LOGP if not logp else _NO_MEAN,
        **{f"{ONE}accuracy": _NO_MANY, f"{ONE}weighted_accuracy": _NO_MANY if not many else _NO_LOGP},
        **{f"{ONE}harm_aware_accuracy": _NO_MANY if not many else _NO_MEAN},
        f"{ONE}weighted_harm_aware_accuracy": _NO_MANY if not many else _NO_LOGP if not logp else _NO_MEAN,
        "mean_reciprocal_rank": _NO_MANY,
        "reward_variance": _NO_SPREAD,
    }
    return found


def _compact(codes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The codes that are there, each row's index among them, and the first row of each."""
    there, first, index = np.unique(codes, return_index=True, return_inverse=True)
    return there, index, first


def _pairs(rows: Rows, name: str, settings: Settings) -> Judgement:
    own = rows.scores[name]
    chosen, rejected, mean = own["chosen"], own["rejected"], own.get("mean_reward")
    codes, prompt, first = _compact(rows.prompt)
    logp = rows.logp
    tally = _Tally(len(codes), float(np.std(np.r_[chosen, rejected])))
    weight = None if logp is None else logp.sum(axis=1)
    peak = 0.0 if weight is None else float(weight.max(initial=-np.inf))
    ratio = None if logp is None else logp[:, 1] - logp[:, 0]
    tally.add(Items(prompt, chosen, rejected, weight, mean, len(codes)), peak, None, ratio)
    found = _ratios({key: (over, tally.under[key]) for key, over in tally.over.items()}, settings)
    notes = []
    if rows.kind == V1:
        assert rows.subset is not None
        more, notes = _rewardbench(rows.subset, chosen > rejected, settings)
        found |= more
    return Judgement(
        rows.kind,
        found,
        _missing(found, _wanted(logp is not None, mean is not None, many=False), rows.kind),
        tally.errors,
        tally.worst(settings.worst, rows.prompts, codes, rows.lines[first]),
        notes,
    )


def _rewardbench(
    subset: np.ndarray, right: np.ndarray, settings: Settings
) -> tuple[dict[str, intervals.Interval], list[str]]:
    """RewardBench v1 with intervals; prompts are resampled within their subsets."""
    names = [name for name in np.unique(subset).tolist() if name in benchmarks.SECTION]
    draws, counts, values = {}, {}, {}
    for i, name in enumerate(names):
        own = right[subset == name].astype(float)
        sums = intervals.resampled(own[:, None], resamples=settings.resamples, seed=settings.seed + i)
        draws[name], counts[name], values[name] = sums[:, 0] / len(own), len(own), float(own.mean())
    sections = {benchmarks.SECTION[name] for name in names}
    resampled: Any = benchmarks.overall(draws)  # the same weighted means, on arrays
    found = {}
    for key, value in benchmarks.overall(values).items():
        part = [n for n in names if key in ("rewardbench", f"rewardbench_{benchmarks.slug(benchmarks.SECTION[n])}")]
        low, high = intervals.ends(resampled[key], 1.0, settings.confidence)
        found[key] = intervals.Interval(value, low, high, sum(counts[n] for n in part))
    notes = []
    if gone := [section for section in benchmarks.COUNTS if section not in sections]:
        notes.append(f"rewardbench is the mean of the sections that are there; {', '.join(gone)} missing")
    if gone := [n for n, section in benchmarks.SECTION.items() if section in sections and n not in names]:
        notes.append(f"subsets of RewardBench v1 that are missing leave their weight to the others: {', '.join(gone)}")
    if strangers := sorted({*np.unique(subset).tolist()} - {*names}):
        notes.append(f"subsets of no section take no part in rewardbench: {', '.join(strangers):.200}")
    return found, notes


def _lists(rows: Rows, name: str, settings: Settings) -> Judgement:
    assert rows.num_correct is not None
    scores, right = rows.scores[name]["scores"], rows.num_correct
    subset = np.array([""] * len(scores)) if rows.subset is None else rows.subset
    tie = np.array([one.lower() == benchmarks.TIES for one in subset.tolist()])
    found: dict[str, intervals.Interval] = {}
    draws, values = {}, {}
    for i, one in enumerate(np.unique(subset).tolist()):
        at = np.flatnonzero(subset == one)
        if one.lower() == benchmarks.TIES:
            assert rows.ids is not None
            sums = benchmarks.ties_sums([rows.ids[j] for j in at], [scores[j] for j in at], right[at].tolist())
            total = intervals.resampled(sums, resamples=settings.resamples, seed=settings.seed + i)
            resampled, value = np.asarray(benchmarks.ties_score(total)), float(benchmarks.ties_score(sums.sum(axis=0)))
            count = len(sums)
        else:
            credits = np.array([benchmarks.credit(scores[j]) for j in at])
            total = intervals.resampled(credits[:, None], resamples=settings.resamples, seed=settings.seed + i)
            resampled, value, count = total[:, 0] / len(at), float(credits.mean()), len(at)
        draws[one], values[one] = resampled, (value, count)
        if one:
            low, high = intervals.ends(resampled, 1.0, settings.confidence)
            found[f"rewardbench2_{benchmarks.slug(one)}"] = intervals.Interval(value, low, high, count)
    low, high = intervals.ends(np.mean(list(draws.values()), axis=0), 1.0, settings.confidence)
    whole = float(np.mean([value for value, _ in values.values()]))
    overall = intervals.Interval(whole, low, high, sum(count for _, count in values.values()))
    found = {"rewardbench2": overall, **found}
    use = np.flatnonzero(~tie)
    tally = None
    if len(use):
        tally, more = _from_lists([scores[i] for i in use], right[use], settings)
        found = {**more, **found}
    left = _missing(found, {"accuracy": _NO_TRUTH, **_wanted(False, False, many=True)}, rows.kind)
    if "rewardbench2_ties" not in found:
        left["rewardbench2_ties"] = "the subset ties is missing"
    shown = rows.prompts
    return Judgement(
        rows.kind,
        found,
        left,
        {} if tally is None else tally.errors,
        [] if tally is None else tally.worst(settings.worst, shown, rows.prompt[use], rows.lines[use]),
    )


def _from_lists(
    scores: list[np.ndarray], right: np.ndarray, settings: Settings
) -> tuple[_Tally, dict[str, intervals.Interval]]:
    """Pairs of right and wrong responses, and one right response against all wrong ones."""
    prompt, chosen, rejected, top = [], [], [], []
    many = {"prompt": [], "chosen": [], "rejected": [], "rank": []}
    for i, (row, count) in enumerate(zip(scores, right.tolist(), strict=True)):
        good, bad = row[:count], row[count:]
        prompt += [i] * (len(good) * len(bad))
        chosen.append(np.repeat(good, len(bad)))
        rejected.append(np.tile(bad, len(good)))
        top.append(np.tile(bad >= row.max(), len(good)))
        if count == 1:
            for key, value in zip(many, (i, good[0], bad.max(), 1 + np.sum(bad >= good[0])), strict=True):
                many[key].append(value)
    tally = _Tally(len(scores), float(np.std(np.concatenate(scores))))
    tally.add(
        Items(np.array(prompt), np.concatenate(chosen), np.concatenate(rejected), prompts=len(scores)),
        0.0,
        np.concatenate(top),
        None,
    )
    sums = {key: (over, tally.under[key]) for key, over in tally.over.items()}
    if many["prompt"]:
        items = Items(
            np.array(many["prompt"]),
            np.array(many["chosen"], float),
            np.array(many["rejected"], float),
            prompts=len(scores),
            rank=np.array(many["rank"], float),
        )
        sums |= _many_sums(items)
    return tally, _ratios(sums, settings)


def _many_sums(items: Items) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    assert items.rank is not None
    found = {ONE + key: (over, under) for key, over, under in items.sums()}
    counts = np.bincount(items.prompt, minlength=items.prompts).astype(float)
    return {**found, "mean_reciprocal_rank": (np.bincount(items.prompt, 1 / items.rank, items.prompts), counts)}


def _responses(rows: Rows, name: str, settings: Settings) -> Judgement:
    scores, logp, truth = rows.scores[name]["score"], rows.logp, rows.true_reward
    codes, prompt, first = _compact(rows.prompt)
    prompts = len(codes)
    count = np.bincount(prompt, minlength=prompts)
    whole = is_whole(prompt, logp, prompts)
    weight = 1 / count[prompt]
    if whole:
        assert logp is not None
        weight = np.exp(logp)
        weight /= np.bincount(prompt, weight, prompts)[prompt]
    mean = np.bincount(prompt, weight * scores, prompts)
    several = count > 1
    sums: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    tally = _Tally(prompts, float(np.std(scores)))
    if truth is not None:
        top = np.full(prompts, -np.inf)
        np.maximum.at(top, prompt, scores)
        peak = 0.0
        if logp is not None:
            tops = (
                np.max(logp[block][high] + logp[block][low], initial=-np.inf) for block, high, low in _ordered(rows)
            )
            peak = float(max(tops, default=0.0))
        for block, high, low in _ordered(rows):
            at, own = prompt[block][high], scores[block]
            items = Items(
                at,
                own[high],
                own[low],
                None if logp is None else logp[block][high] + logp[block][low],
                mean[at],
                prompts,
            )
            ratio = None if logp is None else logp[block][low] - logp[block][high]
            tally.add(items, peak, own[low] >= top[at], ratio)
        sums = {key: (over, tally.under[key]) for key, over in tally.over.items()}
        many = one_vs_many(prompt, truth, scores, logp, mean, prompts)
        if len(many.prompt):
            sums |= _many_sums(many)
        mean_truth = np.bincount(prompt, weight * truth, prompts)
        best = np.full(prompts, -np.inf)
        np.maximum.at(best, prompt, truth)
        mediocre = (truth > mean_truth[prompt]) & (truth < best[prompt]) & (scores < mean[prompt])
        tally.errors[ESCAPES] = int(mediocre.sum())
    if several.any():
        factor = 1.0 if whole else count / np.maximum(count - 1, 1)
        spread = np.bincount(prompt, weight * (scores - mean[prompt]) ** 2, prompts) * factor
        sums["reward_variance"] = (spread * several, several.astype(float))
    ahead = None
    if settings.forecast is not None and several.any():
        ahead = forecast(prompt, scores, truth, initial=weight, kl=settings.forecast)
        ones = several.astype(float)
        sums["forecast_proxy_gain"] = (ahead.proxy_gain * ones, ones)
        sums["forecast_kl"] = (ahead.kl * ones, ones)
        if truth is not None:
            sums["forecast_true_value"] = (ahead.true_value * ones, ones)
            sums["forecast_true_gain"] = (ahead.true_gain * ones, ones)
    found = _ratios(sums, settings)
    wanted = {"accuracy": _NO_TRUTH, **_wanted(logp is not None, True, many=True)}
    if truth is None:
        wanted = {key: _NO_TRUTH if key != "reward_variance" else words for key, words in wanted.items()}
    elif not tally.over:
        same = "no prompt has two responses whose true rewards differ"
        wanted = {key: same if key != "reward_variance" else words for key, words in wanted.items()}
    notes = []
    if whole:
        notes.append(
            "the probabilities of each prompt's responses sum to 1, so means and variances are exact, not sampled"
        )
    if ahead is not None and not ahead.reached:
        reached = f"{ahead.kl.mean():.3g}, below the {settings.forecast:g} asked for"
        notes.append(f"the forecast of {name} ends at a mean KL of {reached}")
    if not several.all():
        notes.append(f"{int(np.sum(~several))} of {prompts} prompts have one response, which is compared with nothing")
    return Judgement(
        rows.kind,
        found,
        _missing(found, wanted, rows.kind),
        tally.errors if truth is not None else {},
        tally.worst(settings.worst, rows.prompts, codes, rows.lines[first]),
        notes,
        [] if ahead is None else _takeovers(rows, name, prompt, codes, weight, ahead, settings.worst),
    )


def _takeovers(
    rows: Rows, name: str, prompt: np.ndarray, codes: np.ndarray, start: np.ndarray, ahead: Forecast, count: int
) -> list[Takeover]:
    gain = ahead.probability - start
    truth = np.full(len(prompt), np.nan) if rows.true_reward is None else rows.true_reward
    return [
        Takeover(
            rows.prompts[codes[prompt[i]]] if rows.prompts else "",
            int(rows.lines[i]),
            float(rows.scores[name]["score"][i]),
            float(truth[i]),
            float(start[i]),
            float(ahead.probability[i]),
        )
        for i in np.argsort(-gain, kind="stable")[:count]
    ]


def is_whole(prompt: np.ndarray, logp: np.ndarray | None, prompts: int) -> bool:
    """Whether the rows of each prompt are all outputs there are: their probabilities sum to 1.

    Example:
        >>> is_whole(np.array([0, 0]), np.log([0.25, 0.75]), 1), is_whole(np.array([0, 0]), np.log([0.25, 0.25]), 1)
        (True, False)
    """
    if logp is None:
        return False
    total = np.bincount(prompt, np.exp(logp), prompts)
    return bool(np.all(np.abs(total - 1) < 1e-4)) and bool(np.all(np.bincount(prompt, minlength=prompts) > 1))


def _ordered(rows: Rows) -> Iterator[tuple[slice, np.ndarray, np.ndarray]]:
    """Blocks of rows, and the pairs of each; kept for the next model, as long as they are few."""
    if rows.pairs is not None:
        yield from rows.pairs
        return
    _, prompt, _ = _compact(rows.prompt)
    kept: list[tuple[slice, np.ndarray, np.ndarray]] = []
    held, complete = 0, True
    assert rows.true_reward is not None
    for block in _blocks(prompt, np.bincount(prompt)):
        high, low = ordered_pairs(prompt[block], rows.true_reward[block])
        if len(high):
            yield block, high, low
            held += len(high)
            complete &= held <= _KEPT
            kept.append((block, high, low)) if complete else kept.clear()
    if complete:
        rows.pairs = kept


def _blocks(prompt: np.ndarray, count: np.ndarray) -> Iterator[slice]:
    """Rows of whole prompts, with no more pairs than are held at once."""
    ends = np.cumsum(count)
    pairs = np.cumsum(count * (count - 1) // 2)
    start = done = 0
    while start < len(prompt):
        last = int(np.searchsorted(pairs, done + _BLOCK, side="right"))
        index = max(last - 1, int(np.searchsorted(ends, start, side="right")))
        yield slice(start, int(ends[index]))
        start, done = int(ends[index]), int(pairs[index])
