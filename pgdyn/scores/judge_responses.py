"""Models judged by one row a response: every pair of a prompt, one against many, variances, and the forecast."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from pgdyn.metrics.exact import one_vs_many
from pgdyn.metrics.forecast import Forecast, forecast
from pgdyn.metrics.items import Items, ordered_pairs
from pgdyn.scores.judgement import ESCAPES, Judgement, Settings, Takeover
from pgdyn.scores.missing import NO_TRUTH, missing, wanted
from pgdyn.scores.rows import Rows
from pgdyn.scores.tally import Tally, compact, lean, many_sums, ratios

_BLOCK = 2**21  # pairs held at once
_KEPT = 2**23  # pairs kept for the next model


def judge_responses(rows: Rows, name: str, settings: Settings) -> Judgement:
    """One model of a table of one row a response."""
    scores, logp, truth = rows.scores[name]["score"], rows.logp, rows.true_reward
    codes, prompt, first = compact(rows.prompt)
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
    tally = Tally(prompts, float(np.std(scores)))
    if truth is not None:
        _add_pairs(tally, rows, scores, prompt, mean)
        sums = {key: (over, tally.under[key]) for key, over in tally.over.items()}
        many = one_vs_many(prompt, truth, scores, logp, mean, prompts)
        if len(many.prompt):
            sums |= many_sums(many)
        mean_truth = np.bincount(prompt, weight * truth, prompts)
        mediocre = (truth > mean_truth[prompt]) & (truth < _best(prompt, truth)[prompt]) & (scores < mean[prompt])
        tally.errors[ESCAPES] = int(mediocre.sum())
    if several.any():
        factor = 1.0 if whole else count / np.maximum(count - 1, 1)
        spread = np.bincount(prompt, weight * (scores - mean[prompt]) ** 2, prompts) * factor
        sums["reward_variance"] = (spread * several, several.astype(float))
    ahead = None
    if settings.forecast is not None and several.any():
        ahead = forecast(prompt, scores, truth, initial=weight, kl=settings.forecast)
        ones = several.astype(float)
        gained = {"proxy_gain": ahead.proxy_gain, "kl": ahead.kl}
        if truth is not None:
            gained |= {"true_value": ahead.true_value, "true_gain": ahead.true_gain}
        sums |= {f"forecast_{key}": (value * ones, ones) for key, value in gained.items()}
    found = ratios(sums, settings)
    why = {"accuracy": NO_TRUTH, **wanted(logp is not None, True, many=True)}
    if truth is None or not tally.over:
        words = NO_TRUTH if truth is None else "no prompt has two responses whose true rewards differ"
        why = {key: words if key != "reward_variance" else own for key, own in why.items()}
    notes = []
    if whole:
        notes.append(
            "the probabilities of each prompt's responses sum to 1, so means and variances are exact, not sampled"
        )
    if ahead is not None and not ahead.reached:
        reached = f"{ahead.kl.mean():.3g}, below the {settings.forecast:g} asked for"
        notes.append(f"the forecast of {name} ends at a mean KL of {reached}")
    notes += lean(sums)
    if not several.all():
        notes.append(f"{int(np.sum(~several))} of {prompts} prompts have one response, which is compared with nothing")
    return Judgement(
        rows.kind,
        found,
        missing(found, why, rows.kind),
        tally.errors if truth is not None else {},
        tally.worst(settings.worst, rows.prompts, codes, rows.lines[first]),
        notes,
        [] if ahead is None else _takeovers(rows, name, prompt, codes, weight, ahead, settings.worst),
    )


def _add_pairs(tally: Tally, rows: Rows, scores: np.ndarray, prompt: np.ndarray, mean: np.ndarray) -> None:
    """Every pair whose true rewards differ, block by block."""
    logp, top, peak = rows.logp, _best(prompt, scores), 0.0
    if logp is not None:
        tops = (np.max(logp[block][high] + logp[block][low], initial=-np.inf) for block, high, low in _ordered(rows))
        peak = float(max(tops, default=0.0))
    for block, high, low in _ordered(rows):
        at, own = prompt[block][high], scores[block]
        weight = ratio = None
        if logp is not None:
            weight, ratio = logp[block][high] + logp[block][low], logp[block][low] - logp[block][high]
        items = Items(at, own[high], own[low], weight, mean[at], tally.prompts)
        tally.add(items, peak, own[low] >= top[at], ratio)


def _best(prompt: np.ndarray, values: np.ndarray) -> np.ndarray:
    """[P], the largest value of each prompt."""
    found = np.full(int(prompt.max()) + 1, -np.inf)
    np.maximum.at(found, prompt, values)
    return found


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
    _, prompt, _ = compact(rows.prompt)
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
