"""Theorems 1 to 3 of arXiv 2503.15477: variance sets the pace, accuracy does not, and a teacher has its pupils."""

from __future__ import annotations

import numpy as np
import xarray

import figures.variance_time
from experiments import variance_time
from paper_repro.claims import Claim, fact, measurement, number
from paper_repro.reproduction import Reproduction

_PAPER = "arXiv 2503.15477"


def _bounded(dataset: xarray.Dataset) -> tuple[bool, str]:
    ratio = float((dataset["time"] / dataset["tabular_bound"]).min())
    return 1 <= ratio <= 4, f"time / bound at least {ratio:.3g} over {dataset.sizes['problem']} problems"


def _implied(dataset: xarray.Dataset) -> tuple[bool, str]:
    """Decides whether the general bound lies below every time and below the tabular bound, which says more."""
    ratio = float((dataset["time"] / dataset["general_bound"]).min())
    below = float((dataset["tabular_bound"] / dataset["general_bound"]).min())
    return ratio >= 1 and below >= 1, f"time / bound at least {ratio:.3g}; the tabular bound is {below:.3g} times it"


def _accuracy(dataset: xarray.Dataset) -> tuple[bool, str]:
    accurate, other = dataset["accurate_time"], float(dataset["inaccurate_time"])
    good = bool((accurate >= dataset["accurate_bound"]).all()) and other <= float(dataset["inaccurate_bound"])
    good &= bool((accurate > other).any())
    return good, f"accuracy 1: {float(accurate.min()):.3g} to {float(accurate.max()):.3g}; accuracy 2/5: {other:.3g}"


def _slope(dataset: xarray.Dataset) -> float:
    x, y = np.log(dataset["slowness"].values), np.log(dataset["accurate_time"].values)
    return float(np.polyfit(x, y, 1)[0])


def _teachers(dataset: xarray.Dataset) -> tuple[bool, str]:
    own, other = (dataset["pupil_time"].sel(teacher=name) for name in ("own", "other"))
    good = bool((own <= dataset["own_bound"]).all()) and bool((other >= dataset["other_bound"]).all())
    good &= bool((other > own).all())
    return good, f"own teacher at most {float(own.max()):.3g}; the other's up to {float(other.max()):.3g}"


def _never(dataset: xarray.Dataset) -> str:
    late = int(np.isinf(dataset["time"]).sum())
    return f"{late} of {dataset.sizes['problem']} do not rise by {dataset.attrs['gamma']:g} before t = 1e12"


REPRODUCTION = Reproduction(
    name="variance_time",
    title="What makes a reward model a good teacher: variance, and the pupil",
    summary=(
        "Tabular policies with five outputs. Random problems with proxies of many strengths; an accurate proxy made "
        "ever weaker beside one of accuracy 2/5; and two proxies that each reward one of two good outputs, for a "
        "policy that hardly knows one of them. Times until the true value has risen by 0.3."
    ),
    experiment=variance_time.run,
    figures={"variance_time": figures.variance_time.draw},
    claims=(
        Claim(
            "tabular-bound",
            "No time is below 2 (1 − e^(−γ/2)) / √Var",
            _PAPER + ", Theorem 1 (tabular)",
            fact("no violation, and the tightest within a factor of 4", _bounded),
        ),
        Claim(
            "general-bound",
            "No time is below (1 − e^(−γ/9)) / (8 J²) Var^(−1/3), a bound for any features; for tabular policies the "
            "one above implies it by far",
            _PAPER + ", Theorem 1",
            fact("no violation, and below the tabular bound throughout", _implied),
        ),
        Claim(
            "accurate-but-slow",
            "A perfectly accurate proxy can be slower than one of accuracy 2/K, within the bounds of both",
            _PAPER + ", Theorem 2",
            fact("accurate times above their bound and, for weak proxies, above the inaccurate one's", _accuracy),
        ),
        Claim(
            "weak-is-slow",
            "However its values are spread below 1/T, the accurate proxy's time grows in proportion to T: slope",
            _PAPER + ", Theorem 2",
            number(_slope, 1.0, 0.1),
        ),
        Claim(
            "teacher-depends-on-pupil",
            "The proxy that is fast for the pupil that knows its output is slow for the one that hardly does",
            _PAPER + ", Theorem 3",
            fact("within both bounds, and slower for every probability", _teachers),
        ),
        Claim("never", "Flows that never rise that far", "measured here", measurement(_never)),
    ),
    order=60,
)
