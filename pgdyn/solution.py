"""What a run leaves behind, one or many: the path or the end, what was observed there, and what made it."""

from __future__ import annotations

import dataclasses
import enum
import importlib
from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from pgdyn import policy
from pgdyn.batch import Batch
from pgdyn.objective import Objective
from pgdyn.problem import Problem

if TYPE_CHECKING:
    import matplotlib.figure
    import xarray


class Result(enum.IntEnum):
    """Why a run stopped: a value, as compiled code cannot raise, and one failed run must not take others with it.

    Example:
        >>> Result(2).message
        'stopped early: the step budget was spent before the end time'
    """

    completed = 0
    reached_target = 1
    step_budget_spent = 2
    not_finite = 3

    @property
    def message(self) -> str:
        """The result in plain words."""
        return _MESSAGES[self]


_MESSAGES = {
    Result.completed: "ran to the end",
    Result.reached_target: "stopped on reaching the target",
    Result.step_budget_spent: "stopped early: the step budget was spent before the end time",
    Result.not_finite: "stopped early: the state was no longer finite",
}

MOST_SAVES = 10**7  # points of a path
# Along the path, or at its end.
OBSERVED = ("params", "log_policy", "true_value", "proxy_value", "reward_variance", "kl")


class Solution(eqx.Module):
    """One run of a dynamics, or many: then every array has leading axes, [N] for a batch of N problems.

    S is the number of saved points. A batch keeps its ends alone unless told otherwise: then `t` is None and there is
    no axis S.

    Attributes:
        t: [S], time (flow) or updates made so far (ascend, ascend_sampled); None where only ends are kept.
        params: [S, *params], theta.
        log_policy: [S, P, K], log-probabilities in nats.
        true_value: [S], V of the true reward, averaged over prompts.
        proxy_value: [S], V of the proxy.
        reward_variance: [S], variance of the proxy under the policy, averaged over prompts.
        kl: [S], KL to the objective's reference in the objective's direction, in nats.
        hitting_time: first t with true_value >= target; inf where never, nan where no target was given.
        result: a `pgdyn.Result` as an integer.
        steps: solver steps, rejected ones included (flow), or updates (ascend, ascend_sampled).
        problem: the problem or batch that was run, by reference.
        settings: the `pgdyn.Flow`, `pgdyn.Ascend` or `pgdyn.AscendSampled` that was run.

    Example:
        >>> import pgdyn
        >>> problem = pgdyn.Problem.tabular([0.05, 0.5, 0.15, 0.15, 0.15], [1, 0.8, -1, -1, -1])
        >>> solution = pgdyn.ascend(problem, 100)
        >>> solution.dynamics, solution.true_value.shape, solution.message
        ('ascend', (101,), 'ran to the end')
    """

    t: Any
    params: Any
    log_policy: Any
    true_value: Any
    proxy_value: Any
    reward_variance: Any
    kl: Any
    hitting_time: Any
    result: Any
    steps: Any
    problem: Problem | Batch
    settings: Any

    def __eq__(self, other: object) -> bool:
        """Whether everything is equal; nan equals nan, as in a hitting time without a target."""
        return isinstance(other, Solution) and bool(eqx.tree_equal(_without_nan(self), _without_nan(other)))

    __hash__ = None  # pyright: ignore[reportAssignmentType]

    @property
    def dynamics(self) -> str:
        """The name of what was run: "flow", "ascend" or "ascend_sampled"."""
        return self.settings.name

    @property
    def objective(self) -> Objective:
        """The objective that was climbed."""
        return self.settings.chosen_objective

    @property
    def policy(self) -> Float[Array, "..."]:
        """Probabilities, exp(log_policy)."""
        return jnp.exp(self.log_policy)

    @property
    def message(self) -> str:
        """How the run ended, in words; for many, how many ended in each way."""
        codes, counts = np.unique(np.asarray(self.result), return_counts=True)
        if np.ndim(self.result) == 0:
            return Result(int(codes[0])).message
        return "; ".join(f"{n} {Result(int(code)).message}" for code, n in zip(codes, counts, strict=True))

    @property
    def end(self) -> Solution:
        """The same with the last point of the path alone: no axis S."""
        if self.t is None:
            return self
        axis = np.ndim(self.result)
        last = {name: getattr(self, name)[(slice(None),) * axis + (-1,)] for name in OBSERVED}
        kept = {name: getattr(self, name) for name in ("hitting_time", "result", "steps", "problem", "settings")}
        return Solution(t=None, **last, **kept)

    def to_dataset(self, batch_dims: tuple[str, ...] | None = None) -> xarray.Dataset:
        """The run as an `xarray.Dataset`, with the problem among its variables and what made it in its attributes.

        Args:
            batch_dims: names for the leading axes of many runs; None names them "run" (one axis) or
                "run_0", "run_1", ...

        Raises:
            ValueError: if the number of names is not the number of leading axes.
        """
        return importlib.import_module("pgdyn.io.datasets").solution_dataset(self, batch_dims)

    def plot(self, output_names: list[str] | None = None) -> matplotlib.figure.Figure:
        """True and proxy value, and the probability of each output, over time.

        Args:
            output_names: [K] labels; None for "output 0" and so on.

        Raises:
            ValueError: on many runs, one without a path, or if the number of names is not K.
        """
        return importlib.import_module("pgdyn.plot").run(self, output_names)


def _without_nan(solution: Solution) -> tuple[Any, ...]:
    """The parts of a solution, floats as where they are nan and what they are elsewhere."""

    def split(leaf: Any) -> Any:
        if not eqx.is_inexact_array_like(leaf):
            return leaf
        absent = jnp.isnan(leaf)
        return absent, jnp.where(absent, jnp.zeros_like(leaf), leaf)

    return tuple(jax.tree.map(split, getattr(solution, field.name)) for field in dataclasses.fields(solution))


def observe(
    problem: Problem, objective: Objective, log_policy: Float[Array, "P K *lanes"], reference: Float[Array, "..."]
) -> dict[str, Any]:
    """What a `Solution` tells of one point, apart from its parameters."""
    return {
        "log_policy": log_policy,
        "true_value": policy.value(problem, log_policy, problem.true_reward),
        "proxy_value": policy.value(problem, log_policy, problem.proxy_reward),
        "reward_variance": policy.reward_variance(problem, log_policy, problem.proxy_reward),
        "kl": objective.divergence(problem, log_policy, reference),
    }


def observe_path(problem: Problem, objective: Objective, params: Float[Array, "S ..."]) -> dict[str, Any]:
    """`observe` along a path of parameters: every array has a leading axis S."""
    reference = objective.reference_log_policy(problem)

    def at(point: Array) -> dict[str, Any]:
        return observe(problem, objective, policy.log_policy(problem, point), reference)

    return {"params": params, **jax.vmap(at)(params)}
