"""Ascents of a batch: chunks of one width, each the single run under `jax.vmap`.

Runs of a fixed number of updates take equally long. A chunk is filled up to its width, so that another N compiles
nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import numpy as np

from pgdyn.batch import Batch
from pgdyn.dynamics.ascend import Ascend
from pgdyn.dynamics.sampled import AscendSampled
from pgdyn.ensemble import driver
from pgdyn.problem import Problem

WIDTH = 256  # runs of a chunk: enough to amortise an update's overhead, few enough to share out between cores


def solve(
    batch: Batch, settings: Ascend | AscendSampled, tick: Callable[[int], None], devices: Sequence[Any] | None
) -> dict[str, Any]:
    """Runs every ascent of a batch; gives the arrays of a `Solution`, with axes [N] or, for keys [R], [N, R]."""
    size = len(batch)
    keys, repeats = None, 1
    if isinstance(settings, AscendSampled):
        repeats = settings.keys.shape[-1] if settings.keys.ndim else 1
        data = np.asarray(jax.random.key_data(settings.keys))
        keys = np.broadcast_to(data, (size, repeats, data.shape[-1])).reshape(size * repeats, -1)
    width = min(WIDTH, -(-size * repeats // 16) * 16)
    chunks = [np.arange(first, min(first + width, size * repeats)) for first in range(0, size * repeats, width)]
    found: dict[str, Any] = {}

    def call(runs: np.ndarray, worker: int) -> Callable[[], Any]:
        filled = np.r_[runs, np.full(width - len(runs), runs[0])]
        rows = filled // repeats
        own = _row(settings, rows)
        chosen = None if keys is None else keys[filled]
        arguments: tuple[Any, ...] = (batch[rows], own, chosen)
        if devices is not None:
            arguments = jax.device_put(arguments, devices[worker % len(devices)])
        return lambda: _run_chunk(*arguments)

    def collect(runs: np.ndarray, ends: dict[str, Any]) -> None:
        for name, array in ends.items():
            if array is None:
                continue
            if name not in found:
                found[name] = np.empty((size * repeats, *array.shape[1:]), array.dtype)
            found[name][runs] = array[: len(runs)]

    driver.run(chunks, call, collect, tick, None if devices is None else len(devices))
    several = isinstance(settings, AscendSampled) and settings.keys.ndim > 0
    lead = (size, repeats) if several else (size,)
    found = {name: array.reshape(*lead, *array.shape[1:]) for name, array in found.items()}
    return {"t": None, **found}


def _row(settings: Any, rows: np.ndarray) -> Any:
    """The settings with every number [len(rows)], one for each run of a chunk; `_run_chunk` maps over them."""

    def column(value: Any) -> Any:
        return None if value is None else np.broadcast_to(np.asarray(value, np.float64), _length(value, rows))[rows]

    objective = settings.chosen_objective
    objective = objective.with_weights(column(objective.kl), column(objective.entropy))
    names = ("objective", "target", "learning_rate")
    values = (objective, column(settings.target), column(settings.learning_rate))
    settings = eqx.tree_at(
        lambda s: tuple(getattr(s, name) for name in names), settings, values, is_leaf=lambda leaf: leaf is None
    )
    if isinstance(settings, AscendSampled):
        settings = eqx.tree_at(lambda s: s.key, settings, None)
    return settings


def _length(value: Any, rows: np.ndarray) -> tuple[int, ...]:
    return np.shape(value) or (int(rows.max()) + 1,)


@eqx.filter_jit
def _run_chunk(batch: Batch, settings: Any, keys: Any) -> dict[str, Any]:
    numbers, rest = eqx.partition(settings, lambda leaf: eqx.is_array(leaf) and np.ndim(leaf) == 1)

    def one(problem: Problem, own: Any, key: Any) -> dict[str, Any]:
        run = eqx.combine(own, rest)
        if key is not None:
            run = eqx.tree_at(lambda s: s.key, run, jax.random.wrap_key_data(key), is_leaf=lambda leaf: leaf is None)
        return run.path(problem, run.save_every)

    return batch.map(one, numbers, keys)
