r"""Adaptive credit: the proxy until full success is likely enough, the ground truth from then on.

    r(y) = proxy(y)  where  V_true(prompt) < threshold,    true(y)  where  V_true(prompt) >= threshold

with binary ground truth, V_true the probability of full success. The switch is made prompt by prompt; of sequences
V_true is that of whole episodes, averaged over their starts, and the switch is made for all decisions at once.
"""

from __future__ import annotations

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from pgdyn import policy, reduction, validate
from pgdyn.objective import Objective
from pgdyn.problem import Problem


class AdaptiveCredit(Objective):
    """What `flow`, `ascend` and `ascend_sampled` climb under adaptive credit.

    It is no gradient of one function, so `value` raises.

    Attributes:
        threshold: probability of full success from which the ground truth is trained on.

    Raises:
        ValueError: on a threshold out of [0, 1].

    Example:
        >>> from pgdyn.verifiable import constraints
        >>> problem = constraints([0.5, 0.2])
        >>> AdaptiveCredit(0.5).reward_signal(problem, jnp.full((1, 4), 0.25)).tolist()
        [[0.0, 0.5, 0.5, 1.0]]
    """

    threshold: float = eqx.field(static=True)

    def __init__(self, threshold: float = 0.1):
        super().__init__()
        number = float(validate.number("threshold", threshold, minimum=0.0))
        if number > 1:
            raise ValueError(validate.refusal("threshold", (), number, "it must be at most 1"))
        self.threshold = number

    @property
    def signal_moves(self) -> bool:
        """Whether the signal depends on the policy."""
        return True

    def reward_signal(self, problem: Problem, probabilities: Float[Array, "P K *lanes"]) -> Float[Array, "P K *lanes"]:
        """The reward in force."""
        full = reduction.add(1, probabilities, policy.action_values(problem, probabilities, problem.true_reward))
        if problem.transitions is not None:
            full = policy.mean(problem, full[:, 0])[None, None]
        return jnp.where(full >= self.threshold, problem.true_reward, problem.proxy_reward)

    def value(self, problem: Problem, params: Float[Array, "..."]) -> Float[Array, "*lanes"]:
        """Raises ValueError: there is no one value."""
        raise ValueError("adaptive credit changes its reward on the way, so there is no one value that it climbs")
