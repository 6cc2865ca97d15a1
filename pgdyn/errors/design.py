r"""The most beneficial error: a proxy chosen by gradient through the flow.

    maximise V_G(theta(t1; r_P))      or, with a target,      minimise T(r_P), the first time with V_G = target

over proxies r_P with lower <= r_P <= upper, max_y r_p(y) - min_y r_p(y) <= max_range in every prompt, and
|r_P - r_G|_2 <= budget. Rewards scaled by c > 1 run the same flow c times faster (theory: perturbation_linearity), so
without a bound on the range speed is bought by scale alone; the default allows the range of the truth.

Projected ascent with an optax optimiser from several starts, all run side by side. The slope is the adjoint's
(`pgdyn.errors.sensitivity`): dV_G/dr_P at t1, or -dV_G/dr_P / (T dV_G/dt) at T, the slope of log T. A start that
does not reach the target before t1 climbs V_G(t1) until it does. The problem is not convex: what is returned is the
best proxy met, never a worse one than the best start, the ground truth itself included.
"""

from __future__ import annotations

import dataclasses
import importlib
from typing import TYPE_CHECKING, Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from pgdyn import policy, validate
from pgdyn.dynamics.flow import Flow
from pgdyn.dynamics.optimizer import GradientTransformation, Optimizer, trace
from pgdyn.errors.region import Region, allowed
from pgdyn.errors.sensitivity import value_and_slope
from pgdyn.problem import Problem, require_single
from pgdyn.solution import Solution
from pgdyn.solve import solve
from pgdyn.validate import Numbers

if TYPE_CHECKING:
    import xarray

_MIDDLE_FRACTIONS = (0.0, 0.5)
_FLOW = {"saves": 2, "rtol": 1e-8, "atol": 1e-10, "max_steps": 4096}


class Design(eqx.Module):
    """A designed proxy.

    Attributes:
        solution: the end of the flow on the designed proxy.
        starts: [S, P, K], where the searches began; the first is the truth, brought within the bounds.
        history: [S, steps + 1], what each search had reached before every update: hitting times with a target (inf
            where not before t1), else true values at t1.
        region: the proxies that were allowed.
        optimizer: the optax transformation, or None for the default.

    Example:
        >>> problem = Problem.tabular([0.05, 0.5, 0.15, 0.15, 0.15], [1, 0.8, -1, -1, -1])
        >>> found = design(problem, 5.0, steps=2, random_starts=0)
        >>> found.starts.shape, found.history.shape, found.proxy_reward.shape
        ((3, 1, 5), (3, 3), (1, 5))
    """

    solution: Solution
    starts: Float[Array, "S P K"]
    history: Float[Array, "S updates"]
    region: Region
    optimizer: GradientTransformation | None = eqx.field(static=True)

    @property
    def problem(self) -> Problem:
        """The problem, with the designed proxy for its own."""
        assert isinstance(self.solution.problem, Problem)
        return self.solution.problem

    @property
    def proxy_reward(self) -> Float[Array, "P K"]:
        """[P, K], the designed proxy."""
        return self.problem.proxy_reward

    @property
    def hitting_time(self) -> Float[Array, ""]:
        """The first time with true_value >= target; inf for never before t1, nan without a target."""
        return self.solution.hitting_time

    @property
    def true_value(self) -> Float[Array, ""]:
        """The true value at t1."""
        return self.solution.true_value

    @property
    def flow(self) -> Flow:
        """The settings that every flow was run with."""
        return self.solution.settings

    def to_dataset(self) -> xarray.Dataset:
        """The design as an `xarray.Dataset` over "search" and "update", with the problem and what made it."""
        return importlib.import_module("pgdyn.io.errors").design_dataset(self)


class _Met(NamedTuple):
    """The proxies that the searches met: `proxy` [S, updates, P, K], and hitting time and true value of each."""

    proxy: Float[Array, ...]
    time: Float[Array, ...]
    value: Float[Array, ...]


