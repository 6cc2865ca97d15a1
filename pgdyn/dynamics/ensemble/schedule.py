"""Who runs which lanes when: chunks that fit the cache, threads or devices beside each other, stragglers pooled.

A chunk is handed back when enough of its lanes have ended. The others wait in a pool, and run on together with those of
more chunks: without it every lane of a chunk is paid for until the slowest has ended, which costs half as much again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array

from pgdyn import cores
from pgdyn.dynamics.ensemble import lanes, stepper
from pgdyn.dynamics.ensemble.lanes import Lane, Layout
from pgdyn.dynamics.ensemble.stepper import RUNNING, Control, Progress
from pgdyn.dynamics.ensemble.table import Table, take
from pgdyn.dynamics.result import Result
from pgdyn.objective import Objective
from pgdyn.problem import Problem

# Numbers in one array of a chunk on a CPU. A step touches about fifteen such arrays; so many keep them within the
# second-level cache and each fused loop below the size at which XLA splits it between threads, of which all are busy.
# (Measured on two cores: K = 5 is fastest from 256 lanes on, and smaller chunks share out better; K = 64 at 48 lanes;
# P = 8, K = 64, D = 16 with shared features at 64, where of the large arrays none is kept from stage to stage.)
_CPU_STATE = 3072
_CPU_LOGITS = 2**15
_CPU_MOST = 256
_CPU_DATA = 2**17  # numbers of per-lane features in a chunk, 1 MiB
_CPU_BLOCK = 8  # chunks to one call of a compiled program
_CPU_BLOCK_NUMBERS = 2**18  # and numbers in all of them, at most where there are several
_ACCELERATOR_STATE = 2**22
# Share of a chunk still running when it is handed back: more where a lane's step costs much beside moving the lane.
_HANDED_BACK = 0.15
_HANDED_BACK_WITH_FEATURES = 0.5


def chunk_lanes(layout: Layout, problems: Problem, platform: str) -> int:
    """Lanes of a chunk on one device: a multiple of 16, so that all lanes go through the same vector instructions."""
    outputs = problems.num_prompts * problems.num_outputs
    own = _own_numbers(layout, problems)
    if platform != "cpu":
        width = _ACCELERATOR_STATE // max(outputs, own)
    elif layout.form == "params" and not own:
        width = min(_CPU_LOGITS // outputs, _CPU_MOST)
    else:
        width = min(_CPU_STATE // outputs, _CPU_MOST, _CPU_DATA // max(own, 1))
    return max(16, width // 16 * 16)


def _own_numbers(layout: Layout, problems: Problem) -> int:
    """Numbers of features, or of their Gram matrix, that each lane has of its own."""
    if problems.features is None or problems.features.ndim < 4:
        return 0
    if layout.form == "kernel":
        return (problems.num_prompts * problems.num_outputs) ** 2
    return int(np.prod(problems.features.shape[1:]))


class Ends(NamedTuple):
    """What is kept of every lane when it ends: NumPy arrays [C, ..., L]."""

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
    block: int  # chunks handed to a compiled program at once, at most
    leave: int  # lanes of one device still running when a chunk is handed back
    ends: _Store  # of `Ends`
    found: _Store  # of what is made of them


def solve(
    layout: Layout,
    problems: Problem,
    objective: Objective,
    t1: np.ndarray,
    goal: np.ndarray | None,
    control: Control,
    tick: Callable[[int], None],
    devices: list[Any],
) -> dict[str, np.ndarray]:
    """Runs every flow of a batch; gives the fields of an `Outcome`.

    Args:
        layout: form of the state.
        problems: the batch, NumPy arrays.
        objective: what is climbed.
        t1: [N], end times.
        goal: [N], targets, or None.
        control: tolerances and budgets.
        tick: called, from any thread, with the number of lanes that have ended since its last call.
        devices: the devices to use; several split every chunk between them.
    """
    alone = len(devices) == 1 and devices[0] == jax.local_devices()[0]  # where JAX computes unasked
    mesh = None if alone else Mesh(np.array(devices), ("lanes",))
    platform = devices[0].platform
    each = chunk_lanes(layout, problems, platform)
    width = each * len(devices)
    numbers = width * (6 * problems.num_prompts * problems.num_outputs + _own_numbers(layout, problems))
    block = max(1, min(_CPU_BLOCK, _CPU_BLOCK_NUMBERS // numbers)) if platform == "cpu" else 1
    table = Table(layout, problems, objective, t1, goal, width, block)
    # Weights of [N] are in the lanes; here they would make every N a program of its own.
    common = jax.tree.map(lambda leaf: jnp.zeros(()) if np.ndim(leaf) == 1 else leaf, objective)
    weights, static = eqx.partition(common, eqx.is_array)
    programs = _programs(layout, static, mesh, platform)
    rows = table.chunks + block - 1  # as many as the table's arrays have
    share = _HANDED_BACK if layout.form == "tabular" else _HANDED_BACK_WITH_FEATURES
    job = Job(table, control, programs, weights, block, int(share * each), _Store(rows), _Store(rows))
    workers = cores.count() if alone and platform == "cpu" else 1
    _share_out(workers, partial(_run_blocks, job, tick), table.chunks, block)
    # Without hitting times there is so little to do that threads would only wait for one another.
    _share_out(1 if goal is None else workers, partial(_finish_blocks, job), table.chunks, block)
    ends: Ends = job.ends.tree
    fields = {"steps": ends.tried, "result": ends.code, **job.found.tree}
    return table.restore({name: values[: table.chunks] for name, values in fields.items()})


def _share_out(workers: int, work: Callable[[_Queue], None], chunks: int, most: int) -> None:
    """`work(queue)` in up to `workers` threads, which share out the chunks between them.

    An error in one of them, or an interrupt, closes the queue: the others end with what they have in hand.
    """
    workers = min(workers, chunks)
    queue = _Queue(chunks, most, workers)
    cores.together(partial(work, queue), workers, queue.close)


class _Queue(Iterator[tuple[int, int]]):
    """Gives each chunk once, to whichever thread asks first: runs of them (first, count), shorter towards the end."""

    def __init__(self, chunks: int, most: int, workers: int):
        self.closed = False
        self._next, self._chunks, self._most, self._workers = 0, chunks, most, workers
        self._lock = threading.Lock()

    def __next__(self) -> tuple[int, int]:
        with self._lock:
            left = self._chunks - self._next
            if self.closed or left == 0:
                raise StopIteration
            fair = left if self._workers == 1 else max(1, left // (2 * self._workers))
            first, count = self._next, min(self._most, fair)
            self._next += count
            return first, count

    def close(self) -> None:
        """Gives nothing more."""
        with self._lock:
            self.closed = True


class _Store:
    """Trees of arrays [C, ..., L], filled by several threads; the first to come makes room for all."""

    def __init__(self, chunks: int):
        self.tree: Any = None
        self._chunks = chunks
        self._lock = threading.Lock()

    def put(self, first: int, count: int, block: Any) -> None:
        """Whole chunks, the first `count` of a block."""
        with self._lock:
            if self.tree is None:
                self.tree = jax.tree.map(lambda leaf: np.empty((self._chunks, *leaf.shape[1:]), leaf.dtype), block)

        def copy(target: np.ndarray, values: np.ndarray) -> None:
            target[first : first + count] = np.asarray(values)[:count]

        jax.tree.map(copy, self.tree, block)

    def put_lanes(self, chunk: np.ndarray, lane: np.ndarray, values: Any) -> None:
        """Single lanes, of arrays [..., len(lane)]."""

        def copy(target: np.ndarray, values: np.ndarray) -> None:
            target[chunk, ..., lane] = np.moveaxis(values, -1, 0)

        jax.tree.map(copy, self.tree, values)


def _run_blocks(job: Job, tick: Callable[[int], None], queue: _Queue) -> None:
    """One thread's work: fresh chunks, and chunks made of stragglers when there are enough or nothing else is left."""
    pool: list[tuple[np.ndarray, Progress]] = []
    while not queue.closed:
        waiting = sum(len(rows) for rows, _ in pool)
        fresh = None if waiting >= job.table.width else next(queue, None)
        if fresh is not None:
            rows, progress, done = _launch(job, *fresh)
        elif waiting:
            rows, progress, done = _advance(job, pool)
        else:
            return
        if len(rows):
            pool.append((rows, progress))
        tick(done)


