"""REINFORCE's escape times are inverse gamma, and the baseline sets their spread."""

from __future__ import annotations

import numpy as np
import xarray

import figures.reinforce_escape
from experiments import reinforce_escape
from paper_repro.claims import Claim, fact, measurement, number
from paper_repro.reproduction import Reproduction

_SOURCE = "derived here; see docs/theory.md, F7"


def _distance(dataset: xarray.Dataset) -> float:
    """Largest distance of a sample's distribution from its law, over all baselines and updates seen."""
    found, at = dataset["hitting_time"].values, dataset["update"].values
    seen = (found[:, :, None] <= at).mean(axis=1)
    return float(np.abs(seen - dataset["law"].values).max())


def _spread(dataset: xarray.Dataset) -> tuple[bool, str]:
    low, high = np.quantile(dataset["hitting_time"].values, (0.1, 0.75), axis=1, method="inverted_cdf")
    ratio = high / low
    words = ", ".join(f"b = {b:g}: {x:.1f}" for b, x in zip(dataset["baseline"].values, ratio, strict=True))
    return bool((np.diff(ratio) < 0).all()), f"75 % over 10 % quantile: {words}"


def _verdicts(dataset: xarray.Dataset) -> tuple[bool, str]:
    escaped = dataset["escaped"].sel(controlled_baseline=0.8).values
    agree = np.where([False, True, True], escaped, 1 - escaped)
    return bool((agree >= 0.95).all()), "shares above 0.9: " + ", ".join(f"{share:.3f}" for share in escaped)


def _without(dataset: xarray.Dataset) -> str:
    return ", ".join(f"{share:.3f}" for share in dataset["escaped"].sel(controlled_baseline=0.0).values)


REPRODUCTION = Reproduction(
    name="reinforce_escape",
    title="What a baseline does to REINFORCE",
    summary=(
        "REINFORCE with one output an update, from nearly all the mass on a mediocre output. The gradient flow is the "
        "same for every constant baseline b; the number of updates until the best output is found is 1 / [2 η² (r* - "
        "b)² π₀(y*) Γ(k)], k = (r* - r_med)/(η (r* - b)²), with Γ(k) a gamma variable: the smaller r* - b, the nearer "
        "are all runs to the flow."
    ),
    experiment=reinforce_escape.run,
    quick={"seeds": 200, "updates": 20_000, "paper_seeds": 20},
    figures={"reinforce_escape": figures.reinforce_escape.draw},
    claims=(
        Claim(
            "law",
            "Escape times have the inverse gamma law: largest difference of the distribution functions",
            _SOURCE,
            number(_distance, 0.0, 0.09),
            needs_full=True,
        ),
        Claim(
            "spread",
            "The nearer the baseline is to the best reward, the narrower the times are spread",
            _SOURCE,
            fact("quantiles closer for every larger baseline", _spread),
            needs_full=True,
        ),
        Claim(
            "controlled-verdict",
            "Controlled problems, π₀(y*) = 0.05, 0.10, 0.15, baseline 0.8: after 50,000 updates nearly every seed is "
            "where the flow is, whose true value is 0.9 after 335,647 / 10,769 / 1,397",
            _SOURCE,
            fact("at least 95 % of the seeds below 0.9, above, above", _verdicts),
            needs_full=True,
        ),
        Claim(
            "controlled-without",
            "The same without baseline",
            "measured here",
            measurement(_without),
        ),
    ),
    order=21,
)
