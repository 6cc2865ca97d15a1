"""What reward errors do, told before any training, over families of problems."""

from __future__ import annotations

import numpy as np
import xarray

import figures.prediction_table
from experiments import prediction_table
from paper_repro.claims import Claim, fact, measurement
from paper_repro.reproduction import Reproduction

_SOURCE = "derived here; see pgdyn.exact and docs/theory.md, F1 and F2"


def _covered(dataset: xarray.Dataset) -> tuple[bool, str]:
    own = dataset.sel(way="exact").isel(family=dataset["covered"].values)
    words = ", ".join(
        f"{name}: {share:.2%}" for name, share in zip(own["family"].values, own["share"].values, strict=True)
    )
    return bool((own["share"] >= 0.999).all()), words


def _nearly(dataset: xarray.Dataset) -> str:
    own = dataset.sel(way="exact").isel(family=~dataset["covered"].values)
    return ", ".join(
        f"{name} (kernels miss the form by {misfit:.1%}): {share:.1%}"
        for name, misfit, share in zip(own["family"].values, own["misfit"].values, own["share"].values, strict=True)
    )


def _others(dataset: xarray.Dataset) -> tuple[bool, str]:
    others = dataset["share"].sel(way=["mechanism", "initial slope", "commonest"])
    best = others.max("way")
    words = ", ".join(
        f"{name}: {float(share):.0%} by the {str(others['way'].values[np.argmax(row)])}"
        for name, share, row in zip(dataset["family"].values, best.values, others.values, strict=True)
    )
    return bool((dataset["share"].sel(way="exact") > best).all()), words


REPRODUCTION = Reproduction(
    name="prediction_table",
    title="What reward errors do, told before any training",
    summary=(
        "1,000 random problems with errors of each of nine families. The category that gradient flow shows, and how "
        "often it is told without an integrator: by exact times to the target, by the type of the error, by the slope "
        "of the true value at the start, or by always giving the commonest answer. Four families have features without "
        "an exact solution; there the kernel is replaced by the nearest one that has."
    ),
    experiment=prediction_table.run,
    quick={"count": 400},
    figures={"prediction_table": figures.prediction_table.draw},
    claims=(
        Claim(
            "covered",
            "Where the flow has an exact solution, it tells the category",
            _SOURCE,
            fact("99.9 % of the errors or more, in every family", _covered),
        ),
        Claim(
            "beats-the-others",
            "No other way told here is right as often, in any family, even where the kernel is only fitted",
            _SOURCE,
            fact("the exact solution leads everywhere", _others),
        ),
        Claim(
            "nearly-covered",
            "Features without an exact solution, by a fitted kernel",
            "measured here",
            measurement(_nearly),
        ),
    ),
    order=61,
)
