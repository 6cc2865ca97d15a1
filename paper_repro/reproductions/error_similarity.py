"""The map over (feature inner product, proxy reward of y_med): appendix A.1 of arXiv 2604.25872, where errors turn."""

from __future__ import annotations

import numpy as np
import xarray

import figures.error_maps
from experiments import error_maps
from paper_repro.claims import Claim, fact
from paper_repro.reproduction import Reproduction

_PAPER = "arXiv 2604.25872, appendix A.1; theory: feature_geometry_law"


def _speedup(dataset: xarray.Dataset, products: slice, reward: float) -> np.ndarray:
    return dataset["speedup"].sel(inner_product=products).sel(mediocre_reward=reward, method="nearest").values


def _helps(dataset: xarray.Dataset) -> tuple[bool, str]:
    least = _speedup(dataset, slice(0.25, 0.35), -1.25).min()
    return bool(least > 1e2), f"least speed-up {least:.3g}"


def _reverses(dataset: xarray.Dataset) -> tuple[bool, str]:
    most = _speedup(dataset, slice(1.0, None), -1.25).max()
    return bool(most < 1), f"largest speed-up {most:.3g}"


def _between(dataset: xarray.Dataset) -> tuple[bool, str]:
    speedup = _speedup(dataset, slice(0.25, None), 0.0)
    return bool((speedup > 1).all()), f"speed-ups {speedup.min():.3g} to {speedup.max():.3g}"


def _permanent(dataset: xarray.Dataset) -> tuple[bool, str]:
    baseline = dataset["baseline_time"]
    left, right = baseline.sel(inner_product=slice(None, -1 / 3)), baseline.sel(inner_product=slice(-0.2, None))
    good = np.isinf(left.values).all() and np.isfinite(right.values).all()
    first = float(baseline["inner_product"][np.isfinite(baseline.values)].min())
    return bool(good), f"the ground truth arrives from inner product {first:.2f} on; longest time {right.max():.1e}"


REPRODUCTION = Reproduction(
    name="error_similarity",
    title="With similar features, pushing the mediocre output below the bad ones turns from help to harm",
    summary=(
        "Features φ(y*) = 1.5 e₁, φ(y_med) = (c, √(1 − c²), 0, …), initial policy (10⁻³, 0.5, …) and ground truth "
        "(1, 0.8, −1, −1, −1). The proxy differs in the reward of y_med alone. Gradient flow to the true value 0.9, "
        "for times up to 10³⁰."
    ),
    experiment=error_maps.similarity_map,
    quick={"cosines": 39, "rewards": 21},
    figures={"error_similarity": figures.error_maps.draw},
    claims=(
        Claim(
            "permanent-stall",
            "On the ground truth the stall is permanent at inner products below −H = −1/3",
            "theory: feature_geometry_law",
            fact("no arrival by 10³⁰ below −1/3, arrival above −0.2", _permanent),
        ),
        Claim(
            "low-reward-helps-dissimilar",
            "At an inner product near 0.3 a proxy reward of y_med below that of the bad outputs (−1.25) helps",
            _PAPER,
            fact("more than 100 times faster than the ground truth", _helps),
        ),
        Claim(
            "low-reward-harms-similar",
            "At inner products above |φ(y_med)|² = 1 the same proxy harms: y* goes down with y_med",
            _PAPER,
            fact("slower than the ground truth everywhere", _reverses),
        ),
        Claim(
            "between-it-still-helps",
            "A reward of y_med between the bad outputs' and its own (0) helps at every inner product from 0.25 on",
            "measured here",
            fact("faster than the ground truth everywhere", _between),
        ),
    ),
    order=55,
)
