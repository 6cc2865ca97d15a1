"""Exact runs of a grid of problems, as gradient ascent and as gradient flow side by side.

Plain gradient ascent with learning rate lr is the Euler scheme of the gradient flow with step lr, so that u updates
correspond to the time t = lr u. The two are different dynamics all the same, and both are kept.
"""

from __future__ import annotations

import dataclasses

import equinox as eqx
import jax
import optax
import xarray
from jaxtyping import Array

import pgdyn
from experiments import log_time
from pgdyn import Problem, Trajectory, validate

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
    steps = validate.count("steps", steps, minimum=1)
    rate = validate.scalar("learning_rate", learning_rate, positive=True)
    goal = validate.scalar("target", target)
    ascended = _ascents(problems, rate, goal, steps).to_dataset(dims)
    flowed = _flows(problems, rate * steps, goal, flow_saves, rtol, atol).to_dataset(dims)
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
        "settings": {"ascend": {"optimizer": "sgd"}, "flow": {"rtol": rtol, "atol": atol, "solver": "Dopri8"}},
        "correspondence": CORRESPONDENCE,
        "learning_rate": learning_rate,
        "steps": steps,
        "target": target,
    }
    return dataset


@eqx.filter_jit
def _ascents(problems: Problem, learning_rate: Array, target: Array, steps: int) -> Trajectory:
    def one(problem: Problem) -> Trajectory:
        def part(updates: int, save_every: int) -> Trajectory:
            optimizer = optax.sgd(learning_rate)
            return pgdyn.ascend(problem, updates, optimizer=optimizer, target=target, save_every=save_every)

        return log_time.join(part, steps)

    return jax.vmap(jax.vmap(one))(problems)


@eqx.filter_jit
def _flows(problems: Problem, t1: Array, target: Array, saves: int, rtol: float, atol: float) -> Trajectory:
    def one(problem: Problem) -> Trajectory:
        return pgdyn.flow(problem, t1, target=target, saves=saves, rtol=rtol, atol=atol)

    return jax.vmap(jax.vmap(one))(problems)
