"""The table that `pgdyn simulate` shows of a run."""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING

import numpy as np
import rich.box
from rich.console import Console
from rich.table import Table

from pgdyn.dynamics.result import Result

if TYPE_CHECKING:
    from pgdyn.trajectory import Trajectory

_MAX_OUTPUTS, _MAX_PROMPTS = 10, 8
_DYNAMICS = {"flow": "gradient flow", "ascend": "exact ascent", "ascend_sampled": "sampled ascent"}


def show(trajectory: Trajectory, *, title: str, target: float | None) -> None:
    """Prints the run to standard output: its start and end, its hitting time, and the outputs' probabilities.

    Of more than 10 outputs the 10 that are likeliest at the start or the end are shown, of more than 8 prompts the
    first 8. Where the run broke off, the end is its last saved point that is finite.
    """
    # Names of files and outputs are shown as they are, whatever brackets they hold.
    console = Console(markup=False, highlight=False, emoji=False)
    good = np.flatnonzero(np.isfinite(np.asarray(trajectory.true_value)))
    last = int(good[-1]) if good.size else 0
    console.print(f"{title}: {_DYNAMICS[trajectory.dynamics]}, {trajectory.message}", style="bold", soft_wrap=True)
    console.print(_values(trajectory, last))
    if target is not None:
        console.print(_hitting(trajectory, target))
    console.print(_probabilities(trajectory, last))
    hidden = trajectory.problem.num_prompts - _MAX_PROMPTS
    if hidden > 0:
        console.print(f"{hidden} more prompts are not shown")


def exit_code(trajectory: Trajectory) -> int:
    """0 for a run that went to its end; 1, with a sentence on standard error, for one that broke off."""
    if int(trajectory.result) in (Result.completed, Result.reached_target):
        return 0
    print(f"error: the run did not complete: it {trajectory.message}", file=sys.stderr)
    return 1


def _table(*columns: str) -> Table:
    table = Table(box=rich.box.SIMPLE_HEAD, pad_edge=False)
    for i, column in enumerate(columns):
        table.add_column(column, justify="left" if i == 0 else "right")
    return table


def _values(trajectory: Trajectory, last: int) -> Table:
    objective = trajectory.objective
    table = _table("", "start", "end")
    time = "time" if trajectory.dynamics == "flow" else "updates"
    rows = {
        time: trajectory.t,
        "true value": trajectory.true_value,
        "proxy value": trajectory.proxy_value,
        "proxy reward variance": trajectory.reward_variance,
        f"KL to {objective.reference} policy, {objective.kl_direction} (nats)": trajectory.kl,
    }
    for name, path in rows.items():
        path = np.asarray(path, float)
        table.add_row(name, f"{path[0]:.6g}", f"{path[last]:.6g}")
    return table


def _hitting(trajectory: Trajectory, target: float) -> str:
    hit = float(trajectory.hitting_time)
    unit = "time" if trajectory.dynamics == "flow" else "updates"
    if math.isfinite(hit):
        return f"true value reaches {target:g} at {unit} {hit:.8g}"
    return f"true value never reaches {target:g} within {unit} {float(trajectory.t[-1]):g}"


def _probabilities(trajectory: Trajectory, last: int) -> Table:
    problem = trajectory.problem
    several = problem.num_prompts > 1
    table = _table(*(["prompt"] if several else []), "output", "true reward", "proxy reward", "p at start", "p at end")
    for prompt in range(min(problem.num_prompts, _MAX_PROMPTS)):
        start, end = (np.asarray(trajectory.log_policy[i, prompt], float) for i in (0, last))
        true_reward, proxy_reward = np.asarray(problem.true_reward[prompt]), np.asarray(problem.proxy_reward[prompt])
        likeliest = np.argsort(-np.maximum(start, end), kind="stable")
        for y in sorted(likeliest[:_MAX_OUTPUTS].tolist()):
            row = (str(y), f"{true_reward[y]:.6g}", f"{proxy_reward[y]:.6g}", _p(float(start[y])), _p(float(end[y])))
            table.add_row(*([str(prompt)] if several else []), *row)
        rest = likeliest[_MAX_OUTPUTS:]
        if rest.size:
            sums = (_p(float(np.logaddexp.reduce(logs[rest]))) for logs in (start, end))
            table.add_row(*([str(prompt)] if several else []), f"{rest.size} others", "", "", *sums)
        table.add_section()
    return table


def _p(log_probability: float) -> str:
    """A probability to five digits, as a power of ten where it is too small for a float."""
    if log_probability > -700:
        return f"{math.exp(log_probability):.5g}"
    return f"10^{log_probability / math.log(10):.1f}" if math.isfinite(log_probability) else f"{log_probability}"
