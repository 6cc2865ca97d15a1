"""What logs of users who chose, and of users who were assigned, tell of models and of answers."""

from __future__ import annotations

import numpy as np
import xarray

import figures.user_logs
from experiments import user_logs
from paper_repro.claims import Claim, fact, number
from paper_repro.reproduction import Reproduction

_SOURCE = "arXiv 2605.01311; the estimators are this project's choice"
_REVERSED = np.array([[0.65, 0.75], [0.74, 0.66], [0.09, -0.09]])


def _reversal(dataset: xarray.Dataset) -> float:
    found = np.stack([dataset[name].values for name in ("values", "naive_values", "bias")])
    return float(np.abs(found - _REVERSED).max())


def _none(dataset: xarray.Dataset) -> tuple[bool, str]:
    names = dataset["estimator"].values[dataset["best"].values.astype(int)]
    kinds, counts = np.unique(names, return_counts=True)
    words = ", ".join(f"{name} in {count}" for name, count in zip(kinds, counts, strict=True))
    return len(kinds) > 2, f"of {names.size} settings: {words}"


def _naive(dataset: xarray.Dataset) -> tuple[bool, str]:
    naive = dataset["error"].sel(estimator="naive").isel(size=-1).values
    mean = dataset["error"].sel(estimator="mean").isel(size=-1).values
    words = ", ".join(f"{taste:g}: {error:.3f}" for taste, error in zip(dataset["taste"].values, naive, strict=True))
    return bool(naive[0] < mean[0] and naive[-1] > 5 * mean[-1]), f"by taste {words}; EXP's mean {mean[-1]:.3f}"


def _lower(dataset: xarray.Dataset) -> tuple[bool, str]:
    last = dataset["error"].isel(size=-1, taste=slice(0, 3))
    ratio = (last.sel(estimator="control_variate") / last.sel(estimator="mean")).values
    return bool(np.all(ratio < 1)), ", ".join(f"{value:.0%}" for value in ratio)


def _trained(dataset: xarray.Dataset) -> tuple[bool, str]:
    chose, assigned = dataset["gain"].values
    few, many = assigned[0, 0] < 0.9 * chose[0, 0], assigned[0, -1] > 0.95 * chose[0, -1]
    words = f"OBS {chose[0, 0]:.3f} without taste and {chose[-1, 0]:.3f} with most; EXP from {assigned[0, 0]:.3f} on"
    return bool(few and many and chose[-1, 0] < 0.9 * chose[0, 0]), words


REPRODUCTION = Reproduction(
    name="user_logs",
    title="Logs of users: confounded, randomised, and replayed",
    summary=(
        "Users choose models by taste and score what they like. A large log of their choices (OBS), a small log of "
        "users who were assigned (EXP) and the models' policies (SIM) give six estimates of a model's value. The mean "
        "scores of answers in either log are trained on by gradient flow."
    ),
    experiment=user_logs.run,
    full={},
    quick={"repeats": 15},
    figures={"user_logs": figures.user_logs.draw},
    claims=(
        Claim(
            "choice-reverses-a-ranking",
            "Two models of value .65 and .75 seem worth .74 and .66 to those who chose them, a bias of ±.09: largest "
            "error",
            _SOURCE,
            number(_reversal, 0.0, 1e-12),
        ),
        Claim(
            "no-estimator-dominates",
            "Which estimate has the least error depends on the size of EXP and on the taste",
            _SOURCE,
            fact("at least three are best somewhere", _none),
        ),
        Claim(
            "confounded-logs-do-not-improve",
            "Without taste the naive mean of the large log beats the mean of any EXP; with much taste it is far off",
            _SOURCE,
            fact("ahead without taste, five times the error with most", _naive),
        ),
        Claim(
            "confounded-logs-reduce-error",
            "Where taste is not strong, OBS as a control variate lowers the error of EXP's mean",
            _SOURCE,
            fact("below 100 % for the three weaker tastes", _lower),
        ),
        Claim(
            "training-on-logs",
            "Without taste, training on mean scores of the large log beats training on few randomised rows and is "
            "matched by many; strong taste costs it some of its gain",
            "this project",
            fact("OBS ahead of 20 rows, matched by 2000; more than a tenth lost to taste", _trained),
        ),
    ),
    order=90,
)
