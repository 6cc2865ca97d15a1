"""Application I as a study of simulated reward models: which metric foretells the outcome, by family."""

from __future__ import annotations

import numpy as np
import xarray

import figures.metric_study
from experiments import metric_study
from paper_repro.claims import Claim, fact, measurement
from paper_repro.reproduction import Reproduction

_PAPER = "arXiv 2604.25872, section 4"
_OURS = "this project's study; no family was tuned"


def _pooled(dataset: xarray.Dataset, metric: str) -> float:
    """The Spearman correlation over all families, averaged over policies and truths."""
    return float(dataset["pooled"].sel(metric=metric).mean())


def _coverage(dataset: xarray.Dataset) -> tuple[bool, str]:
    lost = {name: _pooled(dataset, name) - _pooled(dataset, f"{name}, 1 pair") for name in ("Acc", "HAcc")}
    return min(lost.values()) > 0.1, ", ".join(f"{name} {value:.2f}" for name, value in lost.items())


def _ends(dataset: xarray.Dataset, truth: str) -> tuple[float, float, float]:
    one = dataset["advantage_by_truth"].sel(truth=truth)
    return float(one.sel(end="low")), float(one.sel(end="mean")), float(one.sel(end="high"))


def _graded(dataset: xarray.Dataset) -> tuple[bool, str]:
    found = {name: _ends(dataset, name) for name in ("plateau, graded", "rare success, graded")}
    words = ", ".join(f"{name} {mean:+.2f} [{low:+.2f}, {high:+.2f}]" for name, (low, mean, high) in found.items())
    return all(low > 0 for low, _, _ in found.values()), words


def _equal(dataset: xarray.Dataset) -> tuple[bool, str]:
    found = {name: _ends(dataset, name) for name in ("plateau", "rare success")}
    words = ", ".join(f"{name} {mean:+.3f} [{low:+.3f}, {high:+.3f}]" for name, (low, mean, high) in found.items())
    return all(abs(mean) < 0.03 for _, mean, _ in found.values()), words


def _verdicts(dataset: xarray.Dataset) -> str:
    words = {"ahead": [], "level": [], "behind": []}
    for family in dataset["family"].values:
        one = dataset["advantage"].sel(family=family)
        low, high = float(one.sel(end="low")), float(one.sel(end="high"))
        verdict = "ahead" if low > 0 else "behind" if high < 0 else "level"
        words[verdict].append(f"{family} ({float(one.sel(end='mean')):+.2f})")
    return "; ".join(f"{verdict}: {', '.join(names)}" for verdict, names in words.items() if names)


def _thirteen(dataset: xarray.Dataset) -> tuple[bool, str]:
    drawn = dataset["subsample"].sel(metric="Acc, 1 pair").values.ravel()
    small, negative = float(np.mean(drawn < 0.4)), float(np.mean(drawn < 0))
    return small > 0.25 and negative > 0.02, f"below .4: {small:.0%}, negative: {negative:.0%}"


def _rival(dataset: xarray.Dataset) -> tuple[bool, str]:
    found = {name: _pooled(dataset, name) for name in ("Acc", "HAcc", "EPIC, pi_0")}
    return found["EPIC, pi_0"] > found["HAcc"], ", ".join(f"{name} {value:.2f}" for name, value in found.items())


def _forecast(dataset: xarray.Dataset) -> tuple[bool, str]:
    each = dataset["spearman_rloo"]
    found = {name: each.sel(predictor=name) for name in ("forecast", "forecast, held out", "HAcc", "EPIC, pi_0")}
    rival, ahead = each.sel(predictor="HAcc, 1 pair"), []
    for name in ("forecast", "forecast, held out"):
        gap = (found[name] - rival).values
        ahead.append(gap.mean() > 2 * gap.std(ddof=1) / np.sqrt(gap.size))
    words = ", ".join(f"{name} {float(one.mean()):.2f}" for name, one in {**found, "HAcc, 1 pair": rival}.items())
    return bool(all(ahead)), words


def _mediocre(dataset: xarray.Dataset) -> tuple[bool, str]:
    best = dataset["mean_spearman"].sel(family="mediocre shifted").max("metric")
    return float(best) < 0.5, f"the best metric has {float(best):.2f}"


def _regret(dataset: xarray.Dataset) -> str:
    mean = dataset["regret"].mean(("policy", "truth"))
    names = ("Acc", "HAcc", "EPIC, pi_0", "Acc, 1 pair", "HAcc, 1 pair", "variance")
    return ", ".join(f"{name} {float(mean.sel(metric=name)):.2f}" for name in names)


REPRODUCTION = Reproduction(
    name="metric_study",
    title="Which metric of a reward model foretells the outcome",
    summary=(
        "More than a thousand reward models of eight families for each of five truths, climbed from four kinds of "
        "initial policy (heavy-tailed, flat, shared features, sequences) with standardised rewards and a KL penalty "
        "of .01, by gradient flow and some by RLOO (k = 4, whitening). Metrics with full coverage, and on one offline "
        "pair a prompt. Spearman correlations with the true value gained, averaged over policies and truths, with "
        "bootstrap intervals over reward models."
    ),
    experiment=metric_study.run,
    full={},
    quick={"models": 26, "sampled": 5, "steps": 200, "resamples": 100},
    figures={"metric_study": figures.metric_study.draw},
    claims=(
        Claim(
            "coverage-costs-correlation",
            "One offline pair a prompt, as the paper has it, loses more than .1 of the correlation that all pairs give",
            _PAPER + "; its correlations stay below about .4",
            fact("more than .1 lost by Acc and by HAcc", _coverage),
        ),
        Claim(
            "forgiving-helps-where-bad-outputs-differ",
            "Where bad outputs differ a little in truth, most pairs are of two bad outputs, and HAcc ranks reward "
            "models better than Acc: difference of the Spearman correlations with its 95 % interval",
            _PAPER,
            fact("above 0", _graded),
            needs_full=True,
        ),
        Claim(
            "no-gain-where-bad-outputs-tie",
            "Where bad outputs are equally bad, and their pairs are dropped as ties, HAcc ranks no better and no worse",
            _OURS,
            fact("less than .03 from 0", _equal),
        ),
        Claim(
            "where-hacc-beats-acc",
            "HAcc against Acc by family, all pairs: ahead or behind where the 95 % interval excludes 0",
            _OURS,
            measurement(_verdicts),
        ),
        Claim(
            "thirteen-models-are-few",
            "With 13 reward models and one pair a prompt, correlations below .4 are common and some are negative, "
            "although over all models the metric is informative",
            _PAPER,
            fact("more than a quarter below .4, more than 2 % negative", _thirteen),
        ),
        Claim(
            "epic-is-a-rival",
            "EPIC weighted by the initial policy, which needs the true rewards and not only their order, beats both",
            _OURS,
            fact("EPIC above HAcc", _rival),
        ),
        Claim(
            "forecast-on-few-responses",
            "The forecast from 8 sampled responses a prompt, also judged on held-out ones, foretells the outcome of "
            "RLOO on all outputs better than HAcc on one pair a prompt: mean Spearman over policies and truths",
            _OURS,
            fact("both above HAcc, 1 pair, by two standard errors over policies and truths", _forecast),
        ),
        Claim(
            "mediocre-errors-escape-all-metrics",
            "Where models differ by how they score mediocre outputs, no metric reaches a correlation of .5",
            _OURS,
            fact("below .5", _mediocre),
        ),
        Claim(
            "regret-of-selection",
            "Regret of picking the best of 13 reward models by each metric, in units of the best possible gain",
            _PAPER,
            measurement(_regret),
        ),
    ),
    order=80,
)
