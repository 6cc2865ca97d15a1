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
from pgdyn.dynamics.ensemble import stepper
from pgdyn.dynamics.ensemble.lanes import UNUSED, Lane, Layout, Shared
from pgdyn.dynamics.ensemble.packing import Packing
from pgdyn.dynamics.ensemble.stepper import RUNNING, Control, Progress
from pgdyn.dynamics.ensemble.table import Table
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


class _Programs(NamedTuple):
    """The compiled parts of a call, which give packed `stands`: how lanes stand and what is found of them.

    Their first arguments are the objective's weights, what lanes share, tolerances and how many lanes may be left.
    """

    launch: Callable[..., Array]
    advance: Callable[..., Array]
    stands: Packing


@dataclass(frozen=True)
class Job:
    """What the threads of one call have in common."""

    table: Table
    control: Control
    programs: _Programs
    weights: Objective  # the objective's arrays
    block: int  # chunks handed to a compiled program at once, at most
    leave: int  # lanes of one device still running when a chunk is handed back
    found: _Found


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
    table = Table(layout, problems, objective, t1, goal, width)
    # Weights of [N] are in the lanes; here they would make every N a program of its own.
    common = jax.tree.map(lambda leaf: jnp.zeros(()) if np.ndim(leaf) == 1 else leaf, objective)
    weights, static = eqx.partition(common, eqx.is_array)
    programs = _programs(layout, static, mesh, platform, table.packing, _structure((weights, table.shared)))
    share = _HANDED_BACK if layout.form == "tabular" else _HANDED_BACK_WITH_FEATURES
    found = _Found(table.order, programs.stands.structs[1])
    job = Job(table, control, programs, weights, block, int(share * each), found)
    workers = cores.count() if alone and platform == "cpu" else 1
    _share_out(workers, partial(_run_blocks, job, tick), table.chunks, block)
    return {**found.arrays, "params": table.params(found.arrays["params"])}


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
            # A single chunk takes hardly longer than handing it out; but no thread should go without.
            least = min(2, -(-left // self._workers))
            fair = left if self._workers == 1 else max(least, left // (2 * self._workers))
            first, count = self._next, min(self._most, fair)
            self._next += count
            return first, count

    def close(self) -> None:
        """Gives nothing more."""
        with self._lock:
            self.closed = True


class _Found:
    """What is found of every problem: arrays [N, ...], filled by several threads."""

    def __init__(self, order: np.ndarray, found: dict[str, jax.ShapeDtypeStruct]):
        self._order = order
        self.arrays = {name: np.empty((len(order), *one.shape[:-1]), one.dtype) for name, one in found.items()}

    def put(self, lanes: np.ndarray, values: dict[str, np.ndarray]) -> None:
        """What is found of some lanes, arrays [len(lanes), ...]; there may be more values than lanes."""
        problems = self._order[lanes]
        for name, array in values.items():
            self.arrays[name][problems] = array[: len(problems)]


class _Waiting(NamedTuple):
    """Lanes that were handed back."""

    numbers: np.ndarray  # [n]
    lane: np.ndarray  # [R, n], packed
    stands: np.ndarray  # [R', n], packed


def _run_blocks(job: Job, tick: Callable[[int], None], queue: _Queue) -> None:
    """One thread's work: fresh chunks, and chunks made of stragglers when there are enough or nothing else is left."""
    pool: list[_Waiting] = []
    while not queue.closed:
        waiting = sum(len(lanes.numbers) for lanes in pool)
        fresh = None if waiting >= job.table.width else next(queue, None)
        if fresh is not None:
            handed_back, done = _launch(job, *fresh)
        elif waiting:
            handed_back, done = _advance(job, pool)
        else:
            return
        if len(handed_back.numbers):
            pool.append(handed_back)
        tick(done)


def _launch(job: Job, first: int, count: int) -> tuple[_Waiting, int]:
    """Runs fresh chunks until enough of their lanes have ended; the lanes that have not, and how many have."""
    width = job.table.width
    lane = job.table.block(first, count, job.block)
    common = (job.weights, job.table.shared, job.control, np.int32(job.leave))
    stands = np.asarray(job.programs.launch(common, np.int32(count), lane))[:count]
    progress, found = job.programs.stands.unpack(stands)
    numbers = np.arange(first * width, min((first + count) * width, len(job.table.order)))
    by_lane = {name: np.moveaxis(array, -1, 1).reshape(-1, *array.shape[1:-1]) for name, array in found.items()}
    job.found.put(numbers, by_lane)
    chunk, place = np.nonzero(progress.code == RUNNING)
    running = (chunk, slice(None), place)
    return _Waiting((first + chunk) * width + place, lane[running].T, stands[running].T), len(numbers) - len(chunk)


def _advance(job: Job, pool: list[_Waiting]) -> tuple[_Waiting, int]:
    """The same for one chunk of stragglers, which it takes out of the pool."""
    # As wide as a fresh chunk: a loop over fewer lanes is compiled otherwise, and may round otherwise.
    lanes = _withdraw(pool, job.table.width)
    count = len(lanes.numbers)
    common = (job.weights, job.table.shared, job.control, np.int32(job.leave if pool else 0))
    # Unpacked, as taking so many arrays apart is what hands work to other threads.
    lane, (progress, _) = job.table.packing.unpack(lanes.lane), job.programs.stands.unpack(lanes.stands)
    stands = np.asarray(job.programs.advance(common, lane, progress))[:, :count]
    progress, found = job.programs.stands.unpack(stands)
    job.found.put(lanes.numbers, {name: np.moveaxis(array, -1, 0) for name, array in found.items()})
    running = np.nonzero(progress.code == RUNNING)[0]
    return _Waiting(lanes.numbers[running], lanes.lane[:, running], stands[:, running]), count - len(running)


def _withdraw(pool: list[_Waiting], width: int) -> _Waiting:
    """Takes up to `width` lanes out of the pool; their arrays are filled up with unused copies of the first."""
    lanes = _Waiting(*(np.concatenate(parts, axis=-1) for parts in zip(*pool, strict=True)))
    pool.clear()
    if len(lanes.numbers) > width:
        pool.append(_Waiting(*(part[..., width:] for part in lanes)))
    count = min(len(lanes.numbers), width)
    places = np.where(np.arange(width) < count, np.arange(width), 0)
    taken = _Waiting(lanes.numbers[:width], lanes.lane[:, places], lanes.stands[:, places])
    taken.lane[UNUSED, count:] = True
    return taken


def _structure(tree: Any) -> tuple[Any, tuple[tuple[tuple[int, ...], Any], ...]]:
    """Shapes and types of a tree, hashable."""
    leaves, treedef = jax.tree.flatten(tree)
    return treedef, tuple((np.shape(leaf), np.dtype(leaf.dtype)) for leaf in leaves)


@lru_cache(maxsize=4096)
def _programs(
    layout: Layout, static: Objective, mesh: Mesh | None, platform: str, lanes: Packing, constants: Any
) -> _Programs:
    """Compiled once for each kind of call; plain `jax.jit`, whose dispatch is the quickest, runs once a block."""

    def to_the_end(common: Any, lane: Lane, progress: Progress) -> tuple[Progress, dict[str, Array]]:
        weights, shared, control, leave = common
        objective = eqx.combine(weights, static)
        progress = stepper.advance(layout, objective, shared, lane, control, progress, leave)
        # Set apart from what comes before, lest it be compiled otherwise for lanes that were handed back.
        return progress, stepper.finish(layout, objective, shared, *jax.lax.optimization_barrier((lane, progress)))

    def from_the_start(common: Any, lane: Lane) -> tuple[Progress, dict[str, Array]]:
        weights, shared, *_ = common
        return to_the_end(common, lane, stepper.begin(layout, eqx.combine(weights, static), shared, lane))

    def at_once(weights: Objective, shared: Shared, lane: Lane) -> tuple[Progress, dict[str, Array]]:
        objective = eqx.combine(weights, static)
        progress = stepper.begin(layout, objective, shared, lane)
        return progress, stepper.finish(layout, objective, shared, lane, progress)

    def launch(common: Any, count: Array, block: Array) -> Array:
        def run(given: Any, block: Array) -> Array:
            common, count = given
            return _each_chunk(
                lambda lane: stands.pack(from_the_start(common, lanes.unpack(lane))), stands.rows, count, block
            )

        return _on_devices(mesh, run, (common, count), (block,))

    def advance(common: Any, lane: Lane, progress: Progress) -> Array:
        def run(common: Any, lane: Lane, progress: Progress) -> Array:
            return stands.pack(to_the_end(common, lane, stepper.resume(lane, progress)))

        return _on_devices(mesh, run, common, (lane, progress))

    treedef, leaves = constants
    weights, shared = jax.tree.unflatten(treedef, [jax.ShapeDtypeStruct(*leaf) for leaf in leaves])
    stands = Packing.of(jax.eval_shape(at_once, weights, shared, lanes.structs))
    options = _compiler_options(platform)
    return _Programs(jax.jit(launch, compiler_options=options), jax.jit(advance, compiler_options=options), stands)


def _each_chunk(run: Callable[[Array], Array], rows: int, count: Array, block: Array) -> Array:
    """`run`, which gives [rows, L], on each of the first `count` arrays of a block in turn; zeros for the others."""
    if len(block) == 1:
        return run(block[0])[None]

    def body(i: Array, out: Array) -> Array:
        found = run(jax.lax.dynamic_index_in_dim(block, i, keepdims=False))
        return jax.lax.dynamic_update_index_in_dim(out, found, i, 0)

    return jax.lax.fori_loop(jnp.zeros_like(count), count, body, jnp.zeros((len(block), rows, block.shape[-1])))


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
