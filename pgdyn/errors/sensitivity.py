r"""How the outcome of training moves with each entry of the proxy, to first order.

With theta(t) the gradient flow on the proxy r_P and V_G the value of the true reward,

    sensitivity                S(t1) = dV_G(theta(t1)) / dr_P,                  by the adjoint of the flow,
    hitting_time_sensitivity   dT / dr_P = -S(T) / (dV_G/dt at T),              T the first time with V_G = target,

the second by the implicit function theorem on V_G(theta(T; r_P)) = target. The adjoint is that of the solver's own
steps (reverse mode through a checkpointed eighth-order solve), so it differs from the exact derivative by
the solver's error alone.

Two identities hold for both (theory: perturbation_linearity), and make cheap checks: adding a constant to a prompt's
proxy changes nothing, so S and dT/dr_P sum to zero over each prompt's outputs; scaling the proxy runs the flow faster,
so <r_P, S(t1)> = t1 dV_G/dt(t1) and <r_P, dT/dr_P> = -T.

At t -> 0, S(t) = t d(dV_G/dt)/dr_P(y) + O(t^2), the instantaneous effect; a long run can have the opposite sign
(theory: instantaneous_versus_long_run).
"""

from __future__ import annotations

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from pgdyn import policy, validate
from pgdyn.dynamics.flow import flow, velocity
from pgdyn.objective import Objective
from pgdyn.problem import Problem, require_single

RTOL, ATOL = 1e-10, 1e-12


def sensitivity(
    problem: Problem, t1: ArrayLike, *, rtol: float = RTOL, atol: float = ATOL, max_steps: int = 65536
) -> Float[Array, "P K"]:
    """d true_value(t1) / d proxy_reward, [P, K], of the flow on the proxy.

    Args:
        problem: one problem.
        t1: time, positive.
        rtol: relative tolerance of the flow.
        atol: absolute tolerance of the flow.
        max_steps: step budget; where it is spent the sensitivity is nan.

    Raises:
        ValueError: on a batch, or numbers out of range.
    """
    require_single(problem, "sensitivity")
    end = validate.scalar("t1", t1, positive=True)
    _, slope, _ = value_and_slope(problem, end, rtol=rtol, atol=atol, max_steps=max_steps)
    return slope


def hitting_time_sensitivity(
    problem: Problem,
    t1: ArrayLike,
    target: ArrayLike,
    *,
    rtol: float = RTOL,
    atol: float = ATOL,
    max_steps: int = 65536,
) -> Float[Array, "P K"]:
    """d hitting_time / d proxy_reward, [P, K]: how the first time with true_value >= target moves with the proxy.

    nan where the target is not reached before `t1`; 0 where it is reached at the start.

    Args:
        problem: one problem.
        t1: end time of the search, positive.
        target: true value.
        rtol: relative tolerance of the flow.
        atol: absolute tolerance of the flow.
        max_steps: step budget.

    Raises:
        ValueError: on a batch, or numbers out of range.
    """
    require_single(problem, "hitting_time_sensitivity")
    end = validate.scalar("t1", t1, positive=True)
    goal = validate.scalar("target", target)
    options = {"rtol": rtol, "atol": atol, "max_steps": max_steps}
    hit = flow(problem, end, target=goal, saves=2, **options).hitting_time
    inside = jnp.isfinite(hit) & (hit > 0)
    _, slope, speed = value_and_slope(problem, jnp.where(inside, hit, end), **options)
    return jnp.where(inside, -slope / speed, jnp.where(hit == 0, 0.0, jnp.nan))


@eqx.filter_jit
def value_and_slope(
    problem: Problem, t: Float[Array, ""], *, rtol: float = RTOL, atol: float = ATOL, max_steps: int = 65536
) -> tuple[Float[Array, ""], Float[Array, "P K"], Float[Array, ""]]:
    """V_G(t), its derivative in the proxy, and dV_G/dt(t), from one flow and its adjoint."""
    reference = Objective().reference_log_policy(problem)

    def end_value(proxy: Array) -> tuple[Array, Array]:
        trained = eqx.tree_at(lambda p: p.proxy_reward, problem, proxy)
        solution = diffrax.diffeqsolve(
            diffrax.ODETerm(lambda t, params, args: velocity(trained, Objective(), params, reference)),
            diffrax.Dopri8(),
            t0=jnp.zeros_like(t),
            t1=t,
            dt0=None,
            y0=problem.initial_params,
            stepsize_controller=diffrax.PIDController(rtol, atol, pcoeff=0.2, icoeff=0.5),
            max_steps=max_steps,
            throw=False,
        )
        assert solution.ys is not None
        good = solution.result == diffrax.RESULTS.successful
        params = jnp.where(good, solution.ys[-1], jnp.nan)
        return policy.value(problem, policy.log_policy(problem, params), problem.true_reward), params

    (value, params), slope = jax.value_and_grad(end_value, has_aux=True)(problem.proxy_reward)
    return value, jnp.where(jnp.isfinite(value), slope, jnp.nan), value_rate(problem, params)


def value_rate(problem: Problem, params: Float[Array, "*params"]) -> Float[Array, ""]:
    """dV_G/dt = <dV_G/dtheta, theta'> of the flow on the proxy."""
    reference = Objective().reference_log_policy(problem)
    uphill = Objective(reward="true").gradient(problem, params)
    return jnp.sum(uphill * velocity(problem, Objective(), params, reference))
