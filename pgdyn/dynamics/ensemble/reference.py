"""The reference backend: `pgdyn.flow` under `jax.vmap`. Slow, differentiable, and an oracle for the engine."""

from __future__ import annotations

from typing import Any, Literal

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array

from pgdyn.dynamics.flow import flow
from pgdyn.objective import Objective
from pgdyn.problem import Problem


@eqx.filter_jit
def solve(
    problems: Problem,
    objective: Objective,
    t1: Array,
    goal: Array | None,
    rtol: Any,
    atol: Any,
    geometry: Literal["euclidean", "natural"],
    max_steps: int,
    solver: diffrax.AbstractAdaptiveSolver,
) -> dict[str, Array]:
    """The fields of an `Outcome`, for a batch with end times [N] and goals [N]."""

    def one(problem: Problem, objective: Objective, end: Array, goal: Array | None) -> dict[str, Any]:
        run = flow(
            problem,
            end,
            objective=objective,
            target=goal,
            saves=2,
            rtol=rtol,
            atol=atol,
            geometry=geometry,
            max_steps=max_steps,
            solver=solver,
        )
        return {
            "params": run.params[-1],
            "log_policy": run.log_policy[-1],
            "true_value": run.true_value[-1],
            "proxy_value": run.proxy_value[-1],
            "hitting_time": run.hitting_time,
            "steps": run.steps,
            "result": run.result,
        }

    lanes = jax.tree.map(lambda leaf: 0 if eqx.is_array(leaf) and jnp.ndim(leaf) == 1 else None, objective)
    axes = (problems.batch_axes, lanes, 0, None if goal is None else 0)
    return jax.vmap(one, in_axes=axes)(problems, objective, t1, goal)
