"""Theorems 1 and 2 of arXiv 2604.25872 made sharp: exponents of the escape time, with and without a mediocre output."""

from __future__ import annotations

import functools

import numpy as np
import xarray

import figures.escape_times
from experiments import escape_times
from paper_repro.claims import Claim, fact, measurement, number
from paper_repro.reproduction import Reproduction

_PAPER = "arXiv 2604.25872, Theorems 1 and 2"
_SHARP = "derived here; arXiv 2604.25872, Theorem 1, bounds the exponent from below by 14/13"


def _slope(dataset: xarray.Dataset, count: int, reward: str) -> float:
    """Slope over the last decade of initial probabilities."""
    run = dataset["hitting_time"].sel(bad_outputs=count, training_reward=reward)
    p = dataset["initial_probability"].values
    last = p <= 10.001 * p.min()
    return float(-np.polyfit(np.log(p[last]), np.log(run.values[last]), 1)[0])


def _decades(dataset: xarray.Dataset) -> float:
    p = dataset["initial_probability"].values
    return float(np.log10(p.max() / p.min()))


def _above_paper(dataset: xarray.Dataset) -> tuple[bool, str]:
    slopes = [_slope(dataset, int(n), "ground truth") for n in dataset["bad_outputs"].values]
    return min(slopes) >= 14 / 13, "slopes " + ", ".join(f"{slope:.3f}" for slope in slopes)


def _within_bounds(dataset: xarray.Dataset) -> tuple[bool, str]:
    times = dataset["hitting_time"]
    low = float((times.sel(training_reward="ground truth") / dataset["lower_bound"]).min())
    high = float((times.sel(training_reward="proxy") / dataset["upper_bound"]).max())
    return low >= 1 >= high, f"time / lower bound at least {low:.3g}; time / upper bound at most {high:.5f}"


def _span(dataset: xarray.Dataset) -> str:
    times = dataset["hitting_time"].sel(training_reward="ground truth")
    return f"{_decades(dataset):.1f} decades of π₀(y*); times up to {float(times.max()):.2e}"


def _claims() -> tuple[Claim, ...]:
    slopes = [
        Claim(
            f"ground-truth-slope-{count}",
            f"On the ground truth with n = {count} bad outputs the time to 0.9 grows like π₀(y*)^−{count + 1}",
            _SHARP,
            number(functools.partial(_slope, count=count, reward="ground truth"), count + 1.0, 0.001),
        )
        for count in (1, 2, 3)
    ]
    proxy = Claim(
        "proxy-slope",
        "On the proxy that rates y_med low, with 3 bad outputs, it grows like 1/π₀(y*)",
        _PAPER,
        number(functools.partial(_slope, count=3, reward="proxy"), 1.0, 0.002),
    )
    paper = Claim(
        "above-14-13",
        "On the ground truth the exponent is at least 14/13",
        _PAPER,
        fact("slopes ≥ 1.0769", _above_paper),
    )
    bounds = Claim(
        "within-bounds",
        "Every time lies above the lower bound on the ground truth and below the upper bound on the proxy",
        "derived here, in the setting of " + _PAPER,
        fact("no violation", _within_bounds),
    )
    return (*slopes, proxy, paper, bounds, Claim("span", "What is covered", "measured here", measurement(_span)))


REPRODUCTION = Reproduction(
    name="escape_times",
    title="How long the stall lasts: one power of π₀(y*) for every bad output, and one more",
    summary=(
        "The controlled problem with n = 1, 2 or 3 bad outputs, initial policy (p, 0.5, q, …, q), trained by "
        "gradient flow on the ground truth (1, 0.8, −1, …) and on the proxy (1, −1, −1, …) until the true value is "
        "0.9, for p from 0.1 to 3e−6. Slopes are fitted over the last decade."
    ),
    experiment=escape_times.run,
    figures={"escape_times": figures.escape_times.draw},
    claims=_claims(),
    order=40,
)
