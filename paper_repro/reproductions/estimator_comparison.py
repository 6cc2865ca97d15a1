"""Estimators on the plateau problem."""

from __future__ import annotations

import numpy as np
import xarray

import figures.estimator_comparison
from experiments import estimator_comparison
from experiments.escape_share import escape_law, tuned
from paper_repro.claims import Claim, fact, measurement, number
from paper_repro.reproduction import Reproduction


def _shares(dataset: xarray.Dataset) -> dict[str, float]:
    return {str(name): float(np.isfinite(tuned(dataset, str(name))[1]).mean()) for name in dataset["estimator"].values}


def _order(dataset: xarray.Dataset) -> tuple[bool, str]:
    share = _shares(dataset)
    good = min(share["GRPO"], share["max@4"]) > 0.95 and max(share["REINFORCE"], share["RLOO"]) < 0.5
    return good, ", ".join(f"{name}: {value:.3f}" for name, value in share.items())


def _samples(dataset: xarray.Dataset) -> str:
    found = []
    for name in dataset["estimator"].values:
        rate, times = tuned(dataset, str(name))
        middle = np.median(times)
        found.append(f"{name} (η = {rate:g}): " + (f"{middle:,.0f}" if np.isfinite(middle) else "never"))
    return "; ".join(found)


def _interior(dataset: xarray.Dataset) -> tuple[bool, str]:
    rates = dataset["rate"].values
    found = {str(name): tuned(dataset, str(name))[0] for name in dataset["estimator"].values}
    good = all(rates[0] < rate < rates[-1] for rate in found.values())
    return good, ", ".join(f"{name}: {rate:g}" for name, rate in found.items())


def _small_steps(dataset: xarray.Dataset) -> tuple[bool, str]:
    """At the smallest step size, where the estimators are nearest to their mean fields."""
    share = {str(name): float(np.isfinite(dataset["time"].sel(estimator=name)[0]).mean()) for name in ("GRPO", "RLOO")}
    return share["GRPO"] > 0.95 and share["RLOO"] < 0.05, ", ".join(f"{k}: {v:.3f}" for k, v in share.items())


REPRODUCTION = Reproduction(
    name="estimator_comparison",
    title="Estimators on the plateau problem",
    summary=(
        "The controlled problem at π₀(y*) = 0.05 trained on the ground truth, with groups of eight and 32,000 samples, "
        "each estimator at its best of five step sizes, none of which is the smallest or the largest. Where the group "
        "has no high-reward output, its spread is small, and GRPO divides by it; the best of four samples looks past "
        "the mediocre output. REINFORCE with one output an update escapes with a probability whose odds grow as a "
        "power of π₀(y*)."
    ),
    experiment=estimator_comparison.run,
    quick={"seeds": 20, "samples": 4000, "rare_seeds": 60, "rare_updates": 2000},
    figures={"estimator_comparison": figures.estimator_comparison.draw},
    claims=(
        Claim(
            "escapes",
            "GRPO and max@4 escape the plateau, REINFORCE and RLOO mostly do not",
            "measured here",
            fact("above 95 % and below 50 %", _order),
            needs_full=True,
        ),
        Claim(
            "tuned",
            "The best step size of every estimator lies within the grid, from 0.3 to 30",
            "measured here",
            fact("neither the smallest nor the largest", _interior),
            needs_full=True,
        ),
        Claim(
            "small-steps",
            "At step size 0.3 GRPO escapes and RLOO, which follows the flow on average, does not",
            "measured here",
            fact("above 95 % and below 5 %", _small_steps),
            needs_full=True,
        ),
        Claim("samples", "Median samples used until the true value is 0.9", "measured here", measurement(_samples)),
        Claim(
            "escape-law",
            "Odds that REINFORCE escapes, from π₀(y*) = 0.02 to 0.4: exponent, beside n + 1 = 4 of the flow's escape "
            "time (theory C1)",
            "measured here",
            number(lambda dataset: escape_law(dataset)[0], 4.0, 0.5),
            needs_full=True,
        ),
    ),
    order=34,
)
