"""Reports and designs of `pgdyn.errors` as `xarray.Dataset`s, with the problem and what made them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray

from pgdyn.batch import Batch
from pgdyn.io import datasets, provenance

if TYPE_CHECKING:
    from pgdyn.errors.design import Design
    from pgdyn.errors.report import Report
    from pgdyn.solution import Solution

_TIME, _REWARD = {"units": "1"}, {"units": "reward"}


def report_dataset(report: Report) -> xarray.Dataset:
    """A report over the dimension "error", with the problem among the variables and what made it in the attributes.

    Variables carry the names of `Report`'s attributes; the proxies are "erroneous_proxy".

    Args:
        report: of `pgdyn.categorize`.

    Example:
        >>> import pgdyn
        >>> problem = pgdyn.Problem.tabular([0.05, 0.5, 0.15, 0.15, 0.15], [1, 0.8, -1, -1, -1])
        >>> dataset = report_dataset(pgdyn.categorize(problem, [[1, -1, -1, -1, -1]], t1=1e6, target=0.9))
        >>> dataset["category"].values.tolist(), dataset.attrs["settings"]["target"]
        (['beneficial'], 0.9)
    """
    # Names are stored as objects, because fixed-width text has no place in zarr's format 3.
    variables: dict[str, tuple[Any, ...]] = {
        "category": ("error", report.category.astype(object), {"long_name": "category by simulation"}),
        "speedup": ("error", report.speedup, {"units": "1", "long_name": "baseline time / time to the target"}),
        "mechanism": ("error", report.mechanism.astype(object), {"long_name": "a-priori mechanism"}),
        "mechanism_category": (
            "error",
            report.mechanism_category.astype(object),
            {"long_name": "category that the mechanism implies"},
        ),
        "predicted": ("error", report.predicted.astype(object), {"long_name": "category predicted a priori"}),
        "predicted_speedup": (
            "error",
            report.predicted_speedup,
            {"units": "1", "long_name": "exact baseline time / exact time to the target"},
        ),
        "predicted_by": ("error", report.predicted_by.astype(object), {"long_name": "what predicted the category"}),
        "baseline_time": ((), report.baseline_time, {**_TIME, "long_name": "time to the target on the ground truth"}),
        "times": ("error", report.times, {**_TIME, "long_name": "time to the target on the proxy; inf: never"}),
        "baseline_value": ((), report.baseline_value, {**_REWARD, "long_name": "true value at t1, ground truth"}),
        "values": ("error", report.values, {**_REWARD, "long_name": "true value at t1, proxy"}),
        "baseline_result": ((), report.baseline.result[0], datasets.result_attributes(report.baseline.message)),
        "result": ("error", report.result, datasets.result_attributes(report.trained.message)),
        "erroneous_proxy": (
            ("error", "prompt", "output"),
            report.proxy_rewards,
            {**_REWARD, "long_name": "proxy reward"},
        ),
        **datasets.problem_variables(report.problem),
    }
    return xarray.Dataset(variables, attrs=_made_by(report.trained, tolerance=report.tolerance))


def design_dataset(design: Design) -> xarray.Dataset:
    """A design over "search" and "update", with the problem among the variables and what made it in the attributes.

    Variables carry the names of `Design`'s attributes and of its region's; the problem's proxy is the designed one.

    Args:
        design: of `pgdyn.design`.

    Example:
        >>> import pgdyn
        >>> problem = pgdyn.Problem.tabular([0.05, 0.5, 0.15, 0.15, 0.15], [1, 0.8, -1, -1, -1])
        >>> dataset = design_dataset(pgdyn.design(problem, 5.0, steps=2, random_starts=0))
        >>> dict(dataset["starts"].sizes)
        {'search': 3, 'prompt': 1, 'output': 5}
    """
    region, row, reached = design.region, ("prompt", "output"), "true value at t1"
    if design.flow.target is not None:
        reached = "time to the target; inf: not before t1"
    unit = _REWARD if design.flow.target is None else _TIME
    variables: dict[str, tuple[Any, ...]] = {
        **datasets.problem_variables(design.problem),
        "hitting_time": ((), design.hitting_time, {**_TIME, "long_name": "time to the target; inf: not before t1"}),
        "true_value": ((), design.true_value, {**_REWARD, "long_name": "true value at t1"}),
        "starts": (("search", *row), design.starts, {**_REWARD, "long_name": "proxy that a search began with"}),
        "history": (("search", "update"), design.history, {**unit, "long_name": reached}),
        "lower": (row, region.lower, {**_REWARD, "long_name": "least proxy reward allowed"}),
        "upper": (row, region.upper, {**_REWARD, "long_name": "largest proxy reward allowed"}),
        "max_range": ((), region.max_range, {**_REWARD, "long_name": "largest range allowed within a prompt"}),
        "budget": ((), region.budget, {**_REWARD, "long_name": "largest Euclidean size of the error allowed"}),
    }
    optimizer = "adam, cosine decay" if design.optimizer is None else "an optax transformation"
    arrays = {name: (dims, np.asarray(values), attrs) for name, (dims, values, attrs) in variables.items()}
    made_by = _made_by(design.solution, optimizer=optimizer, steps=design.history.shape[1] - 1)
    return xarray.Dataset(arrays, attrs=made_by)


def _made_by(solution: Solution, **more: Any) -> dict[str, Any]:
    """Attributes as those of a solution's own dataset, with more settings."""
    table = datasets.settings_table(solution)
    about = {"dynamics": table.pop("kind"), "objective": table.pop("objective")}
    like = solution.problem.problems if isinstance(solution.problem, Batch) else solution.problem
    return provenance.plain({**about, **provenance.attributes({**table, **more}, like=like.initial_params)})
