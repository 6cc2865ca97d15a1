"""The map over (initial probability of y*, proxy reward of y_med), beyond the three settings of arXiv 2604.25872."""

from __future__ import annotations

import numpy as np
import xarray

import figures.error_maps
from experiments import error_maps
from paper_repro.claims import Claim, fact, measurement
from paper_repro.reproduction import Reproduction

_PAPER = "arXiv 2604.25872, Theorems 1 and 2"


def _lower_is_faster(dataset: xarray.Dataset) -> tuple[bool, str]:
    below = dataset["speedup"].sel(mediocre_reward=slice(None, 0.75))
    above = dataset["speedup"].sel(mediocre_reward=slice(0.85, None))
    least, most = float(below.min()), float(above.max())
    return least > 1 > most, f"least speed-up below 0.75: {least:.3g}; largest above 0.85: {most:.3g}"


def _grows(dataset: xarray.Dataset) -> tuple[bool, str]:
    speedup = dataset["speedup"].sel(mediocre_reward=-1.0, method="nearest").values
    rare, common = speedup[0], speedup[-1]
    good = np.all(np.diff(speedup) < 0) and rare > 1e6 > 1e2 > common
    return bool(good), f"{rare:.3g} against {common:.3g}"


def _span(dataset: xarray.Dataset) -> str:
    speedup = dataset["speedup"].values
    finite = np.log10(speedup[np.isfinite(speedup) & (speedup > 0)])
    return f"from 10^{finite.min():.1f} to 10^{finite.max():.1f} over {speedup.size:,} proxies"


def _law(dataset: xarray.Dataset) -> tuple[bool, str]:
    """Compares with the corner law where it holds: y* is rare and loses to y_med at first, on both rewards."""
    rare = dataset.isel(probability=0)
    held = rare["mediocre_reward"].values > float(rare["unstalled"]) + 0.2
    error = np.abs(np.log10(rare["law_speedup"].values / rare["speedup"].values))[held]
    return bool(error.max() < 0.1), f"within {error.max():.3f} decades, {error.mean():.3f} on average"


REPRODUCTION = Reproduction(
    name="error_maps",
    title="The rarer the best output, the more a low reward of the mediocre one helps",
    summary=(
        "The controlled problem with initial policy (e, 0.5, q, q, q) and ground truth (1, 0.8, −1, −1, −1), e from "
        "0.001 to 0.2. The proxy differs in the reward of y_med alone, from −1.5 to 0.99. Gradient flow to the true "
        "value 0.9; shown is how many times sooner than on the ground truth."
    ),
    experiment=error_maps.probability_map,
    quick={"probabilities": 12, "rewards": 24},
    figures={"error_map": figures.error_maps.draw},
    claims=(
        Claim(
            "lower-is-faster",
            "A proxy reward of y_med below its true one is faster than the ground truth at every e, one above slower",
            _PAPER,
            fact("speed-up above 1 for rewards up to 0.75, below 1 from 0.85 on", _lower_is_faster),
        ),
        Claim(
            "grows-as-the-best-output-gets-rarer",
            "The gain from a low proxy reward (−1) of y_med grows as e falls",
            _PAPER,
            fact("more with every smaller e, from less than 100 at e = 0.2 to more than 10⁶ at e = 0.001", _grows),
        ),
        Claim(
            "corner-law",
            "At e = 0.001 the corner law predicts the speed-up wherever y* loses to y_med at first",
            "derived here (corner_law)",
            fact("within 0.1 decades over rewards 0.2 above that border", _law),
        ),
        Claim("span", "The range of speed-ups on the map", "measured here", measurement(_span)),
    ),
    order=50,
)
