"""The designed proxy (`pgdyn.errors.design`) against hand-made ones, on the controlled problem at e = .05.

Three tasks: reach the true value .9 soonest with rewards in [-1, 1], the range of the truth; the same with rewards in
[-2, 1]; and the highest true value at t = 10 with rewards in [-1, 1]. The design is compared with the truth, the truth
centred and stretched to the bounds, the paper's proxy as it is and stretched, and the best error on a single output, by
exhaustive search over a grid of new rewards.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence

import jax
import numpy as np
import xarray

import pgdyn
from experiments import controlled_problems as paper
from experiments import grids
from experiments.made_by import recorded
from pgdyn import Batch, Problem, validate
from pgdyn.errors.design import Design
from pgdyn.errors.perturb import SingleOutput
from pgdyn.solve import Progress

CANDIDATES = (
    "ground truth",
    "truth, centred",
    "truth, stretched",
    "paper's proxy",
    "paper's proxy, stretched",
    "best single error",
    "designed",
)
_LATEST = 1e3  # the longest time that counts as reaching the target, for the search


@dataclasses.dataclass(frozen=True)
class Task:
    """What the proxy is to achieve, within which bounds.

    Attributes:
        name: of the task.
        lower: least reward of any output.
        upper: largest.
        horizon: time at which the true value is to be highest; None to reach the target soonest.
    """

    name: str
    lower: float
    upper: float
    horizon: float | None = None


TASKS = (
    Task("soonest, rewards in [-1, 1]", -1.0, 1.0),
    Task("soonest, rewards in [-2, 1]", -2.0, 1.0),
    Task("highest at t = 10, rewards in [-1, 1]", -1.0, 1.0, horizon=10.0),
)
HORIZONS = (1.0, 2.0, 4.0, 7.0, 10.0, 14.0, 20.0, 40.0)


@recorded
def run(
    tasks: Sequence[Task] = TASKS,
    horizons: Sequence[float] = HORIZONS,
    *,
    probability: float = 0.05,
    target: float = paper.TARGET,
    t1: float = 1e6,
    grid: int = 301,
    steps: int = 60,
    random_starts: int = 1,
    seed: int = 2,
    saves: int = 300,
    progress: Progress | None = None,
) -> xarray.Dataset:
    """Runs every candidate of every task, and designs proxies for a range of horizons.

    Args:
        tasks: what to achieve.
        horizons: times for which the true value at that time is designed for, within the range of the truth.
        probability: initial probability of y*.
        target: true value to reach.
        t1: end of the paths.
        grid: new rewards of each output, over the bounds, for the search of single-output errors.
        steps: updates of each search of a design.
        random_starts: of each design, beside the truth and its two variants.
        seed: of the random starts.
        saves: points of a path, evenly spaced in log(1 + t).
        progress: called with (designs made, all designs).

    Returns:
        Over ("task", "candidate"): `proxy_reward` [.., output], `hitting_time`, `achieved` (the hitting time, or the
        true value at the task's horizon), and along "time" what else a `Solution` holds. Over "task": `horizon` (nan
        for tasks of time), `lower`, `upper`, `vertex_achieved` (the best of all 2^K proxies whose rewards are at the
        bounds), `single_output` and `single_reward` of the best single error. Over "design_horizon": `vertex_value`,
        `design_value`, `design_proxy` [.., output] and `handmade_value`, the best of the truth and the paper's proxy at
        that time. `true_reward`, `initial_probability` over "output".

    Raises:
        ValueError: on settings out of range.
    """
    for name, given in (("tasks", tasks), ("horizons", horizons)):
        if not given:
            raise ValueError(f"{name} is empty; it must hold at least one")
    count = validate.count("grid", grid, minimum=2)
    problem = Problem.tabular(paper.initial_policy(probability), paper.TRUE_REWARD)
    search = {"steps": steps, "random_starts": random_starts, "key": jax.random.key(seed)}
    searches = len(tasks) + len(horizons)
    proxies, singles, vertices = [], [], []
    for i, task in enumerate(tasks):
        best = _best_single(problem, task, target, np.linspace(task.lower, task.upper, count))
        found = _design(problem, task, target, search)
        proxies.append([*_handmade(task), best[0], np.asarray(found.proxy_reward)[0]])
        singles.append(best[1:])
        vertices.append(_best_vertex(problem, task, target))
        if progress is not None:
            progress(i + 1, searches)
    designs = []
    for i, horizon in enumerate(horizons):
        designs.append(pgdyn.design(problem, horizon, **search))
        if progress is not None:
            progress(len(tasks) + i + 1, searches)
    axes = {"task": len(tasks), "candidate": len(CANDIDATES)}
    paths = grids.flow_paths(_trained(problem, np.concatenate(proxies)), t1, target=target, saves=saves)
    dataset = grids.unstack(paths.to_dataset(), axes).isel(prompt=0)
    horizon = np.array([np.nan if task.horizon is None else task.horizon for task in tasks])
    ends = [_values_at(problem, np.asarray(rows), t) for rows, t in zip(proxies, horizon, strict=True)]
    achieved = np.where(np.isnan(horizon)[:, None], dataset["hitting_time"], np.stack(ends))
    by_hand = np.array([paper.TRUE_REWARD, paper.PROXY_REWARD])
    handmade = [_values_at(problem, by_hand, t).max() for t in horizons]
    start = np.asarray(paper.initial_policy(probability))
    reward = {"units": "reward"}
    return dataset.assign(
        achieved=(tuple(axes), achieved, {"long_name": "hitting time, or true value at the task's horizon"}),
        horizon=("task", horizon, {"units": "1", "long_name": "time whose true value counts; nan: soonest"}),
        lower=("task", [task.lower for task in tasks], reward),
        upper=("task", [task.upper for task in tasks], reward),
        single_output=("task", [output for output, _ in singles]),
        single_reward=("task", [value for _, value in singles], reward),
        vertex_achieved=("task", vertices, {"long_name": "as achieved, by the best proxy of rewards at the bounds"}),
        vertex_value=("design_horizon", [_best_vertex(problem, _until(t), target) for t in horizons], reward),
        design_value=("design_horizon", [float(one.true_value) for one in designs], reward),
        design_proxy=(("design_horizon", "output"), [np.asarray(one.proxy_reward)[0] for one in designs], reward),
        handmade_value=("design_horizon", handmade, reward),
        initial_probability=("output", start, {"units": "1"}),
    ).assign_coords(
        task=paper.labels([task.name for task in tasks]),
        candidate=paper.labels(CANDIDATES),
        output=paper.labels(paper.OUTPUT_NAMES),
        design_horizon=("design_horizon", np.asarray(horizons, float), {"units": "1"}),
    )


def stretched(reward: np.ndarray, task: Task) -> np.ndarray:
    """Shifts and scales the reward so that it spans the task's bounds.

    Example:
        >>> stretched(np.array([0.0, 1.0]), TASKS[0]).tolist()
        [-1.0, 1.0]
    """
    return task.lower + (reward - reward.min()) * ((task.upper - task.lower) / np.ptp(reward))


def _handmade(task: Task) -> list[np.ndarray]:
    """The candidates that no search has made, in the order of `CANDIDATES`."""
    truth, proxy = np.array(paper.TRUE_REWARD), np.array(paper.PROXY_REWARD)
    return [truth, truth - truth.mean(), stretched(truth, task), proxy, stretched(proxy, task)]


def _trained(problem: Problem, proxies: np.ndarray) -> Batch:
    """Gives the problem trained on each of the proxies [N, K]."""
    return Batch.sharing(problem, proxy_reward=proxies[:, None])


def _best_single(problem: Problem, task: Task, target: float, values: np.ndarray) -> tuple[np.ndarray, int, float]:
    """Searches the single-output errors: the best one's proxy [K], the output and its new reward."""
    errors = SingleOutput(values)(problem)
    proxies = np.asarray(errors.proxy_rewards)[:, 0]
    if task.horizon is None:
        best = int(np.argmin(pgdyn.flow_many(_trained(problem, proxies), _LATEST, target=target).hitting_time))
    else:
        best = int(np.argmax(_values_at(problem, proxies, task.horizon)))
    return proxies[best], int(errors.parameters["output"][best]), float(errors.parameters["value"][best])


