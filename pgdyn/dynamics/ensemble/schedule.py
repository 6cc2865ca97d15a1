"""Who runs which lanes when: chunks that fit the cache, threads or devices beside each other, stragglers pooled.

A chunk is handed back when most of its lanes have ended. The rest wait in a pool, and run on together with the rest of other
chunks: without it every lane of a chunk is paid for until the slowest has ended, which costs half as much again.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array

from pgdyn.dynamics.ensemble import lanes, stepper
from pgdyn.dynamics.ensemble.lanes import Lane, Layout, Shared, Table
from pgdyn.dynamics.ensemble.stepper import RUNNING, Control, Progress
from pgdyn.dynamics.result import Result
from pgdyn.objective import Objective

# Numbers in one array of a chunk on a CPU. A step touches about fifteen such arrays; 2,000 numbers keep them within the
# second-level cache and each fused loop below the size at which XLA splits it between threads, of which all are busy.
_CPU_STATE = 2048
_CPU_DATA = 2**17  # numbers of per-lane features in a chunk, 1 MiB
_ACCELERATOR_STATE = 2**22
_HANDED_BACK = 0.4  # share of a chunk still running when it is handed back


def chunk_lanes(layout: Layout, table: Table) -> int:
    """Lanes of a chunk on one device: a multiple of 16, so that every lane goes through the same vector instructions."""
    accelerator = jax.default_backend() != "cpu"
    problem = table.lane.problem
    outputs = problem.true_reward[..., 0].size
    per_lane = max(outputs, table.lane.features.shape[2] if table.lane.features is not None else 1)
    budget = _ACCELERATOR_STATE if accelerator else _CPU_STATE
    width = budget // per_lane
    own = sum(array[..., 0].size for array in (table.lane.features, table.lane.gram) if array is not None)
    if own and not accelerator:
        width = min(width, _CPU_DATA // own)
    return max(16, min(512 if not accelerator else width, width) // 16 * 16)


class Ends(eqx.Module):
    """What is kept of every lane when it ends: NumPy arrays in running order, lanes last."""

    state: Any
    tried: Any
    code: Any
    hit: Any

    @classmethod
    def of(cls, progress: Progress) -> Ends:
        """The part of a lane's progress that is kept."""
        return cls(progress.state, progress.tried, progress.code, progress.hit)


class Job(eqx.Module):
    """What the threads of one call have in common."""

    layout: Layout
    objective: Objective
    table: Table = eqx.field(static=True)
    control: Control
    mesh: Mesh | None = eqx.field(static=True)
    width: int = eqx.field(static=True)  # lanes of a chunk, over all devices
    leave: int = eqx.field(static=True)  # lanes of one device still running when a chunk is handed back


def solve(
    layout: Layout,
    objective: Objective,
    table: Table,
    control: Control,
    tick: Callable[[int], None],
    devices: list[Any],
) -> dict[str, np.ndarray]:
    """Runs every lane of the table; gives the fields of an `Outcome` in running order, lanes last, "state" for params.

    Args:
        layout: form of the state.
        objective: what is climbed.
        table: the lanes.
        control: tolerances and budgets.
        tick: called, from any thread, with the number of lanes that have ended since its last call.
        devices: the devices to use; several split every chunk between them.
    """
    mesh = Mesh(np.array(devices), ("lanes",)) if len(devices) > 1 else None
    lanes_each = chunk_lanes(layout, table)
    width = lanes_each * len(devices)
    job = Job(layout, objective, table, control, mesh, width, int(_HANDED_BACK * lanes_each))
    workers = _cores() if mesh is None and devices[0].platform == "cpu" else 1
    total = len(table.order)
    ends = _storage(job, total)
    _in_threads(workers, partial(_run_chunks, job, ends, tick), range(0, total, width))
    out: dict[str, np.ndarray] = {"steps": ends.tried, "result": ends.code}
    _in_threads(workers, partial(_finish_chunks, job, ends, out, threading.Lock()), range(0, total, width))
    return out


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _in_threads(workers: int, work: Callable[[Iterator[int]], None], starts: range) -> None:
    """`work(starts)` in up to `workers` threads, which share out the starts of chunks between them."""
    queue = _Queue(starts)
    workers = min(workers, len(starts))
    if workers == 1:
        work(queue)
        return
    with ThreadPoolExecutor(workers) as threads:
        running = [threads.submit(work, queue) for _ in range(workers)]
        try:
            for thread in running:
                thread.result()
        finally:
            queue.close()  # after an error or an interrupt the other threads end with the chunk in hand


