"""Random rewards, clipping and entropy."""

from __future__ import annotations

import numpy as np
import xarray

import figures.random_rewards
from experiments import random_rewards
from paper_repro.claims import Claim, fact, number
from paper_repro.reproduction import Reproduction

_SOURCE = "derived here by enumeration, for a remark on random rewards and clipping in the literature"


def _error(dataset: xarray.Dataset) -> float:
    """Of the law, relative to its largest value."""
    return float(np.abs(dataset["change"] - dataset["law"]).max() / np.abs(dataset["law"]).max())


def _zero(dataset: xarray.Dataset) -> float:
    """Where the change of one small step turns positive, by linear interpolation."""
    p, change = dataset["probability"].values, dataset["change"].values
    i = int(np.flatnonzero((change[:-1] < 0) & (change[1:] >= 0))[0])
    return float(p[i] - change[i] * (p[i + 1] - p[i]) / (change[i + 1] - change[i]))


def _at(dataset: xarray.Dataset, p: float, epochs: int) -> dict[str, float]:
    here = dataset["clipped_change"].sel(probability=p, method="nearest").sel(epochs=epochs)
    return {str(clip): float(here.sel(clip=clip)) for clip in dataset["clip"].values}


_CHANGES = {  # p, epochs -> clip -> change of the entropy
    (0.9, 2): {"none": 0.0148, "both": 0.0036, "high": -0.0023, "low": 0.0208},
    (0.9, 4): {"none": -0.0023, "both": 0.0076},
}


def _digits(dataset: xarray.Dataset) -> float:
    return max(abs(_at(dataset, *at)[clip] - value) for at, row in _CHANGES.items() for clip, value in row.items())


def _skewed(dataset: xarray.Dataset) -> tuple[bool, str]:
    found = _at(dataset, 0.9, 2)
    words = ", ".join(f"{clip}: {value:+.4f}" for clip, value in found.items())
    return found["high"] < 0 < found["both"] < found["none"] < found["low"], words


def _flat(dataset: xarray.Dataset) -> tuple[bool, str]:
    found = _at(dataset, 0.5, 2)
    good = all(found["none"] < found[clip] < 0 for clip in ("both", "high", "low"))
    return good, ", ".join(f"{clip}: {value:+.3f}" for clip, value in found.items())


def _reversed(dataset: xarray.Dataset) -> tuple[bool, str]:
    found = _at(dataset, 0.9, 4)
    return found["none"] < 0 < found["both"], f"none {found['none']:+.4f}, both {found['both']:+.4f}"


REPRODUCTION = Reproduction(
    name="random_rewards",
    title="Random rewards, clipping and entropy",
    summary=(
        "Rewards are fair coins. The mean update is zero, the entropy changes to second order: with two outputs it "
        "rises iff (2p - 1) logit(p) > 1. Clipping a batch that is gone through several times lowers the entropy on "
        "skewed policies at two epochs, and only damps its loss on flat ones: a map of regimes, not a law."
    ),
    experiment=random_rewards.run,
    quick={"probability": (0.5, 0.7, 0.8, 0.85, 0.9), "epochs": (2, 4)},
    figures={"random_rewards": figures.random_rewards.draw},
    claims=(
        Claim(
            "law",
            "Change of the entropy in one small step is (η²/2) tr(Hess H Cov): largest error over the largest change",
            _SOURCE,
            number(_error, 0.0, 1e-3),
        ),
        Claim(
            "threshold",
            "Two outputs gain entropy above p = 0.82396",
            _SOURCE,
            number(_zero, 0.82396, 5e-4),
            needs_full=True,
        ),
        Claim(
            "changes",
            "p = 0.9: change of the entropy without a clip, with both, above and below alone at two epochs, without "
            "and with both at four: largest difference from the six numbers below",
            _SOURCE,
            number(_digits, 0.0, 5.1e-5),
        ),
        Claim(
            "skewed",
            "p = 0.9, two epochs: a clip above alone lowers the entropy, one below alone raises it (none +0.0148, both "
            "+0.0036, high -0.0023, low +0.0208)",
            _SOURCE,
            fact("high below 0 below both below none below low", _skewed),
        ),
        Claim(
            "flat",
            "p = 0.5, two epochs: every clip only damps the loss of entropy (none -0.080, both -0.024)",
            _SOURCE,
            fact("none lowest, all negative", _flat),
        ),
        Claim(
            "four-epochs",
            "p = 0.9, four epochs: clipping raises the entropy (none -0.0023, both +0.0076)",
            _SOURCE,
            fact("none below 0 below both", _reversed),
        ),
    ),
    order=32,
)
