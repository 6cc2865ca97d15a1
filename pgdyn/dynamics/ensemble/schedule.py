"""Who runs which lanes when: chunks that fit the cache, threads or devices beside each other, stragglers pooled.

A chunk is handed back when most of its lanes have ended. The rest wait in a pool, and run on together with the rest of
other chunks: without it every lane of a chunk is paid for until the slowest has ended, which costs half as much again.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, NamedTuple

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

# Numbers in one array of a chunk on a CPU. A step touches about fifteen such arrays; so many keep them within the
# second-level cache and each fused loop below the size at which XLA splits it between threads, of which all are busy.
# (Measured on two cores: K = 5 is fastest from 320 lanes on, and smaller chunks share out better; K = 64 at 48 lanes;
# P = 8, K = 64, D = 16 with shared features at 64, where of the large arrays none is kept from stage to stage.)
_CPU_STATE = 3072
_CPU_LOGITS = 2**15
_CPU_MOST = 320
_CPU_DATA = 2**17  # numbers of per-lane features in a chunk, 1 MiB
_ACCELERATOR_STATE = 2**22
_HANDED_BACK = 0.15  # share of a chunk still running when it is handed back


def chunk_lanes(layout: Layout, table: Table, platform: str) -> int:
    """Lanes of a chunk on one device: a multiple of 16, so that all lanes go through the same vector instructions."""
    lane = table.lane
    outputs = lane.problem.true_reward[..., 0].size
    own = sum(array[..., 0].size for array in (lane.features, lane.gram) if array is not None)
    if platform != "cpu":
        width = _ACCELERATOR_STATE // max(outputs, own)
    elif layout.form == "params" and not own:
        width = min(_CPU_LOGITS // outputs, _CPU_MOST)
    else:
        width = min(_CPU_STATE // outputs, _CPU_MOST, _CPU_DATA // max(own, 1))
    return max(16, width // 16 * 16)


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


class _Programs(NamedTuple):
    """The compiled parts of a call; their first arguments are the objective's weights and what lanes share."""

    launch: Callable[..., Progress]
    advance: Callable[..., Progress]
    finish: Callable[..., dict[str, Array]]


@dataclass(frozen=True)
class Job:
    """What the threads of one call have in common."""

    table: Table
    control: Control
    programs: _Programs
    weights: Objective  # the objective's arrays
    width: int  # lanes of a chunk, over all devices
    leave: int  # lanes of one device still running when a chunk is handed back


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
    alone = len(devices) == 1 and devices[0] == jax.local_devices()[0]  # where JAX computes unasked
    mesh = None if alone else Mesh(np.array(devices), ("lanes",))
    lanes_each = chunk_lanes(layout, table, devices[0].platform)
    width = lanes_each * len(devices)
    # Weights of [N] are in the lanes; here they would make every N a program of its own.
    common = jax.tree.map(lambda leaf: jnp.zeros(()) if np.ndim(leaf) == 1 else leaf, objective)
    weights, static = eqx.partition(common, eqx.is_array)
    programs = _programs(layout, static, mesh, control.stop_at_target, devices[0].platform)
    job = Job(table, control, programs, weights, width, int(_HANDED_BACK * lanes_each))
    workers = _cores() if alone and devices[0].platform == "cpu" else 1
    total = len(table.order)
    ends = _storage(job, total)
    _in_threads(workers, partial(_run_chunks, job, ends, tick), range(0, total, width))
    out: dict[str, np.ndarray] = {"steps": ends.tried, "result": ends.code}
    _in_threads(workers, partial(_finish_chunks, job, ends, out, threading.Lock()), range(0, total, width))
    return out


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _in_threads(workers: int, work: Callable[[_Queue], None], starts: range) -> None:
    """`work(starts)` in up to `workers` threads, which share out the starts of chunks between them.

    An error in one of them, or an interrupt, closes the queue: the others end with the chunk in hand.
    """
    queue = _Queue(starts)
    workers = min(workers, len(starts))
    if workers == 1:
        work(queue)
        return

    def run() -> None:
        try:
            work(queue)
        except BaseException:
            queue.close()
            raise

    with ThreadPoolExecutor(workers) as threads:
        running = [threads.submit(run) for _ in range(workers)]
        try:
            for thread in running:
                thread.result()
        finally:
            queue.close()


