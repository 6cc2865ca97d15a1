"""The table of error types of arXiv 2604.25872 as a predictor, over random problems and errors."""

from __future__ import annotations

import numpy as np
import xarray

import figures.error_confusion
from experiments import error_confusion
from paper_repro.claims import Claim, fact, measurement
from paper_repro.reproduction import Reproduction
from pgdyn.errors.categories import UNDECIDED

_PAPER = "arXiv 2604.25872, the table of error types"


def _share(dataset: xarray.Dataset, mechanism: str, category: str) -> float:
    own = dataset["category"].values[dataset["mechanism"].values == mechanism]
    return float(np.mean(own == category))


def _hacking(dataset: xarray.Dataset) -> tuple[bool, str]:
    share = _share(dataset, "reward hacking", "harmful")
    return share > 0.9, f"{share:.1%}"


def _exact(dataset: xarray.Dataset) -> tuple[bool, str]:
    category, told = dataset["category"].values, dataset["predicted"].values
    decided = category != UNDECIDED
    share = float(np.mean(category[decided] == told[decided]))
    return share >= 0.999, f"{share:.3%} of {int(decided.sum()):,}"


def _agreement(dataset: xarray.Dataset) -> str:
    right = dataset["category"].values == dataset["mechanism_category"].values
    changed = dataset["changed"].values
    parts = (f"{k}: {right[changed == k].mean():.1%}" for k in np.unique(changed))
    names, counts = np.unique(dataset["category"].values, return_counts=True)
    commonest = f"always answering {names[counts.argmax()]!r} is right for {counts.max() / right.size:.1%}"
    return f"{right.mean():.1%}; {commonest}; by outputs changed, " + ", ".join(parts)


def _never_attracts(dataset: xarray.Dataset) -> tuple[bool, str]:
    """Decides whether lowering a low output helps y* where y* leads, and y_med where y_med does."""
    policy, truth = dataset["initial_policy"].values, dataset["true_reward"].values
    value = (policy * truth).sum(axis=1, keepdims=True)
    mediocre = (truth > value) & (truth < dataset["target"].values[:, None])
    leads = np.take_along_axis(policy, truth.argmax(axis=1)[:, None], axis=1)[:, 0] > (policy * mediocre).sum(axis=1)
    category = dataset["category"].values
    single = (dataset["mechanism"].values == "never attracts") & (dataset["changed"].values == 1)
    lowered = dataset["heaviest_error"].values < 0
    moved = single & (category != "benign")
    with_best = np.mean(category[moved & leads & lowered] == "beneficial")
    with_rest = np.mean(category[moved & ~leads & lowered] == "harmful")
    good = with_best > 0.9 and with_rest > 0.5
    return bool(good), f"helps in {with_best:.0%} where y* leads, harms in {with_rest:.0%} where mediocre outputs do"


REPRODUCTION = Reproduction(
    name="error_confusion",
    title="What the types of errors predict, and what they do not",
    summary=(
        "Random problems of five outputs, 1 to 3 rewards of each replaced at random. The a-priori mechanism, from the "
        "initial policy and the rewards alone, beside the category that gradient flow shows: time to a true value half "
        "way between the best and the second best reward, on the proxy and on the ground truth, apart by more than "
        "1 %. Beside it, the category told by the exact solution of the flow, one root and one quadrature a problem."
    ),
    experiment=error_confusion.run,
    quick={"count": 4000},
    figures={"error_confusion": figures.error_confusion.draw},
    claims=(
        Claim("hacking-harms", "Reward hacking harms", _PAPER, fact("in more than 90 % of the errors", _hacking)),
        Claim(
            "never-attracts-moves-others",
            "The commonest disagreement: an output that never attracts still moves the mean that the others compete "
            "against; lowering it lifts whoever leads, y* or the mediocre outputs",
            "theory: single_error_table; measured here",
            fact(
                "of the single errors that are not benign, lowering helps in > 90 % where y* outweighs the mediocre "
                "outputs and harms in > 50 % where it does not",
                _never_attracts,
            ),
        ),
        Claim(
            "exact",
            "The exact solution tells before any training whether an error harms, helps or is benign",
            "derived here; see pgdyn.exact and docs/theory.md, F1",
            fact("the simulated category in 99.9 % of the errors or more", _exact),
        ),
        Claim(
            "agreement",
            "Errors whose category is the one that their type implies, beside the commonest category as the only "
            "answer",
            "measured here",
            measurement(_agreement),
        ),
    ),
    order=60,
)
