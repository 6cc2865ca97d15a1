"""The table that `pgdyn simulate` shows of a run."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.table import Table

from pgdyn.cli import tables

if TYPE_CHECKING:
    from pgdyn.solution import Solution

_MAX_OUTPUTS, _MAX_PROMPTS = 10, 8
_DYNAMICS = {"flow": "gradient flow", "ascend": "exact ascent", "ascend_sampled": "sampled ascent"}


def show(solution: Solution, *, title: str) -> None:
    """Prints a run to standard output: its start and end, its hitting time, and the outputs' probabilities.

    Of more than 10 outputs the 10 that are likeliest at the start or the end are shown, of more than 8 prompts the
    first 8. Where the run broke off, the end is its last saved point that is finite.

    Example:
        >>> import pgdyn
        >>> show(pgdyn.ascend(pgdyn.Problem.tabular([0.4, 0.6], [1, 0]), 5), title="two outputs")
        two outputs: exact ascent, ran to the end
        ...
    """
    console = tables.console()
    console.print(f"{title}: {_DYNAMICS[solution.dynamics]}, {solution.message}", style="bold", soft_wrap=True)
    good = np.flatnonzero(np.isfinite(np.asarray(solution.true_value)))
    last = int(good[-1]) if good.size else 0
    objective, unit = solution.objective, "time" if solution.dynamics == "flow" else "updates"
    table = tables.table("", "start", "end", left=[""])
    for name, path in {
        unit: solution.t,
        "true value": solution.true_value,
        "proxy value": solution.proxy_value,
        "proxy reward variance": solution.reward_variance,
        f"KL to {objective.reference} policy, {objective.kl_direction} (nats)": solution.kl,
    }.items():
        table.add_row(name, f"{float(path[0]):.6g}", f"{float(path[last]):.6g}")
    console.print(table)
    if solution.settings.target is not None:
        target, hit = float(solution.settings.target), float(solution.hitting_time)
        never = f"never reaches {target:g} within {unit} {float(solution.t[-1]):g}"
        console.print(f"true value {f'reaches {target:g} at {unit} {hit:.8g}' if math.isfinite(hit) else never}")
    console.print(_probabilities(solution, last))
    if (hidden := solution.problem.num_prompts - _MAX_PROMPTS) > 0:
        console.print(f"{hidden} more prompts are not shown")


def _probabilities(solution: Solution, last: int) -> Table:
    problem = solution.problem
    prompt_column = ["prompt"] if problem.num_prompts > 1 else []
    columns = [*prompt_column, "output", "true reward", "proxy reward", "p at start", "p at end"]
    table = tables.table(*columns, left=columns[:1])
    for prompt in range(min(problem.num_prompts, _MAX_PROMPTS)):
        cells = [str(prompt)] if prompt_column else []
        start, end = (np.asarray(solution.log_policy[i, prompt], float) for i in (0, last))
        rewards = [np.asarray(reward[prompt], float) for reward in (problem.true_reward, problem.proxy_reward)]
        likeliest = np.argsort(-np.maximum(start, end), kind="stable")
        for y in sorted(likeliest[:_MAX_OUTPUTS].tolist()):
            table.add_row(*cells, str(y), *(f"{reward[y]:.6g}" for reward in rewards), _p(start[y]), _p(end[y]))
        rest = likeliest[_MAX_OUTPUTS:]
        if rest.size:
            sums = (_p(np.logaddexp.reduce(logs[rest])) for logs in (start, end))
            table.add_row(*cells, f"{rest.size} others", "", "", *sums)
        table.add_section()
    return table


def _p(log_probability: Any) -> str:
    """A probability to five digits, as a power of ten where it is too small for a float."""
    if log_probability > -700:
        return f"{math.exp(log_probability):.5g}"
    return f"10^{log_probability / math.log(10):.1f}" if math.isfinite(log_probability) else f"{log_probability}"
