"""Preferences in order of importance do not see the units of a factor; a weighted sum does."""

from __future__ import annotations

import numpy as np
import xarray

import figures.factor_scales
from experiments import factor_scales
from paper_repro.claims import Claim, fact, number
from paper_repro.reproduction import Reproduction

_SOURCE = "HERON (arXiv 2309.02632)"


def _mean(dataset: xarray.Dataset, way: str) -> np.ndarray:
    return dataset["true_gain"].sel(way=way).mean("seed").values


def _peak(dataset: xarray.Dataset) -> tuple[bool, str]:
    gain, scale = _mean(dataset, "weighted sum"), dataset["scale"].values
    best = float(scale[int(np.argmax(gain))])
    return 0.5 < best < 2, f"best at scale {best:.2f} ({gain.max():.2f}), {gain[0]:.2f} and {gain[-1]:.2f} at the ends"


def _crossing(dataset: xarray.Dataset) -> tuple[bool, str]:
    order, total = (_mean(dataset, way) for way in ("hierarchy", "weighted sum"))
    middle = len(total) // 2
    words = f"hierarchy {order[0]:.2f} at every scale; weighted sum {total[middle]:.2f} at scale 1"
    return bool(total[middle] > order[0] > max(total[0], total[-1])), words


REPRODUCTION = Reproduction(
    name="factor_scales",
    title="Factors in order of importance against a weighted sum",
    summary=(
        "The truth is a weighted sum of three factors. A weighted sum with the right weights is compared with rewards "
        "fitted to preferences by the factors in order, while the second factor is measured in other units. The weight "
        "that would be right is inversely proportional to the scale."
    ),
    experiment=factor_scales.run,
    full={},
    quick={"seeds": 8},
    figures={"factor_scales": figures.factor_scales.draw},
    claims=(
        Claim(
            "labels-do-not-see-units",
            "Labels that change while the second factor is scaled from a hundredth to a hundred times",
            _SOURCE,
            number(lambda dataset: float(dataset["changed"].sum()), 0.0, 0.0),
        ),
        Claim(
            "weighted-sums-see-units",
            "The weighted sum trains best near the units that its weights were made for",
            _SOURCE,
            fact("best between half and double", _peak),
        ),
        Claim(
            "who-wins-where",
            "With the right units the weighted sum is ahead, as its weights are the truth's; at both ends the "
            "hierarchy is",
            _SOURCE,
            fact("the sum ahead at scale 1, the hierarchy at both ends", _crossing),
        ),
    ),
    order=88,
)
