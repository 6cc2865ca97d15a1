"""Noisy labels: the accuracy paradox, clean benchmarks, cleaning, and fusion over contexts."""

from __future__ import annotations

import numpy as np
import xarray

import figures.label_noise
from experiments import label_noise
from paper_repro.claims import Claim, fact, measurement
from paper_repro.reproduction import Reproduction

_PARADOX = "the accuracy paradox in RLHF; variance or beneficial errors"
_CHH = "CHH-RLHF (the elephant in the room)"
_SECRETS = "Secrets of RLHF, part II"
_MATH = "RewardMATH"
_FUSION = "trickle-down inconsistency: RewardFusion"


def _raw(dataset: xarray.Dataset) -> tuple[bool, str]:
    value = dataset["value"].mean("seed")
    first, last = (dataset["step"].values[i] for i in (1, -1))
    raw, same = ([float(value.sel(scaling=s, step=t)) for t in (first, last)] for s in ("raw", "normalised"))
    words = f"raw {raw[0]:.2f} to {raw[1]:.2f}, normalised {same[0]:.2f} to {same[1]:.2f}"
    return abs(same[1] - same[0]) < 0.25 * abs(raw[1] - raw[0]), words


def _peak(dataset: xarray.Dataset) -> str:
    value = dataset["value"].mean("seed")
    words = []
    for scaling in ("raw", "normalised"):
        one = value.sel(scaling=scaling)
        best = int(one.argmax("step"))
        words.append(f"{scaling}: best after {int(dataset['step'][best])} of {int(dataset['step'][-1])} steps, by "
                     f"{float(one[best] - one[-1]):.3f}")  # fmt: skip
    return "; ".join(words)


def _clean(dataset: xarray.Dataset) -> tuple[bool, str]:
    noisy, clean = (float(dataset["rank_correlation"].sel(benchmark=name)) for name in ("noisy", "clean"))
    return clean > noisy, f"noisy {noisy:.2f}, clean {clean:.2f}"


def _line(dataset: xarray.Dataset) -> tuple[bool, str]:
    slope = float(np.polyfit(dataset["clean_accuracy"], dataset["noisy_accuracy"], 1)[0])
    want = 1 - 2 * dataset.attrs["flip"]
    return abs(slope - want) < 0.25, f"slope {slope:.2f}"


def _strength(dataset: xarray.Dataset) -> tuple[bool, str]:
    fifth, area = float(dataset["low_fifth"].mean()), float(dataset["auc"].mean())
    return fifth > 0.75 and area > 0.9, f"{fifth:.0%} of the lowest fifth is flipped; AUC {area:.3f}"


def _negative(dataset: xarray.Dataset) -> tuple[bool, str]:
    share, flip = float(dataset["negative"].mean()), dataset.attrs["flip"]
    return abs(share - flip) < 0.05, f"{share:.1%}, with {flip:.0%} flipped"


def _fifths(dataset: xarray.Dataset) -> tuple[bool, str]:
    accuracy = dataset["fifth_accuracy"].mean("seed").values
    gain = dataset["fifth_value"].mean("seed").values
    good = accuracy[0] < 0.5 and gain[0] < 0 and accuracy[-1] < accuracy[1:-1].max() + 0.005
    words = ", ".join(f"{a:.3f} ({g:+.2f})" for a, g in zip(accuracy, gain, strict=True))
    return bool(good), f"accuracy (true gain) {words}"


def _recovered(dataset: xarray.Dataset) -> tuple[bool, str]:
    mean = dataset["test_accuracy"].mean("seed")
    found = {str(way): float(mean.sel(way=way)) for way in mean["way"].values}
    share = (found["flip"] - found["plain"]) / (found["clean labels"] - found["plain"])
    return found["plain"] < found["flip"] < found["clean labels"], f"{share:.0%} of the gap to clean labels"


def _margin(dataset: xarray.Dataset) -> str:
    mean = dataset["test_accuracy"].mean("seed")
    return ", ".join(f"{way} {float(mean.sel(way=way)):.4f}" for way in mean["way"].values)


def _interior(dataset: xarray.Dataset) -> tuple[bool, str]:
    mean = dataset["fused_value"].mean("seed")
    best = int(mean.argmax("width"))
    at, low, high = float(mean[best]), float(mean[0]), float(mean[-1])
    return 0 < best < mean.sizes[
        "width"
    ] - 1, f"{at:.2f} at width {float(mean['width'][best]):.2f}; ends {low:.2f}, {high:.2f}"


