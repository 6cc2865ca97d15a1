"""The table that `pgdyn simulate` shows of a run."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from pgdyn.cli import tables
from pgdyn.solution import Solution

_MAX_OUTPUTS, _MAX_PROMPTS = 10, 8
_COLUMNS = ["output", "true reward", "proxy reward", "p at start", "p at end"]
_DYNAMICS = {"flow": "gradient flow", "ascend": "exact ascent", "ascend_sampled": "sampled ascent"}


def parts(solution: Solution, title: str) -> Iterator[tables.Part]:
    """What is shown of a run: its start and end, its hitting time, and the outputs' probabilities.

    Of more than 10 outputs the 10 that are likeliest at the start or the end are shown, of more than 8 prompts the
    first 8. Where the run broke off, the end is its last saved point that is finite.
    """
    yield tables.heading(f"{title}: {_DYNAMICS[solution.dynamics]}, {solution.message}")
    last = max(np.flatnonzero(np.isfinite(np.asarray(solution.true_value))).tolist(), default=0)
    objective, unit = solution.objective, "time" if solution.dynamics == "flow" else "updates"
    paths = {
        unit: solution.t,
        "true value": solution.true_value,
        "proxy value": solution.proxy_value,
        "proxy reward variance": solution.reward_variance,
        f"KL to {objective.reference} policy, {objective.kl_direction} (nats)": solution.kl,
    }
    ends = [(name, float(path[0]), float(path[last])) for name, path in paths.items()]
    yield tables.table(["", "start", "end"], ends, left=[""], digits=6)
    if solution.settings.target is not None:
        target, hit = float(solution.settings.target), float(solution.hitting_time)
        never = f"never reaches {target:g} within {unit} {float(solution.t[-1]):g}"
        yield f"true value {f'reaches {target:g} at {unit} {hit:.8g}' if math.isfinite(hit) else never}"
    several = solution.problem.num_prompts > 1
    columns = ["prompt", *_COLUMNS] if several else _COLUMNS
    rows = ((prompt, *row) if several else row for prompt, row in _outputs(solution, last))
    yield tables.table(columns, rows, left=columns[:1], digits=6, sections=several)
    if (hidden := solution.problem.num_prompts - _MAX_PROMPTS) > 0:
        yield f"{hidden} more prompts are not shown"


def _outputs(solution: Solution, last: int) -> Iterator[tuple[int, tuple[object, ...]]]:
    """The rows of each prompt's outputs."""
    problem = solution.problem
    for prompt in range(min(problem.num_prompts, _MAX_PROMPTS)):
        rewards = [np.asarray(reward[prompt], float) for reward in (problem.true_reward, problem.proxy_reward)]
        paths = [np.asarray(solution.log_policy[i, prompt], float) for i in (0, last)]
        likeliest = np.argsort(-np.maximum(*paths), kind="stable")
        for y in np.sort(likeliest[:_MAX_OUTPUTS]):
            yield prompt, (y, *(reward[y] for reward in rewards), *(_p(path[y]) for path in paths))
        rest = likeliest[_MAX_OUTPUTS:]
        if rest.size:
            yield prompt, (f"{rest.size} others", "", "", *(_p(np.logaddexp.reduce(path[rest])) for path in paths))


def _p(log_probability: Any) -> str:
    """A probability to five digits, as a power of ten where it is too small for a float."""
    if log_probability > -700:
        return f"{math.exp(log_probability):.5g}"
    return f"10^{log_probability / math.log(10):.1f}" if math.isfinite(log_probability) else f"{log_probability}"
