"""RewardBench scores, versions 1 and 2: sections, subsets and ties with intervals over prompts."""

from __future__ import annotations

from typing import Any

import numpy as np

from pgdyn.metrics import benchmarks, intervals
from pgdyn.metrics.items import Items
from pgdyn.scores.judgement import WRONG, Judgement, Settings
from pgdyn.scores.missing import NO_SCORES, NO_TRUTH, missing, wanted
from pgdyn.scores.rows import Rows
from pgdyn.scores.tally import Tally, many_sums, ratios


def rewardbench_1(
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


def judge_results(rows: Rows, name: str, settings: Settings) -> Judgement:
    """One model of RewardBench v1 without scores."""
    assert rows.subset is not None
    right = rows.scores[name]["right"]
    found = ratios({"accuracy": (right, np.ones(len(right)))}, settings)
    more, notes = rewardbench_1(rows.subset, right, settings)
    found |= more
    why = {metric: NO_SCORES for metric in wanted(False, False, many=False)}
    correct = int(np.sum(right == 1))
    errors = {"right": correct, WRONG: len(right) - correct}
    return Judgement(rows.kind, found, missing(found, why, rows.kind), errors, [], notes)


def judge_lists(rows: Rows, name: str, settings: Settings) -> Judgement:
    """One model of RewardBench v2 scores."""
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
    left = missing(found, {"accuracy": NO_TRUTH, **wanted(False, False, many=True)}, rows.kind)
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
) -> tuple[Tally, dict[str, intervals.Interval]]:
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
    tally = Tally(len(scores), float(np.std(np.concatenate(scores))))
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
        sums |= many_sums(items)
    return tally, ratios(sums, settings)
