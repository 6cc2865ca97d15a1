"""A judge trained on its label: when its critiques become sound."""

from __future__ import annotations

import numpy as np
import xarray

import figures.critique_phases
from experiments import critique_phases
from paper_repro.claims import Claim, fact, number
from paper_repro.reproduction import Reproduction

_SOURCE = "after RM-NLHF's outcome-process inconsistency; numbers derived here"
# (pi_0, L) -> the probability of a sound critique at t = 1e5, all L labels written out, by SciPy's DOP853.
_SOUND = {
    (0.1, 2): 0.0024959,
    (0.1, 4): 0.0029274,
    (0.1, 5): 0.0469632,
    (0.1, 6): 0.9985714,
    (0.05, 10): 0.0141676,
    (0.3, 2): 0.9352395,
}
# L -> pi_0 at the boundary: roots of the same integration.
_BOUNDARY = {2: 0.2792775, 5: 0.1015242, 10: 0.0508592}


def _sound_claim(start: float, labels: int, expected: float) -> Claim:
    def measure(dataset: xarray.Dataset) -> float:
        return float(dataset["sound"].sel(labels=labels).sel(start=start, method="nearest"))

    words = f"π₀ = {start:g}, {labels} labels, outcome alone: probability of a sound critique at t = 100,000"
    return Claim(f"sound-{start:g}-{labels}", words, _SOURCE, number(measure, expected, 2e-5))


def _boundary_claim(labels: int, expected: float) -> Claim:
    def measure(dataset: xarray.Dataset) -> float:
        return float(dataset["boundary"].sel(boundary_labels=labels))

    words = f"{labels} labels: π₀ from which on critiques become sound"
    return Claim(f"boundary-{labels}", words, _SOURCE, number(measure, expected, 1e-4))


def _products(dataset: xarray.Dataset) -> np.ndarray:
    return (dataset["boundary"] * dataset["boundary_labels"]).values


def _near(dataset: xarray.Dataset) -> tuple[bool, str]:
    found, limit = _products(dataset), 1 / (2 * dataset.attrs["right_after_sound"])
    return bool((np.abs(found / limit - 1) < 0.1).all()), f"π₀ L from {found.min():.3f} to {found.max():.3f}"


def _blind(dataset: xarray.Dataset) -> tuple[bool, str]:
    flawed = dataset["sound"].values < 0.1
    right = dataset["outcome"].values
    return bool(flawed.any() and (right[flawed] > 0.99).all()), (
        f"lowest of {int(flawed.sum())} problems whose critiques are flawed: {right[flawed].min():.5f}"
    )


def _mended(dataset: xarray.Dataset) -> tuple[bool, str]:
    weighted = float(dataset["processed"].sel(process_weight=0.05).min())
    gated = float(dataset["gated"].min())
    return min(weighted, gated) > 0.999, f"lowest over L: weight 0.05: {weighted:.5f}, gated: {gated:.5f}"


REPRODUCTION = Reproduction(
    name="critique_phases",
    title="Sound critiques and lucky labels: a phase transition",
    summary=(
        "A judge writes a critique, sound with probability π₀ at first, then one of L labels, which is right with "
        "probability 0.9 after a sound critique and 1/L after a flawed one. Rewarded for the label alone, it ends with "
        "sound critiques or with flawed ones whose label it has learned by heart, and the reward is as high in both. "
        "The boundary is π₀ L = 1/(2 · 0.9) for many labels: after a flawed critique the log-odds of the right label "
        "grow like q' = q², from 1/L, and those of a sound critique like π' = 2 · 0.9 π², from π₀; what explodes first "
        "wins. A small process reward or a gate leaves the sound phase alone."
    ),
    experiment=critique_phases.run,
    figures={"critique_phases": figures.critique_phases.draw},
    claims=(
        *(_sound_claim(start, labels, expected) for (start, labels), expected in _SOUND.items()),
        *(_boundary_claim(labels, expected) for labels, expected in _BOUNDARY.items()),
        Claim(
            "boundary-many",
            "1024 labels: π₀ L at the boundary, against 1/(2 · 0.9)",
            "derived here, for many labels",
            number(lambda dataset: float(_products(dataset)[-1]), 1 / 1.8, 0.01),
        ),
        Claim(
            "boundary-all",
            "The limit describes every number of labels from 2 to 1024",
            "measured here",
            fact("π₀ L within 10 % of 0.556", _near),
        ),
        Claim(
            "blind",
            "The outcome does not tell the phases apart: where critiques end flawed, labels are right all the same",
            _SOURCE,
            fact("labels right with more than 0.99", _blind),
        ),
        Claim(
            "mended",
            "π₀ = 0.1: a process reward of weight 0.05, or a gated one, leaves critiques sound for every L",
            _SOURCE,
            fact("above 0.999", _mended),
        ),
    ),
    order=71,
)
