r"""Estimators of the policy gradient from samples, as parts that compose.

    compose(GRPO(8), Unlikeliness(0.25), KLPenalty("k3", where="loss", weight=0.1), Surrogate(epochs=2))

An `Estimator` makes advantages of sampled rewards; a `Transform` changes the rewards before, a `RewardDraw` draws them
anew for every sample, a `KLPenalty` and a `Surrogate` change what is climbed. `ascend_sampled` runs any of them;
`expected_update` and `outcomes` enumerate what they do on average, and `mean_field` lets `flow` follow that. Write your
own by subclassing `Estimator` with a `group_size` and a method `advantages`.

`ESTIMATORS`, `TRANSFORMS` and `REWARD_DRAWS` name them as the command line and specs do.
"""

from pgdyn.estimators.baselines import RLOO, Centred, MaxRL, Reinforce, ReinforcePP
from pgdyn.estimators.compose import Composed, compose, composed
from pgdyn.estimators.diagnostics import Diagnostics, diagnose, pass_at_n, tail_miss, uplift_rate
from pgdyn.estimators.draws import NoisyVerifier, RandomReward, RewardDraw
from pgdyn.estimators.enumeration import Outcomes, expected_update, outcomes
from pgdyn.estimators.estimator import Estimator
from pgdyn.estimators.extremes import BestOfN, MaxAtK, TailExtrapolated, best_of_n_policy, best_of_n_value
from pgdyn.estimators.grpo import GRPO, PRESETS, binary_weight
from pgdyn.estimators.mean_field import MeanField, mean_field
from pgdyn.estimators.penalty import KLPenalty
from pgdyn.estimators.sample import Sample, draw
from pgdyn.estimators.step import logit_gradient
from pgdyn.estimators.surrogate import Surrogate
from pgdyn.estimators.transforms import RobustBonus, Transform, Unlikeliness, Whiten

__all__ = [
    "ESTIMATORS",
    "GRPO",
    "PRESETS",
    "REWARD_DRAWS",
    "RLOO",
    "TRANSFORMS",
    "BestOfN",
    "Centred",
    "Composed",
    "Diagnostics",
    "DrGRPO",
    "Estimator",
    "KLPenalty",
    "MaxAtK",
    "MaxRL",
    "MeanField",
    "NoisyVerifier",
    "Outcomes",
    "RandomReward",
    "Reinforce",
    "ReinforcePP",
    "RewardDraw",
    "RobustBonus",
    "Sample",
    "Surrogate",
    "TailExtrapolated",
    "Transform",
    "Unlikeliness",
    "Whiten",
    "best_of_n_policy",
    "best_of_n_value",
    "binary_weight",
    "compose",
    "composed",
    "diagnose",
    "draw",
    "expected_update",
    "logit_gradient",
    "mean_field",
    "outcomes",
    "pass_at_n",
    "tail_miss",
    "uplift_rate",
]

DrGRPO = Centred


def _named(*classes: type) -> dict[str, type]:
    return {cls.__name__.lower(): cls for cls in classes}


ESTIMATORS: dict[str, type] = _named(
    Reinforce, RLOO, Centred, ReinforcePP, MaxRL, GRPO, MaxAtK, BestOfN, TailExtrapolated
)
TRANSFORMS: dict[str, type] = _named(Whiten, Unlikeliness, RobustBonus)
REWARD_DRAWS: dict[str, type] = _named(RandomReward, NoisyVerifier)
