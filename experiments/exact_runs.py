"""Exact runs of a grid of problems, as gradient ascent and as gradient flow side by side.

Plain gradient ascent with learning rate lr is the Euler scheme of the gradient flow with step lr, so that u updates
correspond to the time t = lr u. The two are different dynamics all the same, and both are kept.
"""

from __future__ import annotations

import dataclasses

import jax
import optax
import xarray

import pgdyn
from experiments import log_time
from pgdyn import Problem

CORRESPONDENCE = (
    "One update of gradient ascent with learning rate lr is one Euler step of length lr of the gradient flow, so u "
    "updates correspond to the flow time lr * u; the coordinate equivalent_update of the flow is time / lr."
)


def run(
    problems: Problem,
    dims: tuple[str, str],
    *,
    steps: int,
    learning_rate: float,
    target: float,
    flow_saves: int = 512,
    rtol: float = 1e-10,
    atol: float = 1e-12,
) -> xarray.Dataset:
    """Both dynamics of every problem.

    Args:
        problems: a problem whose arrays have two leading axes (see `controlled_problems.grid`).
        dims: their names.
        steps: updates of ascent; the flow runs to `learning_rate * steps`.
        learning_rate: of plain SGD.
        target: true value whose hitting times are wanted.
        flow_saves: saved points of the flow, evenly spaced in log(1 + t).
        rtol: the flow's relative tolerance.
        atol: the flow's absolute tolerance.

    Returns:
        Ascent's variables under the names of `Trajectory`'s fields, along "update"; the flow's under the same names
        with "flow_" in front, along "time", whose second coordinate "equivalent_update" is time / learning_rate.

    Raises:
        ValueError: on bad settings.
    """
    optimizer = optax.sgd(learning_rate)

    def ascent(problem: Problem) -> pgdyn.Trajectory:
        def part(updates: int, save_every: int) -> pgdyn.Trajectory:
            return pgdyn.ascend(problem, updates, optimizer=optimizer, target=target, save_every=save_every)

        return log_time.join(part, steps)

    def flow(problem: Problem) -> pgdyn.Trajectory:
        return pgdyn.flow(problem, learning_rate * steps, target=target, saves=flow_saves, rtol=rtol, atol=atol)

    ascended = jax.jit(jax.vmap(jax.vmap(ascent)))(problems).to_dataset(dims)
    flowed = jax.jit(jax.vmap(jax.vmap(flow)))(problems).to_dataset(dims)
    flowed = flowed.drop_vars([field.name for field in dataclasses.fields(Problem)], errors="ignore")
    flowed = flowed.rename({name: f"flow_{name}" for name in flowed.data_vars})
    ascended = ascended.rename(time="update")
    dataset = xarray.merge([ascended, flowed], combine_attrs="drop_conflicts")
    equivalent = dataset["time"] / learning_rate
    dataset = dataset.assign_coords(
        equivalent_update=("time", equivalent.data, {"units": "update", "long_name": "updates of ascent at this time"})
    )
    dataset.attrs = {
        **ascended.attrs,
        "dynamics": "ascend (variables along update) and flow (variables flow_*, along time)",
        "settings": {"ascend": ascended.attrs["settings"], "flow": flowed.attrs["settings"]},
        "correspondence": CORRESPONDENCE,
        "learning_rate": learning_rate,
        "steps": steps,
        "target": target,
    }
    return dataset
