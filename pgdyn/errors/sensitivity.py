r"""How the outcome of training moves with each entry of the proxy, to first order.

With theta(t) the gradient flow on the proxy r_P and V_G the value of the true reward,

    sensitivity                S(t1) = dV_G(theta(t1)) / dr_P,                  by the adjoint of the flow,
    hitting_time_sensitivity   dT / dr_P = -S(T) / (dV_G/dt at T),              T the first time with V_G = target,

the second by the implicit function theorem on V_G(theta(T; r_P)) = target. What is differentiated is `pgdyn.flow`
itself, in reverse mode through the steps that its solver takes, so S differs from the exact derivative by the solver's
error alone.

Two identities hold for both on the plain value (theory: perturbation_linearity), and make cheap checks: adding a
constant to a prompt's proxy changes nothing, so S and dT/dr_P sum to zero over each prompt's outputs; scaling the proxy
runs the flow faster, so <r_P, S(t1)> = t1 dV_G/dt(t1) and <r_P, dT/dr_P> = -T.

At t -> 0, S(t) = t d(dV_G/dt)/dr_P(y) + O(t^2), the instantaneous effect; a long run can have the opposite sign
(theory: instantaneous_versus_long_run).
"""

from __future__ import annotations

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from pgdyn import exact, validate
from pgdyn.dynamics.flow import Flow, velocity
from pgdyn.objective import Objective
from pgdyn.problem import Problem, require_single
from pgdyn.solve import solve

TOLERANCES = {"rtol": 1e-10, "atol": 1e-12}


def sensitivity(problem: Problem, t1: ArrayLike, **settings: Any) -> Float[Array, "P K"]:
    """d true_value(t1) / d proxy_reward of the flow on the proxy.

    Args:
        problem: one problem.
        t1: time, positive.
        **settings: further fields of `pgdyn.Flow`: rtol (here 1e-10), atol (here 1e-12), max_steps, objective,
            geometry.

    Returns:
        [P, K]; nan where the flow breaks off before t1.

    Raises:
        ValueError: on a batch, or numbers out of range.

    Example:
        >>> problem = Problem.tabular([0.05, 0.5, 0.15, 0.15, 0.15], [1, 0.8, -1, -1, -1])
        >>> [round(float(slope), 3) for slope in sensitivity(problem, 10.0)[0]]
        [-0.008, 0.067, -0.02, -0.02, -0.02]
    """
    require_single(problem, "sensitivity")
    end = validate.scalar("t1", t1, positive=True)
    _, slope, _ = value_and_slope(problem, end, Flow(**{"t1": t1, **TOLERANCES, **settings}))
    return slope


def hitting_time_sensitivity(
    problem: Problem, t1: ArrayLike, target: ArrayLike, **settings: Any
) -> Float[Array, "P K"]:
    """d hitting_time / d proxy_reward: how the first time with true_value >= target moves with the proxy.

    Where `pgdyn.exact` covers the problem it is the derivative of the exact solution, a third of the adjoint's time and
    six digits more; elsewhere, and where that tells none, the adjoint's.

    Args:
        problem: one problem.
        t1: end time of the search, positive.
        target: true value.
        **settings: as for `sensitivity`.

    Returns:
        [P, K]; nan where the target is not reached before `t1`, 0 where it is reached at the start.

    Raises:
        ValueError: on a batch, or numbers out of range.

    Example:
        >>> problem = Problem.tabular([0.05, 0.5, 0.15, 0.15, 0.15], [1, 0.8, -1, -1, -1], [1, -1, -1, -1, -1])
        >>> [round(float(slope), 1) for slope in hitting_time_sensitivity(problem, 100.0, 0.9)[0]]
        [-8.4, 2.7, 1.9, 1.9, 1.9]
    """
    require_single(problem, "hitting_time_sensitivity")
    numbers = {"t1": validate.scalar("t1", t1, positive=True), "target": validate.scalar("target", target)}
    flow = Flow(**{**numbers, "saves": 2, **TOLERANCES, **settings})
    if _is_covered(problem, flow):
        slope = _exact_slope(problem, flow.chosen_objective, numbers["t1"], numbers["target"])
        if bool(jnp.all(jnp.isfinite(slope))):
            return slope
    hit = solve(problem, flow).hitting_time
    inside = jnp.isfinite(hit) & (hit > 0)
    _, slope, speed = value_and_slope(problem, jnp.where(inside, hit, numbers["t1"]), flow)
    return jnp.where(inside, -slope / speed, jnp.where(hit == 0, 0.0, jnp.nan))