def _until(horizon: float) -> Task:
    """The task of a design for a horizon: within the range of the truth."""
    return Task("", min(paper.TRUE_REWARD), max(paper.TRUE_REWARD), horizon)


def _best_vertex(problem: Problem, task: Task, target: float) -> float:
    """Tries every proxy whose rewards are all at a bound: the least time, or the largest true value at the horizon."""
    proxies = np.array([*itertools.product((task.lower, task.upper), repeat=problem.num_outputs)])
    if task.horizon is None:
        return float(pgdyn.flow_many(_trained(problem, proxies), _LATEST, target=target).hitting_time.min())
    return float(_values_at(problem, proxies, task.horizon).max())


def _design(problem: Problem, task: Task, target: float, search: dict) -> Design:
    bounds = {"lower": task.lower, "upper": task.upper, "max_range": task.upper - task.lower}
    if task.horizon is None:
        return pgdyn.design(problem, _LATEST, target=target, **bounds, **search)
    return pgdyn.design(problem, task.horizon, **bounds, **search)


def _values_at(problem: Problem, proxies: np.ndarray, time: float) -> np.ndarray:
    """Gives the true values [N] at `time` of the flows on proxies [N, K]; nan at a time of nan."""
    if np.isnan(time):
        return np.full(len(proxies), np.nan)
    # A target that no reward reaches, so that the engine's compiled code of the other searches serves here too.
    beyond = 2 * float(np.abs(np.asarray(problem.true_reward)).max())
    return pgdyn.flow_many(_trained(problem, proxies), time, target=beyond).true_value
