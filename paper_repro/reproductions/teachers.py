"""The predecessor's study: reward models of on-policy and off-policy pairs as teachers."""

from __future__ import annotations

import numpy as np
import xarray

import figures.teachers
from experiments import teachers
from paper_repro.claims import Claim, fact, measurement
from paper_repro.reproduction import Reproduction

_SOURCE = "arXiv 2503.15477, section 4.1"


def _variance(dataset: xarray.Dataset) -> tuple[bool, str]:
    found = [float(dataset[f"{name}_correlation"].mean()) for name in ("variance", "accuracy")]
    return found[0] > found[1], f"variance {found[0]:.2f}, accuracy {found[1]:.2f}"


def _rloo(dataset: xarray.Dataset) -> tuple[bool, str]:
    found = [float(dataset[f"rloo_{name}_correlation"].mean()) for name in ("variance", "accuracy")]
    return found[0] > found[1], f"variance {found[0]:.2f}, accuracy {found[1]:.2f}"


def _on_policy(dataset: xarray.Dataset) -> tuple[bool, str]:
    on, off = (dataset[f"{name}_policy_accuracy"].mean("seed").values[:-1] for name in ("on", "off"))
    good = on[-1] > on[0] and off[-1] < off[0]
    return bool(good), f"on-policy {on[0]:.3f} to {on[-1]:.3f}, off-policy {off[0]:.3f} to {off[-1]:.3f}"


def _slower(dataset: xarray.Dataset) -> str:
    gain = dataset["true_gain"].values
    ahead = gain[:-1].max(axis=0) > gain[-1]
    each = ", ".join(
        f"{part:.0%} at {time:g}" for part, time in zip(ahead.mean(axis=0), dataset["time"].values, strict=True)
    )
    return f"of the problems: {each}"


def _gap(dataset: xarray.Dataset) -> str:
    mean = dataset["true_gain"].mean("seed").values
    best = int(np.argmax(mean[:-1, -1]))
    name = str(dataset["teacher"].values[best])
    return f"{name} {mean[best, -1]:.2f}, ground truth {mean[-1, -1]:.2f}"


REPRODUCTION = Reproduction(
    name="teachers",
    title="Accurate reward models and good teachers",
    summary=(
        "Reward models fitted to 400 labels, 0 to 100 % of them on-policy, standardised and climbed from one initial "
        "policy beside the ground truth. Accuracy on both kinds of pairs, reward variance, and how fast proxy and "
        "truth rise."
    ),
    experiment=teachers.run,
    full={},
    quick={"seeds": 8},
    figures={"teachers": figures.teachers.draw},
    claims=(
        Claim(
            "variance-foretells-the-rise-of-the-proxy",
            "Over the teachers of one problem the early rise of the proxy follows its reward variance more than its "
            "accuracy: mean Spearman correlations",
            _SOURCE,
            fact("variance above accuracy", _variance),
        ),
        Claim(
            "variance-foretells-the-rise-under-rloo",
            "The same by RLOO as the paper has it, two samples a prompt and a KL penalty of .05",
            _SOURCE,
            fact("variance above accuracy", _rloo),
        ),
        Claim(
            "accuracy-is-where-the-pairs-are",
            "On-policy pairs raise the accuracy on on-policy pairs and lower it on off-policy ones",
            _SOURCE,
            fact("on-policy up, off-policy down", _on_policy),
        ),
        Claim(
            "a-proxy-ahead-of-the-truth",
            "Problems in which a reward model is ahead of the ground truth in true value, by the time of training",
            _SOURCE,
            measurement(_slower),
        ),
        Claim(
            "what-is-lost-at-the-end",
            "True gain at the last time, best reward model and ground truth",
            _SOURCE,
            measurement(_gap),
        ),
    ),
    order=78,
)
