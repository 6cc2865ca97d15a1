"""A sweep's store as one labelled dataset."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pgdyn.io import provenance
from pgdyn.solution import Result
from pgdyn.sweep.store import Store

if TYPE_CHECKING:
    import xarray

_DESCRIBED = {
    "true_value": ("reward", "value of the true reward at the end, averaged over prompts"),
    "proxy_value": ("reward", "value of the proxy reward at the end, averaged over prompts"),
    "hitting_time": ("update", "first time with true_value >= target; inf: never"),
    "steps": ("1", "steps of the solver, rejected ones included, or updates"),
    "log_policy": ("nat", "log-probability of each output at the end"),
    "params": ("1", "parameters of the policy at the end"),
    "done": ("1", "whether the point has been run"),
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

    Example:
        A map of hitting times, run, read, picked at a point, and drawn:

        >>> import tempfile
        >>> import pgdyn
        >>> from pgdyn import sweep
        >>> proxy = sweep.Axis.linear("proxy_reward[1]", -1, 0.5, 4)
        >>> start = sweep.Axis.log("initial_policy[0]", 0.01, 0.1, 3, name="p0")
        >>> problem = {"true_reward": [1, 0.8, -1, -1, -1], "initial_policy": [0.05, 0.5, 0.15, 0.15, 0.15]}
        >>> store = tempfile.mkdtemp()
        >>> _ = sweep.run_sweep(sweep.Spec(problem, [start, proxy], pgdyn.Flow(t1=1e4, target=0.9)), store)
        >>> dataset = sweep.open_sweep(store)
        >>> dict(dataset.sizes)
        {'p0': 3, 'proxy_reward[1]': 4}
        >>> float(dataset.hitting_time.sel({"p0": 0.1, "proxy_reward[1]": -1.0}).round(2))
        12.15
        >>> from pgdyn import plot
        >>> plot.sweep(dataset).axes[0].get_ylabel()
        'proxy_reward[1] (reward)'
    """
    import xarray

    from pgdyn.io import datasets

    opened = Store.open(store)
    spec = opened.spec
    if isinstance(variables, str):
        raise ValueError(f"variables is {variables!r}; it must be a list of names, for instance [{variables!r}]")
    names = spec.observables if variables is None else variables
    for i, name in enumerate(names):
        if name not in spec.observables:
            raise ValueError(f"variables[{i}] is {name!r:.80}; the store holds {', '.join(spec.observables)}")
    states = [opened.state(shard) for shard in range(spec.num_shards)]
    done = [shard for shard, state in enumerate(states) if state == "done"]
    if len(done) < spec.num_shards and not partial:
        damaged = f", {states.count('damaged')} damaged" if "damaged" in states else ""
        raise ValueError(
            f"{store} holds {len(done)} of {spec.num_shards} shards{damaged}; run its sweep again to complete it, "
            "or open it with partial=True"
        )
    here = np.isin(np.arange(spec.num_points) // spec.shard_size, done)
    flat: dict[str, np.ndarray] = {}
    for shard in done:
        arrays, points = opened.read(shard), spec.shard_points(shard)
        for name in names:
            if name not in flat:
                missing = np.nan if arrays[name].dtype.kind == "f" else -1
                flat[name] = np.full((spec.num_points, *arrays[name].shape[1:]), missing, arrays[name].dtype)
            flat[name][points.start : points.stop] = arrays[name]
    if partial:
        flat["done"] = here
    described: dict[str, Any] = {
        name: {"units": unit, "long_name": words} for name, (unit, words) in _DESCRIBED.items()
    }
    if spec.dynamics.name == "flow":
        described["hitting_time"]["units"] = "1"
    codes, counts = np.unique(flat["result"][here] if "result" in flat else (), return_counts=True)
    ways = (f"{n} {Result(int(code)).message}" for code, n in zip(codes, counts, strict=True))
    described["result"] = datasets.result_attributes("; ".join(ways))
    axes, table = tuple(axis.name for axis in spec.axes), ("prompt", "output")
    inner = {"log_policy": table, "params": ("feature",) if spec.template.has_features else table}
    data = {
        name: ((*axes, *inner.get(name, ())), array.reshape(*spec.shape, *array.shape[1:]), described[name])
        for name, array in flat.items()
    }
    coords = {a.name: (a.name, a.coordinates, {"units": a.unit, "long_name": a.field}) for a in spec.axes}
    return xarray.Dataset(data, coords, _attributes(opened))


def _attributes(store: Store) -> dict[str, Any]:
    spec, table = store.spec, store.spec.to_table()
    described = {"title": spec.name, "description": spec.description}
    identity = {"sweep": json.dumps(table), "fingerprint": spec.fingerprint}
    settings = {"dynamics": table["dynamics"].pop("kind"), "settings": table["dynamics"]}
    return provenance.plain(described | settings | {"objective": table["objective"]} | store.provenance | identity)
