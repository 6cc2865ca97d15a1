"""The table of types of reward errors of arXiv 2604.25872, one error of each type simulated."""

from __future__ import annotations

import numpy as np
import xarray

import figures.error_types
from experiments import error_types
from paper_repro.claims import Claim, Finding, Verdict, fact
from paper_repro.reproduction import Reproduction

_PAPER = "arXiv 2604.25872, the table of error types"
_NEVER_ATTRACTS = 1.0335067  # time on the truth over time on the proxy, by SciPy's DOP853 at tolerance 1e-12


def _label_claim(one: error_types.ErrorType) -> Claim:
    def check(dataset: xarray.Dataset) -> Finding:
        row = dataset.sel(type=one.name)
        mechanism, category = str(row["mechanism"].values), str(row["category"].values)
        good = mechanism == one.name and category == one.label == str(row["mechanism_category"].values)
        found = f"a priori {mechanism}; simulated {category}, {figures.error_types.speed_text(float(row['speedup']))}"
        return Finding(one.label, found, "", Verdict.passed if good else Verdict.failed)

    return Claim(
        one.name.replace(" ", "-"),
        f"The error of type {one.name} is {one.label}: told from the start alone, and in simulation",
        _PAPER,
        check,
    )


def _nearly_benign(dataset: xarray.Dataset) -> Finding:
    row = dataset.sel(type="never attracts")
    mechanism, category, speedup = str(row["mechanism"].values), str(row["category"].values), float(row["speedup"])
    good = mechanism == "never attracts" and category == "beneficial" and abs(speedup - _NEVER_ATTRACTS) <= 5e-4
    found = f"a priori {mechanism}; simulated {category}, {100 * (speedup - 1):+.2f} %"
    verdict = Verdict.passed if good else Verdict.failed
    return Finding(f"beneficial, {100 * (_NEVER_ATTRACTS - 1):+.2f} %", found, "± 0.05 %", verdict)


def _turns(dataset: xarray.Dataset) -> tuple[bool, str]:
    both = {name: dataset.sel(type=name) for name in ("stalling", "never attracts")}
    found = {name: str(one["other_category"].values) for name, one in both.items()}
    words = (
        f"{name}: {found[name]}, {figures.error_types.speed_text(float(one['other_speedup']))}"
        for name, one in both.items()
    )
    return found == {"stalling": "beneficial", "never attracts": "harmful"}, "; ".join(words)


def _stay(dataset: xarray.Dataset) -> tuple[bool, str]:
    kept = dataset.sel(type=["reward hacking", "negligible probability"])
    found = kept["other_category"].values
    return bool(np.all(found == kept["label"].values)), ", ".join(map(str, found))


REPRODUCTION = Reproduction(
    name="error_types",
    title="Five types of reward errors, one of each",
    summary=(
        "Initial policy (0.05, 0.5, 0.225, 0.225, 10⁻⁸), true reward (1, r, −1, −1, −1), gradient flow to the true "
        "value 0.9. One reward is wrong at a time. The harmful and the benign types are shown with r = −1, the "
        "beneficial one, which is about a mediocre output, with r = 0.8. Times less than 1 % apart count as benign."
    ),
    experiment=error_types.run,
    figures={"error_types": figures.error_types.draw},
    claims=(
        *(_label_claim(one) for one in error_types.TYPES if one.name != "never attracts"),
        Claim(
            "never-attracts",
            "The error of type never attracts, benign in the table, still moves the mean that the others compete "
            "against: speed-up of the time to 0.9, by another integrator",
            _PAPER + "; SciPy's DOP853 for the number",
            _nearly_benign,
        ),
        Claim(
            "a-competing-mediocre-output-turns-two-types",
            "Beside a mediocre output (r = 0.8) rating a bad output mediocre helps, because it splits what y* competes "
            "with, and rating one lower harms, although it never attracts",
            "theory: single_error_table",
            fact("stalling: beneficial; never attracts: harmful", _turns),
        ),
        Claim(
            "hacking-and-negligible-stay",
            "Reward hacking harms and an error on an output of negligible probability is benign there as well",
            _PAPER,
            fact("harmful, benign", _stay),
        ),
    ),
    order=45,
)