def _launch(job: Job, first: int, count: int) -> tuple[np.ndarray, Progress, int]:
    """Runs fresh chunks until enough of their lanes have ended; the lanes that have not, and how many have."""
    lane, unused = job.table.view(first, job.block)
    common = (job.weights, job.table.shared, job.control, np.int32(job.leave), np.int32(count))
    progress = jax.tree.map(np.asarray, job.programs.launch(common, lane, unused))
    job.ends.put(first, count, Ends.of(progress))
    chunk, lanes = np.nonzero(progress.code[:count] == RUNNING)
    done = count * job.table.width - int(np.count_nonzero(unused[:count])) - len(lanes)
    return (first + chunk) * job.table.width + lanes, take(progress, chunk, lanes), done


def _advance(job: Job, pool: list[tuple[np.ndarray, Progress]]) -> tuple[np.ndarray, Progress, int]:
    """The same for one chunk of stragglers, which it takes out of the pool."""
    # As wide as a fresh chunk: a loop over fewer lanes is compiled otherwise, and may round otherwise.
    width = job.table.width
    last = sum(len(rows) for rows, _ in pool) <= width
    rows, progress = _withdraw(pool, width)
    lane = job.table.take(np.append(rows, np.full(width - len(rows), rows[0])))
    common = (job.weights, job.table.shared, job.control, np.int32(0 if last else job.leave))
    progress = jax.tree.map(np.asarray, job.programs.advance(common, lane, progress))
    progress = _lanes_of(progress, slice(len(rows)))
    running = np.asarray(progress.code) == RUNNING
    job.ends.put_lanes(*np.divmod(rows, width), Ends.of(progress))
    return rows[running], _lanes_of(progress, running), len(rows) - int(np.count_nonzero(running))