def _math(dataset: xarray.Dataset) -> str:
    found = dataset["best_of_n_correlation"]
    return ", ".join(f"{name} {float(found.sel(ranking=name)):.2f}" for name in found["ranking"].values)


def _sizes(dataset: xarray.Dataset) -> str:
    words = []
    for size in dataset["size"].values:
        one = dataset["small_value"].sel(size=size).mean("seed")
        ends = {name: one.sel(scaling=name).values for name in ("raw", "normalised")}
        at = {name: int(dataset["step"].values[int(np.argmax(found))]) for name, found in ends.items()}
        words.append(
            f"{size} features: raw best after {at['raw']} steps ({ends['raw'].max():.2f}, at the end "
            f"{ends['raw'][-1]:.2f}), normalised after {at['normalised']} ({ends['normalised'].max():.2f}, "
            f"{ends['normalised'][-1]:.2f})"
        )
    return "; ".join(words)


REPRODUCTION = Reproduction(
    name="label_noise",
    title="Noisy labels: accuracy, benchmarks, cleaning, fusion",
    summary=(
        "Reward models fitted to labels, trained on by gradient flow. Accuracy while a model is fitted, with raw and "
        "with normalised rewards; models ranked on noisy and on clean pairs; a quarter of the labels flipped and "
        "cleaned by preference strength; noisy rewards fused over contexts on a circle."
    ),
    experiment=label_noise.run,
    full={},
    quick={"seeds": 6},
    figures={"label_noise": figures.label_noise.draw},
    claims=(
        Claim(
            "most-of-the-effect-of-fitting-is-scale",
            "From the first to the last step of fitting, the true value after training changes less than a quarter as "
            "much with normalised rewards as with raw ones",
            _PARADOX,
            fact("less than a quarter", _raw),
        ),
        Claim(
            "where-the-best-reward-model-lies",
            "The step of fitting after which training ends best, and by how much it beats the last step",
            _PARADOX,
            measurement(_peak),
        ),
        Claim(
            "policies-of-few-features",
            "The same for small policies: the step of fitting after which training ends best, and the true gain there "
            "and after the last step",
            _PARADOX,
            measurement(_sizes),
        ),
        Claim(
            "clean-benchmarks-rank-better",
            "Accuracy on clean pairs ranks reward models better by the true value after training than on noisy ones",
            _CHH,
            fact("clean above noisy", _clean),
        ),
        Claim(
            "noise-compresses-accuracy",
            "A quarter of flips halves differences of accuracy: the slope of noisy against clean accuracy is .5",
            _CHH,
            fact("0.5 ± 0.25", _line),
        ),
        Claim(
            "low-strength-labels-are-wrong",
            "The fifth of labels with the lowest strength is mostly flipped, far more than a quarter",
            _SECRETS,
            fact("more than three quarters of it; AUC above .9", _strength),
        ),
        Claim(
            "share-of-negative-strength",
            "About as many labels have negative strength as are flipped; about a quarter in the paper",
            _SECRETS,
            fact("within 5 % of the flipped part", _negative),
        ),
        Claim(
            "fits-to-fifths-by-strength",
            "Fitted alone, the fifth of lowest strength harms and the top fifth is no better than the middle. The "
            "second fifth is near chance in the paper and far above it here, where all that is wrong with a label is "
            "that it is flipped",
            _SECRETS,
            fact("lowest below 1/2 and harmful, top within half a point of the middle", _fifths),
        ),
        Claim(
            "flipping-back-recovers-accuracy",
            "Turning the lowest fifth round recovers part of the accuracy that flips cost",
            _SECRETS,
            fact("plain < flip < clean labels", _recovered),
        ),
        Claim(
            "adaptive-margins",
            "Accuracy on clean pairs of every way of cleaning; margins of linear models change little, unlike in the "
            "paper",
            _SECRETS,
            measurement(_margin),
        ),
        Claim(
            "fusion-has-a-best-width",
            "Fusing noisy rewards over contexts helps up to a width, beyond which smoothing costs more than noise",
            _FUSION,
            fact("best at neither end", _interior),
        ),
        Claim(
            "one-against-many-and-best-of-64",
            "Spearman of pairwise accuracy and of the mean reciprocal rank with the best-of-64 value over 200 models "
            "of independent noise; RewardMATH finds the one-against-many score better",
            _MATH,
            measurement(_math),
        ),
    ),
    order=84,
)
