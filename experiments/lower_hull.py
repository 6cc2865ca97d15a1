"""Which output leads: the policy walks over the lower hull of the points (reward, 1 / initial probability).

By the exact solution (`pgdyn.exact`) output y is at the height x_y = 1/pi_0(y) - (tau r_y - nu) above a line that
rolls under the points, its slope tau growing from 0, and pi(y) is in proportion to 1/x_y. So the likeliest output is
the point nearest to the line: a vertex of the lower hull. One problem is followed by the integrated flow; of random
ones the same flow tells which outputs lead at several times.
"""

from __future__ import annotations

import numpy as np
import xarray

import pgdyn
from experiments.made_by import recorded
from pgdyn import Batch, Problem, exact, flow_many, validate
from pgdyn.validate import Numbers

# Four outputs are vertices of the hull; the other three lie above it.
INITIAL_POLICY = (0.5, 0.25, 0.06, 0.02, 0.1, 0.05, 0.02)
REWARD = (-0.6, 0.1, 0.6, 1.0, -0.25, 0.3, 0.75)


@recorded
def run(
    initial_policy: Numbers = INITIAL_POLICY,
    reward: Numbers = REWARD,
    *,
    t1: float = 3000.0,
    saves: int = 600,
    problems: int = 300,
    outputs: int = 8,
    looks: int = 12,
    seed: int = 0,
    rtol: float = 1e-10,
    atol: float = 1e-12,
) -> xarray.Dataset:
    """Runs the flow of one problem and of random ones.

    Args:
        initial_policy: [K].
        reward: [K], no two alike.
        t1: until when the one problem is followed.
        saves: times at which it is recorded, evenly spaced in log(1 + t).
        problems: random problems.
        outputs: of each random problem.
        looks: times at which the leader of each random problem is recorded, log-uniform between .1 and 1e6.
        seed: of the random problems.
        rtol: relative tolerance of the flow.
        atol: absolute tolerance of the flow.

    Returns:
        Along "time" and "output": `probability`, and `height`, x measured on the flow's parameters. Along "time": `tau`
        and `nu`, of the line that fits the heights of the first two outputs, and `exact_error`, of ln pi by the exact
        solution. Along "step": `leader`, `take_over_tau`, by the hull. Along "problem" and "look": `leader_rank`, the
        place of the flow's likeliest output among the hull's vertices in order of reward, -1 for no vertex.

    Raises:
        ValueError: on settings that are wrong.
    """
    validate.count("problems", problems, minimum=1)
    problem = Problem.tabular(initial_policy, reward)
    solution = pgdyn.flow(problem, t1, saves=saves, rtol=rtol, atol=atol)
    log_policy = np.asarray(solution.log_policy)[:, 0]
    moved = (np.asarray(solution.params) - np.asarray(problem.initial_params))[:, 0]
    start, rewards = np.asarray(initial_policy, float), np.asarray(reward, float)
    height = np.exp(-moved) / start
    tau = np.diff((1 / start - height)[:, :2], axis=1)[:, 0] / np.diff(rewards[:2])
    nu = height[:, 0] - 1 / start[0] + rewards[0] * tau
    error = np.abs(log_policy - np.asarray(exact.log_policy(problem, solution.t))[:, 0]).max(axis=1)
    stairs = exact.staircase(problem)
    ranks = _ranks(problems, outputs, looks, np.random.default_rng(seed), rtol, atol)
    one = {"units": "1"}
    return xarray.Dataset(
        {
            "probability": (("time", "output"), np.exp(log_policy), {**one, "long_name": "probability"}),
            "height": (("time", "output"), height, {**one, "long_name": "height above the line, x"}),
            "tau": ("time", tau, {**one, "long_name": "slope of the line"}),
            "nu": ("time", nu, {**one, "long_name": "the line's height at reward 0, downward"}),
            "exact_error": ("time", error, {"units": "nat", "long_name": "error of ln pi by the exact solution"}),
            "leader": ("step", stairs.outputs, {"long_name": "output that leads, by the hull"}),
            "take_over_tau": ("step", stairs.taus, {**one, "long_name": "slope at which it takes the lead"}),
            "leader_rank": (("problem", "look"), ranks, {"long_name": "place of the leader among the vertices"}),
        },
        coords={
            "time": ("time", np.asarray(solution.t), {"units": "1", "long_name": "time"}),
            "reward": ("output", rewards, {**one, "long_name": "reward"}),
            "initial_probability": ("output", start, {**one, "long_name": "initial probability"}),
        },
        attrs={"dynamics": "flow"},
    )


def _ranks(count: int, outputs: int, looks: int, rng: np.random.Generator, rtol: float, atol: float) -> np.ndarray:
    """The leaders of random flows as places among the vertices, [count, looks]."""
    logits = rng.normal(size=(count, 1, outputs)) * rng.uniform(0.5, 2.5, (count, 1, 1))
    start = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    reward = rng.uniform(-1, 1, (count, 1, outputs))
    batch = Batch.tabular(start, reward)
    times = np.sort(np.exp(rng.uniform(np.log(0.1), np.log(1e6), (count, looks))), axis=1)
    rows = np.repeat(np.arange(count), looks)
    ends = flow_many(batch[rows], times.ravel(), rtol=rtol, atol=atol)
    leaders = np.asarray(ends.log_policy)[:, 0].argmax(axis=-1).reshape(count, looks)
    ranks = np.full((count, looks), -1)
    for i in range(count):
        for place, vertex in enumerate(lower_hull(reward[i, 0], 1 / start[i, 0])):
            ranks[i, leaders[i] == vertex] = place
    return ranks


def lower_hull(x: np.ndarray, y: np.ndarray) -> list[int]:
    """Indices of the vertices of the lower convex hull with rising y, by Andrew's monotone chain.

    Example:
        >>> lower_hull(np.array([0.0, 1.0, 2.0, 3.0]), np.array([1.0, 5.0, 2.0, 9.0]))
        [0, 2, 3]
    """
    chain: list[int] = []
    for i in np.lexsort((y, x)):
        while len(chain) > 1:
            (x0, y0), (x1, y1) = ((x[j], y[j]) for j in chain[-2:])
            if (x1 - x0) * (y[i] - y0) > (y1 - y0) * (x[i] - x0):
                break
            chain.pop()
        chain.append(int(i))
    return chain[int(np.argmin(y[chain])) :]
