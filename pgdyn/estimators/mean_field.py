"""An estimator's expected update as an objective that `flow` follows: see `pgdyn.estimators.signal` for what it is."""

from __future__ import annotations

import equinox as eqx
from jaxtyping import Array, Float

from pgdyn.estimators.compose import composed
from pgdyn.estimators.estimator import Estimator
from pgdyn.estimators.signal import Signal, signal
from pgdyn.objective import Objective, choose_objective
from pgdyn.problem import Problem, require_single


class MeanField(Objective):
    """An estimator's expected update in place of a gradient; make one with `mean_field`.

    It is no gradient of anything, so `value` raises. KL and entropy are those of an `Objective`.

    Attributes:
        signal: f, with the estimator that it is made of.

    Example:
        >>> from pgdyn.estimators import RLOO
        >>> mean_field(RLOO(4), Problem.tabular([0.2, 0.8], [1.0, 0.0])).signal
        the mean field of {'name': 'rloo', 'group_size': 4}
    """

    signal: Signal = eqx.field(static=True)

    def __init__(self, signal: Signal, objective: Objective):
        for name in ("reward", "kl", "reference", "kl_direction", "entropy", "normalize_by_std"):
            setattr(self, name, getattr(objective, name))
        self.signal = signal

    @property
    def signal_moves(self) -> bool:
        """Whether the signal depends on the policy."""
        return True

    def reward_signal(self, problem: Problem, probabilities: Float[Array, "P K *lanes"]) -> Float[Array, "P K *lanes"]:
        """f of `pgdyn.estimators.signal`."""
        return self.signal(problem, probabilities)

    def value(self, problem: Problem, params: Float[Array, "..."]) -> Float[Array, "*lanes"]:
        """Raises ValueError: an expected update need not be a gradient."""
        raise ValueError("the mean field of an estimator is no gradient, so there is no value that it climbs")


def mean_field(estimator: Estimator, problem: Problem, objective: Objective | None = None) -> MeanField:
    """What `flow` and `flow_many` take as their objective to follow an estimator's expected update.

    Args:
        estimator: any, or a `Composed` whose surrogate takes one update a batch.
        problem: its training reward is the estimator's; a batch of problems with the same reward may be run, too. Of
            sequences every episode is listed.
        objective: which reward is trained on, and KL and entropy terms; None for the proxy's value alone.

    Raises:
        ValueError: on too many groups or episodes to enumerate, a surrogate of several updates a batch, an estimator
            whose advantages depend on other prompts, or a normalised reward.

    Example:
        >>> from pgdyn import flow
        >>> from pgdyn.estimators import GRPO
        >>> problem = Problem.tabular([0.2, 0.8], [1.0, 0.0])
        >>> field = mean_field(GRPO(4, eps=0.0), problem)
        >>> field.gradient(problem, problem.initial_params).round(4).tolist()
        [[0.2652, -0.2652]]
    """
    require_single(problem, "mean_field")
    objective = choose_objective(objective, "mean_field")
    return MeanField(signal(composed(estimator), problem, objective), objective)
