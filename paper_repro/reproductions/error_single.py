"""Every error on a single output of the paper's problem, with the table of theory C7."""

from __future__ import annotations

import functools

import numpy as np
import xarray

import figures.error_maps
from experiments import error_maps
from paper_repro.claims import Claim, fact, hitting_time
from paper_repro.reproduction import Reproduction
from pgdyn.theory import reward_errors

_TABLE = "theory: single_error_table"


def _time(dataset: xarray.Dataset, output: str, value: float) -> float:
    return float(dataset["time"].sel(output=output).sel(value=value, method="nearest"))


def _entry(output: str, value: float, time: float) -> Claim:
    name = "-".join(output.replace("*", "_best").replace(",", "").replace("_", " ").split())
    sign = f"{value:g}".replace("-", "minus-").replace(".", "p")
    words = f"{value:g}".replace("-", "−")
    return Claim(
        f"{name}-to-{sign}",
        f"Time to 0.9 when the proxy reward of {output} is {words}",
        _TABLE,
        hitting_time(functools.partial(_time, output=output, value=value), time, 1e-5),
    )


def _lower_is_sooner(dataset: xarray.Dataset) -> tuple[bool, str]:
    times = dataset["time"].sel(output="y_med").sel(value=slice(-1.5, 0.9)).values
    return bool((np.diff(times) > 0).all()), f"{times[0]:.1f} at −1.5 to {times[-1]:,.0f} at 0.9"


def _worse_can_harm(dataset: xarray.Dataset) -> tuple[bool, str]:
    bad = dataset["time"].sel(output="bad")
    baseline = float(dataset["baseline_time"])
    worse, better = bad.sel(value=slice(None, -1.05)), bad.sel(value=slice(-0.95, 0.8))
    good = float(worse.min()) > baseline > float(better.max())
    return good, f"at least {float(worse.min()):,.0f} below −1, at most {float(better.max()):,.0f} from −0.95 to 0.8"


REPRODUCTION = Reproduction(
    name="error_single",
    title="Every error on one output: making a bad output worse harms, rating it mediocre can help",
    summary=(
        "Initial policy (0.05, 0.5, 0.225, 0.225, 10⁻⁸), true reward (1, 0.8, −1, −1, −1). One output at a time gets "
        "a new proxy reward from −2 to 2. Time of gradient flow to the true value 0.9; without an error it is 4821."
    ),
    experiment=error_maps.single_errors,
    quick={"values": 81},
    figures={"error_single": figures.error_maps.draw_single},
    claims=(
        Claim(
            "no-error",
            "Time to 0.9 on the ground truth",
            _TABLE,
            hitting_time(lambda d: float(d["baseline_time"]), reward_errors.SINGLE_ERRORS[0, 1.0], 1e-5),
        ),
        *(_entry(*row) for row in error_maps.SINGLE_ERROR_TABLE),
        Claim(
            "lower-mediocre-is-sooner",
            "The lower y_med is rated, from 0.9 down to −1.5, the sooner",
            "theory: monotone_in_mediocre",
            fact("strictly increasing times", _lower_is_sooner),
        ),
        Claim(
            "worse-harms-better-helps",
            "Rating a bad output lower than it is slows learning down, rating it higher, up to 0.8, speeds it up",
            _TABLE,
            fact("on either side of the time without an error", _worse_can_harm),
        ),
    ),
    order=48,
)