class _Queue(Iterator[int]):
    """Gives each of its numbers once, to whichever thread asks first."""

    def __init__(self, numbers: range):
        self._numbers = iter(numbers)
        self._lock = threading.Lock()

    def __next__(self) -> int:
        with self._lock:
            return next(self._numbers)

    def close(self) -> None:
        """Gives nothing more."""
        with self._lock:
            self._numbers = iter(())


def _storage(job: Job, total: int) -> Ends:
    lane = job.table.take(slice(0, 1))
    one = jax.eval_shape(partial(stepper.begin, job.layout, job.objective, job.table.shared), lane, np.zeros(1, bool))
    return jax.tree.map(lambda leaf: np.empty((*leaf.shape[:-1], total), leaf.dtype), Ends.of(one))


def _run_chunks(job: Job, ends: Ends, tick: Callable[[int], None], starts: Iterator[int]) -> None:
    """One thread's work: fresh chunks, and chunks made of stragglers when there are enough or nothing else is left."""
    pool: list[tuple[np.ndarray, Progress]] = []
    shared = job.table.shared
    while True:
        waiting = sum(len(rows) for rows, _ in pool)
        start = None if waiting >= job.width else next(starts, None)
        if start is not None:
            rows = np.arange(start, min(start + job.width, len(job.table.order)))
            lane, unused = _gather(job, rows)
            progress = _begin(job.layout, job.objective, shared, job.mesh, lane, unused)
        elif waiting:
            rows, progress = _withdraw(job, pool)
            lane, unused = _gather(job, rows)
        else:
            return
        last = start is None and waiting <= job.width
        leave = np.int32(0 if last else job.leave)
        progress = _advance(job.layout, job.objective, shared, job.mesh, lane, progress, job.control, leave)
        progress = jax.tree.map(lambda leaf: np.asarray(leaf)[..., : len(rows)], progress)
        running = progress.code == RUNNING
        done = ~running
        _store(ends, rows[done], Ends.of(progress), done)
        if running.any():
            pool.append((rows[running], jax.tree.map(lambda leaf: leaf[..., running], progress)))
        tick(int(done.sum()))


def _gather(job: Job, rows: np.ndarray) -> tuple[Lane, np.ndarray]:
    """The data of some lanes, filled up to a whole chunk with copies of the first; which lanes are such copies."""
    spare = job.width - len(rows)
    contiguous = len(rows) and rows[-1] - rows[0] == len(rows) - 1
    picked = slice(rows[0], rows[-1] + 1) if contiguous and not spare else np.concatenate([rows, [rows[0]] * spare])
    return job.table.take(picked if isinstance(picked, slice) else picked.astype(int)), np.arange(job.width) >= len(
        rows
    )


def _withdraw(job: Job, pool: list[tuple[np.ndarray, Progress]]) -> tuple[np.ndarray, Progress]:
    """Takes up to one chunk of lanes out of the pool, filled up with lanes that have ended."""
    rows = np.concatenate([rows for rows, _ in pool])
    progress = jax.tree.map(lambda *leaves: np.concatenate(leaves, axis=-1), *(progress for _, progress in pool))
    pool.clear()
    if len(rows) > job.width:
        rest = jax.tree.map(lambda leaf: leaf[..., job.width :], progress)
        pool.append((rows[job.width :], rest))
        rows = rows[: job.width]
    spare = np.r_[np.arange(len(rows)), np.zeros(job.width - len(rows), int)]
    progress = jax.tree.map(lambda leaf: leaf[..., spare], progress)
    progress.code[len(rows) :] = Result.completed
    return rows, progress


