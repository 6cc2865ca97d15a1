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

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float

from pgdyn import policy, validate
from pgdyn.dynamics.flow import flow
from pgdyn.dynamics.optimizer import Optimizer, trace
from pgdyn.errors.sensitivity import value_and_slope
from pgdyn.problem import Problem, require_single
from pgdyn.validate import Numbers

_MIDDLE_FRACTIONS = (0.0, 0.5)
_RTOL, _ATOL = 1e-8, 1e-10


class Design(eqx.Module):
    """A designed proxy.

    Attributes:
        proxy_reward: [P, K].
        hitting_time: first time with true_value >= target of the flow on it; inf for never before t1, nan without a
            target.
        true_value: at t1.
        starts: [S, P, K], where the searches began; the first is the truth, brought within the bounds.
        history: [S, steps + 1], what each search had reached before every update: hitting times with a target (inf
            where not before t1), else true values at t1.
    """

    proxy_reward: Float[Array, "P K"]
    hitting_time: Float[Array, ""]
    true_value: Float[Array, ""]
    starts: Float[Array, "S P K"]
    history: Float[Array, "S updates"]


class Region(eqx.Module):
    """The proxies that are allowed.

    Attributes:
        truth: [P, K].
        lower: [P, K].
        upper: [P, K].
        max_range: largest max - min within a prompt.
        budget: largest |r_P - r_G|_2 over all prompts and outputs; inf for no limit.
    """

    truth: Float[Array, "P K"]
    lower: Float[Array, "P K"]
    upper: Float[Array, "P K"]
    max_range: Float[Array, ""]
    budget: Float[Array, ""]

    def project(self, proxy: Float[Array, "P K"]) -> Float[Array, "P K"]:
        """A near proxy that is allowed, and `proxy` itself where it is allowed.

        Entries are clipped to the bounds, then each prompt to a window of width `max_range` around its middle, then the
        error is shrunk to the budget; each step keeps what the ones before it ensured.
        """
        inside = jnp.clip(proxy, self.lower, self.upper)
        middle = (jnp.max(inside, axis=-1, keepdims=True) + jnp.min(inside, axis=-1, keepdims=True)) / 2
        # A window that meets every output's bounds: its floor lies between these two.
        least = jnp.max(self.lower, axis=-1, keepdims=True) - self.max_range
        most = jnp.min(self.upper, axis=-1, keepdims=True)
        floor = jnp.clip(middle - self.max_range / 2, least, most)
        inside = jnp.clip(inside, floor, floor + self.max_range)
        error = inside - self.truth
        size = jnp.sqrt(jnp.sum(error**2))
        shrunk = self.truth + error * (self.budget / jnp.where(size > 0, size, 1.0))
        return jnp.where(size > self.budget, shrunk, inside)

    def contains(self, proxy: Float[Array, "P K"], slack: float = 1e-12) -> Bool[Array, ""]:
        """Whether `proxy` is allowed, up to `slack`."""
        width = jnp.max(proxy, axis=-1) - jnp.min(proxy, axis=-1)
        bounded = jnp.all((proxy >= self.lower - slack) & (proxy <= self.upper + slack))
        small = jnp.sqrt(jnp.sum((proxy - self.truth) ** 2)) <= self.budget + slack
        return bounded & jnp.all(width <= self.max_range + slack) & small


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
    optimizer: optax.GradientTransformation | None = None,
    random_starts: int = 2,
    key: Array | None = None,
    max_steps: int = 4096,
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
        key: a `jax.random.key` for them; needed where `random_starts` is not 0, None for `jax.random.key(0)`.
        max_steps: step budget of each flow; a search that spends it stays where it is.

    Raises:
        ValueError: on a batch, numbers out of range, bounds or a range that no proxy can meet, or a target that the
            start meets already.
    """
    require_single(problem, "design")
    end = validate.scalar("t1", t1, positive=True)
    goal = None if target is None else validate.scalar("target", target)
    count = validate.count("steps", steps, minimum=1)
    draws = validate.count("random_starts", random_starts, minimum=0)
    region = _region(problem, lower, upper, max_range, budget)
    if goal is not None:
        start_policy = policy.log_policy(problem, problem.initial_params)
        start = float(policy.value(problem, start_policy, problem.true_reward))
        if start >= goal:
            raise ValueError(f"target is {float(goal):g} but the initial policy's true value is {start:g} already")
    # The default works in units of the range, so that problems of other ranges share its compiled search.
    scale = region.max_range if optimizer is None else jnp.ones_like(region.max_range)
    rule = optax.adam(optax.cosine_decay_schedule(0.1, count, 0.01)) if optimizer is None else optimizer
    traced = trace(rule, region.truth)
    starts = _starts(problem, region, draws, jax.random.key(0) if key is None else key)
    proxies, history = _search(problem, region, starts, end, goal, count, traced, scale, max_steps)
    best = history if goal is None else -history
    search, update = np.unravel_index(int(np.nanargmax(np.asarray(best))), best.shape)
    proxy = proxies[int(search), int(update)]
    final = flow(problem.with_proxy(proxy), end, target=goal, saves=2)
    return Design(proxy, final.hitting_time, final.true_value[-1], starts, history)


@eqx.filter_jit
def _search(
    problem: Problem,
    region: Region,
    starts: Float[Array, "S P K"],
    t1: Float[Array, ""],
    goal: Float[Array, ""] | None,
    steps: int,
    optimizer: Optimizer,
    scale: Float[Array, ""],
    max_steps: int,
) -> tuple[Float[Array, "S updates P K"], Float[Array, "S updates"]]:
    def measure(proxy: Array) -> tuple[Array, Array]:
        """What has been reached, and the slope of the loss."""
        trained = eqx.tree_at(lambda p: p.proxy_reward, problem, proxy)
        if goal is None:
            value, slope, _ = value_and_slope(trained, t1, rtol=_RTOL, atol=_ATOL, max_steps=max_steps)
            return value, -slope
        hit = flow(trained, t1, target=goal, saves=2, rtol=_RTOL, atol=_ATOL, max_steps=max_steps).hitting_time
        arrives = jnp.isfinite(hit)
        _, slope, rate = value_and_slope(
            trained, jnp.where(arrives, hit, t1), rtol=_RTOL, atol=_ATOL, max_steps=max_steps
        )
        return hit, -slope / jnp.where(arrives, hit * rate, 1.0)

    def update(carry, _):
        proxy, state = carry
        reached, slope = measure(proxy)
        # A flow that broke off has no slope; its search rests where it is.
        slope = jnp.where(jnp.isfinite(slope), slope, 0.0)
        moved, state = optimizer.ascend(-slope, state, proxy)
        return (region.project(proxy + scale * (moved - proxy)), state), (proxy, reached)

    def search(start: Array) -> tuple[Array, Array]:
        # One update more than is used: measuring the last proxy outside the loop would compile the flow once more.
        _, met = jax.lax.scan(update, (start, optimizer.init(start)), length=steps + 1)
        return met

    return jax.vmap(search)(starts)


def _region(
    problem: Problem,
    lower: Numbers | None,
    upper: Numbers | None,
    max_range: ArrayLike | None,
    budget: ArrayLike | None,
) -> Region:
    truth = np.asarray(problem.true_reward)
    bounds = {}
    for name, value, default in (("lower", lower, truth.min()), ("upper", upper, truth.max())):
        array = validate.as_floats(name, default if value is None else value)
        validate.require_finite(name, array)
        if array.shape not in ((), truth.shape[1:], truth.shape):
            raise ValueError(f"{name} has shape {array.shape}; it must be a number, [K] or [P, K] = {truth.shape}")
        bounds[name] = np.broadcast_to(array, truth.shape)
    low, high = bounds["lower"], bounds["upper"]
    validate.require("lower", low, low <= high, "no lower bound may be above its upper one")
    width = validate.scalar(
        "max_range", np.ptp(truth, axis=-1).max() if max_range is None else max_range, positive=True
    )
    gap = (low.max(axis=-1) - high.min(axis=-1)).max()
    if gap > float(width):
        raise ValueError(f"max_range is {float(width):g} but the bounds ask for rewards at least {gap:g} apart")
    limit = np.inf if budget is None else validate.scalar("budget", budget, positive=True)
    region = Region(*(jnp.asarray(array) for array in (truth, low, high, width, limit)))
    if budget is not None and not bool(
        eqx.tree_at(lambda r: r.budget, region, jnp.asarray(np.inf)).contains(region.truth)
    ):
        raise ValueError("with a budget the true reward must itself be within lower, upper and max_range")
    return region


def _starts(problem: Problem, region: Region, draws: int, key: Array) -> Float[Array, "S P K"]:
    truth = region.truth
    low, high = (edge(truth, axis=-1, keepdims=True) for edge in (jnp.min, jnp.max))
    middle = truth < high
    lowered = [jnp.where(middle, low + share * (truth - low), truth) for share in _MIDDLE_FRACTIONS]
    random = jax.random.uniform(key, (draws, *truth.shape)) * (region.upper - region.lower)[None] + region.lower[None]
    return jax.vmap(region.project)(jnp.concatenate([jnp.stack([truth, *lowered]), random]))
