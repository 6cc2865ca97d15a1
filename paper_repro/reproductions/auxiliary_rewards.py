"""An auxiliary reward that helps, misleads, or is noise: trusted by rote or by bilevel alignment."""

from __future__ import annotations

import numpy as np
import xarray

import figures.auxiliary_rewards
from experiments import auxiliary_rewards
from paper_repro.claims import Claim, fact, measurement, number
from paper_repro.reproduction import Reproduction

_SOURCE = "after BARFI, with a KL-regularised inner problem"


def arrival_probability(size: int, horizon: int) -> float:
    """That a uniform walk in a square grid is in the opposite corner within `horizon` moves, by powers of a matrix."""
    cells = size**2
    walk = np.zeros((cells, cells))
    for row in range(size):
        for column in range(size):
            for down, right in ((-1, 0), (1, 0), (0, -1), (0, 1)):
                to = min(max(row + down, 0), size - 1) * size + min(max(column + right, 0), size - 1)
                walk[row * size + column, to] += 0.25
    walk[-1] = np.eye(cells)[-1]
    return float(np.linalg.matrix_power(walk, horizon)[0, -1])


def _alone_error(dataset: xarray.Dataset) -> float:
    """Against the best policy's odds of arriving, e^{1/kl} times those of the uniform walk."""
    chance = arrival_probability(dataset.attrs["size"], dataset.attrs["horizon"])
    odds = chance / (1 - chance) * np.exp(1 / dataset["penalty"].values)
    return float(np.abs(dataset["primary"].sel(reward="alone").values - odds / (1 + odds)).max())


def _invariant(dataset: xarray.Dataset) -> float:
    primary = dataset["primary"]
    return float(abs(primary.sel(reward="shaping") - primary.sel(reward="alone")).max())


def _sum(dataset: xarray.Dataset) -> tuple[bool, str]:
    gain = (dataset["primary"].sel(reward="sum") - dataset["primary"].sel(reward="alone")).isel(
        penalty=_middle(dataset)
    )
    good, bad = float(gain.sel(auxiliary="good")), float(gain.sel(auxiliary="bad"))
    noisy = float(gain.sel(auxiliary="noisy"))
    return good > 0.1 and bad < -0.1 and noisy < 0, f"good {good:+.3f}, bad {bad:+.3f}, noisy {noisy:+.3f}"


def _robust(dataset: xarray.Dataset) -> tuple[bool, str]:
    primary = dataset["primary"]
    aligned = primary.sel(reward="bilevel")
    lead = min(float((aligned - primary.sel(reward=other)).min()) for other in ("alone", "sum", "shaping"))
    middle = aligned.isel(penalty=_middle(dataset))
    words = ", ".join(f"{name} {float(middle.sel(auxiliary=name)):.3f}" for name in middle["auxiliary"].values)
    return lead > -1e-6, f"smallest lead {lead:.2g}; at the penalty in the middle: {words}"


def _signs(dataset: xarray.Dataset) -> tuple[bool, str]:
    learned = dataset["learned"]
    good, bad = learned.sel(auxiliary="good").values, learned.sel(auxiliary="bad").values
    return bool((good > 0).all() and (bad < 0).all()), f"good from {good.min():.2f}, bad to {bad.max():.2f}"


def _noise(dataset: xarray.Dataset) -> float:
    """The learned weight of the noisy reward less the best one of the scan."""
    scan = dataset["scan"].sel(auxiliary="noisy").values
    learned = dataset["learned"].sel(auxiliary="noisy").isel(penalty=dataset.attrs["scanned"])
    return float(learned - dataset["trust"].values[scan.argmax()])


def _trust(dataset: xarray.Dataset) -> str:
    learned = dataset["learned"].isel(penalty=_middle(dataset))
    return ", ".join(f"{name} {float(learned.sel(auxiliary=name)):+.2f}" for name in learned["auxiliary"].values)


def _middle(dataset: xarray.Dataset) -> int:
    return int(dataset.attrs["scanned"])


REPRODUCTION = Reproduction(
    name="auxiliary_rewards",
    title="How much to trust an auxiliary reward",
    summary=(
        "A gridworld with a sparse goal and an auxiliary reward for being near it, for being far from it, or at "
        "random. The policy is the optimum under a KL penalty to a uniform walk. Added as it is, the auxiliary reward "
        "helps or harms by its quality; as a potential it changes nothing; with a weight learned by bilevel alignment, "
        "that of the primary reward being held at 1, it never harms: a bad one is turned around."
    ),
    experiment=auxiliary_rewards.run,
    figures={"auxiliary_rewards": figures.auxiliary_rewards.draw},
    claims=(
        Claim(
            "alone",
            "The primary reward alone multiplies the odds of arriving by e^{1/KL weight}: largest error of the return",
            "derived here; the odds of a uniform walk by powers of its matrix",
            number(_alone_error, 0.0, 1e-9),
        ),
        Claim(
            "shaping",
            "As a potential no auxiliary reward changes the best policy: largest difference of the return from alone",
            "Ng, Harada, Russell (1999)",
            number(_invariant, 0.0, 1e-9),
        ),
        Claim(
            "sum",
            "Added to the primary reward, a good auxiliary gains, its negative loses, noise loses",
            _SOURCE,
            fact("more than 0.1 gained, more than 0.1 lost, less than nothing", _sum),
        ),
        Claim(
            "robust",
            "Bilevel alignment returns no less than the primary reward alone, the sum, or shaping, at every penalty",
            _SOURCE,
            fact("never less", _robust),
        ),
        Claim(
            "signs",
            "It trusts the good auxiliary and turns the bad one around",
            _SOURCE,
            fact("weights above and below 0 at every penalty", _signs),
        ),
        Claim(
            "noise",
            "Its weight of the noisy auxiliary is the best of a scan in steps of 0.25: difference",
            _SOURCE,
            number(_noise, 0.0, 0.13),
        ),
        Claim("trust", "Weights learned at the penalty of the scan", "measured here", measurement(_trust)),
    ),
    order=74,
)
