"""A reward that changes on the way: partial credit, withdrawn for good once an output that earns it is the mode.

The rule looks at what the policy says and lowers the reward of its most frequent answer where that is no full success.
It is a schedule of two proxies: the flow on partial credit is stopped where an output of partial credit reaches
probability 1/2, and goes on from there with binary credit.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from experiments.mean_times import hits, hitting_times
from pgdyn import Problem

MODE = 0.5


def withdrawn_times(
    partly: Problem,
    wholly: Problem,
    starts: np.ndarray,
    partial_times: np.ndarray,
    target: float,
    halves: Sequence[int],
) -> np.ndarray:
    """First times at which the true value reaches the target.

    Args:
        partly: the task with partial credit as its proxy.
        wholly: the same with binary credit.
        starts: [N, *params].
        partial_times: [N], with partial credit to the end.
        target: true value.
        halves: the outputs of partial credit.

    Returns:
        [N].
    """
    times, event = partial_times.copy(), partial_times.copy()
    for output in halves:
        # The task in which this output is what is waited for.
        watched = np.zeros(np.shape(partly.true_reward))
        watched[..., output] = 1.0
        proxy = np.asarray(partly.proxy_reward)
        if partly.features is None:
            waiting = Problem.tabular(None, watched, proxy)
        else:
            waiting = Problem.linear(partly.features, watched, proxy)
        when, states = hits(waiting, starts, MODE, most=400)
        first = when < event
        times = np.where(first, when + hitting_times(wholly, states, target), times)
        event = np.where(first, when, event)
    return times
