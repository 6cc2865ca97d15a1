"""A sweep's store as one labelled dataset."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pgdyn.dynamics.result import Result
from pgdyn.sweep.spec import Spec
from pgdyn.sweep.store import Store

if TYPE_CHECKING:
    import xarray

_DESCRIBED = {
    "true_value": ("reward", "value of the true reward at the end, averaged over prompts"),
    "proxy_value": ("reward", "value of the proxy reward at the end, averaged over prompts"),
    "hitting_time": (None, "first time with true_value >= target; inf: never"),
    "steps": ("1", "steps of the solver, rejected ones included, or updates"),
    "log_policy": ("nat", "log-probability of each output at the end"),
    "params": ("1", "parameters of the policy at the end"),
}


def open_sweep(
    store: str | os.PathLike[str], *, variables: Sequence[str] | None = None, partial: bool = False
) -> xarray.Dataset:
    """The results of a sweep, with a dimension for every axis.

    Args:
        store: the folder of its store.
        variables: the observables wanted; None for all.
        partial: accept a sweep that is not finished. Points that are missing are then nan (-1 where whole numbers are
            stored), and a variable `done` says which are there.

    Returns:
        A dataset in memory. Its dimensions are the names of the axes, then "prompt" and "output" for `log_policy` and
        ("prompt", "output") or "feature" for `params`. The attributes hold the spec (`sweep`, as JSON) and what made
        the numbers.

    Raises:
        FileNotFoundError: if there is no such store.
        ValueError: if it is no store of a sweep, is unfinished or damaged (and `partial` is False), or holds no such
            variable.
    """
    import xarray

    opened = Store.open(store)
    spec = opened.spec
    names = _chosen(spec, variables)
    states = [opened.state(shard) for shard in range(spec.num_shards)]
    done = [shard for shard, state in enumerate(states) if state == "done"]
    if len(done) < spec.num_shards and not partial:
        damaged = states.count("damaged")
        torn = f", {damaged} damaged" if damaged else ""
        raise ValueError(
            f"{store} holds {len(done)} of {spec.num_shards} shards{torn}; run its sweep again to complete it, "
            "or open it with partial=True"
        )
    flat: dict[str, np.ndarray] = {}
    here = np.zeros(spec.num_points, bool)
    for shard in done:
        points = spec.shard_points(shard)
        part = slice(points.start, points.stop)
        here[part] = True
        for name, array in opened.read(shard).items():
            if name not in names:
                continue
            if name not in flat:
                missing = np.nan if array.dtype.kind == "f" else -1
                flat[name] = np.full((spec.num_points, *array.shape[1:]), missing, array.dtype)
            flat[name][part] = array
    axes = tuple(axis.name for axis in spec.axes)
    data = {name: _variable(spec, axes, name, flat[name]) for name in names if name in flat}
    if partial:
        data["done"] = (axes, here.reshape(spec.shape), {"units": "1", "long_name": "whether the point has been run"})
    coords = {
        axis.name: (axis.name, axis.coordinates, {"units": axis.unit, "long_name": axis.field}) for axis in spec.axes
    }
    return xarray.Dataset(data, coords, _attributes(opened))


def _chosen(spec: Spec, variables: Sequence[str] | None) -> tuple[str, ...]:
    assert spec.observables is not None
    if variables is None:
        return tuple(spec.observables)
    if isinstance(variables, str):
        raise ValueError(f"variables is {variables!r}; it must be a list of names, for instance [{variables!r}]")
    for i, name in enumerate(variables):
        if name not in spec.observables:
            raise ValueError(f"variables[{i}] is {name!r:.80}; the store holds {', '.join(spec.observables)}")
    return tuple(variables)


def _variable(
    spec: Spec, axes: tuple[str, ...], name: str, flat: np.ndarray
) -> tuple[tuple[str, ...], np.ndarray, Any]:
    inner: dict[str, tuple[str, ...]] = {
        "log_policy": ("prompt", "output"),
        "params": ("feature",) if spec.template.has_features else ("prompt", "output"),
    }
    from pgdyn import datasets

    array = flat.reshape(*spec.shape, *flat.shape[1:])
    if name == "result":
        codes, counts = np.unique(flat[flat >= 0], return_counts=True)
        ways = (f"{n} {Result(int(code)).message}" for code, n in zip(codes, counts, strict=True))
        return axes, array, datasets.result_attributes("; ".join(ways))
    unit, description = _DESCRIBED[name]
    if unit is None:
        unit = "1" if spec.dynamics.kind == "flow" else "update"
    return (*axes, *inner.get(name, ())), array, {"units": unit, "long_name": description}


def _attributes(store: Store) -> dict[str, Any]:
    spec, made_by = store.spec, store.provenance
    objective = spec.to_table()["objective"]
    settings = {key: value for key, value in dataclasses.asdict(spec.dynamics).items() if value is not None}
    named = {"title": spec.name, "description": spec.description}
    return {
        **{key: value for key, value in named.items() if value is not None},
        "dynamics": spec.dynamics.kind,
        "settings": settings,
        "objective": objective,
        **made_by,
        "sweep": json.dumps(spec.to_table()),
        "fingerprint": spec.fingerprint,
    }
