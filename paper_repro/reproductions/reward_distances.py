"""Distances between rewards: what they say of regret, and that they are blind to benefit."""

from __future__ import annotations

import numpy as np
import xarray

import figures.reward_distances
from experiments import reward_distances
from paper_repro.claims import Claim, fact, hitting_time, measurement, number
from paper_repro.reproduction import Reproduction
from pgdyn.metrics import spearman

_STARC = "Skalse et al. (2024), STARC"
_OURS = "this project; theory B1 for the times"
_TRUTH, _FAR, _HACK = 0, 1, 2


def _order(dataset: xarray.Dataset) -> tuple[bool, str]:
    rho = {str(name): float(dataset["correlation"].sel(measure=name)) for name in dataset["measure"].values}
    starc = min(value for name, value in rho.items() if name.startswith("STARC"))
    good = starc > max(rho["EPIC"], rho["DARD"])
    return good, ", ".join(f"{name} {value:.2f}" for name, value in rho.items())


def _blind(dataset: xarray.Dataset) -> tuple[bool, str]:
    near, far = float(dataset["epic_uniform"][_HACK]), float(dataset["epic_uniform"][_FAR])
    times = dataset["hitting_time"].values
    good = near < far and np.isinf(times[_HACK]) and times[_FAR] < times[_TRUTH]
    return bool(good), f"hack at {near:.4f}: never; beneficial proxy at {far:.4f}: {times[_FAR]:.2f}"


def _bounds(dataset: xarray.Dataset) -> tuple[bool, str]:
    d, regret, outputs = (dataset[f"bandit_{name}"].values for name in ("distance", "regret", "outputs"))
    apart = d > 1e-9
    lower, upper = regret[apart] / d[apart] * np.sqrt(2 * outputs[apart]), regret[apart] / d[apart]
    upper = upper / np.sqrt(outputs[apart] / 2)
    good = bool(np.all(lower >= 1 - 1e-6) and np.all(upper <= 1 + 1e-6) and np.all(regret[~apart] < 1e-6))
    return good, f"regret / (L d) from {lower.min():.2f}, regret / (U d) up to {upper.max():.2f}, in {d.size:,} bandits"


def _slope(dataset: xarray.Dataset) -> str:
    time = dataset["hitting_time"].values
    arrived = np.isfinite(time)
    rho = float(spearman(dataset["epic_uniform"].values[arrived], np.log(time[arrived])))
    return f"{rho:+.2f} over the {arrived.mean():.0%} that arrive"


REPRODUCTION = Reproduction(
    name="reward_distances",
    title="Distances between rewards bound regret and are blind to benefit",
    summary=(
        "EPIC, DARD and STARC against the exact worst-case regret on random decision processes (8 states, 3 actions), "
        "and EPIC against the time of training on the plateau problem: the truth, at distance 0, stalls; a far proxy "
        "is fast."
    ),
    experiment=reward_distances.run,
    full={},
    quick={"pairs": 100, "proxies": 800, "bandits": 1000},
    figures={"reward_distances": figures.reward_distances.draw},
    claims=(
        Claim(
            "starc-follows-regret-best",
            "Both forms of STARC correlate better with the worst-case regret than EPIC and DARD",
            _STARC,
            fact("STARC above EPIC and DARD", _order),
        ),
        Claim(
            "starc-bounds-regret",
            "In random bandits of K = 2 to 6 outputs the worst-case regret lies between d / sqrt(2 K) and "
            "sqrt(K / 2) d, d the minimal form of STARC; EPIC has no such bounds",
            _STARC,
            fact("within the bounds everywhere", _bounds),
        ),
        Claim(
            "near-and-harmful-far-and-helpful",
            "A hack nearer to the truth than a beneficial proxy never arrives, and the beneficial one beats the truth",
            _OURS,
            fact("the nearer never, the farther sooner than the truth", _blind),
        ),
        Claim(
            "epic-of-the-beneficial-proxy",
            "EPIC of (1, -1, -1, -1, -1), uniform coverage",
            _OURS,
            number(lambda dataset: float(dataset["epic_uniform"][_FAR]), 0.4095, 5e-5),
        ),
        Claim(
            "epic-of-the-hack-under-the-policy",
            "EPIC of (.2, .8, -1, -1, -1), coverage by the initial policy",
            _OURS,
            number(lambda dataset: float(dataset["epic_initial"][_HACK]), 0.0965, 5e-5),
        ),
        Claim(
            "time-under-the-truth",
            "Time to .9 under the truth itself",
            _OURS,
            hitting_time(lambda dataset: float(dataset["hitting_time"][_TRUTH]), 33_565, 1e-4),
        ),
        Claim(
            "time-under-the-far-proxy",
            "Time to .9 under the far proxy",
            _OURS,
            hitting_time(lambda dataset: float(dataset["hitting_time"][_FAR]), 16.70, 1e-3),
        ),
        Claim(
            "distance-against-time",
            "Spearman correlation of EPIC with the time to .9, of the random proxies that arrive: farther is faster "
            "here",
            _OURS,
            measurement(_slope),
        ),
    ),
    order=82,
)
