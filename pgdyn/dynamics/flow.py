r"""Gradient flow: theta' = dJ/dtheta (euclidean) or F^+ dJ/dtheta (natural), in continuous time.

For the plain value this is theta' = Phi^T (pi * A) / T, the dynamics of arXiv 2604.25872 and the object that its
theorems speak about. Integrated with diffrax by an eighth-order Dormand-Prince pair with error control, so that a
plateau that lasts until t = 1e15 costs few steps.
"""

from __future__ import annotations

from typing import Any, Literal

import diffrax
import equinox as eqx
import jax.numpy as jnp
import numpy as np
import optimistix
from jaxtyping import Array, ArrayLike, Float

from pgdyn import policy, validate
from pgdyn.dynamics.result import Result
from pgdyn.objective import Objective, choose_objective
from pgdyn.problem import Problem, require_single
from pgdyn.trajectory import Trajectory, observe

GEOMETRIES = ("euclidean", "natural")


def velocity(
    problem: Problem,
    objective: Objective,
    params: Float[Array, "*params"],
    reference: Float[Array, "P K"],
    geometry: str = "euclidean",
) -> Float[Array, "*params"]:
    """theta' at `params`; `reference` is `objective.reference_log_policy(problem)`."""
    log_policy = policy.log_policy(problem, params)
    if geometry == "natural":
        signal = objective.natural_signal(problem, log_policy, reference)
        return policy.natural_direction(problem, log_policy, signal)
    return policy.pull_back(problem, objective.logit_gradient(problem, log_policy, reference))


def flow(
    problem: Problem,
    t1: ArrayLike,
    *,
    objective: Objective | None = None,
    target: ArrayLike | None = None,
    saves: int = 256,
    rtol: float = 1e-8,
    atol: float = 1e-10,
    geometry: Literal["euclidean", "natural"] = "euclidean",
    solver: diffrax.AbstractAdaptiveSolver | None = None,
    adjoint: diffrax.AbstractAdjoint | None = None,
    max_steps: int = 65536,
) -> Trajectory:
    """Gradient flow from t = 0 to `t1`.

    Args:
        problem: one problem.
        t1: end time, positive; up to 1e15 and beyond on plateaus.
        objective: what is climbed; None for the proxy's value alone.
        target: true value whose first hitting time is wanted, or None.
        saves: number S of saved points, at times evenly spaced in log(1 + t) from 0 to t1.
        rtol: relative tolerance of one step.
        atol: absolute tolerance of one step, in parameters.
        geometry: "euclidean", or "natural" for the natural policy gradient (tabular: pi_t ~ pi_0 exp(t r)).
        solver: a diffrax adaptive solver; None for `diffrax.Dopri8()`.
        adjoint: how derivatives are taken through the solve; None for `diffrax.RecursiveCheckpointAdjoint()`, which
            serves `jax.grad`. Use `diffrax.ForwardMode()` for `jax.jvp` and `jax.jacfwd`.
        max_steps: step budget; a run that spends it says so in `result`, its remaining saves are nan.

    Returns:
        A `Trajectory` with dynamics "flow". The hitting time is a root of true_value(t) - target on the solver's dense
        output, after the first step that ends at or above the target.

    Raises:
        ValueError: on a batch, a time, tolerance or count that is not positive, an unknown geometry, or a problem in
            float32 (`PGDYN_X64=0`), whose rounding is larger than any tolerance that a hitting time needs.
    """
    require_single(problem, "flow")
    _require_float64(problem)
    validate.choice("geometry", geometry, GEOMETRIES)
    end = validate.scalar("t1", t1, positive=True)
    rtol_ = validate.scalar("rtol", rtol, positive=True)
    atol_ = validate.scalar("atol", atol, positive=True)
    points = validate.count("saves", saves, minimum=2)
    budget = validate.count("max_steps", max_steps, minimum=1)
    goal = None if target is None else validate.scalar("target", target)
    objective = choose_objective(objective, "flow")
    solver = diffrax.Dopri8() if solver is None else solver
    adjoint = diffrax.RecursiveCheckpointAdjoint() if adjoint is None else adjoint
    path = _solve(problem, objective, end, goal, rtol_, atol_, points, geometry, solver, adjoint, budget)
    settings = (
        ("t1", _plain(t1)),
        ("saves", points),
        ("max_steps", budget),
        ("geometry", geometry),
        ("rtol", _plain(rtol)),
        ("atol", _plain(atol)),
        ("solver", type(solver).__name__),
        ("target", None if target is None else _plain(target)),
    )
    return Trajectory(**path, problem=problem, objective=objective, dynamics="flow", settings=settings)


