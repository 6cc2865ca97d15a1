"""What the best of N by a noisy proxy is worth, by the tail of its noise."""

from __future__ import annotations

import numpy as np
import xarray

import figures.best_of_n_tails
from experiments import best_of_n_tails
from paper_repro.claims import Claim, fact, measurement, number
from paper_repro.reproduction import Reproduction

_DERIVED = "derived here, for the laws of arXiv 2210.10760"
_NORMAL = (0.0, 0.726, 1.24, 1.64, 1.99, 2.30, 2.53)  # N = 1, 4, .., 4096: expected maxima over the root of 2
_HACKED = (0.0, 0.861, 1.308, 1.019, -0.452, -0.996, -0.380)
_HEAVY = (0.0, 0.676, 0.912, 0.690)


def _gap(dataset: xarray.Dataset, noise: str, expected: tuple[float, ...]) -> float:
    found = dataset["gold"].sel(noise=noise).values[: len(expected)]
    return float(np.abs(found - expected).max())


def _peaks(dataset: xarray.Dataset) -> tuple[bool, str]:
    gold = dataset["gold"]
    peak = {str(noise): int(gold["N"][int(gold.sel(noise=noise).values.argmax())]) for noise in gold["noise"].values}
    last = int(gold["N"][-1])
    return peak == {"normal": last, "heavy tail": 16, "hacked": 16}, ", ".join(f"{k}: {v:,}" for k, v in peak.items())


def _laws(dataset: xarray.Dataset) -> str:
    rows = {str(noise): best_of_n_tails.law(dataset, str(noise)) for noise in dataset["noise"].values}
    return "; ".join(f"{noise}: α = {alpha:.2f}, β = {beta:.2f}" for noise, (alpha, beta) in rows.items())


REPRODUCTION = Reproduction(
    name="best_of_n_tails",
    title="The best of N by a noisy proxy",
    summary=(
        "20,000 outputs whose true rewards are standard normal; the proxy adds normal noise of standard deviation 1, "
        "or 0.7 times Student's t with two degrees of freedom, or it takes 0.5 % of the outputs, which are worth two "
        "less than the others, for worth six more (and adds normal noise of 0.5). With normal noise the best of N only "
        "gains more slowly; it takes a heavy tail or hacked outputs for the true reward to fall again."
    ),
    experiment=best_of_n_tails.run,
    figures={"best_of_n_tails": figures.best_of_n_tails.draw},
    claims=(
        Claim(
            "normal",
            "Normal noise: true reward at N = 1, 4, .., 4096, largest difference from 0, 0.726, 1.24, 1.64, 1.99, 2.30 "
            "and 2.53",
            _DERIVED,
            number(lambda dataset: _gap(dataset, "normal", _NORMAL), 0.0, 0.06),
        ),
        Claim(
            "heavy",
            "Heavy tail: at N = 1, 4, 16 and 64, largest difference from 0, 0.676, 0.912 and 0.690",
            _DERIVED,
            number(lambda dataset: _gap(dataset, "heavy tail", _HEAVY), 0.0, 0.02),
        ),
        Claim(
            "hacked",
            "Hacked outputs: at N = 1, 4, .., 4096, largest difference from 0, 0.861, 1.308, 1.019, -0.452, -0.996 and "
            "-0.380",
            _DERIVED,
            number(lambda dataset: _gap(dataset, "hacked", _HACKED), 0.0, 0.1),
        ),
        Claim(
            "peaks",
            "The true reward has its peak at N = 16 with a heavy tail or hacked outputs, and none with normal noise",
            _DERIVED,
            fact("4,096 (the largest), 16 and 16", _peaks),
        ),
        Claim(
            "laws",
            "Least squares of d (α - β d), d the root of log N - (N - 1)/N",
            "arXiv 2210.10760",
            measurement(_laws),
        ),
        Claim(
            "imitating-the-chosen",
            "Controlled problem: value after imitating the chosen of two answers, labels certain (the best of two)",
            _DERIVED,
            number(lambda dataset: float(dataset["chosen"]), 0.455, 5e-4),
        ),
        Claim(
            "imitating-bradley-terry",
            "The same with labels by Bradley-Terry at temperature 1",
            _DERIVED,
            number(lambda dataset: float(dataset["choice"]), 0.3249, 5e-5),
        ),
        Claim(
            "imitating-flipped",
            "The same with certain labels, a quarter of them flipped: half way between the best of two and the start",
            _DERIVED,
            number(lambda dataset: float(dataset["flipped"]), 0.455 / 2, 5e-4),
        ),
    ),
    order=37,
)
