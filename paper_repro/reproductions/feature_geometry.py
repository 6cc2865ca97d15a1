"""Appendix A.1 of arXiv 2604.25872 made sharp: the exponent of the stall against the inner product of features."""

from __future__ import annotations

import numpy as np
import xarray

import figures.feature_geometry
from experiments import feature_geometry
from paper_repro.claims import Claim, fact, measurement, number
from paper_repro.reproduction import Reproduction

_SOURCE = "derived here; arXiv 2604.25872, appendix A.1, for the direction of the effect"


def _largest_error(dataset: xarray.Dataset) -> float:
    inner = dataset["inner_product"].values
    inside = (inner >= 0.1 - 1e-9) & (inner <= 1.2 + 1e-9)
    # Not the maximum that passes over nan: an exponent that could not be measured must not count as right.
    error = dataset["exponent"].values - dataset["predicted_exponent"].values
    return float(np.max(np.abs(error[:, inside])))


def _largest_decay_error(dataset: xarray.Dataset) -> float:
    return float(abs(dataset["decay"] - dataset["predicted_decay"]).max())


def _never(dataset: xarray.Dataset) -> tuple[bool, str]:
    stalled = np.isfinite(dataset["decay"])
    escaped = int((dataset["escaped"] & stalled).sum())
    return escaped == 0, f"{escaped} of {int(stalled.sum())} flows arrive"


def _crossing(dataset: xarray.Dataset) -> tuple[bool, str]:
    inner, mediocre = dataset["inner_product"], dataset.attrs["mediocre_square"]
    below = dataset["exponent"].where(inner < mediocre - 1e-9).min()
    above = dataset["exponent"].where(inner > mediocre + 1e-9).max()
    return float(below) > 1 > float(above), f"least below a_m: {float(below):.4f}; largest above: {float(above):.4f}"


def _span(dataset: xarray.Dataset) -> str:
    exponent = dataset["exponent"]
    return (
        f"{int(np.isfinite(exponent).sum())} exponents, from {float(exponent.min()):.3f} to {float(exponent.max()):.3f}"
    )


REPRODUCTION = Reproduction(
    name="feature_geometry",
    title="The features' inner product sets the exponent of the stall, and can make it permanent",
    summary=(
        "Features with |φ(y*)|² = 2.25, |φ(y_med)|² = 1 and inner product κ, bad ones orthogonal; ground truth "
        "(1, 0.8, −1, …). For every κ the exponent of the time to 0.9 is measured between two starts whose best "
        "output is rare enough that the stall lasts about 1e20; below κ = −H the fall of π(y*) is measured between "
        "t = 1e9 and 1e13."
    ),
    experiment=feature_geometry.run,
    figures={"feature_geometry": figures.feature_geometry.draw},
    claims=(
        Claim(
            "exponent",
            "For κ in [0.1, 1.2] the exponent is (a_m + H)/(κ + H): largest error over 1, 2, 3 bad outputs",
            _SOURCE,
            number(_largest_error, 0.0, 1e-4),
        ),
        Claim(
            "permanent-stall-decay",
            "For κ < −H the probability of y* falls like t^(−(a_m − κ)/(a_m + H)): largest error of the power",
            _SOURCE,
            number(_largest_decay_error, 0.0, 0.005),
        ),
        Claim("permanent-stall", "For κ < −H the target is never reached", _SOURCE, fact("none by t = 1e30", _never)),
        Claim(
            "low-mediocre-rating-helps-iff",
            "Rating y_med low (exponent 1) helps in the limit iff κ < a_m",
            _SOURCE,
            fact("exponents above 1 for κ < a_m, below 1 for κ > a_m", _crossing),
        ),
        Claim("span", "What is covered", "measured here", measurement(_span)),
    ),
    order=42,
)
