"""What makes a reward model a good teacher."""

from __future__ import annotations

import numpy as np
import xarray

import figures.good_teacher
from experiments import good_teacher
from experiments.good_teacher import rank_correlation
from paper_repro.claims import Claim, fact
from paper_repro.reproduction import Reproduction

_SOURCE = "arXiv 2503.15477"


def _correlations(dataset: xarray.Dataset) -> tuple[dict[str, float], dict[str, float]]:
    names = [str(name) for name in dataset["policy"].values]
    time = {name: dataset["time"].sel(policy=name).values for name in names}
    variance = {name: rank_correlation(dataset["variance"].sel(policy=name).values, time[name]) for name in names}
    return variance, {name: rank_correlation(dataset["accuracy"].values, time[name]) for name in names}


def _words(found: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:+.2f}" for name, value in found.items())


def _predicts(dataset: xarray.Dataset) -> tuple[bool, str]:
    variance, accuracy = _correlations(dataset)
    good = max(variance.values()) < -0.25 and max(accuracy.values()) > 0.25
    return good, f"variance: {_words(variance)}; accuracy: {_words(accuracy)}"


def _perfect(dataset: xarray.Dataset) -> tuple[bool, str]:
    time = dataset["time"].sel(policy="mediocre").values[dataset["accuracy"].values == 1]
    ratio = np.max(time) / np.min(time)
    return bool(ratio > 1e4), f"from {np.min(time):,.1f} to {np.max(time):,.0f}, {time.size} proxies"


def _slower(dataset: xarray.Dataset) -> tuple[bool, str]:
    time = dataset["time"].sel(policy="mediocre").values
    faster = time < time[0]
    share, accuracy = float(faster.mean()), float(dataset["accuracy"].values[faster].mean())
    words = (
        f"{share:.0%} of the proxies are faster, of mean accuracy {accuracy:.2f}; best {time[0] / time.min():.0f} times"
    )
    return share > 0.1 and accuracy < 0.9, words


def _policies(dataset: xarray.Dataset) -> tuple[bool, str]:
    time = dataset["time"].values
    names = [str(name) for name in dataset["policy"].values]
    pairs = [(a, b) for a in range(len(names)) for b in range(a)]
    found = {f"{names[b]} and {names[a]}": rank_correlation(time[a], time[b]) for a, b in pairs}
    return min(found.values()) < 0.3, _words(found)


REPRODUCTION = Reproduction(
    name="good_teacher",
    title="What makes a reward model a good teacher",
    summary=(
        "300 proxies of many accuracies, shapes and strengths teach three initial policies of one problem. How soon "
        "the true value rises goes with the reward variance under the policy that is taught, not with accuracy; "
        "perfectly accurate proxies differ by orders of magnitude, and the ground truth can be a slower teacher than a "
        "proxy."
    ),
    experiment=good_teacher.run,
    quick={"proxies": 60},
    figures={"good_teacher": figures.good_teacher.draw},
    claims=(
        Claim(
            "variance-predicts",
            "Among proxies that arrive, a larger reward variance goes with a shorter time for every policy; a higher "
            "accuracy does not (rank correlations with the time)",
            _SOURCE,
            fact("variance below -0.25 everywhere, accuracy above +0.25 somewhere", _predicts),
            needs_full=True,
        ),
        Claim(
            "accurate-and-slow",
            "Among perfectly accurate proxies the times differ by more than 10,000 times",
            _SOURCE,
            fact("more than 10,000 times", _perfect),
            needs_full=True,
        ),
        Claim(
            "truth-is-slower",
            "From the policy that prefers a mediocre output, the ground truth is a slower teacher than many a proxy",
            _SOURCE,
            fact("more than 10 % of the proxies are faster, with accuracy below 0.9", _slower),
            needs_full=True,
        ),
        Claim(
            "policy-dependence",
            "Which proxy is better depends on the policy: rank correlation of the times from two policies",
            _SOURCE,
            fact("below 0.3 for some pair", _policies),
            needs_full=True,
        ),
    ),
    order=35,
)
