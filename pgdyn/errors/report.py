"""What `pgdyn.categorize` found, as arrays, as a confusion table and as a dataset."""

from __future__ import annotations

import dataclasses
import importlib
from typing import TYPE_CHECKING

import numpy as np

from pgdyn.dynamics.flow import Flow
from pgdyn.errors.categories import UNDECIDED
from pgdyn.errors.mechanism import CATEGORIES, MECHANISMS, PREDICTED
from pgdyn.problem import Problem
from pgdyn.solution import Solution

if TYPE_CHECKING:
    import pandas
    import xarray

EXACT, MECHANISM = "exact", "mechanism"


@dataclasses.dataclass(frozen=True)
class Report:
    """Categories of M erroneous proxies. All arrays are NumPy.

    Attributes:
        category: [M], "harmful", "benign" or "beneficial" by simulation; "undecided" where a flow broke off.
        speedup: [M], baseline time / time: inf where only the proxy reaches the target, 0 where only the ground truth
            does, nan where neither does (or both start there). A flow that broke off before counts as one that does
            not; `result` tells.
        mechanism: [M], the a-priori type, of `pgdyn.errors.mechanism.MECHANISMS`.
        mechanism_category: [M], the category that the mechanism implies.
        predicted: [M], the category predicted before any simulation: from exact times to the target where the flows
            have an exact solution, else the one that the mechanism implies.
        predicted_speedup: [M], from exact times, as `speedup`; nan also where there is no exact solution.
        predicted_by: [M], which of the two told `predicted`: "exact" or "mechanism".
        problem: the problem.
        baseline: the flow on the ground truth, a `Solution` of one run.
        trained: the flows on the proxies, a `Solution` of M runs.
        tolerance: of the comparison.

    Example:
        >>> import pgdyn
        >>> problem = pgdyn.Problem.tabular([0.05, 0.5, 0.15, 0.15, 0.15], [1, 0.8, -1, -1, -1])
        >>> report = pgdyn.categorize(problem, [[1, -1, -1, -1, -1], [1, 0.8, 1.5, -1, -1]], t1=1e6, target=0.9)
        >>> len(report), report.times.round(1).tolist(), report.agreement
        (2, [16.7, inf], 1.0)
        >>> report.mechanism_agreement, report.majority
        (1.0, ('harmful', 0.5))
    """

    category: np.ndarray
    speedup: np.ndarray
    mechanism: np.ndarray
    mechanism_category: np.ndarray
    predicted: np.ndarray
    predicted_speedup: np.ndarray
    predicted_by: np.ndarray
    problem: Problem
    baseline: Solution
    trained: Solution
    tolerance: float

    def __len__(self) -> int:
        return len(self.category)

    @property
    def flow(self) -> Flow:
        """The settings that every flow was run with."""
        return self.trained.settings

    @property
    def t1(self) -> float:
        """The end time of the flows."""
        return self.flow.t1

    @property
    def target(self) -> float:
        """The true value to be reached."""
        assert self.flow.target is not None
        return self.flow.target

    @property
    def baseline_time(self) -> float:
        """The time to the target on the ground truth; inf for never."""
        return float(self.baseline.hitting_time[0])

    @property
    def times(self) -> np.ndarray:
        """[M], the time to the target on each proxy; inf for never."""
        return self.trained.hitting_time

    @property
    def baseline_value(self) -> float:
        """The true value at t1 on the ground truth."""
        return float(self.baseline.true_value[0])

    @property
    def values(self) -> np.ndarray:
        """[M], the true value at t1 on each proxy."""
        return self.trained.true_value

    @property
    def result(self) -> np.ndarray:
        """[M], `pgdyn.Result` codes of the flows on the proxies."""
        return self.trained.result

    @property
    def proxy_rewards(self) -> np.ndarray:
        """[M, P, K]."""
        return np.asarray(self.trained.problem.proxy_reward)

    @property
    def agreement(self) -> float:
        """The fraction of decided errors whose category is the predicted one; nan where none is decided."""
        return self._share(self.predicted)

    @property
    def mechanism_agreement(self) -> float:
        """The fraction of decided errors whose category is the one that their mechanism implies."""
        return self._share(self.mechanism_category)

    @property
    def majority(self) -> tuple[str, float]:
        """The commonest category of the decided errors, and its share: the score of always answering that."""
        shares = [(self._share(np.full(len(self), name)), name) for name in CATEGORIES]
        share, name = max(shares, key=lambda one: one[0])
        return name, share

    def _share(self, answers: np.ndarray) -> float:
        decided = self.category != UNDECIDED
        return float(np.mean(self.category[decided] == answers[decided])) if decided.any() else float("nan")

    def confusion(self) -> pandas.DataFrame:
        """Counts of errors, a-priori mechanism (rows, with what they imply) by simulated category (columns)."""
        return confusion_table(self.mechanism, self.category)

    def to_dataset(self) -> xarray.Dataset:
        """The report as an `xarray.Dataset` over "error", with the problem and what made it."""
        return importlib.import_module("pgdyn.io.errors").report_dataset(self)


def confusion_table(mechanism: np.ndarray, category: np.ndarray) -> pandas.DataFrame:
    """Counts by a-priori mechanism (rows, with the category that each implies) and category (columns).

    Args:
        mechanism: [M], names from `pgdyn.errors.mechanism.MECHANISMS`.
        category: [M], the simulated categories.

    Returns:
        A row for each mechanism and a column for each category; one for "undecided" only where that occurs.

    Example:
        >>> table = confusion_table(np.array(["stalling", "stalling"]), np.array(["harmful", "benign"]))
        >>> table.loc[("stalling", "harmful")].to_dict()
        {'harmful': 1, 'benign': 1, 'beneficial': 0}
    """
    import pandas

    columns = [*CATEGORIES, *([UNDECIDED] if (category == UNDECIDED).any() else [])]
    counts = [[int(np.sum((mechanism == row) & (category == column))) for column in columns] for row in MECHANISMS]
    index = pandas.MultiIndex.from_tuples(
        [(row, PREDICTED[row]) for row in MECHANISMS], names=["mechanism", "mechanism_category"]
    )
    return pandas.DataFrame(counts, index=index, columns=pandas.Index(columns, name="category"))
