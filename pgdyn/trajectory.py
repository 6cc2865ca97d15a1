"""What a run leaves behind: the path, what was observed along it, and what made it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Num

from pgdyn import policy
from pgdyn.dynamics.result import Result
from pgdyn.objective import Objective
from pgdyn.problem import Problem

if TYPE_CHECKING:
    import matplotlib.figure
    import xarray


class Trajectory(eqx.Module):
    """One run of a dynamics; under `jax.vmap`, a batch of runs with leading axes on every array.

    Attributes:
        t: [S], time (flow) or updates made so far (ascend, ascend_sampled).
        params: [S, *params], theta.
        log_policy: [S, P, K], log-probabilities in nats.
        true_value: [S], V of the true reward, averaged over prompts.
        proxy_value: [S], V of the proxy.
        reward_variance: [S], variance of the proxy under the policy, averaged over prompts.
        kl: [S], KL to the objective's reference in the objective's direction, in nats.
        hitting_time: first t with true_value >= target; inf where never, nan where no target was given.
        result: a `pgdyn.Result` as an integer.
        steps: accepted and rejected solver steps (flow) or updates (ascend).
        problem: the problem that was run.
        objective: the objective that was climbed.
        dynamics: "flow", "ascend" or "ascend_sampled".
        settings: the remaining arguments of the call, as (name, value) pairs.
    """

    t: Num[Array, "*batch S"]
    params: Float[Array, ...]
    log_policy: Float[Array, "*batch S P K"]
    true_value: Float[Array, "*batch S"]
    proxy_value: Float[Array, "*batch S"]
    reward_variance: Float[Array, "*batch S"]
    kl: Float[Array, "*batch S"]
    hitting_time: Float[Array, "*batch"]
    result: Int[Array, "*batch"]
    steps: Int[Array, "*batch"]
    problem: Problem
    objective: Objective
    dynamics: str = eqx.field(static=True)
    settings: tuple[tuple[str, Any], ...] = eqx.field(static=True)

    @property
    def policy(self) -> Float[Array, "*batch S P K"]:
        """Probabilities, exp(log_policy)."""
        return jnp.exp(self.log_policy)

    @property
    def message(self) -> str:
        """How the run ended, in words; for a batch, how many runs ended in each way."""
        codes, counts = np.unique(np.asarray(self.result), return_counts=True)
        if self.result.ndim == 0:
            return Result(int(codes[0])).message
        return "; ".join(f"{n} {Result(int(code)).message}" for code, n in zip(codes, counts, strict=True))

    def to_dataset(self, batch_dims: tuple[str, ...] | None = None) -> xarray.Dataset:
        """The run as an `xarray.Dataset`, with the problem among its variables and what made it in its attributes.

        Args:
            batch_dims: names for the leading axes of a vmapped run; None names them "run" (one axis) or
                "run_0", "run_1", ...

        Raises:
            ValueError: if the number of names is not the number of leading axes.
        """
        from pgdyn import datasets

        return datasets.trajectory_dataset(self, batch_dims)

    def plot(self, output_names: list[str] | None = None) -> matplotlib.figure.Figure:
        """True and proxy value, and the probability of each output, against time on a logarithmic axis.

        Args:
            output_names: [K] labels; None for "output 0" and so on.

        Raises:
            ValueError: on a batch, or if the number of names is not K.
        """
        from pgdyn import plotting

        return plotting.plot_trajectory(self, output_names)


def observe(problem: Problem, objective: Objective, params: Float[Array, "S ..."]) -> dict[str, Array]:
    """The observables of `Trajectory` along a path of parameters, [S] each and [S, P, K] for `log_policy`."""
    reference = objective.reference_log_policy(problem)

    def at(point: Array) -> dict[str, Array]:
        log_policy = policy.log_policy(problem, point)
        return {
            "log_policy": log_policy,
            "true_value": policy.value(problem, log_policy, problem.true_reward),
            "proxy_value": policy.value(problem, log_policy, problem.proxy_reward),
            "reward_variance": policy.reward_variance(problem, log_policy, problem.proxy_reward),
            "kl": objective.divergence(problem, log_policy, reference),
        }

    return jax.vmap(at)(params)
