"""One flow by diffrax: the path at its saved times, and the first time at which the true value reaches a target.

Apart from `flow`, whose settings and equations need no solver.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import diffrax
import equinox as eqx
import jax.numpy as jnp
import optimistix
from jaxtyping import Array, Float

from pgdyn import policy
from pgdyn.dynamics.flow import rescale, velocity
from pgdyn.objective import Objective
from pgdyn.problem import Problem
from pgdyn.solution import Result, observe_path

_LOOKS = 2048  # times between which the true value is looked for above its target


class _SavesAt(diffrax.AbstractAdjoint):
    """Another adjoint, with save times that diffrax has not checked.

    diffrax checks by a call of the host that the times are sorted and lie within the solve, and JAX keeps no program
    that calls the host in its compilation cache. The times made here are in order. The loop is given them unchecked,
    and the compiler drops the check, whose result nothing uses.

    Attributes:
        adjoint: runs the loop and differentiates it.
        times: increasing, one array for each thing that is saved.
    """

    adjoint: diffrax.AbstractAdjoint
    times: list[Float[Array, " _"]]

    def loop(self, *, saveat: diffrax.SaveAt, **settings: Any) -> Any:
        """Runs the loop of `adjoint`, saving at `times`."""
        unchecked = eqx.tree_at(lambda saveat: [sub.ts for sub in saveat.subs], saveat, self.times)
        return self.adjoint.loop(saveat=unchecked, **settings)


class _Solver(NamedTuple):
    """A problem in scaled parameters and clock, ready to be integrated."""

    problem: Problem
    objective: Objective
    geometry: str
    rtol: Array
    atol: Array
    solver: diffrax.AbstractAdaptiveSolver
    adjoint: diffrax.AbstractAdjoint
    max_steps: int

    def follow(self, end: Array, saves: list[tuple[Array, Any]]) -> diffrax.Solution:
        """Integrates to `end`, saving `function(t, u, args)` at its times for every (times, function)."""
        subs = [diffrax.SubSaveAt(ts=times, fn=function) for times, function in saves]
        adjoint = _SavesAt(self.adjoint, [times for times, _ in saves])
        return self._integrate(end, diffrax.SaveAt(subs=subs), None, adjoint)

    def until(self, end: Array, event: diffrax.Event) -> diffrax.Solution:
        """Integrates to the event, or to `end`."""
        return self._integrate(end, diffrax.SaveAt(t1=True), event, self.adjoint)

    def _integrate(
        self,
        end: Array,
        saveat: diffrax.SaveAt,
        event: diffrax.Event | None,
        adjoint: diffrax.AbstractAdjoint,
    ) -> diffrax.Solution:
        reference = self.objective.reference_log_policy(self.problem)

        def field(t: Any, params: Array, args: Any) -> Array:
            return velocity(self.problem, self.objective, params, reference, self.geometry)

        return diffrax.diffeqsolve(
            diffrax.ODETerm(field),
            self.solver,
            t0=jnp.zeros_like(end),
            t1=end,
            dt0=None,
            y0=self.problem.initial_params,
            saveat=saveat,
            stepsize_controller=diffrax.PIDController(
                self.rtol, self.atol, pcoeff=0.2, icoeff=0.5, norm=lambda error: jnp.max(jnp.abs(error))
            ),
            event=event,
            adjoint=adjoint,
            max_steps=self.max_steps,
            throw=False,
        )

    def true_value(self, t: Any, y: Array, args: Any) -> Array:
        """V of the true reward at the state y, with the arguments that diffrax gives."""
        return policy.value(self.problem, policy.log_policy(self.problem, y), self.problem.true_reward)


def integrate(
    problem: Problem,
    objective: Objective,
    goal: Array | None,
    numbers: dict[str, Array],
    saves: int,
    geometry: str,
    stop: bool,
    solver: diffrax.AbstractAdaptiveSolver | None,
    adjoint: diffrax.AbstractAdjoint | None,
    max_steps: int,
) -> dict[str, Any]:
    """The arrays of a `Solution` of one flow.

    Args:
        problem: one problem.
        objective: what is climbed.
        goal: the target, or None.
        numbers: t1, rtol and atol.
        saves: number of saved points.
        geometry: "euclidean" or "natural".
        stop: whether the run ends at its hitting time.
        solver: None for `diffrax.Dopri8()`.
        adjoint: None for `diffrax.RecursiveCheckpointAdjoint()`.
        max_steps: solver steps at most.
    """
    solver = diffrax.Dopri8() if solver is None else solver
    adjoint = diffrax.RecursiveCheckpointAdjoint() if adjoint is None else adjoint
    return _solve(problem, objective, goal, numbers, saves, geometry, stop, solver, adjoint, max_steps)


@eqx.filter_jit
def _solve(
    problem: Problem,
    objective: Objective,
    goal: Array | None,
    numbers: dict[str, Array],
    saves: int,
    geometry: str,
    stop: bool,
    solver: diffrax.AbstractAdaptiveSolver,
    adjoint: diffrax.AbstractAdjoint,
    max_steps: int,
) -> dict[str, Any]:
    scaled, rate, unit = rescale(problem, geometry)
    flow = _Solver(scaled, objective, geometry, numbers["rtol"], numbers["atol"], solver, adjoint, max_steps)
    end, hit = numbers["t1"], jnp.full_like(numbers["t1"], jnp.nan)

    def path(end: Array) -> tuple[Array, Array]:
        ts = spread(end, saves)
        return ts, (ts / rate).at[-1].set(end / rate)

    def state(t: Any, params: Array, args: Any) -> Array:
        return params

    looks = spread(end / rate, _LOOKS)
    if goal is not None and stop:
        looked = flow.follow(end / rate, [(looks, flow.true_value)])
        hit = _first_hit(flow, goal, looks, looked.ys[0]) * rate  # pyright: ignore[reportOptionalSubscript]
        end = jnp.where(jnp.isfinite(hit) & (hit > 0), hit, end)
    ts, times = path(end)
    wanted: list[tuple[Array, Any]] = [(times, state)]
    if goal is not None and not stop:
        wanted.append((looks, flow.true_value))
    solution = flow.follow(end / rate, wanted)
    found: Any = solution.ys
    if goal is not None and not stop:
        hit = _first_hit(flow, goal, looks, found[1]) * rate
    params = jnp.where(jnp.isfinite(found[0]), found[0], jnp.nan) * unit
    result = _result(solution)
    if stop:
        at_start = hit == 0
        params = jnp.where(at_start, problem.initial_params, params)
        ts = jnp.where(at_start, 0.0, ts)
        result = jnp.where(jnp.isfinite(hit), Result.reached_target, result).astype(jnp.int32)
    return {
        "t": ts,
        **observe_path(problem, objective, params),
        "hitting_time": hit,
        "result": result,
        "steps": jnp.asarray(solution.stats["num_steps"]),
    }


def spread(end: Array, count: int) -> Float[Array, " count"]:
    """Times from 0 to `end`, evenly spaced in log(1 + t)."""
    return jnp.expm1(jnp.linspace(0.0, 1.0, count) * jnp.log1p(end)).at[-1].set(end)


def _first_hit(flow: _Solver, goal: Array, times: Float[Array, " S"], values: Float[Array, " S"]) -> Array:
    """The first time at which the true value reaches the goal, on the solver's clock; inf for never.

    A solve is cut off at the first of the `times` at which the value lies above the goal, so that the crossing is seen
    at the end of a step even where the value falls back below the goal.
    """

    def excess(t: Any, y: Array, args: Any, **_: Any) -> Array:
        return flow.true_value(t, y, args) - goal

    above = (values >= goal) & jnp.isfinite(values)  # points after a break hold no values
    seen = jnp.any(above)
    end = jnp.where(seen, times[jnp.argmax(above)], times[-1])
    end = jnp.where(end > 0, end, times[-1])
    # flip=False: an upward crossing is bracketed as below, above. Detecting it would refuse, under vmap, the lanes of a
    # batch that never cross.
    root_finder = optimistix.Bisection(rtol=1e-13, atol=0.0, flip=False)
    solution = flow.until(end, diffrax.Event(excess, root_finder, direction=True))
    assert solution.ts is not None
    at_start = excess(None, flow.problem.initial_params, None) >= 0
    # Where the value only just reaches the goal, the two solves may differ about it by their tolerance.
    never = jnp.where(seen, end, jnp.inf)
    found: Any = solution.event_mask
    return jnp.where(at_start, 0.0, jnp.where(found, solution.ts[-1], never))


def _result(solution: diffrax.Solution) -> Array:
    budget = solution.result == diffrax.RESULTS.max_steps_reached
    good = solution.result == diffrax.RESULTS.successful
    code = jnp.where(good, Result.completed, jnp.where(budget, Result.step_budget_spent, Result.not_finite))
    return code.astype(jnp.int32)