def _store(ends: Ends, where: np.ndarray, values: Ends, which: np.ndarray) -> None:
    def copy(target: np.ndarray, value: np.ndarray) -> None:
        target[..., where] = value[..., which]

    jax.tree.map(copy, ends, values)


def _finish_chunks(
    job: Job, ends: Ends, out: dict[str, np.ndarray], lock: threading.Lock, starts: Iterator[int]
) -> None:
    """Observables and hitting times, chunk by chunk, into `out`."""
    total = len(job.table.order)
    for start in starts:
        rows = np.arange(start, min(start + job.width, total))
        lane, _ = _gather(job, rows)
        filled = np.r_[rows, np.full(job.width - len(rows), rows[0])]
        chunk = jax.tree.map(lambda leaf, at=filled: leaf[..., at], ends)
        found = _finish(job.layout, job.objective, job.table.shared, job.mesh, job.control.stop_at_target, lane, chunk)
        for name, value in found.items():
            with lock:
                if name not in out:
                    out[name] = np.empty((*value.shape[:-1], total))
            out[name][..., rows] = np.asarray(value)[..., : len(rows)]


@eqx.filter_jit
def _begin(
    layout: Layout, objective: Objective, shared: Shared, mesh: Mesh | None, lane: Lane, unused: Any
) -> Progress:
    return _on_devices(mesh, partial(stepper.begin, layout, objective), shared, (lane, unused))


@eqx.filter_jit
def _advance(
    layout: Layout,
    objective: Objective,
    shared: Shared,
    mesh: Mesh | None,
    lane: Lane,
    progress: Progress,
    control: Control,
    leave: Any,
) -> Progress:
    def run(replicated: Any, lane: Lane, progress: Progress) -> Progress:
        shared, control, leave = replicated
        return stepper.advance(layout, objective, shared, lane, control, progress, leave)

    return _on_devices(mesh, run, (shared, control, leave), (lane, progress))


@eqx.filter_jit
def _finish(
    layout: Layout, objective: Objective, shared: Shared, mesh: Mesh | None, stop: bool, lane: Lane, ends: Ends
) -> dict[str, Array]:
    def run(shared: Shared, lane: Lane, ends: Ends) -> dict[str, Array]:
        state = ends.state
        time = jnp.full_like(lane.t1, jnp.nan)
        if lane.goal is not None:
            time, at_hit = stepper.locate(layout, objective, shared, lane, ends.hit)
            state = jnp.where(ends.hit.found, at_hit, state) if stop else state
        return {**lanes.final(layout, shared, lane, state), "hitting_time": time, "state": state}

    return _on_devices(mesh, run, shared, (lane, ends))


def _on_devices(mesh: Mesh | None, run: Callable[..., Any], replicated: Any, sharded: tuple[Any, ...]) -> Any:
    """`run(replicated, *sharded)` on one device, or with the last axis of `sharded` split over the devices of `mesh`."""
    if mesh is None:
        return run(replicated, *sharded)

    def split(tree: Any) -> Any:
        return jax.tree.map(lambda leaf: PartitionSpec(*[None] * (leaf.ndim - 1), "lanes"), tree)

    # Each shard's loop ends by its own count: nothing is communicated, so shards do not wait for one another.
    arrays = jax.tree.map(jnp.asarray, sharded)
    whole = jax.tree.map(lambda _: PartitionSpec(), replicated)
    out = split(jax.eval_shape(run, replicated, *arrays))
    return jax.shard_map(run, mesh=mesh, in_specs=(whole, *split(arrays)), out_specs=out, check_vma=False)(
        replicated, *arrays
    )
