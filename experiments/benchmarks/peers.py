"""Ways to solve a batch of flows: the engine and what it is compared with, all under one signature.

`PEERS[name].prepare(workload)` gives a function from a relative tolerance to `Ends`; the absolute one is a thousandth
of it. What a user would do once (moving arrays, compiling) is done there or in the first call: the solve is timed.
"""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Callable
from typing import Any, NamedTuple

import diffrax
import jax
import jax.numpy as jnp
import numpy as np

import pgdyn
from experiments.benchmarks import dormand_prince
from experiments.benchmarks.workloads import Workload
from pgdyn import Problem, Result

ABSOLUTE = 1e-3  # absolute tolerance over relative tolerance
SCIPY_PROBLEMS = 100  # the loop over problems is timed on so many, and scaled to N
ASCENT_STEPS = 50_000
_MOST_STEPS = 2**20
_LATE = 1e6  # from this end time on, rewards are measured from the likeliest output's


class Ends(NamedTuple):
    """What a peer leaves behind, for the first n of the N problems.

    Attributes:
        log_policy: [n, P, K].
        steps: [n], steps tried; None where steps are fixed.
        hitting_time: [n], or None.
        finished: [n], whether the flow reached t1; None where the peer does not say.
    """

    log_policy: np.ndarray
    steps: np.ndarray | None = None
    hitting_time: np.ndarray | None = None
    finished: np.ndarray | None = None


Solve = Callable[[float], Ends]


@dataclasses.dataclass(frozen=True)
class Peer:
    """A way to solve a batch.

    Attributes:
        name: its name in tables.
        prepare: from a workload to the function that is timed.
        dtype: of its arithmetic.
        adaptive: whether it takes a tolerance.
        most: problems it is run on, at most; its times are scaled to the batch. None for all.
        on_cpu_only: whether it makes no sense on an accelerator.
        needs: an optional package without which it is left out.
    """

    name: str
    prepare: Callable[[Workload], Solve]
    dtype: str = "float64"
    adaptive: bool = True
    most: int | None = None
    on_cpu_only: bool = False
    needs: str | None = None

    @property
    def available(self) -> bool:
        """Whether what it needs is installed."""
        return self.needs is None or importlib.util.find_spec(self.needs) is not None


def _engine(workload: Workload) -> Solve:
    def solve(rtol: float) -> Ends:
        outcome = pgdyn.flow_many(
            workload.problems, workload.t1, target=workload.target, rtol=rtol, atol=ABSOLUTE * rtol
        )
        finished = outcome.result == Result.completed
        return Ends(outcome.log_policy, outcome.steps, outcome.hitting_time, finished)

    return solve


def reference(workload: Workload) -> Ends:
    """The flows to 1e-12 by the engine; `scipy_check` holds this to an independent program."""
    outcome = pgdyn.flow_many(workload.problems, workload.t1, target=workload.target, rtol=1e-12, atol=1e-12)
    return Ends(outcome.log_policy, outcome.steps, outcome.hitting_time, outcome.result == Result.completed)


def _value_gradient(problem: Problem, params: Any, late: bool) -> Any:
    """d<pi, r>/d params of one problem at temperature 1, by the shortest program."""
    features = problem.features
    logits = params if features is None else features @ params
    policy = jax.nn.softmax(logits, axis=-1)
    reward = problem.proxy_reward
    if late:
        # From the likeliest output's, as the engine does: else advantages drown in rounding long before t = 1e15.
        mode = jnp.argmax(logits, axis=-1, keepdims=True)
        reward = reward - jnp.take_along_axis(reward, mode, axis=-1)
    value = jnp.sum(policy * reward, axis=-1, keepdims=True)
    gradient = problem.prompt_weights[:, None] * policy * (reward - value)
    return gradient if features is None else jnp.einsum("pkd,pk->d", features, gradient)


def _diffrax(workload: Workload) -> Solve:
    problems, late = workload.problems, workload.t1 > _LATE

    def one(problem: Problem, rtol: Any) -> tuple[Any, Any, Any]:
        solution = diffrax.diffeqsolve(
            diffrax.ODETerm(lambda t, params, args: _value_gradient(problem, params, late)),
            diffrax.Tsit5(),
            t0=0.0,
            t1=workload.t1,
            dt0=None,
            y0=problem.initial_params,
            stepsize_controller=diffrax.PIDController(rtol, ABSOLUTE * rtol),
            adjoint=diffrax.ForwardMode(),
            max_steps=_MOST_STEPS,
            throw=False,
        )
        assert solution.ys is not None
        params = solution.ys[-1]
        logits = params if problem.features is None else problem.features @ params
        finished = solution.result == diffrax.RESULTS.successful
        return jax.nn.log_softmax(logits, axis=-1), solution.stats["num_steps"], finished

    batched = jax.jit(jax.vmap(one, in_axes=(problems.batch_axes, None)))

    def solve(rtol: float) -> Ends:
        log_policy, steps, finished = jax.block_until_ready(batched(problems, jnp.asarray(rtol)))
        return Ends(np.asarray(log_policy), np.asarray(steps), finished=np.asarray(finished))

    return solve


