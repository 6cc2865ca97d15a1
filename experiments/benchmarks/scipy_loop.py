"""SciPy, one problem after the other: a peer, and with DOP853 at 1e-13 the judge of the benchmark's reference."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from experiments.benchmarks.peer import ABSOLUTE, Ends, Solve
from experiments.benchmarks.workloads import Workload
from pgdyn import Problem

MOST = 100  # the loop over problems is timed on so many, and scaled to N


def numpy_field(problem: Problem) -> tuple[np.ndarray, Callable[..., np.ndarray], Callable[..., np.ndarray]]:
    """(flat start, field(t, y), log_policy(y)) of one problem at temperature 1, in NumPy.

    Example:
        >>> start, field, log_policy = numpy_field(Problem.tabular([0.5, 0.5], [1, 0]))
        >>> field(0.0, start)
        array([ 0.25, -0.25])
    """
    reward, weights = np.asarray(problem.proxy_reward), np.asarray(problem.prompt_weights)[:, None]
    features = None if problem.features is None else np.asarray(problem.features)
    shape = reward.shape
    flat = None if features is None else features.reshape(-1, features.shape[-1])
    successors = None if problem.transitions is None else problem.transitions.successors

    def logits(y: np.ndarray) -> np.ndarray:
        return (y if flat is None else flat @ y).reshape(shape)

    def field(t: float, y: np.ndarray) -> np.ndarray:
        z = logits(y)
        policy = np.exp(z - z.max(-1, keepdims=True))
        policy /= policy.sum(-1, keepdims=True)
        if successors is not None:
            return sequence_gradient(policy, reward, successors, weights[:, 0]).ravel()
        # Measured from the likeliest output's: else advantages drown in rounding long before t = 1e15.
        relative = reward - np.take_along_axis(reward, z.argmax(-1, keepdims=True), -1)
        gradient = weights * policy * (relative - (policy * relative).sum(-1, keepdims=True))
        return gradient.ravel() if flat is None else flat.T @ gradient.ravel()

    def log_policy(y: np.ndarray) -> np.ndarray:
        z = logits(y)
        z = z - z.max(-1, keepdims=True)
        return z - np.log(np.exp(z).sum(-1, keepdims=True))

    return np.asarray(problem.initial_params).ravel(), field, log_policy


def sequence_gradient(policy: np.ndarray, reward: np.ndarray, successors: np.ndarray, start: np.ndarray) -> np.ndarray:
    """d(mean return)/d logits [P, K], one decision point after the other.

    Example:
        >>> policy, reward = np.full((2, 2), 0.5), np.array([[0.0, 0.0], [1.0, 0.0]])
        >>> sequence_gradient(policy, reward, np.array([[1, -1], [-1, -1]]), np.array([1.0, 0.0])).tolist()
        [[0.125, -0.125], [0.125, -0.125]]
    """
    values, visits, worth = np.zeros(len(policy) + 1), start.copy(), np.empty_like(reward)
    for s in reversed(range(len(policy))):
        worth[s] = reward[s] + values[successors[s]]  # the last entry, which -1 names, is that of the end
        values[s] = policy[s] @ worth[s]
    for s in range(len(policy)):
        for y, following in enumerate(successors[s]):
            if following >= 0:
                visits[following] += visits[s] * policy[s, y]
    return visits[:, None] * policy * (worth - values[:-1, None])


def prepare(workload: Workload) -> Solve:
    """How the peer is prepared."""
    from scipy.integrate import solve_ivp

    fields = [numpy_field(problem) for problem in workload.problems[:MOST]]

    def solve(rtol: float) -> Ends:
        ends, steps = [], []
        for start, field, log_policy in fields:
            found = solve_ivp(field, (0, workload.t1), start, method="RK45", rtol=rtol, atol=ABSOLUTE * rtol)
            ends.append(log_policy(found.y[:, -1]))
            steps.append((found.nfev - 2) // 6)
        return Ends(np.array(ends), np.array(steps))

    return solve


def judge(workload: Workload, lanes: np.ndarray) -> Ends:
    """Some flows by DOP853 at 1e-13, hitting times by its events.

    Args:
        workload: the batch.
        lanes: numbers of the problems to solve.

    Example:
        >>> from experiments.benchmarks import workloads
        >>> judge(Workload("standard", workloads.standard(9), t1=1.0), np.array([4, 7])).log_policy.shape
        (2, 1, 5)
    """
    from scipy.integrate import solve_ivp

    ends, times = [], []
    for lane in lanes:
        problem = workload.problems[int(lane)]
        start, field, log_policy = numpy_field(problem)
        events = None
        if workload.target is not None:
            events = _crossing(log_policy, problem, float(workload.target[lane]))
        found = solve_ivp(field, (0, workload.t1), start, method="DOP853", rtol=1e-13, atol=1e-13, events=events)
        ends.append(log_policy(found.y[:, -1]))
        if events is not None:
            hits = found.t_events[0]
            times.append(0.0 if events(0.0, start) >= 0 else hits[0] if len(hits) else np.inf)
    return Ends(np.array(ends), hitting_time=None if workload.target is None else np.array(times))


def _crossing(log_policy: Callable[..., np.ndarray], problem: Problem, target: float) -> Callable[..., float]:
    reward, weights = np.asarray(problem.true_reward), np.asarray(problem.prompt_weights)

    def excess(t: float, y: np.ndarray) -> float:
        return float((np.exp(log_policy(y)) * reward).sum(-1) @ weights - target)

    direction: Any = 1.0
    excess.direction = direction  # pyright: ignore[reportFunctionMemberAccess]
    return excess
