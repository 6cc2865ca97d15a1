"""Many runs of fixed length, chunk by chunk, on every core.

Runs of a fixed number of updates take equally long, so unlike flows they need no scheduling: a chunk is a `jax.vmap`,
padded to one width so that more runs never compile anything anew, and threads take chunks in turn.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import numpy as np

from pgdyn import cores
from pgdyn.problem import Problem

LANES = 256  # runs of a chunk: enough to amortise an update's overhead, few enough to share out between cores


def as_batch(problems: Any, caller: str) -> Problem:
    """`problems`, one problem counting as a batch of one.

    Raises:
        ValueError: if it is no problem.
    """
    if not isinstance(problems, Problem):
        raise ValueError(f"{caller} takes a pgdyn.Problem, got {problems!r:.80}")
    if problems.batch_size is None:
        return jax.tree.map(lambda leaf: leaf[None], problems)
    return problems


def one_start(problems: Problem) -> jax.ShapeDtypeStruct:
    """Shape and type of one problem's parameters."""
    return jax.ShapeDtypeStruct(problems.params_shape, problems.initial_params.dtype)


def pick(problems: Problem, rows: np.ndarray) -> Problem:
    """The problems of some rows of a batch, gathered by NumPy: JAX would compile a gather for every size of batch."""
    features = problems.features
    own = eqx.tree_at(lambda p: p.features, problems, None, is_leaf=lambda leaf: leaf is None)
    own = jax.tree.map(lambda leaf: np.asarray(leaf)[rows], own)
    if features is not None and features.ndim == 4:
        features = np.asarray(features)[rows]
    return eqx.tree_at(lambda p: p.features, own, features, is_leaf=lambda leaf: leaf is None)


def run(compute: Callable[[np.ndarray], Any], count: int, progress: Callable[[int, int], None] | None) -> Any:
    """`compute(rows)` over chunks of range(count), joined along the leading axis.

    Args:
        compute: takes row numbers [lanes] (the last chunk's filled up with copies of its first) and gives a pytree of
            arrays with leading axis lanes.
        count: number of runs.
        progress: called with (runs done, count) after each chunk, by one thread at a time.
    """
    lanes = min(LANES, -(-count // 16) * 16)
    starts = range(0, count, lanes)
    parts: list[Any] = [None] * len(starts)
    lock = threading.Lock()
    done = 0

    def one(number: int) -> None:
        nonlocal done
        rows = np.arange(starts[number], min(starts[number] + lanes, count))
        filled = np.r_[rows, np.full(lanes - len(rows), rows[0])]
        found = jax.tree.map(lambda leaf: np.asarray(leaf)[: len(rows)], compute(filled))
        with lock:
            parts[number] = found
            done += len(rows)
            if progress is not None:
                progress(done, count)

    cores.each(one, range(len(starts)))
    return jax.tree.map(lambda *leaves: jax.device_put(np.concatenate(leaves)), *parts)
