"""What `pgdyn.categorize` found, as arrays, as a confusion table and as a dataset."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np

from pgdyn.errors.mechanism import CATEGORIES, MECHANISMS, PREDICTED
from pgdyn.problem import Problem

if TYPE_CHECKING:
    import pandas
    import xarray

_UNDECIDED = "undecided"


@dataclasses.dataclass(frozen=True)
class Report:
    """Categories of M erroneous proxies. All arrays are NumPy.

    Attributes:
        category: [M], "harmful", "benign" or "beneficial" by simulation; "undecided" where a flow broke off.
        speedup: [M], baseline time / time: inf where only the proxy reaches the target, 0 where only the ground truth
            does, nan where neither does (or both start there).
        mechanism: [M], the a-priori type, of `pgdyn.errors.mechanism.MECHANISMS`.
        predicted: [M], the category that the mechanism implies.
        baseline_time: time to the target on the ground truth; inf for never.
        times: [M], time to the target on each proxy.
        baseline_value: true value at t1 on the ground truth.
        values: [M], true value at t1 on each proxy.
        result: [M], `pgdyn.Result` codes of the flows.
        problem: the problem.
        proxy_rewards: [M, P, K].
        t1: end time.
        target: the true value to be reached.
        tolerance: of the comparison.
        settings: the flows' tolerances.
    """

    category: np.ndarray
    speedup: np.ndarray
    mechanism: np.ndarray
    predicted: np.ndarray
    baseline_time: float
    times: np.ndarray
    baseline_value: float
    values: np.ndarray
    result: np.ndarray
    problem: Problem
    proxy_rewards: np.ndarray
    t1: float
    target: float
    tolerance: float
    settings: tuple[tuple[str, Any], ...]

    def __len__(self) -> int:
        return len(self.category)

    @property
    def agreement(self) -> float:
        """The fraction of decided errors whose category is the predicted one."""
        decided = self.category != _UNDECIDED
        return float(np.mean(self.category[decided] == self.predicted[decided])) if decided.any() else float("nan")

    def confusion(self) -> pandas.DataFrame:
        """Counts of errors, a-priori mechanism (rows, with what they predict) by simulated category (columns)."""
        return confusion_table(self.mechanism, self.category)

    def to_dataset(self) -> xarray.Dataset:
        """The report as an `xarray.Dataset` over "error", with the problem among its variables."""
        import xarray

        from pgdyn import datasets, provenance

        # Names are stored as objects, because fixed-width text has no place in zarr's format 3.
        time, reward = {"units": "1"}, {"units": "reward"}
        fields: dict[str, tuple[Any, ...]] = {
            "category": ("error", self.category.astype(object), {"long_name": "category by simulation"}),
            "speedup": ("error", self.speedup, {"units": "1", "long_name": "baseline time / time to the target"}),
            "mechanism": ("error", self.mechanism.astype(object), {"long_name": "a-priori mechanism"}),
            "predicted": ("error", self.predicted.astype(object), {"long_name": "category that the mechanism implies"}),
            "baseline_time": ((), self.baseline_time, {**time, "long_name": "time to the target on the ground truth"}),
            "times": ("error", self.times, {**time, "long_name": "time to the target on the proxy; inf: never"}),
            "baseline_value": ((), self.baseline_value, {**reward, "long_name": "true value at t1, ground truth"}),
            "values": ("error", self.values, {**reward, "long_name": "true value at t1, proxy"}),
            "result": ("error", self.result, datasets.result_attributes(_outcomes(self.result))),
            "erroneous_proxy": (
                ("error", "prompt", "output"),
                self.proxy_rewards,
                {**reward, "long_name": "proxy reward"},
            ),
        }
        fields |= datasets.problem_variables(self.problem)
        settings = {**dict(self.settings), "t1": self.t1, "target": self.target, "tolerance": self.tolerance}
        attrs = {"dynamics": "flow", **provenance.attributes(settings, like=self.problem.true_reward)}
        return xarray.Dataset(fields, attrs=attrs)


def confusion_table(mechanism: np.ndarray, category: np.ndarray) -> pandas.DataFrame:
    """Counts by a-priori mechanism (rows, with the category that each implies) and category (columns)."""
    import pandas

    columns = [*CATEGORIES, *([_UNDECIDED] if (category == _UNDECIDED).any() else [])]
    counts = [[int(np.sum((mechanism == row) & (category == column))) for column in columns] for row in MECHANISMS]
    index = pandas.MultiIndex.from_tuples(
        [(row, PREDICTED[row]) for row in MECHANISMS], names=["mechanism", "predicted"]
    )
    return pandas.DataFrame(counts, index=index, columns=pandas.Index(columns, name="category"))


def _outcomes(results: np.ndarray) -> str:
    from pgdyn.dynamics.result import Result

    codes, counts = np.unique(results, return_counts=True)
    return "; ".join(f"{n} {Result(int(code)).message}" for code, n in zip(codes, counts, strict=True))
