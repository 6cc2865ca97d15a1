"""Claims on exact runs that the controlled and the feature-similarity reproductions share."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import xarray

from paper_repro import golden
from paper_repro.claims import Claim, count, hitting_time, measurement, number

Select = Callable[[xarray.Dataset], xarray.Dataset]


def golden_claims(label: str, words: str, run: golden.ExactRun, select: Select) -> tuple[Claim, Claim, Claim]:
    """Makes the claims on one run's three reference numbers: `select` picks it from the dataset, `words` name it."""

    def value(updates: int) -> Callable[[xarray.Dataset], float]:
        return lambda dataset: float(select(dataset)["true_value"].sel(update=updates))

    return (
        Claim(
            f"{label}-hit",
            f"{words}: updates until the true value is at least 0.9",
            golden.SOURCE,
            hitting_time(lambda dataset: float(select(dataset)["hitting_time"]), run.hit, golden.HIT_TOLERANCE),
        ),
        Claim(
            f"{label}-value-1000",
            f"{words}: true value after 1,000 updates",
            golden.SOURCE,
            number(value(1_000), run.early, golden.VALUE_TOLERANCE),
        ),
        Claim(
            f"{label}-value-50000",
            f"{words}: true value after 50,000 updates",
            golden.SOURCE,
            number(value(50_000), run.late, golden.LATE_TOLERANCE),
        ),
    )


def flow_beside_ascent(label: str, words: str, select: Select) -> Claim:
    """Makes the measurement of how far gradient flow and gradient ascent are apart on one run."""

    def compare(dataset: xarray.Dataset) -> str:
        run = select(dataset)
        ascent, flow = float(run["hitting_time"]), float(run["flow_hitting_time"]) / dataset.attrs["learning_rate"]
        largest, where = largest_gap(run)
        hits = f"hit {count(ascent)} (ascent), {count(flow)} (flow)"
        if np.isfinite([ascent, flow]).all():
            hits += f", {100 * (ascent / flow - 1):+.2f} %"
        return f"{hits}; largest difference of true value {largest:.4f}, near update {where:,.0f}"

    return Claim(
        f"{label}-flow-beside-ascent",
        f"{words}: gradient ascent against gradient flow, time = learning rate × updates",
        "measured here",
        measurement(compare),
    )


def largest_gap(run: xarray.Dataset) -> tuple[float, float]:
    """Finds the largest difference in true value between ascent and flow, and its update.

    Ascent is interpolated linearly in log(1 + updates) to the times where the flow was saved.
    """
    at = np.log1p(run["equivalent_update"].values)
    ascent = np.interp(at, np.log1p(run["update"].values), run["true_value"].values)
    gap = np.abs(ascent - run["flow_true_value"].values)
    return float(gap.max()), float(np.expm1(at[gap.argmax()]))
