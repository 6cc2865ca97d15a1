"""`jax.vmap` of diffrax, as a reader of its documentation would write it, for any of its explicit solvers."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import diffrax
import jax
import jax.numpy as jnp
import numpy as np

import pgdyn
from experiments.benchmarks.peer import ABSOLUTE, Ends, Solve
from experiments.benchmarks.workloads import Workload
from pgdyn import Problem, Result

REFERENCE = 1e-12
_MOST_STEPS = 2**20
_LATE = 1e6  # from this end time on, rewards are measured from the likeliest output's


def value_gradient(problem: Problem, params: Any, late: bool) -> Any:
    """d<pi, r>/d params of one problem at temperature 1, by the shortest program.

    Args:
        problem: one problem.
        params: its parameters, [P, K] or [D].
        late: whether rewards are measured from the likeliest output's, as pgdyn does. Otherwise advantages drown in
            rounding long before t = 1e15.

    Example:
        >>> problem = Problem.tabular([0.5, 0.5], [1, 0])
        >>> value_gradient(problem, problem.initial_params, late=False).tolist()
        [[0.25, -0.25]]
    """
    features = problem.features
    logits = params if features is None else features @ params
    policy = jax.nn.softmax(logits, axis=-1)
    if problem.transitions is not None:
        return tree_gradient(problem, policy)
    reward = problem.proxy_reward
    if late:
        mode = jnp.argmax(logits, axis=-1, keepdims=True)
        reward = reward - jnp.take_along_axis(reward, mode, axis=-1)
    value = jnp.sum(policy * reward, axis=-1, keepdims=True)
    gradient = problem.prompt_weights[:, None] * policy * (reward - value)
    return gradient if features is None else jnp.einsum("pkd,pk->d", features, gradient)


def tree_gradient(problem: Problem, policy: Any) -> Any:
    """d(mean return)/d logits of a complete tree of tokens whose prefixes stand level by level.

    Example:
        >>> from pgdyn import mdp
        >>> tree_gradient(mdp.tree(2, 2, [0, 0, 0, 1]), jax.numpy.full((3, 2), 0.5)).tolist()
        [[-0.125, 0.125], [0.0, 0.0], [-0.125, 0.125]]
    """
    points, tokens = policy.shape
    bounds = [0, 1]
    while bounds[-1] < points:
        bounds.append(1 + tokens * bounds[-1])
    levels = [slice(first, last) for first, last in itertools.pairwise(bounds)]
    worth, values = [], jnp.zeros((tokens * policy[levels[-1]].shape[0],))
    for level in reversed(levels):
        worth.append(problem.proxy_reward[level] + values.reshape(-1, tokens))
        values = jnp.sum(policy[level] * worth[-1], axis=-1)
    visits, gradient = jnp.ones((1,)), []
    for level, own in zip(levels, reversed(worth), strict=True):
        advantage = own - jnp.sum(policy[level] * own, axis=-1, keepdims=True)
        flow = visits[:, None] * policy[level]
        gradient.append(flow * advantage)
        visits = flow.reshape(-1)
    return jnp.concatenate(gradient)


def prepare(solver: diffrax.AbstractAdaptiveSolver) -> Callable[[Workload], Solve]:
    """How a peer with this solver is prepared.

    Example:
        >>> from experiments.benchmarks import workloads
        >>> prepare(diffrax.Dopri8())(Workload("standard", workloads.standard(2), t1=1.0))(1e-6).log_policy.shape
        (2, 1, 5)
    """

    def prepared(workload: Workload) -> Solve:
        problems, late = workload.problems, workload.t1 > _LATE

        def one(problem: Problem, rtol: Any) -> tuple[Any, Any, Any]:
            solution = diffrax.diffeqsolve(
                diffrax.ODETerm(lambda t, params, args: value_gradient(problem, params, late)),
                solver,
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

        batched = jax.jit(jax.vmap(one, in_axes=(problems.axes, None)))
        arrays = jax.tree.map(jnp.asarray, problems.problems)

        def solve(rtol: float) -> Ends:
            log_policy, steps, finished = jax.block_until_ready(batched(arrays, jnp.asarray(rtol)))
            return Ends(np.asarray(log_policy), np.asarray(steps), finished=np.asarray(finished))

        return solve

    return prepared


def reference(workload: Workload) -> Ends:
    """The flows by diffrax's Dopri8 at 1e-12, hitting times by its events; SciPy judges some of them.

    Example:
        >>> from experiments.benchmarks import workloads
        >>> reference(Workload("standard", workloads.standard(2), t1=1.0)).finished.all()
        np.True_
    """
    solution = pgdyn.flow_many(
        workload.problems, workload.t1, target=workload.target, rtol=REFERENCE, atol=REFERENCE, backend="diffrax"
    )
    finished = solution.result == Result.completed
    return Ends(solution.log_policy, solution.steps, solution.hitting_time, finished)
