"""Many reward errors, judged without an integrator."""

from __future__ import annotations

import numpy as np
import xarray

import figures.speedups
from experiments import speedups
from paper_repro.claims import Claim, fact, measurement, number
from paper_repro.reproduction import Reproduction

_SOURCE = "derived here; see pgdyn.exact and docs/theory.md, F1"


def _error(dataset: xarray.Dataset) -> float:
    measured, foretold = dataset["measured_time"].values, dataset["exact_time"].values
    both = np.isfinite(measured) & np.isfinite(foretold)
    return float(np.abs(foretold[both] / measured[both] - 1).max())


def _never(dataset: xarray.Dataset) -> tuple[bool, str]:
    measured, foretold = (np.isinf(dataset[name].values) for name in ("measured_time", "exact_time"))
    words = (
        f"{int(measured.sum()):,} of {measured.size:,} never on the flow; {int((measured != foretold).sum())} differ"
    )
    return bool((measured == foretold).all()), words


def _first_order(dataset: xarray.Dataset) -> str:
    speedup = float(dataset["baseline_time"]) / dataset["measured_time"].values
    right = (dataset["first_order"].values > 1) == (speedup > 1)
    return f"{100 * right.mean():.1f} % of errors; {100 * (speedup > 1).mean():.1f} % speed up"


REPRODUCTION = Reproduction(
    name="speedups",
    title="Speed-ups of reward errors, foretold",
    summary=(
        "100,000 errors on the controlled problem with π₀(y*) = 0.05: normal noise of a random strength on every "
        "reward. The time to a true value of 0.9 by one root and one quadrature each, beside the integrated flow."
    ),
    experiment=speedups.run,
    quick={"errors": 2_000},
    figures={"speedups": figures.speedups.draw},
    claims=(
        Claim(
            "times",
            "Times to the target by quadrature are those of the integrated flow: largest relative difference",
            _SOURCE,
            number(_error, 0.0, 1e-6),
        ),
        Claim(
            "never",
            "The target is foretold never to be reached where the flow never reaches it, and nowhere else",
            _SOURCE,
            fact("the same errors", _never),
        ),
        Claim(
            "first-order",
            "The gradient of ln T at the ground truth tells whether an error helps",
            "measured here",
            measurement(_first_order),
        ),
    ),
    order=6,
)
