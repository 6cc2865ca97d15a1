"""The stall in closed form: every random problem with n bad outputs on one curve."""

from __future__ import annotations

import numpy as np
import xarray

import figures.corner_law
from experiments import corner_law
from paper_repro.claims import Claim, number
from paper_repro.reproduction import Reproduction

_SOURCE = "derived here; see pgdyn.theory.corner_laws"


def _off_curve(dataset: xarray.Dataset) -> float:
    """Largest difference in ln(p/p_min) at the same time, over stages up to 0.9."""
    worst = 0.0
    for n in dataset["bad_outputs"].values:
        run = dataset.sel(bad_outputs=n)
        stage = run["stage"].values
        _, expected = corner_law.curve(int(n), stage)
        error = np.abs(np.log(run["scaled_probability"].values) - np.log(expected))
        worst = max(worst, float(error[:, stage <= 0.9].max()))
    return worst


def _time_error(dataset: xarray.Dataset) -> float:
    return float(abs(dataset["escape_time"] / dataset["predicted_escape_time"] - 1).max())


REPRODUCTION = Reproduction(
    name="corner_law",
    title="Stalls of different gaps and masses are one stall",
    summary=(
        "Random reward gaps and random masses of 1, 2 or 3 bad outputs, started near the mediocre output with a "
        "rare best one. Time is measured in units of the escape time of the closed form, the probability of y* in "
        "units of its minimum."
    ),
    experiment=corner_law.run,
    figures={"corner_law": figures.corner_law.draw},
    claims=(
        Claim(
            "collapse",
            "All problems lie on the curve of their n: largest error of ln(p/p_min), up to stage 0.9",
            _SOURCE,
            number(_off_curve, 0.0, 0.02),
        ),
        Claim(
            "escape-time",
            "The escape time is (1/u) Σ e_j(c)/[(j+1)(j+2)]: largest relative error",
            _SOURCE,
            number(_time_error, 0.0, 0.001),
        ),
    ),
    order=41,
)
