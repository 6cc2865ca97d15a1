"""Rank bias of GRPO, the unlikeliness reward, and pass@N."""

from __future__ import annotations

import numpy as np
import xarray

import figures.rank_bias
from experiments import rank_bias
from paper_repro.claims import Claim, fact, number
from paper_repro.reproduction import Reproduction

_SOURCE = "arXiv 2506.02355; the numbers derived here by enumeration"
_KEPT = "unlikeliness, all-right groups kept"
_CHANGES = {  # variant -> epochs -> expected change of log pi of the four right answers
    "GRPO": {
        1: (0.0840, 0.0484, 0.0246, 0.0128),
        2: (0.1321, 0.0765, 0.0366, 0.0154),
        4: (0.1382, 0.0892, 0.0420, 0.0190),
    },
    "unlikeliness": {
        1: (0.0705, 0.0592, 0.0342, 0.0201),
        2: (0.1071, 0.1022, 0.0553, 0.0309),
        4: (0.1175, 0.1102, 0.0541, 0.0277),
    },
    _KEPT: {1: (0.0458, 0.0753, 0.0521, 0.0335)},
}
_UPLIFT = {
    "GRPO": (0.816, 0.796, 0.779, 0.770),
    "unlikeliness": (0.816, 0.796, 0.779, 0.770),
    _KEPT: (0.816, 0.971, 0.998, 1.000),
}
_MISSED = (0.6279, 0.6315, 0.4391, 0.1937, 0.0375)


def _change(dataset: xarray.Dataset) -> float:
    return max(
        float(np.abs(dataset["change"].sel(variant=variant, epochs=epochs) - np.array(expected)).max())
        for variant, rows in _CHANGES.items()
        for epochs, expected in rows.items()
    )


def _uplift(dataset: xarray.Dataset) -> float:
    return max(float(np.abs(dataset["uplift"].sel(variant=v) - np.array(row)).max()) for v, row in _UPLIFT.items())


def _few(dataset: xarray.Dataset) -> tuple[bool, str]:
    change = dataset["change"].sel(variant="GRPO")
    ratio = (change[:, 0] / change[:, -1]).values
    words = ", ".join(f"{epochs}: {value:.1f}" for epochs, value in zip(dataset["epochs"].values, ratio, strict=True))
    return bool((np.abs(ratio - (6.6, 8.6, 7.3)) < 0.051).all()), f"top over bottom by epochs {words}"


def _many(dataset: xarray.Dataset) -> tuple[bool, str]:
    """In groups of 32 the ratio first rises, until the clip holds the likely answers back, and then falls."""
    change = dataset["sampled_change"].sel(size=32)
    ratio = (change[:, 0] / change[:, -1]).values
    words = ", ".join(f"{epochs}: {value:.1f}" for epochs, value in zip(dataset["passes"].values, ratio, strict=True))
    return bool(ratio[1] > ratio[0] > 3 * ratio[-1] and ratio[-1] < 2), f"top over bottom by epochs {words}"


def _drawn(dataset: xarray.Dataset) -> float:
    """How far sampled groups of five are from the enumerated ones, in standard errors."""
    epochs = list(dataset["epochs"].values)
    one = dataset.sel(size=5, passes=epochs)
    gap = one["sampled_change"].values - one["change"].sel(variant="GRPO").values
    return float(np.abs(gap / one["sampled_error"].values).max())


def _pass(dataset: xarray.Dataset) -> tuple[bool, str]:
    base, after = dataset["base"].values, dataset["pass_at_n"].sel(variant="GRPO").values
    words = f"pass@1 {base[0]:.3f} to {after[0]:.3f}, pass@256 {base[-1]:.3f} to {after[-1]:.3f}"
    return bool(after[0] > base[0] and after[-1] < base[-1]), words


def _unlikely(dataset: xarray.Dataset) -> tuple[bool, str]:
    found = {str(v): float(dataset["pass_at_n"].sel(variant=v)[-1]) for v in dataset["variant"].values}
    words = ", ".join(f"{name}: {value:.3f}" for name, value in found.items())
    return found[_KEPT] > found["unlikeliness"] > found["GRPO"], words


REPRODUCTION = Reproduction(
    name="rank_bias",
    title="Which right answers GRPO makes likelier",
    summary=(
        "GRPO raises probable right answers more than improbable ones. One prompt with right answers of probability "
        "0.35, 0.2, 0.1, 0.05 and 0.3 wrong, by enumeration of all 3,125 groups of five and from sampled groups; and "
        "50 prompts with heavy-tailed answers, whose policy shares parameters, before and after training. The "
        "unlikeliness reward flattens the bias; it reverses it only where groups that are right throughout are kept. "
        "Going through a batch many times mitigates the bias where groups are so large that improbable answers are "
        "drawn, as in the paper, and not in groups of five."
    ),
    experiment=rank_bias.run,
    quick={"prompts": 8, "updates": 20, "seeds": 1, "samples": 1000},
    figures={"rank_bias": figures.rank_bias.draw},
    claims=(
        Claim(
            "change",
            "Expected change of log π of the four right answers in one batch, three variants, 1, 2 and 4 epochs: "
            "largest difference from the enumerated table",
            _SOURCE,
            number(_change, 0.0, 5.1e-5),
        ),
        Claim(
            "uplift",
            "Probability that a right answer that was drawn becomes likelier: largest difference from 0.816, 0.796, "
            "0.779, 0.770 (GRPO, and unlikeliness as released) and 0.816, 0.971, 0.998, 1.000 (all-right groups kept)",
            _SOURCE,
            number(_uplift, 0.0, 5.1e-4),
        ),
        Claim(
            "few-epochs",
            "In groups of five, more epochs do not mitigate the bias of GRPO: improbable answers are mostly not drawn, "
            "and lose what the others gain",
            _SOURCE,
            fact("top over bottom change 6.6, 8.6 and 7.3 at 1, 2 and 4 epochs", _few),
        ),
        Claim(
            "many-epochs",
            "In groups of 32, the paper's size, more epochs mitigate the bias once the clip holds the likely answers "
            "back",
            "arXiv 2506.02355",
            fact("top over bottom change higher at 2 epochs than at 1, and below 2 at 32", _many),
            needs_full=True,
        ),
        Claim(
            "drawn",
            "Sampled groups of five have the enumerated changes: largest difference in standard errors",
            "measured here",
            number(_drawn, 0.0, 4.5),
        ),
        Claim(
            "missed",
            "Probability that a group of 4 to 64 teaches and misses a right set of mass 0.05, success 0.7",
            "arXiv 2602.06717, lemma 3.1",
            number(lambda dataset: float(np.abs(dataset["missed"].values - _MISSED).max()), 0.0, 5.1e-5),
        ),
        Claim(
            "pass-at-n",
            "After GRPO pass@1 is higher and pass@256 lower than before",
            "arXiv 2506.02355",
            fact("pass@1 up, pass@256 down", _pass),
            needs_full=True,
        ),
        Claim(
            "unlikeliness",
            "Unlikeliness keeps more of pass@256, most where all-right groups are kept",
            "arXiv 2506.02355",
            fact("kept above released above GRPO", _unlikely),
            needs_full=True,
        ),
    ),
    order=31,
)