class _Queue(Iterator[int]):
    """Gives each of its numbers once, to whichever thread asks first."""

    def __init__(self, numbers: range):
        self.closed = False
        self._numbers = iter(numbers)
        self._lock = threading.Lock()

    def __next__(self) -> int:
        with self._lock:
            return next(self._numbers)

    def close(self) -> None:
        """Gives nothing more."""
        with self._lock:
            self.closed = True
            self._numbers = iter(())


def _storage(job: Job, total: int) -> Ends:
    rows = np.zeros(job.width, int)
    lane, leave = job.table.take(rows), np.int32(0)
    one = jax.eval_shape(job.programs.launch, job.weights, job.table.shared, lane, rows == 0, job.control, leave)
    return jax.tree.map(lambda leaf: np.empty((*leaf.shape[:-1], total), leaf.dtype), Ends.of(one))


def _run_chunks(job: Job, ends: Ends, tick: Callable[[int], None], starts: _Queue) -> None:
    """One thread's work: fresh chunks, and chunks made of stragglers when there are enough or nothing else is left."""
    pool: list[tuple[np.ndarray, Progress]] = []
    shared = job.table.shared
    while not starts.closed:
        waiting = sum(len(rows) for rows, _ in pool)
        start = None if waiting >= job.width else next(starts, None)
        if start is not None:
            rows = np.arange(start, min(start + job.width, len(job.table.order)))
            lane, unused = _gather(job, rows)
            progress = job.programs.launch(job.weights, shared, lane, unused, job.control, np.int32(job.leave))
        elif waiting:
            rows, progress = _withdraw(job, pool)
            lane, _ = _gather(job, rows)
            leave = np.int32(0 if waiting <= job.width else job.leave)
            progress = job.programs.advance(job.weights, shared, lane, progress, job.control, leave)
        else:
            return
        progress = _lanes_of(progress, slice(len(rows)))
        running = np.asarray(progress.code == RUNNING)
        done = ~running
        _store(ends, rows[done], Ends.of(progress), done)
        if running.any():
            pool.append((rows[running], _lanes_of(progress, running)))
        tick(int(done.sum()))


def _lanes_of(progress: Progress, which: np.ndarray | slice) -> Progress:
    return jax.tree.map(lambda leaf: np.asarray(leaf)[..., which], progress)


def _gather(job: Job, rows: np.ndarray) -> tuple[Lane, np.ndarray]:
    """The data of some lanes, filled up to a whole chunk with copies of the first; which lanes are such copies."""
    spare = job.width - len(rows)
    if not spare and (np.diff(rows) == 1).all():
        picked = slice(rows[0], rows[-1] + 1)  # a view, where an index would copy
    else:
        picked = np.r_[rows, np.full(spare, rows[0])]
    return job.table.take(picked), np.arange(job.width) >= len(rows)


def _withdraw(job: Job, pool: list[tuple[np.ndarray, Progress]]) -> tuple[np.ndarray, Progress]:
    """Takes up to one chunk of lanes out of the pool, filled up with lanes that have ended."""
    rows = np.concatenate([rows for rows, _ in pool])
    progress = jax.tree.map(lambda *leaves: np.concatenate(leaves, axis=-1), *(progress for _, progress in pool))
    pool.clear()
    if len(rows) > job.width:
        pool.append((rows[job.width :], _lanes_of(progress, slice(job.width, None))))
        rows = rows[: job.width]
    filled = np.r_[np.arange(len(rows)), np.zeros(job.width - len(rows), int)]
    progress = _lanes_of(progress, filled)
    progress.code[len(rows) :] = Result.completed
    return rows, progress