def design(
    problem: Problem,
    t1: ArrayLike,
    *,
    target: ArrayLike | None = None,
    lower: Numbers | None = None,
    upper: Numbers | None = None,
    max_range: ArrayLike | None = None,
    budget: ArrayLike | None = None,
    steps: int = 100,
    optimizer: GradientTransformation | None = None,
    random_starts: int = 2,
    key: Array | None = None,
    **settings: Any,
) -> Design:
    """The proxy with the highest true value at `t1`, or with a `target` the shortest time to it, that a search finds.

    Starts: the truth; the truth with every output that is neither best nor worst of its prompt lowered to the prompt's
    lowest reward, and half way there; `random_starts` drawn uniformly within the bounds.

    Args:
        problem: one problem; its own proxy plays no part.
        t1: end time, positive; with a target, the longest time that counts as reaching it.
        target: true value to be reached as early as possible, or None.
        lower: number, [K] or [P, K], the least reward of each output; None for the truth's least.
        upper: likewise the largest; None for the truth's largest.
        max_range: largest max - min within a prompt; None for the largest of the truth's prompts.
        budget: largest Euclidean size of the error r_P - r_G, over all prompts; None for no limit. With a budget the
            truth itself has to be within the bounds.
        steps: updates of each search.
        optimizer: an optax transformation that minimises; None for `optax.adam` with a rate that falls from 0.1 to
            0.001 of the range as a cosine.
        random_starts: number of random starts.
        key: a `jax.random.key` for them; None for `jax.random.key(0)`.
        **settings: further fields of `pgdyn.Flow`: rtol (here 1e-8), atol (here 1e-10), max_steps (here 4096; a search
            whose flow spends it stays where it is), objective, geometry.

    Returns:
        A `Design`: the best proxy that any search met, the starts included. Where no flow reaches the target before t1,
        it is the one with the highest true value at t1.

    Raises:
        ValueError: on a batch, numbers out of range, bounds or a range that no proxy can meet, a target that the start
            meets already, or flows of which none runs to its end.

    Example:
        >>> problem = Problem.tabular([0.05, 0.5, 0.15, 0.15, 0.15], [1, 0.8, -1, -1, -1])
        >>> found = design(problem, 5.0, steps=2, random_starts=0)
        >>> float(found.true_value) >= float(found.history[:, 0].max())
        True
    """
    import optax  # here, as it takes a tenth of the time that pgdyn takes to import

    require_single(problem, "design")
    numbers = {"t1": validate.number("t1", t1, positive=True)}
    if target is not None:
        numbers["target"] = validate.number("target", target)
    flow = Flow(**{**numbers, **_FLOW, **settings})
    count = validate.count("steps", steps, minimum=1)
    draws = validate.count("random_starts", random_starts, minimum=0)
    region = allowed(problem, lower, upper, max_range, budget)
    if flow.target is not None:
        start_policy = policy.log_policy(problem, problem.initial_params)
        start = float(policy.value(problem, start_policy, problem.true_reward))
        if start >= flow.target:
            raise ValueError(f"target is {flow.target:g} but the initial policy's true value is {start:g} already")
    # The default works in units of the range, so that problems of other ranges share its compiled search.
    scale = region.max_range if optimizer is None else jnp.ones_like(region.max_range)
    rule = optax.adam(optax.cosine_decay_schedule(0.1, count, 0.01)) if optimizer is None else optimizer
    traced = trace(rule, 1.0, region.truth)
    starts = _starts(region, draws, jax.random.key(0) if key is None else key)
    times = {name: validate.scalar(name, number) for name, number in numbers.items()}
    untimed = dataclasses.replace(flow, t1=1.0, target=None)
    met = _search(problem, region, starts, times, untimed, count, traced, scale)
    best = eqx.tree_at(lambda p: p.proxy_reward, problem, met.proxy[_best(met, flow)])
    history = met.value if target is None else met.time
    return Design(solve(best, flow).end, starts, history, region, optimizer)


@eqx.filter_jit
def _search(
    problem: Problem,
    region: Region,
    starts: Float[Array, "S P K"],
    times: dict[str, Array],
    untimed: Flow,
    steps: int,
    optimizer: Optimizer,
    scale: Float[Array, ""],
) -> _Met:
    """Searches from every start.

    Args:
        problem: the problem.
        region: what is allowed.
        starts: where to begin.
        times: t1 and, where there is one, the target: numbers that compile nothing.
        untimed: the other settings of the flows.
        steps: updates.
        optimizer: of the proxy.
        scale: the unit of its updates.
    """
    flow = dataclasses.replace(untimed, **times)

    def measure(proxy: Float[Array, "P K"]) -> tuple[Array, Array, Array]:
        """Hitting time, true value there or at t1, and the slope of the loss."""
        trained = eqx.tree_at(lambda p: p.proxy_reward, problem, proxy)
        if flow.target is None:
            value, slope, _ = value_and_slope(trained, times["t1"], flow)
            return jnp.full_like(value, jnp.nan), value, -slope
        time = solve(trained, flow).hitting_time
        arrives = jnp.isfinite(time)
        value, slope, rate = value_and_slope(trained, jnp.where(arrives, time, times["t1"]), flow)
        return time, value, -slope / jnp.where(arrives, time * rate, 1.0)

    def update(carry: tuple[Array, Any], _: None) -> tuple[tuple[Array, Any], _Met]:
        proxy, state = carry
        time, value, slope = measure(proxy)
        # A flow that broke off has no slope; its search rests where it is.
        slope = jnp.where(jnp.isfinite(slope), slope, 0.0)
        moved, state = optimizer.ascend(-slope, state, proxy)
        return (region.project(proxy + scale * (moved - proxy)), state), _Met(proxy, time, value)

    def search(start: Float[Array, "P K"]) -> _Met:
        # One update more than is used: measuring the last proxy outside the loop would compile the flow once more.
        _, met = jax.lax.scan(update, (start, optimizer.init(start)), length=steps + 1)
        return met

    return jax.vmap(search)(starts)


def _best(met: _Met, flow: Flow) -> tuple[int, ...]:
    """The index of the earliest proxy, or where none arrives of the one with the highest true value.

    Raises:
        ValueError: if every flow broke off.
    """
    time, value = np.asarray(met.time), np.asarray(met.value)
    if np.isfinite(time).any():
        best = np.nanargmin(time)
    elif np.isfinite(value).any():
        best = np.nanargmax(value)
    else:
        raise ValueError(f"no flow of the search ran to its end within max_steps = {flow.max_steps}; give more")
    return tuple(int(i) for i in np.unravel_index(best, value.shape))


@eqx.filter_jit
def _starts(region: Region, draws: int, key: Array) -> Float[Array, "S P K"]:
    truth = region.truth
    low, high = (edge(truth, axis=1, keepdims=True) for edge in (jnp.min, jnp.max))
    middle = truth < high
    lowered = [jnp.where(middle, low + share * (truth - low), truth) for share in _MIDDLE_FRACTIONS]
    random = jax.random.uniform(key, (draws, *truth.shape)) * (region.upper - region.lower)[None] + region.lower[None]
    return jax.vmap(region.project)(jnp.concatenate([jnp.stack([truth, *lowered]), random]))
