"""Sentences on the metrics that the data do not allow: what is missing."""

from __future__ import annotations

from pgdyn.metrics import intervals
from pgdyn.metrics.exact import ONE
from pgdyn.scores.rows import V1, V2

NO_LOGP = "the log-probabilities of the responses under the initial policy are missing"
NO_MEAN = "the mean score of each prompt's responses under the initial policy is missing"
NO_SCORES = "the scores of the responses are missing; the file says only which pairs are ranked right"
NO_TRUTH = "the true rewards are missing, so no response is known to be better than another"
NO_MANY = "there is no prompt with one right response and several wrong ones"
NO_SPREAD = "no prompt has several responses sampled from the initial policy"


def missing(found: dict[str, intervals.Interval], why: dict[str, str], kind: str) -> dict[str, str]:
    """Metric -> a sentence, for every one of `why` that was not found and the benchmarks of other kinds of files.

    Example:
        >>> sorted(missing({}, {"accuracy": NO_TRUTH}, V1))
        ['accuracy', 'rewardbench2']
    """
    return {name: words for name, words in why.items() if name not in found} | _benchmarks(kind)


def _benchmarks(kind: str) -> dict[str, str]:
    first = "the file holds no RewardBench {} scores"
    return {
        **({} if kind == V1 else {"rewardbench": first.format("v1")}),
        **({} if kind == V2 else {"rewardbench2": first.format("v2")}),
    }


def wanted(logp: bool, mean: bool, many: bool) -> dict[str, str]:
    """Metric -> what is missing where it is not found.

    Args:
        logp: whether log-probabilities are known.
        mean: whether mean scores are.
        many: whether there may be prompts with one right response and several wrong ones.

    Example:
        >>> wanted(True, False, False)["weighted_harm_aware_accuracy"] == NO_MEAN
        True
    """
    return {
        "weighted_accuracy": NO_LOGP,
        "harm_aware_accuracy": NO_MEAN,
        "weighted_harm_aware_accuracy": NO_LOGP if not logp else NO_MEAN,
        **{f"{ONE}accuracy": NO_MANY, f"{ONE}weighted_accuracy": NO_MANY if not many else NO_LOGP},
        **{f"{ONE}harm_aware_accuracy": NO_MANY if not many else NO_MEAN},
        f"{ONE}weighted_harm_aware_accuracy": NO_MANY if not many else NO_LOGP if not logp else NO_MEAN,
        "mean_reciprocal_rank": NO_MANY,
        "reward_variance": NO_SPREAD,
    }
