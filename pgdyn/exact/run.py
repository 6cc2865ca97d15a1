"""The exact solution of a problem or of every problem of a batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from pgdyn import policy, validate
from pgdyn.batch import Batch
from pgdyn.ensemble import driver
from pgdyn.exact import march, reach, solve
from pgdyn.exact.reach import Prompts
from pgdyn.objective import Objective, choose_objective
from pgdyn.problem import Problem, require_single

_CHUNK, _LONG = 256, 2048  # problems of a batch that go together: of few, and of many
_LOOKS = 8  # at the true value between two ends of panels
_HALVINGS = 64
_FEW, _MANY = 8, 512  # times of one problem that go together: few sizes, so that little is compiled


def covers(problem: Problem | Batch, *, objective: Objective | None = None) -> bool | np.ndarray:
    """Tells whether a problem, or each of a batch, has an exact solution here.

    Args:
        problem: a problem or a batch.
        objective: what is climbed; None for the proxy's value alone.

    Example:
        >>> covers(Problem.tabular([0.2, 0.8], [1, 0]))
        True
        >>> square = Problem.linear([[1, 0], [0, 1], [1, 1], [2, 1]], [1, 0, 0, 0])
        >>> covers(square), refusal(square)[:33]
        (False, "its features' kernel is no diag(a")
    """
    found = reach.refusal(problem, choose_objective(objective, "covers")) == ""
    return found if isinstance(problem, Batch) else bool(found)


def refusal(problem: Problem | Batch, *, objective: Objective | None = None) -> str | np.ndarray:
    """Says why a problem, or each of a batch, has no exact solution here; empty where it has.

    Example:
        >>> refusal(Problem.tabular([0.2, 0.8], [1, 0]))
        ''
    """
    found = reach.refusal(problem, choose_objective(objective, "refusal"))
    return found if isinstance(problem, Batch) else str(found)


def hitting_time(problem: Problem | Batch, target: ArrayLike, *, objective: Objective | None = None) -> Any:
    """Computes the first time at which the true value reaches `target` on the flow of the objective.

    T = (T^2 / w) int_0^tau* Z dtau, tau* the first root of V(tau) = target. Derivatives with respect to rewards, start
    and target pass through it, by the implicit function theorem; they are of the first order.

    Args:
        problem: a problem, or a batch of N.
        target: a true value; for a batch also [N].
        objective: what is climbed; None for the proxy's value alone.

    Returns:
        A number, or [N]: 0 where the start is there already, inf where it never is, or not before 1e306.

    Raises:
        ValueError: where there is no exact solution, saying why; on a target that is not finite.

    Example:
        >>> problem = Problem.tabular([0.05, 0.5, 0.15, 0.15, 0.15], [1, 0.8, -1, -1, -1])
        >>> round(float(hitting_time(problem, 0.9)), 8)
        33564.72913299
    """
    goal = validate.as_floats("target", target)
    if not validate.is_traced(goal):
        validate.require_finite("target", goal)
    return _run(problem, objective, "hitting_time", _hitting_time, goal)


def log_policy(problem: Problem | Batch, t: ArrayLike, *, objective: Objective | None = None) -> Any:
    """Computes the flow's log-probabilities at time t.

    Args:
        problem: a problem, or a batch of N.
        t: a time, 0 or more. For one problem also [S]; for a batch also [N], a time for each.
        objective: what is climbed; None for the proxy's value alone.

    Returns:
        [P, K], [S, P, K] or [N, P, K], in nats.

    Raises:
        ValueError: where there is no exact solution, saying why; on times that are negative or not finite.

    Example:
        >>> problem = Problem.tabular([0.25, 0.75], [1, 0])
        >>> jnp.exp(log_policy(problem, [0.0, 10.0]))[:, 0, 0].round(6).tolist()
        [0.25, 0.913223]
    """
    times = _times(t)
    if isinstance(problem, Batch) or times.ndim == 0:
        return _run(problem, objective, "log_policy", _log_policy, times)
    return _run(problem, objective, "log_policy", _log_policies, times)


def true_value(problem: Problem | Batch, t: ArrayLike, *, objective: Objective | None = None) -> Any:
    """Computes the true value along the flow: shapes and errors are those of `log_policy`, without [P, K].

    Example:
        >>> round(float(true_value(Problem.tabular([0.25, 0.75], [1, 0]), 10.0)), 6)
        0.913223
    """
    times = _times(t)
    if isinstance(problem, Batch) or times.ndim == 0:
        return _run(problem, objective, "true_value", _true_value, times)
    found = _run(problem, objective, "true_value", _log_policies, times)
    return jax.vmap(lambda logs: policy.value(problem, logs, problem.true_reward))(found)


def _times(t: ArrayLike) -> Any:
    times = validate.as_floats("t", t)
    if times.ndim > 1:
        raise ValueError(f"t has shape {times.shape}; it must be one time or a list of them")
    if validate.is_traced(times):
        return times
    validate.require_finite("t", times)
    if np.any(np.asarray(times) < 0):
        raise ValueError(f"t is {np.min(times)}; a time must be 0 or more")
    return times


def _hitting_time(prompts: Prompts, goals: Any) -> Any:
    return solve.hitting_time(prompts, goals)


def _log_policy(prompts: Prompts, times: Any) -> Any:
    return jnp.moveaxis(solve.log_policies(prompts, times[None])[0], -1, 0)


def _true_value(prompts: Prompts, times: Any) -> Any:
    logs = solve.log_policies(prompts, times[None])[0]
    return jnp.sum(prompts.weights * policy.prompt_values(logs, prompts.true_reward), axis=0)


def _log_policies(prompts: Prompts, times: Any) -> Any:
    order = jnp.argsort(times)
    return solve.log_policies(prompts, times[order][:, None])[jnp.argsort(order), ..., 0]


def _run(problem: Any, objective: Objective | None, caller: str, function: Callable[..., Any], numbers: Any) -> Any:
    objective = choose_objective(objective, caller)
    if isinstance(problem, Batch):
        numbers = _per_problem(problem, numbers)
    elif not isinstance(problem, Problem):
        raise ValueError(f"problem is {validate.shown(problem)}; {caller} takes a pgdyn.Problem or a pgdyn.Batch")
    traced = any(map(validate.is_traced, jax.tree.leaves((problem, numbers))))
    if not traced or not _hides_features(problem):
        sentences = np.atleast_1d(reach.refusal(problem, objective))
        for i in np.flatnonzero(sentences != ""):
            where = f"problem {i} is not covered" if isinstance(problem, Batch) else "the problem is not covered"
            raise ValueError(f"{where}: {sentences[i]}; use pgdyn.flow")
    options = objective.with_weights(None, None)
    if isinstance(problem, Problem):
        if function is _log_policies:
            return _in_blocks(lambda times: _path(problem, options, times), numbers)
        return _chunk(_as_batch(problem), options, function, numbers[None])[0]
    if traced:
        return _chunk(problem, options, function, numbers)
    return _many(problem, options, function, numbers)


def _in_blocks(function: Callable[[Any], Any], times: Any) -> Any:
    """A tree of [S, ...] by a function of times [S] that is compiled for few sizes."""
    count = len(times)
    if count == 0:
        return function(times)
    size = _FEW if count <= _FEW else _MANY
    padded = jnp.concatenate([times, jnp.broadcast_to(times[-1], (-count % size,))])
    found = [function(padded[first : first + size]) for first in range(0, count, size)]
    return jax.tree.map(lambda *parts: jnp.concatenate(parts)[:count], *found)


def _as_batch(problem: Problem) -> Batch:
    """A batch of one, whose values may be traced."""
    return Batch.from_arrays(jax.tree.map(lambda leaf: leaf[None], problem))


def _hides_features(problem: Problem | Batch) -> bool:
    features = problem.features if isinstance(problem, Problem) else problem.problems.features
    return features is not None and validate.is_traced(features)


@eqx.filter_jit
def _path(problem: Problem, objective: Objective, times: Any) -> Any:
    return _log_policies(reach.reduce(problem, objective), jnp.asarray(times))


@eqx.filter_jit
def _chunk(batch: Batch, objective: Objective, function: Callable[..., Any], numbers: Any) -> Any:
    each = batch.map(lambda one: reach.reduce(one, objective))
    lanes_last = jax.tree.map(lambda leaf: jnp.moveaxis(leaf[..., 0], 0, -1), each)
    return function(lanes_last, jnp.asarray(numbers))


def _many(batch: Batch, objective: Objective, function: Callable[..., Any], numbers: np.ndarray) -> np.ndarray:
    """All problems, in chunks of one size so that no new N compiles anything, a chunk on each core."""
    count = len(batch)
    size = _LONG if count > _LONG else min(_CHUNK, 1 << (count - 1).bit_length())
    found: list[Any] = [None] * -(-count // size)

    def call(rows: np.ndarray, worker: int) -> Callable[[], Any]:
        padded = np.resize(rows, size)
        part, own = batch[padded], numbers[padded]
        return lambda: _chunk(part, objective, function, own)

    def collect(rows: np.ndarray, values: Any) -> None:
        found[rows[0] // size] = np.asarray(values)[: len(rows)]

    chunks = [np.arange(first, min(first + size, count)) for first in range(0, count, size)]
    driver.run(chunks, call, collect)
    return np.concatenate(found)


def _per_problem(batch: Batch, numbers: Any) -> Any:
    if numbers.ndim > 1 or (numbers.ndim == 1 and len(numbers) != len(batch)):
        raise ValueError(f"a batch of {len(batch)} takes one number or [{len(batch)}], not {numbers.shape}")
    spread = jnp.broadcast_to if validate.is_traced(numbers) else np.broadcast_to
    return spread(numbers, (len(batch),))


def crossings(problem: Problem, target: float, *, objective: Objective | None = None) -> np.ndarray:
    """Computes every time before 1e306 at which the true value passes `target`, upward or downward.

    Args:
        problem: one problem.
        target: a true value.
        objective: what is climbed; None for the proxy's value alone.

    Returns:
        The times in order. The first is upward where the start lies below the target, and the directions alternate.

    Raises:
        ValueError: where there is no exact solution, saying why; on a batch; on a target that is not finite.

    Example:
        A peak on the way: the true value passes the target twice.

        >>> problem = Problem.tabular([0.2, 0.3, 0.5], [-0.3, 0.8, -0.8], [-0.1, -0.4, -0.7])
        >>> crossings(problem, -0.066).round(3).tolist()
        [6.384, 8.951]
    """
    require_single(problem, "crossings")
    goal = validate.number("target", target)
    _run(problem, objective, "crossings", _hitting_time, np.asarray(goal))  # refuses what is not covered
    options = choose_objective(objective, "crossings").with_weights(None, None)
    where = _whole(problem, options)
    ends = np.concatenate([[0.0], np.asarray(where.times)[: int(where.kept[0]), 0]])
    inner = ends[:-1, None] + np.diff(ends)[:, None] * np.arange(1, _LOOKS + 1) / _LOOKS
    times = np.concatenate([[0.0], inner.ravel()])

    def look(times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        values, slopes = map(np.asarray, _in_blocks(lambda block: _values(problem, options, block), times))
        return values - goal, slopes

    excess, slope = look(times)
    turns = np.flatnonzero(
        (slope[:-1] * slope[1:] < 0) & (excess[:-1] * excess[1:] > 0) & (slope[:-1] * excess[:-1] < 0)
    )
    turned = _bisect(lambda times: look(times)[1], times[turns], times[turns + 1], slope[turns])
    times = np.concatenate([times, turned])
    order = np.argsort(times, kind="stable")
    times, excess = times[order], np.concatenate([excess, look(turned)[0] if len(turned) else []])[order]
    passed = np.flatnonzero((excess[:-1] < 0) != (excess[1:] < 0))
    return _bisect(lambda times: look(times)[0], times[passed], times[passed + 1], np.where(excess[passed] < 0, -1, 1))


def _bisect(function: Callable[..., np.ndarray], low: np.ndarray, high: np.ndarray, sign: np.ndarray) -> np.ndarray:
    """Roots between `low`, where the function has `sign`, and `high`, where it has another."""
    for _ in range(_HALVINGS if len(low) else 0):
        middle = low + (high - low) / 2
        same = function(middle) * sign > 0
        low, high = np.where(same, middle, low), np.where(same, high, middle)
    return high


@eqx.filter_jit
def _whole(problem: Problem, objective: Objective) -> march.Where:
    prompts = reach.reduce(problem, objective)
    return march.go(prompts, march.begin(prompts, True), jnp.array([march.HORIZON]), None)


@eqx.filter_jit
def _values(problem: Problem, objective: Objective, times: np.ndarray) -> tuple[Any, Any]:
    """V of the true reward and dV/dt."""
    climbs = objective, Objective(reward="true")

    def one(logs: Any) -> tuple[Any, Any]:
        speed, rise = (policy.pull_back(problem, climb.logit_gradient(problem, logs, None)) for climb in climbs)
        return policy.value(problem, logs, problem.true_reward), jnp.sum(speed * rise)

    return jax.vmap(one)(_log_policies(reach.reduce(problem, objective), jnp.asarray(times)))
