"""Exact runs of a grid of problems, as gradient ascent and as gradient flow side by side.

Plain gradient ascent with learning rate lr is the Euler scheme of the gradient flow with step lr, so that u updates
correspond to the time t = lr u. The two are different dynamics all the same, and both are kept.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import xarray

import pgdyn
from experiments import grids, log_time
from pgdyn import Ascend, Batch, Solution
from pgdyn.problem import FIELDS

CORRESPONDENCE = (
    "One update of gradient ascent with learning rate lr is one Euler step of length lr of the gradient flow, so u "
    "updates correspond to the flow time lr * u; the coordinate equivalent_update of the flow is time / lr."
)


def run(
    problems: Batch,
    axes: Mapping[str, int],
    *,
    steps: int,
    learning_rate: float,
    target: float,
    flow_saves: int = 512,
    rtol: float = 1e-10,
    atol: float = 1e-12,
) -> xarray.Dataset:
    """Runs both dynamics on every problem.

    Args:
        problems: a batch, in C order of `axes`.
        axes: name -> length of the axes of the grid.
        steps: updates of ascent; the flow runs to `learning_rate * steps`.
        learning_rate: of plain SGD.
        target: true value whose hitting times are wanted.
        flow_saves: saved points of the flow, evenly spaced in log(1 + t).
        rtol: the flow's relative tolerance.
        atol: the flow's absolute tolerance.

    Returns:
        Ascent's variables under the names of `Solution`'s fields, along "update"; the flow's under the same names with
        "flow_" in front, along "time", whose second coordinate "equivalent_update" is time / learning_rate.

    Raises:
        ValueError: on bad settings.
    """
    ascent = Ascend(steps, target=target, learning_rate=learning_rate)

    def part(updates: int, save_every: int) -> Solution:
        return pgdyn.solve(problems, dataclasses.replace(ascent, steps=updates, save_every=save_every))

    paths = grids.flow_paths(
        problems, ascent.learning_rate * ascent.steps, target=target, saves=flow_saves, rtol=rtol, atol=atol
    )
    ascended, flowed = (
        grids.unstack(solution.to_dataset(), axes) for solution in (log_time.join(part, ascent.steps), paths)
    )
    flowed = flowed.drop_vars(FIELDS, errors="ignore")
    flowed = flowed.rename({name: f"flow_{name}" for name in flowed.data_vars})
    dataset = xarray.merge([ascended.rename(time="update"), flowed], combine_attrs="drop_conflicts")
    described = {"units": "update", "long_name": "updates of ascent at this time"}
    return dataset.assign_coords(
        equivalent_update=("time", dataset["time"].data / ascent.learning_rate, described)
    ).assign_attrs(
        dynamics="ascend (variables along update) and flow (variables flow_*, along time)",
        settings={"ascend": ascended.attrs["settings"], "flow": flowed.attrs["settings"]},
        correspondence=CORRESPONDENCE,
    )