def _numba(workload: Workload) -> Solve:
    start, reward = _tabular(workload)
    kernel = dormand_prince.compile_kernel()

    def solve(rtol: float) -> Ends:
        log_policy, steps = np.empty_like(start), np.empty(len(start), np.int64)
        kernel(start, reward, workload.t1, rtol, ABSOLUTE * rtol, log_policy, steps)
        return Ends(log_policy[:, None], steps)

    return solve


def _tabular(workload: Workload) -> tuple[np.ndarray, np.ndarray]:
    problems = workload.problems
    if not problems.is_tabular or problems.num_prompts != 1:
        raise ValueError(f"{workload.name}: this peer solves tabular problems of one prompt alone")
    start, reward = np.asarray(problems.initial_params)[:, 0], np.asarray(problems.proxy_reward)[:, 0]
    return np.ascontiguousarray(start), np.ascontiguousarray(reward)


def _numpy_field(problem: Problem) -> tuple[np.ndarray, Callable[..., np.ndarray], Callable[..., np.ndarray]]:
    """(flat start, field(t, y), log_policy(y)) of one problem at temperature 1, in NumPy."""
    reward, weights = np.asarray(problem.proxy_reward), np.asarray(problem.prompt_weights)[:, None]
    features = None if problem.features is None else np.asarray(problem.features)
    shape = reward.shape
    flat = None if features is None else features.reshape(-1, features.shape[-1])

    def logits(y: np.ndarray) -> np.ndarray:
        return (y if flat is None else flat @ y).reshape(shape)

    def field(t: float, y: np.ndarray) -> np.ndarray:
        z = logits(y)
        policy = np.exp(z - z.max(-1, keepdims=True))
        policy /= policy.sum(-1, keepdims=True)
        relative = reward - np.take_along_axis(reward, z.argmax(-1, keepdims=True), -1)
        gradient = weights * policy * (relative - (policy * relative).sum(-1, keepdims=True))
        return gradient.ravel() if flat is None else flat.T @ gradient.ravel()

    def log_policy(y: np.ndarray) -> np.ndarray:
        z = logits(y)
        z = z - z.max(-1, keepdims=True)
        return z - np.log(np.exp(z).sum(-1, keepdims=True))

    return np.asarray(problem.initial_params).ravel(), field, log_policy


def _scipy(workload: Workload) -> Solve:
    from scipy.integrate import solve_ivp

    fields = [_numpy_field(problem) for problem in workload.problems[:SCIPY_PROBLEMS]]

    def solve(rtol: float) -> Ends:
        ends, steps = [], []
        for start, field, log_policy in fields:
            found = solve_ivp(field, (0, workload.t1), start, method="RK45", rtol=rtol, atol=ABSOLUTE * rtol)
            ends.append(log_policy(found.y[:, -1]))
            steps.append((found.nfev - 2) // 6)
        return Ends(np.array(ends), np.array(steps))

    return solve


def _ascent(workload: Workload) -> Solve:
    start, reward = (jnp.asarray(array.T, jnp.float32) for array in _tabular(workload))
    rate = jnp.asarray(workload.t1 / ASCENT_STEPS, jnp.float32)

    @jax.jit
    def run(logits: Any) -> Any:
        def update(logits: Any, _: None) -> tuple[Any, None]:
            policy = jax.nn.softmax(logits, axis=0)
            return logits + rate * policy * (reward - jnp.sum(policy * reward, axis=0, keepdims=True)), None

        logits, _ = jax.lax.scan(update, logits, length=ASCENT_STEPS)
        return jax.nn.log_softmax(logits, axis=0)

    def solve(rtol: float) -> Ends:
        log_policy = np.asarray(jax.block_until_ready(run(start)), np.float64).T
        return Ends(log_policy[:, None])

    return solve


PEERS = {
    peer.name: peer
    for peer in (
        Peer("pgdyn engine", _engine),
        Peer("diffrax vmap", _diffrax),
        Peer("Numba kernel", _numba, on_cpu_only=True, needs="numba"),
        Peer("SciPy loop", _scipy, most=SCIPY_PROBLEMS, on_cpu_only=True, needs="scipy"),
        Peer("ascent scan", _ascent, dtype="float32", adaptive=False),
    )
}


def scipy_check(workload: Workload, lanes: np.ndarray) -> Ends:
    """Some flows by SciPy's DOP853 at 1e-13, hitting times by its events: the judge of the reference.

    Args:
        workload: the batch.
        lanes: indices of the problems to solve.
    """
    from scipy.integrate import solve_ivp

    ends, times = [], []
    for lane in lanes:
        problem = workload.problems[int(lane)]
        start, field, log_policy = _numpy_field(problem)
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

    excess.direction = 1.0  # pyright: ignore[reportFunctionMemberAccess]
    return excess
