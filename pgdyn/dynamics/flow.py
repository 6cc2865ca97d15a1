r"""Gradient flow: theta' = dJ/dtheta (euclidean) or F^+ dJ/dtheta (natural), in continuous time.

For the plain value this is theta' = Phi^T (pi * A) / T, the dynamics of arXiv 2604.25872 and the object that its
theorems speak about. Integrated in the scaled parameters u = theta / T, where the temperature is nothing but a clock,

    z = Phi u,      du/ds = Phi^T dJ/dz  with  s = t / T^2      (natural: du/dt = F_u^+ Phi^T dJ/dz),

by an eighth-order Dormand-Prince pair with error control (diffrax), so that a plateau that lasts until t = 1e15 costs
few steps.
"""

from __future__ import annotations

import importlib
from typing import Any, ClassVar, Literal

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from pgdyn import policy, validate
from pgdyn.objective import Anchor, Objective, choose_objective
from pgdyn.policy import Weights
from pgdyn.problem import Problem
from pgdyn.solution import MOST_SAVES, Solution

GEOMETRIES = ("euclidean", "natural")
ONE = {"rtol": 1e-8, "atol": 1e-10}  # tolerances of one run
MANY = {"rtol": 1e-6, "atol": 1e-9}  # of a batch


class Flow(eqx.Module):
    """Settings of a gradient flow from t = 0 to `t1`.

    Attributes:
        t1: end time, positive; up to 1e15 and beyond on plateaus. For a batch also [N].
        objective: what is climbed; None for the proxy's value alone.
        target: true value whose first hitting time is wanted, or None. For a batch also [N].
        saves: number of saved points of one run, at times evenly spaced in log(1 + t); a batch keeps its ends.
        rtol: relative tolerance of one step; None for 1e-8 in one run and 1e-6 in a batch.
        atol: absolute tolerance of one step, in parameters over temperature; None for 1e-10 in one run and 1e-9 in a
            batch.
        geometry: "euclidean", or "natural" for the natural policy gradient (tabular: pi_t ~ pi_0 exp(t r)).
        stop_at_target: whether the run ends at its hitting time.
        max_steps: solver steps after which a run breaks off, and says so in its result.
        solver: a diffrax adaptive solver, or "exact" for `pgdyn.exact`, where it covers the problem; None for
            `diffrax.Dopri8()`. Batches have a solver of their own. There is no "auto": at equal error integration was
            the faster one for 5, 64 and 1000 outputs (experiments/benchmarks/results/exact_solution.csv).
        adjoint: how derivatives are taken through one run; None for `diffrax.RecursiveCheckpointAdjoint()`, which
            serves `jax.grad`. Use `diffrax.ForwardMode()` for `jax.jvp` and `jax.jacfwd`.

    Raises:
        ValueError: naming the field that is wrong.

    Example:
        >>> Flow(t1=100.0, target=0.9).geometry
        'euclidean'
    """

    t1: float = eqx.field(converter=validate.numbers("t1", positive=True))
    objective: Objective | None = None
    target: float | None = eqx.field(default=None, converter=validate.numbers("target", optional=True))
    saves: int = eqx.field(default=256, static=True, converter=validate.counts("saves", minimum=2, maximum=MOST_SAVES))
    rtol: float | None = eqx.field(default=None, converter=validate.numbers("rtol", positive=True, optional=True))
    atol: float | None = eqx.field(default=None, converter=validate.numbers("atol", positive=True, optional=True))
    geometry: Literal["euclidean", "natural"] = eqx.field(
        default="euclidean", static=True, converter=validate.choices("geometry", GEOMETRIES)
    )
    stop_at_target: bool = eqx.field(default=False, static=True, converter=validate.truth("stop_at_target"))
    max_steps: int = eqx.field(
        default=65536, static=True, converter=validate.counts("max_steps", minimum=1, maximum=2**31 - 1)
    )
    solver: Any = None  # diffrax.AbstractAdaptiveSolver | "exact" | None
    adjoint: Any = None  # diffrax.AbstractAdjoint | None

    name: ClassVar[str] = "flow"

    def __check_init__(self):
        choose_objective(self.objective, "flow")
        for name, kind in (("solver", "AbstractAdaptiveSolver"), ("adjoint", "AbstractAdjoint")):
            value, or_exact = getattr(self, name), ' or "exact"' if name == "solver" else ""
            if name == "solver" and isinstance(value, str) and value == "exact":
                continue
            if value is not None and not isinstance(value, getattr(importlib.import_module("diffrax"), kind)):
                raise ValueError(f"{name} is {validate.shown(value)}; it must be a diffrax.{kind}{or_exact}")
        if self.stop_at_target and self.target is None:
            raise ValueError("stop_at_target needs a target")

    @property
    def chosen_objective(self) -> Objective:
        """The objective, with the default in place of None."""
        return choose_objective(self.objective, "flow")

    def run(self, problem: Problem) -> Solution:
        """Solves one problem; `pgdyn.solve` checks it first."""
        if isinstance(self.solver, str):
            require_float64(problem.initial_params.dtype, "flow")
            return importlib.import_module("pgdyn.exact.flow").solve(problem, self)
        from pgdyn.dynamics import integrate  # and with it diffrax, a third of the time that pgdyn takes to import

        require_float64(problem.initial_params.dtype, "flow")
        numbers = {name: validate.scalar(name, getattr(self, name)) for name in ("t1",)}
        for name, default in ONE.items():
            value = getattr(self, name)
            numbers[name] = validate.scalar(name, default if value is None else value)
        goal = None if self.target is None else validate.scalar("target", self.target)
        options = (self.saves, self.geometry, self.stop_at_target, self.solver, self.adjoint, self.max_steps)
        path = integrate.integrate(problem, self.chosen_objective, goal, numbers, *options)
        return Solution(**path, problem=problem, settings=self)


