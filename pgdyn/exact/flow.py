"""`pgdyn.flow` by the exact solution: what `pgdyn.Flow(solver="exact")` runs."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from pgdyn import policy
from pgdyn.dynamics.flow import Flow
from pgdyn.dynamics.integrate import spread
from pgdyn.exact import run
from pgdyn.problem import Problem
from pgdyn.solution import Result, Solution, observe_path


def solve(problem: Problem, settings: Flow) -> Solution:
    """Computes the path at its saved times and the hitting time, without an integrator; tolerances play no part.

    Raises:
        ValueError: where there is no exact solution, saying why.

    Example:
        >>> problem = Problem.tabular([0.25, 0.75], [1, 0])
        >>> path = solve(problem, Flow(t1=10.0, saves=3, solver="exact"))
        >>> jnp.exp(path.log_policy[:, 0, 0]).round(6).tolist()
        [0.25, 0.485593, 0.913223]
    """
    objective, end = settings.chosen_objective, jnp.asarray(settings.t1)
    if settings.geometry != "euclidean":
        raise ValueError(
            "solver is 'exact' and geometry is 'natural', whose flow is a closed form of its own (theory A7)"
        )
    hit, result = jnp.full_like(end, jnp.nan), Result.completed
    if settings.target is not None:
        hit = jnp.asarray(run.hitting_time(problem, settings.target, objective=objective))
        hit = jnp.where(hit <= end, hit, jnp.inf)
        if settings.stop_at_target:
            result = jnp.where(jnp.isfinite(hit), Result.reached_target, result)
            end = jnp.where(jnp.isfinite(hit), hit, end)
    times = spread(end, settings.saves)
    logs = run.log_policy(problem, times, objective=objective)
    seen = observe_path(problem, objective, jax.vmap(lambda log: _params(problem, log))(logs))
    found: dict[str, Any] = {**seen, "log_policy": logs, "hitting_time": hit, "t": times}
    counts = {"result": jnp.asarray(result, jnp.int32), "steps": jnp.zeros((), jnp.int32)}
    return Solution(**found, **counts, problem=problem, settings=settings)


def _params(problem: Problem, log_policy: Float[Array, "P K"]) -> Float[Array, "..."]:
    """theta of a state: it moves within what moves a difference of logits, by theta - theta_0 = Phi_c^+ dz T."""
    change = log_policy - policy.log_policy(problem, problem.initial_params)
    change = problem.temperature * (change - jnp.mean(change, axis=1, keepdims=True))
    if problem.features is None:
        return problem.initial_params + change
    centred = problem.features - jnp.mean(problem.features, axis=1, keepdims=True)
    rows = centred.reshape(-1, centred.shape[-1])
    return problem.initial_params + jnp.linalg.lstsq(rows, change.ravel(), rcond=np.sqrt(jnp.finfo(rows.dtype).eps))[0]