def _is_covered(problem: Problem, flow: Flow) -> bool:
    if flow.geometry != "euclidean" or any(map(validate.is_traced, jax.tree.leaves((problem, flow)))):
        return False
    return bool(exact.covers(problem, objective=flow.chosen_objective))


@eqx.filter_jit
def _exact_slope(
    problem: Problem, objective: Objective, t1: Float[Array, ""], target: Float[Array, ""]
) -> Float[Array, "P K"]:
    """dT / dr_P of the exact solution; nan where T is above t1, or where no derivative is told."""

    def time(proxy: Float[Array, "P K"]) -> Float[Array, ""]:
        moved = eqx.tree_at(lambda p: p.proxy_reward, problem, proxy)
        return exact.hitting_time(moved, target, objective=objective)

    hit, slope = jax.value_and_grad(time)(problem.proxy_reward)
    return jnp.where(hit <= t1, slope, jnp.nan)


def value_and_slope(
    problem: Problem, t: Float[Array, ""], flow: Flow
) -> tuple[Float[Array, ""], Float[Array, "P K"], Float[Array, ""]]:
    """V_G(t), its derivative in the proxy, and dV_G/dt(t), from one flow and its adjoint.

    Args:
        problem: one problem.
        t: time, positive.
        flow: the settings of the flow; its own end time and target play no part.

    Returns:
        V_G, [P, K] and dV_G/dt; all nan where the flow breaks off before t.

    Example:
        >>> problem = Problem.tabular([0.05, 0.5, 0.15, 0.15, 0.15], [1, 0.8, -1, -1, -1])
        >>> value, slope, rate = value_and_slope(problem, jnp.asarray(5.0), Flow(t1=5.0, **TOLERANCES))
        >>> bool(jnp.isclose(jnp.sum(problem.proxy_reward * slope), 5.0 * rate))
        True
    """
    # Numbers are inputs of the compiled program: others compile nothing.
    numbers = {"t1": t, **{name: getattr(flow, name) for name in TOLERANCES if getattr(flow, name) is not None}}
    arrays = {name: jnp.asarray(number, t.dtype) for name, number in numbers.items()}
    others = dataclasses.replace(
        flow, t1=1.0, target=None, saves=2, stop_at_target=False, **dict.fromkeys(TOLERANCES, None)
    )
    return _value_and_slope(problem, arrays, others)


@eqx.filter_jit
def _value_and_slope(
    problem: Problem, numbers: dict[str, Array], others: Flow
) -> tuple[Float[Array, ""], Float[Array, "P K"], Float[Array, ""]]:
    settings = dataclasses.replace(others, **numbers)

    def end_value(proxy: Float[Array, "P K"]) -> tuple[Float[Array, ""], Float[Array, "*params"]]:
        end = solve(eqx.tree_at(lambda p: p.proxy_reward, problem, proxy), settings).end
        return end.true_value, end.params

    (value, params), slope = jax.value_and_grad(end_value, has_aux=True)(problem.proxy_reward)
    return value, jnp.where(jnp.isfinite(value), slope, jnp.nan), value_rate(problem, params, settings)


def value_rate(problem: Problem, params: Float[Array, "*params"], flow: Flow) -> Float[Array, ""]:
    """dV_G/dt = <dV_G/dtheta, theta'> at `params`, of the flow on the proxy.

    Args:
        problem: one problem.
        params: theta.
        flow: the settings, of which objective and geometry count.

    Example:
        >>> problem = Problem.tabular([0.5, 0.5], [1.0, 0.0])
        >>> round(float(value_rate(problem, problem.initial_params, Flow(t1=1.0))), 6)
        0.125
    """
    objective = flow.chosen_objective
    reference = objective.reference_log_policy(problem)
    uphill = Objective(reward="true").gradient(problem, params)
    return jnp.sum(uphill * velocity(problem, objective, params, reference, flow.geometry))
