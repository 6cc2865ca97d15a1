"""The phase transition of training under a verifier that errs."""

from __future__ import annotations

import numpy as np
import xarray

import figures.verifier_noise
from experiments import verifier_noise
from paper_repro.claims import Claim, fact, number
from paper_repro.reproduction import Reproduction

_SOURCE = "arXiv 2601.04411"


def _phase(dataset: xarray.Dataset) -> tuple[bool, str]:
    start, power = dataset.attrs["start"], dataset["power"].values
    falls = (dataset["wrong"].values < start).mean(axis=1)
    good = (falls[power > 0.05] > 0.97).all() and (falls[power < -0.05] < 0.03).all()
    at = {f"{j:+.1f}": share for j, share in zip(power, falls, strict=True) if abs(j) < 0.15}
    return bool(good), "share of runs with less mass on wrong answers: " + ", ".join(
        f"J = {j}: {share:.3f}" for j, share in at.items()
    )


def _neutral(dataset: xarray.Dataset) -> tuple[bool, str]:
    wrong = dataset["wrong"].sel(power=0.0, method="nearest").values
    error = wrong.std() / np.sqrt(wrong.size)
    away = (wrong.mean() - dataset.attrs["start"]) / error
    return bool(abs(away) < 4), f"mean {wrong.mean():.3f}, {away:+.1f} standard errors from the start"


def _mean(dataset: xarray.Dataset) -> float:
    return float(np.abs(dataset["wrong"].median("seed") - dataset["mean_field"]).max())


REPRODUCTION = Reproduction(
    name="verifier_noise",
    title="A verifier that errs",
    summary=(
        "GRPO on rewards that a verifier draws for every sample: right with probability TPR where the answer is right, "
        "FPR where it is wrong. Whether wrong answers die out depends on the sign of J = TPR - FPR alone."
    ),
    experiment=verifier_noise.run,
    quick={"seeds": 40, "power": (-0.4, -0.1, 0.0, 0.1, 0.4)},
    figures={"verifier_noise": figures.verifier_noise.draw},
    claims=(
        Claim(
            "phase",
            "Wrong answers lose mass iff J > 0",
            _SOURCE,
            fact("more than 97 % of the runs for J >= 0.1, fewer than 3 % for J <= -0.1", _phase),
        ),
        Claim("neutral", "At J = 0 the mass on wrong answers drifts nowhere", _SOURCE, fact("within 4 s.e.", _neutral)),
        Claim(
            "mean-field",
            "Median of the runs of groups of 32 against the mean-field equations: largest difference in mass",
            _SOURCE,
            number(_mean, 0.0, 0.02),
        ),
    ),
    order=33,
)