def require_float64(dtype: Any, caller: str) -> None:
    """Raises ValueError unless a problem's arrays are float64: rounding must stay below the solver's tolerances."""
    if dtype != np.float64 or validate.float_dtype() != np.float64:
        raise ValueError(
            f"{caller} needs float64 and {'this problem is ' + str(dtype) if dtype != np.float64 else 'it is off'}; "
            "leave PGDYN_X64 unset (or set it to 1) before importing pgdyn, or use pgdyn.ascend"
        )


def rescale(problem: Problem, geometry: str) -> tuple[Problem, Float[Array, ""], Float[Array, ""]]:
    """The problem in scaled parameters u = theta / T, the clock's rate dt/ds, and what to multiply u with.

    A network's logits are not linear in its parameters, which stay as they are.
    """
    one = jnp.ones_like(problem.temperature)
    if problem.network is not None:
        return problem, one, one
    start = problem.initial_params / problem.temperature
    scaled = eqx.tree_at(lambda p: (p.initial_params, p.temperature), problem, (start, one))
    return scaled, problem.temperature**2 if geometry == "euclidean" else one, problem.temperature


def velocity(
    problem: Problem,
    objective: Objective,
    params: Float[Array, "..."],
    reference: Float[Array, "P K *lanes"] | None,
    geometry: str = "euclidean",
) -> Float[Array, "..."]:
    """theta' at `params`; `reference` is `objective.reference_log_policy(problem)`."""
    return velocity_and_weights(problem, objective, params, reference, geometry)[0]


def velocity_and_weights(
    problem: Problem,
    objective: Objective,
    params: Float[Array, "..."],
    reference: Float[Array, "P K *lanes"] | None,
    geometry: str = "euclidean",
    anchor: Anchor | None = None,
) -> tuple[Float[Array, "..."], Weights]:
    """theta' at `params`, and the probabilities there, measured from `anchor`."""
    logits = policy.logits(problem, params)
    anchor = objective.anchor(problem, logits, reference) if anchor is None else anchor
    weights = policy.weights(logits, anchor.peak)
    if geometry == "natural":
        signal = objective.natural_signal(problem, logits, reference)
        return policy.natural_direction(problem, policy.normalize(logits), signal, params), weights
    gradient = objective.gradient_at(problem, logits, weights, reference, anchor)
    return policy.pull_back(problem, gradient, params), weights
