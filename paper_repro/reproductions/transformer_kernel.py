"""A small transformer beside the linear policy of its tangent kernel."""

from __future__ import annotations

import numpy as np
import xarray

import figures.transformer_kernel
from experiments import transformer_kernel
from paper_repro.claims import Claim, fact, measurement, number
from paper_repro.reproduction import Reproduction

_SOURCE = "after Chizat, Oyallon, Bach (2019): the distance from the linear model falls like 1/scale"


def _slope(dataset: xarray.Dataset) -> float:
    """Of ln distance at t = 1 against ln scale, between the two largest scales, the mean over runs."""
    first = int(np.searchsorted(dataset["time"].values, 1.0))
    early = dataset["distance"].isel(save=first, scale=slice(-3, -1))
    ratio = np.log((early.isel(scale=1) / early.isel(scale=0)).values)
    scales = early["scale"].values
    return float(ratio.mean() / np.log(scales[1] / scales[0]))


def _speedups(dataset: xarray.Dataset) -> xarray.DataArray:
    times = dataset["hitting_time"]
    return times.sel(training_reward="ground truth") / times.sel(training_reward="proxy")


def _beneficial(dataset: xarray.Dataset) -> tuple[bool, str]:
    faster = _speedups(dataset)
    words = ", ".join(
        f"{'linear' if np.isinf(scale) else f'scale {scale:g}'} {float(faster.sel(scale=scale).min()):.3g}"
        for scale in faster["scale"].values
    )
    return bool((faster > 1).all()), f"smallest over the seeds: {words}"


def _near(dataset: xarray.Dataset) -> tuple[bool, str]:
    times = dataset["hitting_time"]
    off = abs(times / times.isel(scale=-1) - 1).max(("seed", "training_reward"))
    words = ", ".join(f"scale {scale:g}: {float(off.sel(scale=scale)):.3f}" for scale in off["scale"].values[:-1])
    found = off.values[:-1]
    return bool((np.diff(found) < 0).all() and found[-1] < 0.1), f"largest relative difference: {words}"


def _holds(dataset: xarray.Dataset) -> str:
    """Until when the farthest run is within .1 nat of the linear policy."""
    apart = dataset["distance"].max(("seed", "training_reward"))
    words = []
    for scale in apart["scale"].values[:-1]:
        beyond = apart.sel(scale=scale).values > 0.1
        words.append(
            f"scale {scale:g}: {dataset['time'].values[beyond.argmax()]:.2g}" if beyond.any() else f"{scale:g}: all"
        )
    return ", ".join(words)


REPRODUCTION = Reproduction(
    name="transformer_kernel",
    title="A transformer and its tangent kernel",
    summary=(
        "A small transformer writes three tokens and is trained by gradient flow on the ground truth and on a proxy "
        "that scores a mediocre output low, beside the linear policy that has the features of its tangent kernel at "
        "the start. The larger the scale of its output, the less its kernel moves and the longer the linear policy "
        "describes it; the error of the proxy is beneficial at every scale."
    ),
    experiment=transformer_kernel.run,
    quick={"seeds": 2},
    figures={"transformer_kernel": figures.transformer_kernel.draw},
    claims=(
        Claim(
            "distance",
            "The distance from the linear policy at t = 1 falls with the network's scale: exponent at large scales",
            _SOURCE,
            number(_slope, -1.0, 0.15),
        ),
        Claim(
            "times",
            "The times to the target tend to the linear policy's, where it reaches the target",
            _SOURCE,
            fact("nearer with every scale, within 10 % at the largest", _near),
        ),
        Claim(
            "beneficial",
            "The proxy's error stays beneficial: it reaches the target before the ground truth does",
            "arXiv 2604.25872, the beneficial error of a mediocre output, here for a network over tokens",
            fact("for every seed and scale, and for the linear policy", _beneficial),
        ),
        Claim("holds", "The time for which a log-probability is within 0.1 nat", "measured here", measurement(_holds)),
    ),
    order=75,
)
