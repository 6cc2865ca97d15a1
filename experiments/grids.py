"""A grid of problems: run as one batch, in C order of its axes, and taken apart into its axes in the dataset."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import xarray

import pgdyn
from pgdyn import Batch, Flow, Solution
from pgdyn.dynamics.flow import ONE


def unstack(dataset: xarray.Dataset, axes: Mapping[str, int], dim: str = "run") -> xarray.Dataset:
    """Splits the dimension `dim` into several, which come first.

    Args:
        dataset: its variables may have the dimension `dim`; its attributes stay.
        axes: name -> length of each axis, the last one fastest.
        dim: the dimension to split.

    Raises:
        ValueError: if the lengths do not multiply to that of `dim`.

    Example:
        >>> runs = xarray.Dataset({"hitting_time": ("run", [1, 2, 3, 4, 5, 6])})
        >>> unstack(runs, {"start": 2, "reward": 3})["hitting_time"].values.tolist()
        [[1, 2, 3], [4, 5, 6]]
    """
    split = {
        name: variable.unstack({dim: dict(axes)}) if dim in variable.dims else variable
        for name, variable in dataset.variables.items()
    }
    return xarray.Dataset(split, attrs=dataset.attrs).set_coords(list(dataset.coords)).transpose(*axes, ...)


def flow_paths(batch: Batch, t1: Any, **settings: Any) -> Solution:
    """Runs `pgdyn.flow` on every problem of a batch and keeps the paths: a `Solution` with axes [N, S].

    `pgdyn.flow_many` is far faster where ends are enough.

    Args:
        batch: N problems.
        t1: end time.
        settings: the other settings of `pgdyn.flow`, with its tolerances as defaults.

    Example:
        >>> lines = pgdyn.Problem.tabular([0.2, 0.8], [1, 0]).with_proxy([[[1, 0]], [[0, 1]]])
        >>> flow_paths(lines, 1.0, saves=5).true_value.shape
        (2, 5)
    """
    dynamics = Flow(t1, **{**ONE, **settings})
    found = batch.map(lambda problem: pgdyn.solve(problem, dynamics))
    return dataclasses.replace(found, problem=batch, settings=dynamics)
