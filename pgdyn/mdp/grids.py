r"""A gridworld: cells, moves in four directions, and a clock that ends the episode after `horizon` moves.

A decision point is a cell at a time, as transitions have to go forward. A move goes where it is told with probability
1 - slip and else in one of the other three directions; against the border it stays where it is.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from pgdyn import validate
from pgdyn.problem import Problem
from pgdyn.validate import Numbers

MOVES = ((-1, 0), (1, 0), (0, -1), (0, 1))  # up, down, left, right


def gridworld(
    true_reward: Numbers,
    proxy_reward: Numbers | None = None,
    *,
    horizon: int,
    start: tuple[int, int] = (0, 0),
    slip: float = 0.0,
    terminal: Any = None,
    features: Literal["cell"] | None = None,
    initial_policy: Numbers | None = None,
    temperature: Numbers = 1.0,
) -> Problem:
    """A walk over a grid whose cells pay on arrival.

    Args:
        true_reward: [rows, columns], paid when a move arrives at a cell (also one that stays in it).
        proxy_reward: like `true_reward`; None means the ground truth itself.
        horizon: moves of an episode.
        start: row and column where episodes begin.
        slip: probability, from 0 to below 1, that a move goes in one of the other three directions.
        terminal: [rows, columns] of booleans, cells that end the episode on arrival; None for none.
        features: None for a logit of each cell, time and move; "cell" for logits that a cell has at all times.
        initial_policy: [4], probabilities of up, down, left and right; None for uniform.
        temperature: a positive number.

    Returns:
        A problem whose decision points are the cells that can be reached at each time, first times first.

    Raises:
        ValueError: on shapes that do not fit, a start outside of the grid, or numbers out of range.

    Example:
        >>> problem = gridworld([[0, 0], [0, 1]], horizon=3)
        >>> problem.num_prompts, problem.num_outputs, problem.transitions.num_levels
        (8, 4, 3)
    """
    truth = _cells("true_reward", true_reward)
    proxy = None if proxy_reward is None else _cells("proxy_reward", proxy_reward, truth.shape)
    horizon = validate.count("horizon", horizon, minimum=1)
    slip = float(validate.number("slip", slip, minimum=0.0))
    if slip >= 1:
        raise ValueError(f"slip is {slip:g}; it must be below 1")
    row, column = (validate.count(f"start[{i}]", at, minimum=0) for i, at in enumerate(start))
    if row >= truth.shape[0] or column >= truth.shape[1]:
        raise ValueError(f"start is {(row, column)}; the grid has {truth.shape[0]} rows and {truth.shape[1]} columns")
    ends = np.zeros(truth.shape, bool) if terminal is None else np.asarray(terminal)
    if ends.shape != truth.shape or ends.dtype != bool:
        raise ValueError(f"terminal has shape {ends.shape} and type {ends.dtype}; it must be {truth.shape} of booleans")
    if ends[row, column]:
        raise ValueError(f"start is {(row, column)}, a terminal cell")
    arrivals = _arrivals(truth.shape, slip)  # [cells, 4, cells]

    first = int(np.ravel_multi_index((row, column), truth.shape))
    times = [[first]]
    while len(times) < horizon:
        onward = arrivals[times[-1]].sum(axis=(0, 1)) > 0
        times.append([int(cell) for cell in np.nonzero(onward & ~ends.reshape(-1))[0]])
        if not times[-1]:
            times.pop()
            break
    cells = np.array([cell for time in times for cell in time])
    bounds = np.cumsum([0, *map(len, times)])
    chance = np.zeros((len(cells), len(MOVES), len(cells)))
    for t in range(len(times) - 1):
        here, there = slice(bounds[t], bounds[t + 1]), slice(bounds[t + 1], bounds[t + 2])
        chance[here, :, there] = arrivals[cells[here]][:, :, cells[there]]
    paid: list[Any] = [None if table is None else (arrivals @ table.reshape(-1))[cells] for table in (truth, proxy)]
    successors: Any = chance
    if slip == 0:
        successors = np.where(chance.any(axis=2), chance.argmax(axis=2), -1)
    policy = None
    if initial_policy is not None:
        policy = validate.as_floats("initial_policy", initial_policy)
        policy = np.broadcast_to(policy, (len(cells), len(MOVES))) if policy.ndim == 1 else policy
    rest = {"temperature": temperature, "transitions": successors}
    if features is None:
        return Problem.tabular(policy, paid[0], paid[1], **rest)
    validate.choice("features", features, ("cell",))
    kinds, group = np.unique(cells, return_inverse=True)
    phi = np.zeros((len(cells), len(MOVES), len(kinds), len(MOVES)))
    for y in range(len(MOVES)):
        phi[np.arange(len(cells)), y, group, y] = 1.0
    return Problem.linear(phi.reshape(len(cells), len(MOVES), -1), paid[0], paid[1], initial_policy=policy, **rest)


def _cells(name: str, given: Numbers, shape: tuple[int, ...] | None = None) -> np.ndarray:
    table = validate.as_floats(name, given)
    if table.ndim != 2 or (shape is not None and table.shape != shape):
        wanted = "[rows, columns]" if shape is None else str(shape)
        raise ValueError(f"{name} has shape {table.shape}; it must be {wanted}, one entry for each cell")
    validate.require_finite(name, table)
    return table


def _arrivals(shape: tuple[int, ...], slip: float) -> np.ndarray:
    """The probability of each cell after each move from each cell."""
    size = shape[0] * shape[1]
    rows, columns = np.divmod(np.arange(size), shape[1])
    goes = np.zeros((size, len(MOVES), size))
    for y, (down, right) in enumerate(MOVES):
        row, column = np.clip(rows + down, 0, shape[0] - 1), np.clip(columns + right, 0, shape[1] - 1)
        goes[np.arange(size), y, row * shape[1] + column] = 1.0
    others = (goes.sum(axis=1, keepdims=True) - goes) / (len(MOVES) - 1)
    return (1 - slip) * goes + slip * others
