"""Likelihood rewards against the length of the answer."""

from __future__ import annotations

import numpy as np
import xarray

import figures.answer_length
from experiments import answer_length
from paper_repro.claims import Claim, fact, hitting_time, number
from paper_repro.reproduction import Reproduction

_SOURCE = "derived here, for rewards of VeriFree, JEPO and their kin"
# (reward, L) -> times with trained answers, all logits written out, by SciPy's DOP853 at a tolerance of 1e-11.
_TRAINED = {
    ("probability", 1): 1800.773,
    ("probability", 4): 23.08858,
    ("probability", 16): 1613.039,
    ("log_probability", 1): 4267.327,
    ("log_probability", 4): 13.382028,
    ("log_probability", 16): 2.0692408,
    ("mean_log", 16): 33.107853,
}


def _trained_claim(kind: str, length: int, expected: float) -> Claim:
    def measure(dataset: xarray.Dataset) -> float:
        return float(dataset["trained_time"].sel(transform=kind, length=length))

    words = f"Answers of {length} tokens trained too, reward {kind}: time until the good thought has probability 0.9"
    return Claim(f"trained-{kind}-{length}", words, _SOURCE, hitting_time(measure, expected, 1e-3))


def _frozen_error(dataset: xarray.Dataset) -> float:
    """Against u' = 2 gap p (1 - p) of the thought's log-odds, from 1/2, and gaps written out."""
    good, bad = dataset.attrs["per_token"]
    length, end = dataset["length"].values, dataset.attrs["target"]
    gaps = {
        "probability": good**length - bad**length,
        "log_probability": length * np.log(good / bad),
        "mean_log": np.log(good / bad) * np.ones(len(length)),
    }
    integral = 1 / (1 - end) - 1 / end + 2 * np.log(end / (1 - end))
    errors = [
        np.abs(dataset["frozen_time"].sel(transform=kind).values * 2 * gap / integral - 1).max()
        for kind, gap in gaps.items()
    ]
    return float(max(errors))


def _lengths(dataset: xarray.Dataset) -> tuple[bool, str]:
    long = dataset.sel(length=[16, 64])
    fine, words = True, []
    for name in ("frozen_time", "trained_time"):
        ratio = {kind: float(long[name].sel(transform=kind)[1] / long[name].sel(transform=kind)[0])
                 for kind in dataset["transform"].values}  # fmt: skip
        fine &= ratio["probability"] > 1e9 and 0.2 < ratio["log_probability"] < 0.3 and 0.9 < ratio["mean_log"] < 1.1
        words.append(", ".join(f"{kind} {x:.3g}" for kind, x in ratio.items()))
    return bool(fine), "frozen: " + words[0] + "; trained: " + words[1]


def _short(dataset: xarray.Dataset) -> tuple[bool, str]:
    slower = (dataset["trained_time"] / dataset["frozen_time"]).sel(length=1).values
    return bool((slower > 20).all()), ", ".join(f"{x:.0f} times" for x in slower)


REPRODUCTION = Reproduction(
    name="answer_length",
    title="Likelihood rewards and the length of the answer",
    summary=(
        "Two thoughts, after which each token of a reference answer has probability 0.6 or 0.5; the thought is paid by "
        "the answer's likelihood. With the probability as reward the advantage of the good thought shrinks like 0.6^L "
        "and training flatlines; its logarithm is faster the longer the answer, the mean logarithm of a token does not "
        "care. When the answers are trained too, a short answer is soon right after either thought, and little is left "
        "to tell the thoughts apart: choosing takes far longer than with frozen answers."
    ),
    experiment=answer_length.run,
    figures={"answer_length": figures.answer_length.draw},
    claims=(
        Claim(
            "frozen",
            "Frozen answers, every reward and length: largest relative error of the time against its integral",
            _SOURCE,
            number(_frozen_error, 0.0, 1e-5),
        ),
        *(_trained_claim(kind, length, expected) for (kind, length), expected in _TRAINED.items()),
        Claim(
            "lengths",
            "From 16 to 64 tokens the probability's time explodes, that of its logarithm falls as 1/L, and that of the "
            "mean logarithm stays",
            _SOURCE,
            fact("ratios above 1e9, 0.2 to 0.3, and 0.9 to 1.1", _lengths),
        ),
        Claim(
            "short",
            "Training an answer of one token too delays the choice of the thought, whatever the reward",
            "measured here",
            fact("more than 20 times the time with frozen answers", _short),
        ),
    ),
    order=73,
)
