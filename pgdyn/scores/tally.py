"""Sums over prompts from which metrics are made, the kinds of errors, and the worst prompts."""

from __future__ import annotations

import numpy as np

from pgdyn.metrics import intervals
from pgdyn.metrics.exact import ONE
from pgdyn.metrics.items import Items
from pgdyn.scores.judgement import HACKING, NEGLIGIBLE, NEVER, STALLING, WRONG, Settings, WorstPrompt

_NEGLIGIBLE = np.log(1e-3)


class Tally:
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


def ratios(sums: dict[str, tuple[np.ndarray, np.ndarray]], settings: Settings) -> dict[str, intervals.Interval]:
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


def lean(sums: dict[str, tuple[np.ndarray, np.ndarray]]) -> list[str]:
    """A sentence on the weighted metrics of which a few prompts have most of the weight, (sum w)^2 / sum w^2.

    Example:
        >>> lean({"weighted_accuracy": (np.ones(100), np.r_[1.0, np.full(99, 1e-6)])})
        ['the weighted accuracies rest on few prompts: weighted_accuracy on 1.0 of 100 in effect']
    """
    found = []
    for metric, (_, under) in sums.items():
        if "weighted" not in metric or "harm" in metric or not under.any():
            continue
        size, there = float(under.sum() ** 2 / np.sum(under**2)), int(np.sum(under > 0))
        if size < min(10, 0.5 * there):
            found.append(f"{metric} on {size:.1f} of {there} in effect")
    return [f"the weighted accuracies rest on few prompts: {', '.join(found)}"] if found else []


def many_sums(items: Items) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """The sums of the metrics of one against many; the items have ranks."""
    assert items.rank is not None
    found = {ONE + key: (over, under) for key, over, under in items.sums()}
    counts = np.bincount(items.prompt, minlength=items.prompts).astype(float)
    return {**found, "mean_reciprocal_rank": (np.bincount(items.prompt, 1 / items.rank, items.prompts), counts)}


def compact(codes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The codes that are there, each row's index among them, and the first row of each."""
    there, first, index = np.unique(codes, return_index=True, return_inverse=True)
    return there, index, first