def _require_float64(problem: Problem) -> None:
    if problem.initial_params.dtype != np.float64:
        raise ValueError(
            f"flow needs float64 and this problem is {problem.initial_params.dtype}; "
            "leave PGDYN_X64 unset (or set it to 1) before importing pgdyn, or use pgdyn.ascend"
        )


def _plain(value: Any) -> float | str:
    return "traced" if validate.is_traced(value) else float(np.asarray(value))


@eqx.filter_jit
def _solve(
    problem: Problem,
    objective: Objective,
    t1: Array,
    goal: Array | None,
    rtol: Array,
    atol: Array,
    saves: int,
    geometry: str,
    solver: diffrax.AbstractAdaptiveSolver,
    adjoint: diffrax.AbstractAdjoint,
    max_steps: int,
) -> dict[str, Array]:
    reference = objective.reference_log_policy(problem)

    def field(t, params, args):
        return velocity(problem, objective, params, reference, geometry)

    def integrate(saveat: diffrax.SaveAt, event: diffrax.Event | None = None) -> diffrax.Solution:
        return diffrax.diffeqsolve(
            diffrax.ODETerm(field),
            solver,
            t0=jnp.zeros_like(t1),
            t1=t1,
            dt0=None,
            y0=problem.initial_params,
            saveat=saveat,
            stepsize_controller=diffrax.PIDController(rtol, atol, pcoeff=0.2, icoeff=0.5, norm=_max_norm),
            event=event,
            adjoint=adjoint,
            max_steps=max_steps,
            throw=False,
        )

    ts = jnp.expm1(jnp.linspace(0.0, 1.0, saves) * jnp.log1p(t1)).at[-1].set(t1)
    solution = integrate(diffrax.SaveAt(ts=ts))
    assert solution.ys is not None
    params = jnp.where(jnp.isfinite(solution.ys), solution.ys, jnp.nan)
    if goal is None:
        hitting_time = jnp.full_like(t1, jnp.nan)
    else:
        hitting_time = _first_hit(problem, goal, t1, integrate, rtol)
    return {
        "t": ts,
        "params": params,
        **observe(problem, objective, params),
        "hitting_time": hitting_time,
        "result": _result(solution),
        "steps": jnp.asarray(solution.stats["num_steps"]),
    }


def _max_norm(error: Array) -> Array:
    return jnp.max(jnp.abs(error))


def _first_hit(problem: Problem, goal: Array, t1: Array, integrate: Any, rtol: Array) -> Array:
    def excess(t, y, args, **_):
        log_policy = policy.log_policy(problem, y)
        return policy.value(problem, log_policy, problem.true_reward) - goal

    # flip=False: an upward crossing is bracketed as below, above. Detecting it would refuse, under vmap, the lanes of a
    # batch that never cross.
    root_finder = optimistix.Bisection(rtol=1e-13, atol=0.0, flip=False)
    event = diffrax.Event(excess, root_finder, direction=True)
    solution = integrate(diffrax.SaveAt(t1=True), event)
    hit = solution.event_mask
    at_start = excess(None, problem.initial_params, None) >= 0
    never = jnp.asarray(jnp.inf, t1.dtype)
    return jnp.where(at_start, 0.0, jnp.where(hit, solution.ts[-1], never))


def _result(solution: diffrax.Solution) -> Array:
    budget = solution.result == diffrax.RESULTS.max_steps_reached
    good = solution.result == diffrax.RESULTS.successful
    code = jnp.where(good, Result.completed, jnp.where(budget, Result.step_budget_spent, Result.not_finite))
    return code.astype(jnp.int32)