def _lanes_of(progress: Progress, which: np.ndarray | slice) -> Progress:
    return jax.tree.map(lambda leaf: leaf[..., which], progress)


def _withdraw(pool: list[tuple[np.ndarray, Progress]], most: int) -> tuple[np.ndarray, Progress]:
    """Takes up to `most` lanes out of the pool, filled up with lanes that have ended."""
    rows = np.concatenate([rows for rows, _ in pool])
    progress = jax.tree.map(lambda *leaves: np.concatenate(leaves, axis=-1), *(progress for _, progress in pool))
    pool.clear()
    if len(rows) > most:
        pool.append((rows[most:], _lanes_of(progress, slice(most, None))))
        rows = rows[:most]
    progress = _lanes_of(progress, np.append(np.arange(len(rows)), np.zeros(most - len(rows), int)))
    progress.code[len(rows) :] = Result.completed
    return rows, progress


def _finish_blocks(job: Job, queue: _Queue) -> None:
    """Observables and hitting times of chunks that have ended."""
    for first, count in queue:
        lane, _ = job.table.view(first, job.block)
        ends = jax.tree.map(lambda leaf, part=slice(first, first + job.block): leaf[part], job.ends.tree)
        common = (job.weights, job.table.shared, np.int32(count))
        job.found.put(first, count, job.programs.finish(common, lane, ends))


