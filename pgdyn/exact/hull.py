r"""The staircase: which outputs lead, one after the other.

The likeliest output of a tabular flow is argmin_y (1/pi_0(y) - r_y tau). Over tau these are the vertices of the lower
convex hull of the points (r_y, 1/pi_0(y)), in order of reward: no other output ever leads, and y takes over from u at

    tau = (1/pi_0(y) - 1/pi_0(u)) / (r_y - r_u).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from pgdyn import policy
from pgdyn.objective import Objective, choose_objective
from pgdyn.problem import Problem, require_single


class Staircase(NamedTuple):
    """The outputs that lead.

    Attributes:
        outputs: [M], their numbers, in order.
        taus: [M], where each takes the lead; 0 for the first, which is the likeliest at the start.
    """

    outputs: np.ndarray
    taus: np.ndarray


def staircase(problem: Problem, prompt: int = 0, *, objective: Objective | None = None) -> Staircase:
    """Computes which outputs lead on the flow of a tabular policy, and from which tau = int ds / Z on.

    Args:
        problem: one tabular problem.
        prompt: the number of a prompt.
        objective: what is climbed; None for the proxy's value alone.

    Raises:
        ValueError: with features, on a batch, or on a prompt that there is not.

    Example:
        >>> problem = Problem.tabular([0.05, 0.5, 0.15, 0.15, 0.15], [1, 0.8, -1, -1, -1])
        >>> found = staircase(problem)
        >>> found.outputs.tolist(), found.taus.round(3).tolist()
        ([1, 0], [0.0, 90.0])
    """
    require_single(problem, "staircase")
    if not problem.is_tabular:
        raise ValueError("staircase takes a tabular problem, and this one has features")
    if not 0 <= prompt < problem.num_prompts:
        raise ValueError(f"prompt is {prompt}; the problem has {problem.num_prompts}")
    reward = np.asarray(choose_objective(objective, "staircase").training_reward(problem), float)[prompt]
    log_start = np.asarray(policy.log_policy(problem, problem.initial_params), float)[prompt]
    with np.errstate(over="ignore"):
        height = np.exp(-log_start)
    leader = int(np.lexsort((-reward, height))[0])
    outputs, taus = [leader], [0.0]
    while (better := np.flatnonzero((reward > reward[leader]) & np.isfinite(height))).size:
        crossing = (height[better] - height[leader]) / (reward[better] - reward[leader])
        soonest = np.lexsort((-reward[better], crossing))[0]
        leader = int(better[soonest])
        outputs.append(leader)
        taus.append(float(crossing[soonest]))
    return Staircase(np.array(outputs), np.array(taus))