def _store(ends: Ends, where: np.ndarray, values: Ends, which: np.ndarray) -> None:
    def copy(target: np.ndarray, value: np.ndarray) -> None:
        target[..., where] = value[..., which]

    jax.tree.map(copy, ends, values)


def _finish_chunks(job: Job, ends: Ends, out: dict[str, np.ndarray], lock: threading.Lock, starts: _Queue) -> None:
    """Observables and hitting times, chunk by chunk, into `out`."""
    total = len(job.table.order)
    for start in starts:
        rows = np.arange(start, min(start + job.width, total))
        lane, _ = _gather(job, rows)
        filled = np.r_[rows, np.full(job.width - len(rows), rows[0])]
        chunk = jax.tree.map(lambda leaf, at=filled: leaf[..., at], ends)
        found = job.programs.finish(job.weights, job.table.shared, lane, chunk)
        for name, value in found.items():
            with lock:
                if name not in out:
                    out[name] = np.empty((*value.shape[:-1], total))
            out[name][..., rows] = np.asarray(value)[..., : len(rows)]


@lru_cache(maxsize=256)
def _programs(layout: Layout, static: Objective, mesh: Mesh | None, stop: bool, platform: str) -> _Programs:
    """Compiled once for each kind of call; plain `jax.jit`, whose dispatch is the quickest, runs once a chunk."""

    def launch(
        weights: Objective, shared: Shared, lane: Lane, unused: Array, control: Control, leave: Array
    ) -> Progress:
        def run(replicated: Any, lane: Lane, unused: Array) -> Progress:
            weights, shared, control, leave = replicated
            objective = eqx.combine(weights, static)
            progress = stepper.begin(layout, objective, shared, lane, unused)
            return stepper.advance(layout, objective, shared, lane, control, progress, leave)

        return _on_devices(mesh, run, (weights, shared, control, leave), (lane, unused))

    def advance(
        weights: Objective, shared: Shared, lane: Lane, progress: Progress, control: Control, leave: Array
    ) -> Progress:
        def run(replicated: Any, lane: Lane, progress: Progress) -> Progress:
            weights, shared, control, leave = replicated
            return stepper.advance(layout, eqx.combine(weights, static), shared, lane, control, progress, leave)

        return _on_devices(mesh, run, (weights, shared, control, leave), (lane, progress))

    def finish(weights: Objective, shared: Shared, lane: Lane, ends: Ends) -> dict[str, Array]:
        def run(replicated: Any, lane: Lane, ends: Ends) -> dict[str, Array]:
            weights, shared = replicated
            state = ends.state
            time = jnp.full_like(lane.t1, jnp.nan)
            if lane.goal is not None:
                time, at_hit = stepper.locate(layout, eqx.combine(weights, static), shared, lane, ends.hit, stop)
                state = jnp.where(lanes.spread(ends.hit.found, state), at_hit, state) if stop else state
            return {**lanes.final(layout, shared, lane, state), "hitting_time": time, "state": state}

        return _on_devices(mesh, run, (weights, shared), (lane, ends))

    options = _compiler_options(platform)
    return _Programs(*(jax.jit(program, compiler_options=options) for program in (launch, advance, finish)))


@lru_cache
def _compiler_options(platform: str) -> dict[str, Any] | None:
    """Vectors of 512 bits where the CPU has them; by XLA's default of 256 the loop takes a third longer.

    None elsewhere, and under versions of XLA that know no such option.
    """
    if platform != "cpu":
        return None
    options = {"xla_cpu_prefer_vector_width": 512}
    try:
        jax.jit(jnp.negative, compiler_options=options).lower(1.0).compile()
    except Exception:  # whatever a version raises: without the option it is only slower
        return None
    return options


def _on_devices(mesh: Mesh | None, run: Callable[..., Any], replicated: Any, sharded: tuple[Any, ...]) -> Any:
    """`run(replicated, *sharded)` where JAX computes unasked, or with the lanes of `sharded` split over a mesh."""
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
