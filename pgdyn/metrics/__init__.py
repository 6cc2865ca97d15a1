"""How well a reward model will teach: agreement with the ground truth, forgiving errors that cannot harm, and more.

| module | what it holds |
|---|---|
| `harm` | Acc, HAcc and their weighted forms, over pairs and one-vs-many |
| `ranking` | reciprocal rank, pairwise accuracy of all pairs, win rate, best-of-n, and judging the metrics themselves |
| `teacher` | the reward variance of the initial policy |
| `items` | all of these over ragged groups, a numerator and a denominator for each prompt |
| `exact` | the metrics of a `Problem` without sampling error, and drawn with it |
| `intervals` | bootstrap intervals over prompts |
| `benchmarks` | RewardBench v1 and v2, the ties formula |
| `consistency` | whether a response scores best under its own instruction |
| `distance` | EPIC, DARD and STARC, and the exact worst-case regret |
| `forecast` | what training on a reward model would do, from sampled responses |
"""

from pgdyn.metrics import distance
from pgdyn.metrics.benchmarks import rewardbench, rewardbench2, ties
from pgdyn.metrics.consistency import instruction_consistency, response_consistency
from pgdyn.metrics.exact import exact, sampled
from pgdyn.metrics.forecast import Forecast, forecast
from pgdyn.metrics.harm import accuracy, harm_aware_accuracy, weighted_accuracy, weighted_harm_aware_accuracy
from pgdyn.metrics.intervals import Interval, bootstrap
from pgdyn.metrics.ranking import (
    best_of_n_value,
    mean_reciprocal_rank,
    pairwise_accuracy,
    selection_regret,
    spearman,
    win_rate,
)
from pgdyn.metrics.teacher import reward_variance

__all__ = [
    "Forecast",
    "Interval",
    "accuracy",
    "best_of_n_value",
    "bootstrap",
    "distance",
    "exact",
    "forecast",
    "harm_aware_accuracy",
    "instruction_consistency",
    "mean_reciprocal_rank",
    "pairwise_accuracy",
    "response_consistency",
    "reward_variance",
    "rewardbench",
    "rewardbench2",
    "sampled",
    "selection_regret",
    "spearman",
    "ties",
    "weighted_accuracy",
    "weighted_harm_aware_accuracy",
    "win_rate",
]
