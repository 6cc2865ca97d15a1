r"""Which reward errors harm, which are benign and which help: by simulation, beside what their mechanism predicts.

For each erroneous proxy the gradient flow on it is compared with the flow on the ground truth. With T and T_0 the times
at which they first bring the true value to the target, and tolerance delta,

    beneficial   T_0 / T > 1 + delta      (T_0 infinite and T finite included)
    harmful      T / T_0 > 1 + delta      (T infinite and T_0 finite included)
    benign       otherwise.

Where neither arrives before t1 (or both start at the target) the true values at t1 decide: beneficial or harmful where
they differ by more than delta times the range of the true reward.

Categories: arXiv 2604.25872; the a-priori mechanisms are in `pgdyn.errors.mechanism`.
"""

from __future__ import annotations

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from pgdyn import validate
from pgdyn.dynamics.ensemble import flow_many
from pgdyn.dynamics.result import Result
from pgdyn.errors.mechanism import CATEGORIES, PREDICTED, mechanisms
from pgdyn.errors.report import Report
from pgdyn.problem import Problem, require_single
from pgdyn.validate import Numbers


def categorize(
    problem: Problem,
    proxy_rewards: Numbers,
    *,
    t1: ArrayLike,
    target: ArrayLike,
    tolerance: float = 0.01,
    rtol: float = 1e-6,
    atol: float = 1e-9,
    max_steps: int = 65536,
    progress: Callable[[int, int], None] | None = None,
) -> Report:
    """Categories, speed-ups and mechanisms of erroneous proxies of one problem.

    Args:
        problem: one problem; its own proxy plays no part.
        proxy_rewards: [M, K] or [M, P, K]. Two axes are M proxies of a problem with one prompt (or the same for every
            prompt of several).
        t1: end time of the flows, positive.
        target: true value to be reached.
        tolerance: delta, relative for times, and a fraction of the true reward's range for values.
        rtol: relative tolerance of the flows.
        atol: absolute tolerance of the flows.
        max_steps: step budget of each flow.
        progress: called with (flows ended, M + 1) from time to time.

    Returns:
        A `Report`. A flow that breaks off before reaching the target leaves its category open ("undecided"); where the
        flow on the ground truth does, all categories but those of proxies that arrived are open.

    Raises:
        ValueError: on a batch, on entries that are not finite, shapes that do not fit or numbers out of range.
    """
    require_single(problem, "categorize")
    proxies = _proxies(problem, proxy_rewards)
    end = float(validate.scalar("t1", t1, positive=True))
    goal = float(validate.scalar("target", target))
    slack = float(validate.scalar("tolerance", tolerance, minimum=0.0))
    # The flow on the ground truth is one more lane of the batch, so that both are run by the same numerics.
    batch = problem.with_proxy(np.concatenate([np.asarray(problem.true_reward)[None], proxies]))
    outcome = flow_many(batch, end, target=goal, rtol=rtol, atol=atol, max_steps=max_steps, progress=progress)
    times, values, results = (np.asarray(found) for found in (outcome.hitting_time, outcome.true_value, outcome.result))
    speedup = compare_times(times[0], times[1:])
    truth = np.asarray(problem.true_reward)
    decided = (results == Result.completed) | np.isfinite(times)
    category = classify(
        times[0], times[1:], values[0], values[1:], slack, float(truth.max() - truth.min()), decided[0], decided[1:]
    )
    mechanism = mechanisms(problem, jnp.asarray(proxies), goal)
    return Report(
        category=category,
        speedup=speedup,
        mechanism=mechanism,
        predicted=np.array([PREDICTED[name] for name in mechanism.tolist()]),
        baseline_time=float(times[0]),
        times=times[1:],
        baseline_value=float(values[0]),
        values=values[1:],
        result=results[1:],
        problem=problem,
        proxy_rewards=proxies,
        t1=end,
        target=goal,
        tolerance=slack,
        settings=(("rtol", rtol), ("atol", atol), ("max_steps", max_steps)),
    )


def compare_times(baseline: np.ndarray, times: np.ndarray) -> np.ndarray:
    """T_0 / T: inf where only the proxy arrives, 0 where only the ground truth does, nan where no time tells."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(np.isinf(times), np.where(np.isinf(baseline), np.nan, 0.0), baseline / times)


def classify(
    baseline_time: np.ndarray,
    times: np.ndarray,
    baseline_value: np.ndarray,
    values: np.ndarray,
    tolerance: float,
    reward_range: np.ndarray | float,
    baseline_decided: np.ndarray | bool = True,
    decided: np.ndarray | bool = True,
) -> np.ndarray:
    """The categories of the module's rules, "undecided" where a flow broke off before its time was known.

    Args:
        baseline_time: T_0, inf for never; any shape that broadcasts with `times`, as all arrays here.
        times: T.
        baseline_value: true value at t1 of the flow on the ground truth.
        values: those of the flows on proxies.
        tolerance: delta.
        reward_range: of the true reward.
        baseline_decided: whether T_0 and its value are known.
        decided: whether T and the value are known.
    """
    speedup = compare_times(baseline_time, times)
    change = (values - baseline_value) / np.where(reward_range > 0, reward_range, 1.0)
    untimed = np.isnan(speedup)
    harmful, benign, beneficial = CATEGORIES
    by_time = np.select([speedup > 1 + tolerance, speedup < 1 / (1 + tolerance)], [beneficial, harmful], benign)
    by_value = np.select([change > tolerance, change < -tolerance], [beneficial, harmful], benign)
    known = np.logical_and(baseline_decided, decided)
    return np.where(known, np.where(untimed, by_value, by_time), "undecided")


def _proxies(problem: Problem, proxy_rewards: Numbers) -> np.ndarray:
    array = validate.as_floats("proxy_rewards", proxy_rewards)
    if validate.is_traced(array):
        raise ValueError("categorize reports names and cannot be traced; call it outside of jax.jit, grad and vmap")
    prompts, outputs = problem.true_reward.shape
    if array.ndim == 2:
        array = array[:, None, :]
    if array.ndim != 3 or array.shape[2] != outputs or array.shape[1] not in (1, prompts):
        wanted = f"[M, {outputs}] or [M, {prompts}, {outputs}]"
        raise ValueError(f"proxy_rewards has shape {np.shape(proxy_rewards)}; it must be {wanted}")
    validate.require_finite("proxy_rewards", array)
    return np.ascontiguousarray(np.broadcast_to(array, (len(array), prompts, outputs)))
