"""Which reward errors harm, which are benign and which help: by simulation, beside what was predicted.

For each erroneous proxy the gradient flow on it is compared with the flow on the ground truth, by the rules of
`pgdyn.errors.categories`. Two predictions made before any simulation stand beside the simulated category:

    by the exact solution   the same rules, applied to the exact times to the target (`pgdyn.errors.prediction`)
    by the mechanism        what the paper's type of the error implies (`pgdyn.errors.mechanism`)

The first is what is predicted where the flows have an exact solution, the second elsewhere. A category is "undecided"
where a flow broke off before the rules could tell.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from jax.typing import ArrayLike

from pgdyn import validate
from pgdyn.batch import Batch
from pgdyn.dynamics.flow import MANY, Flow
from pgdyn.errors.categories import UNDECIDED, classify, compare_times
from pgdyn.errors.mechanism import CATEGORIES, PREDICTED, mechanisms
from pgdyn.errors.prediction import predict
from pgdyn.errors.report import EXACT, MECHANISM, Report
from pgdyn.problem import Problem, require_single
from pgdyn.solution import Result, Solution
from pgdyn.solve import solve
from pgdyn.validate import Numbers


class Comparison(NamedTuple):
    """Flows on proxies beside flows on the ground truth.

    Attributes:
        category: "harmful", "benign", "beneficial" or "undecided".
        speedup: T_0 / T; see `compare_times`.
    """

    category: np.ndarray
    speedup: np.ndarray


def categorize(
    problem: Problem,
    proxy_rewards: Numbers,
    *,
    t1: ArrayLike,
    target: ArrayLike,
    tolerance: float = 0.01,
    progress: Callable[[int, int], None] | None = None,
    **settings: Any,
) -> Report:
    """Categories and speed-ups of erroneous proxies of one problem, simulated and predicted.

    Args:
        problem: one problem; its own proxy plays no part.
        proxy_rewards: [M, K] or [M, P, K]. Two axes are M proxies of a problem with one prompt (or the same for every
            prompt of several).
        t1: end time of the flows, positive.
        target: true value to be reached.
        tolerance: delta, relative for times, and a fraction of the true reward's range for values.
        progress: called with (flows ended, M + 1) from time to time.
        **settings: further fields of `pgdyn.Flow`, the same for all flows: rtol, atol, max_steps, objective, geometry.

    Returns:
        A `Report`. A flow that breaks off before it reaches the target leaves its category open ("undecided"). Where
        the flow on the ground truth breaks off, only proxies that arrived have a category: "beneficial" where the
        ground truth has not arrived by 1 + delta times their own time, which is simulated once more for them.

    Raises:
        ValueError: on a batch, on entries that are not finite, shapes that do not fit or numbers out of range.

    Example:
        >>> problem = Problem.tabular([0.05, 0.5, 0.15, 0.15, 0.15], [1, 0.8, -1, -1, -1])
        >>> report = categorize(problem, [[1, -1, -1, -1, -1], [1, 0.8, 1.5, -1, -1]], t1=1e6, target=0.9)
        >>> report.category.tolist(), report.speedup.round(1).tolist()
        (['beneficial', 'harmful'], [2009.8, 0.0])
        >>> report.predicted.tolist(), report.predicted_speedup.round(1).tolist(), report.predicted_by.tolist()
        (['beneficial', 'harmful'], [2009.8, 0.0], ['exact', 'exact'])
        >>> report.mechanism.tolist(), report.mechanism_category.tolist()
        (['escapes mediocrity', 'reward hacking'], ['beneficial', 'harmful'])
    """
    require_single(problem, "categorize")
    if settings.get("stop_at_target"):
        raise ValueError("stop_at_target is True; categorize compares true values at t1, so its flows run to the end")
    proxies = _proxies(problem, proxy_rewards)
    slack = float(validate.scalar("tolerance", tolerance, minimum=0.0))
    numbers = {"t1": validate.number("t1", t1, positive=True), "target": validate.number("target", target)}
    flow = Flow(**{**numbers, **MANY, **settings})
    # The flow on the ground truth is one more run of the batch, so that all are computed by the same numerics.
    batch = problem.with_proxy(np.concatenate([np.asarray(problem.true_reward)[None], proxies]))
    runs = solve(batch, flow, progress=progress)
    baseline, trained = _rows(runs, slice(0, 1)), _rows(runs, slice(1, None))
    found = compare(baseline, trained, slack)
    if not _is_known(baseline)[0]:
        found.category[_overtaken(baseline, trained.hitting_time, slack)] = CATEGORIES[2]
    mechanism = mechanisms(problem, proxies, target)
    implied = np.array([PREDICTED[name] for name in mechanism.tolist()])
    assert isinstance(batch, Batch)
    told = predict(batch[:1], batch[1:], flow, slack)
    by = np.where(told.category == UNDECIDED, MECHANISM, EXACT)
    return Report(
        category=found.category,
        speedup=found.speedup,
        mechanism=mechanism,
        mechanism_category=implied,
        predicted=np.where(by == EXACT, told.category, implied).astype(str),
        predicted_speedup=told.speedup,
        predicted_by=by,
        problem=problem,
        baseline=baseline,
        trained=trained,
        tolerance=slack,
    )


def compare(baseline: Solution, trained: Solution, tolerance: float = 0.01) -> Comparison:
    """The categories and speed-ups of flows that were run on proxies.

    Args:
        baseline: flows on the ground truth, to the same end time and target; its leading axes broadcast with those of
            `trained`.
        trained: flows on proxies. Their problems' true reward gives the range.
        tolerance: delta.

    Returns:
        Arrays with the leading axes of both. A category is "undecided" where one of the two flows broke off before the
        rules of the module could tell.

    Example:
        >>> from pgdyn import flow_many
        >>> truth = Batch.tabular([[[0.1, 0.9]], [[0.2, 0.8]]], [1.0, 0.0])
        >>> proxy = truth.replace(proxy_reward=[[[2.0, 0.0]], [[0.5, 0.0]]])
        >>> base, found = (flow_many(batch, 1e3, target=0.9) for batch in (truth, proxy))
        >>> compare(base, found).category.tolist()
        ['beneficial', 'harmful']
    """
    base, own = baseline.end, trained.end
    truth = np.asarray(own.problem.true_reward)
    times = np.asarray(base.hitting_time), np.asarray(own.hitting_time)
    values = np.asarray(base.true_value), np.asarray(own.true_value)
    width = np.ptp(truth, axis=(-2, -1))
    category = classify(*times, *values, tolerance, width, _is_known(base), _is_known(own))
    return Comparison(category, compare_times(*times))


def _is_known(solution: Solution) -> np.ndarray:
    """Whether each flow ran to its end, or arrived on its way before it broke off."""
    time, result = np.asarray(solution.hitting_time), np.asarray(solution.result)
    ended = (result == Result.completed) | (result == Result.reached_target)
    # A flow that starts at the target is compared by its value at t1, which one that broke off does not have.
    return ended | ((time > 0) & np.isfinite(time))


def _overtaken(baseline: Solution, times: np.ndarray, tolerance: float) -> np.ndarray:
    """Where the flow on the ground truth, which broke off at a time that is not known, is later than `times`."""
    arrived = np.flatnonzero(np.isfinite(times) & (times > 0))
    later = np.zeros(len(times), bool)
    if len(arrived):
        truths = Batch.of(baseline.problem)[np.zeros(len(arrived), int)]
        again = solve(truths, dataclasses.replace(baseline.settings, t1=(1 + tolerance) * times[arrived]))
        later[arrived] = (again.result == Result.completed) & np.isinf(again.hitting_time)
    return later


def _rows(solution: Solution, rows: slice) -> Solution:
    """Some of many runs."""
    assert isinstance(solution.problem, Batch)
    names = [field.name for field in dataclasses.fields(solution) if field.name not in ("problem", "settings")]
    arrays = {name: getattr(solution, name) for name in names}
    taken = {name: None if array is None else array[rows] for name, array in arrays.items()}
    return Solution(**taken, problem=solution.problem[rows], settings=solution.settings)


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