@lru_cache(maxsize=256)
def _programs(layout: Layout, static: Objective, mesh: Mesh | None, platform: str) -> _Programs:
    """Compiled once for each kind of call; plain `jax.jit`, whose dispatch is the quickest, runs once a block."""

    def launch(common: Any, lane: Lane, unused: Array) -> Progress:
        def run(common: Any, lane: Lane, unused: Array) -> Progress:
            weights, shared, control, leave, count = common
            objective = eqx.combine(weights, static)

            def chunk(lane: Lane, unused: Array) -> Progress:
                progress = stepper.begin(layout, objective, shared, lane, unused)
                return stepper.advance(layout, objective, shared, lane, control, progress, leave)

            return _each_chunk(chunk, count, lane, unused)

        return _on_devices(mesh, run, common, (lane, unused))

    def advance(common: Any, lane: Lane, progress: Progress) -> Progress:
        def run(common: Any, lane: Lane, progress: Progress) -> Progress:
            weights, shared, control, leave = common
            return stepper.advance(layout, eqx.combine(weights, static), shared, lane, control, progress, leave)

        return _on_devices(mesh, run, common, (lane, progress))

    def finish(common: Any, lane: Lane, ends: Ends) -> dict[str, Array]:
        def run(common: Any, lane: Lane, ends: Ends) -> dict[str, Array]:
            weights, shared, count = common

            def chunk(lane: Lane, ends: Ends) -> dict[str, Array]:
                state = ends.state
                time = jnp.full_like(lane.t1, jnp.nan)
                if lane.goal is not None:
                    time, at_hit = stepper.locate(layout, eqx.combine(weights, static), shared, lane, ends.hit, layout.stop)
                    state = jnp.where(lanes.spread(ends.hit.found, state), at_hit, state) if layout.stop else state
                return {**lanes.final(layout, shared, lane, state), "hitting_time": time, "state": state}

            return _each_chunk(chunk, count, lane, ends)

        return _on_devices(mesh, run, common, (lane, ends))

    options = _compiler_options(platform)
    return _Programs(*(jax.jit(program, compiler_options=options) for program in (launch, advance, finish)))


def _each_chunk(run: Callable[..., Any], count: Array, *blocks: Any) -> Any:
    """`run` on each of the first `count` chunks of arrays [B, ..., L], one after the other; zeros for the others."""
    size = jax.tree.leaves(blocks)[0].shape[0]
    if size == 1:
        return jax.tree.map(lambda leaf: leaf[None], run(*jax.tree.map(lambda leaf: leaf[0], blocks)))

    def body(i: Array, out: Any) -> Any:
        found = run(*jax.tree.map(lambda leaf: jax.lax.dynamic_index_in_dim(leaf, i, keepdims=False), blocks))
        return jax.tree.map(lambda all, new: jax.lax.dynamic_update_index_in_dim(all, new, i, 0), out, found)

    one = jax.eval_shape(run, *jax.tree.map(lambda leaf: leaf[0], blocks))
    empty = jax.tree.map(lambda leaf: jnp.zeros((size, *leaf.shape), leaf.dtype), one)
    return jax.lax.fori_loop(jnp.zeros_like(count), count, body, empty)


@lru_cache
def _compiler_options(platform: str) -> dict[str, Any] | None:
    """How the compiled programs are made faster on a CPU, with the same results but for rounding.

    Vectors of 512 bits where it has them: by XLA's default of 256 the loop takes a third longer. And optimisation
    barriers that fusion respects, where XLA:CPU drops them first: without those of `stepper` each stage computes all
    earlier slopes anew, and a step takes a fifth longer. None elsewhere, and under versions of XLA that know no such
    options.
    """
    if platform != "cpu":
        return None
    options = {"xla_cpu_prefer_vector_width": 512, "xla_disable_hlo_passes": "cse_barrier_expander"}
    try:
        jax.jit(jax.lax.optimization_barrier, compiler_options=options).lower(1.0).compile()
    except Exception:  # whatever a version raises: without the options it is only slower
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
