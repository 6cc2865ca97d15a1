"""The exact solution in one picture: which output leads, and when."""

from __future__ import annotations

import numpy as np
import xarray

import figures.lower_hull
from experiments import lower_hull
from figures.lower_hull import take_overs
from paper_repro.claims import Claim, fact, number
from paper_repro.reproduction import Reproduction

_SOURCE = "derived here; see pgdyn.exact and docs/theory.md, F1 and F3"


def _plane_error(dataset: xarray.Dataset) -> float:
    """Largest relative distance of an output's height from the line that the first two outputs fix."""
    start, reward = dataset["initial_probability"], dataset["reward"]
    line = 1 / start + dataset["nu"] - reward * dataset["tau"]
    return float(abs(dataset["height"] / line - 1).max())


def _slope_error(dataset: xarray.Dataset) -> float:
    """Largest relative error of the slopes at which the lead changes on the flow, against the slopes of the hull."""
    found = np.interp(take_overs(dataset), dataset["time"].values, dataset["tau"].values)
    return float(np.abs(found / dataset["take_over_tau"].values[1:] - 1).max())


def _leaders(dataset: xarray.Dataset) -> tuple[bool, str]:
    seen = dataset["probability"].values.argmax(axis=1)
    order = [int(y) for i, y in enumerate(seen) if i == 0 or y != seen[i - 1]]
    rewards = ", ".join(f"{dataset['reward'].values[y]:g}" for y in order)
    hull = lower_hull.lower_hull(dataset["reward"].values, 1 / dataset["initial_probability"].values)
    return order == hull, f"outputs of reward {rewards}, one after the other"


def _random(dataset: xarray.Dataset) -> tuple[bool, str]:
    ranks = dataset["leader_rank"].values
    off, back = int((ranks < 0).sum()), int((np.diff(ranks, axis=1) < 0).sum())
    return off == back == 0, f"of {ranks.size:,} leaders {off} are no vertices; {back} steps back"


REPRODUCTION = Reproduction(
    name="lower_hull",
    title="The policy walks over a lower hull",
    summary=(
        "The flow of any number of outputs moves on a plane: over time a line rolls under the points (reward, 1 / "
        "initial probability), and the probability of an output is in inverse proportion to its height above the line. "
        "Followed by integrating the flow, for one problem of seven outputs and for random ones of eight."
    ),
    experiment=lower_hull.run,
    full={"problems": 300},
    quick={"problems": 30},
    figures={"lower_hull": figures.lower_hull.draw},
    claims=(
        Claim(
            "one-plane",
            "All outputs stay at the height above the line that two of them fix: largest relative error on the flow",
            _SOURCE,
            number(_plane_error, 0.0, 1e-6),
        ),
        Claim(
            "exact-solution",
            "The exact solution is the integrated flow: largest error of ln π",
            _SOURCE,
            number(lambda dataset: float(dataset["exact_error"].max()), 0.0, 1e-7),
        ),
        Claim(
            "staircase",
            "The outputs that lead are the vertices of the lower hull, in order of reward",
            _SOURCE,
            fact("the four vertices, and no other", _leaders),
        ),
        Claim(
            "take-over",
            "The lead changes where the line is parallel to an edge of the hull: largest relative error of the slope",
            _SOURCE,
            number(_slope_error, 0.0, 1e-3),
        ),
        Claim(
            "random-problems",
            "On random problems no output leads but vertices of the hull, and none after one of higher reward",
            _SOURCE,
            fact("vertices alone, and no step back", _random),
        ),
    ),
    order=5,
)
