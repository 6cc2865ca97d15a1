"""Judges that average several opinions: more accurate, of less variance, and never worse teachers."""

from __future__ import annotations

import numpy as np
import xarray

import figures.averaged_judges
from experiments import averaged_judges
from paper_repro.claims import Claim, fact, number
from paper_repro.reproduction import Reproduction

_LAW = "Gaussian law of an averaged judge; CLoud and Critic-RM average critiques"
_OURS = "this project; arXiv 2503.15477 on variance"
_TABLE = {1: 0.6342, 4: 0.7365, 16: 0.8413, 64: 0.8970}


def _table(dataset: xarray.Dataset) -> float:
    return max(abs(float(dataset["law"].sel(samples=k)) - value) for k, value in _TABLE.items())


def _drawn(dataset: xarray.Dataset) -> tuple[bool, str]:
    off = (dataset["accuracy"] - dataset["expected_accuracy"]).values
    error = off.std(axis=1, ddof=1) / np.sqrt(off.shape[1])
    away = np.abs(off.mean(axis=1)) / error
    return bool(np.all(away < 4)), f"at most {away.max():.1f} standard errors away"


def _few(dataset: xarray.Dataset) -> tuple[bool, str]:
    one, two, three = (float(dataset["law"].sel(samples=k)) for k in (1, 2, 3))
    gains = 100 * (two - one), 100 * (three - one)
    return 4 < gains[0] < 7 < gains[1], f"{gains[0]:.1f} points for two opinions, {gains[1]:.1f} for three"


def _teacher(dataset: xarray.Dataset) -> tuple[bool, str]:
    variance = dataset["variance"].mean("seed").values
    late = dataset["true_gain"].isel(time=-1)
    steps = late.diff("samples")
    error = steps.std("seed", ddof=1) / np.sqrt(steps.sizes["seed"])
    rises = bool((steps.mean("seed") > 2 * error).all())
    ends = {str(name): late.sel(scaling=name).mean("seed").values[[0, -1]] for name in late["scaling"].values}
    words = ", ".join(f"{name} {low:.2f} to {high:.2f}" for name, (low, high) in ends.items())
    falls = bool(np.all(np.diff(variance) < 0))
    return rises and falls, f"variance {variance[0]:.2f} to {variance[-1]:.2f}; gain {words}"


def _early(dataset: xarray.Dataset) -> tuple[bool, str]:
    gain = dataset["true_gain"].isel(time=0).sel(scaling="raw")
    first, last = gain.isel(samples=0), gain.isel(samples=-1)
    ratio = float(last.mean() / first.mean())
    variance = dataset["variance"].mean("seed").values
    return 0.8 < ratio < 1.25, f"gain times {ratio:.2f} where the variance falls to {variance[-1] / variance[0]:.0%}"


REPRODUCTION = Reproduction(
    name="averaged_judges",
    title="Is a more accurate averaged judge a better teacher?",
    summary=(
        "A judge's score is the truth, a bias and the mean of k noisy opinions. More opinions raise its accuracy and "
        "lower its reward variance; each judge is climbed by gradient flow with raw and with normalised scores. What "
        "falls is variance that the truth has no part in, so that nothing is lost with it. This is variance "
        "reduction and says nothing of what critiques say."
    ),
    experiment=averaged_judges.run,
    full={},
    quick={"seeds": 20},
    figures={"averaged_judges": figures.averaged_judges.draw},
    claims=(
        Claim(
            "law-of-averaging",
            "Accuracy at a gap of 1, noise 2, floor .5, for 1, 4, 16, 64 opinions (.6342, .7365, .8413, .8970): "
            "largest error",
            _LAW,
            number(_table, 0.0, 5e-5),
        ),
        Claim(
            "ceiling-of-averaging",
            "The same without end of opinions",
            _LAW,
            number(lambda dataset: float(dataset.attrs["ceiling"]), 0.9214, 5e-5),
        ),
        Claim(
            "drawn-judges-follow-the-law",
            "The accuracy of drawn judges on all pairs is the law's, averaged over the gaps of the pairs",
            _LAW,
            fact("within four standard errors", _drawn),
        ),
        Claim(
            "opinions-for-published-gains",
            "Published gains of 4 to 7 points of accuracy need two or three opinions here",
            _LAW,
            fact("two opinions gain 4 to 7 points, three more", _few),
        ),
        Claim(
            "accurate-judges-teach-better-in-the-end",
            "With more opinions the reward variance falls and the true gain of long training rises, raw and normalised",
            _OURS,
            fact("variance falls, gain rises by two standard errors at every step", _teacher),
        ),
        Claim(
            "noise-is-no-teacher",
            "Early on, raw scores of one and of 64 opinions raise the true value alike, although the variance of the "
            "first is several times larger",
            _OURS,
            fact("ratio between .8 and 1.25", _early),
        ),
    ),
    order=86,
)
