"""Who runs which lanes when: lanes dealt into hands, cores or devices beside each other, stragglers passed on.

The lanes of a batch, ordered by predicted difficulty, are dealt like cards: hands of which each is a fair sample of the
batch, its hardest lanes first. A core takes one after the other, and runs each as a block of a compiled program
(`program`). The few lanes of a block that take longest are handed back and go on with the next: none holds up others.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from pgdyn import cores
from pgdyn.dynamics.ensemble import program
from pgdyn.dynamics.ensemble.lanes import Layout
from pgdyn.dynamics.ensemble.packing import Packing
from pgdyn.dynamics.ensemble.program import Common, Program
from pgdyn.dynamics.ensemble.stepper import RUNNING, Control
from pgdyn.dynamics.ensemble.table import Table
from pgdyn.objective import Objective
from pgdyn.problem import Problem


class Size(NamedTuple):
    """How many lanes go together on one device.

    Attributes:
        places: lanes that are stepped at once.
        block: lanes that one call of a compiled program has, at most; a multiple of `places`.
        leave: lanes that it hands back, at most; not all of `places`.
        least: fresh lanes that are worth a call.
    """

    places: int
    block: int
    leave: int
    least: int


# Measured on cores of 48 KiB first-level and 2 MiB second-level cache. In one kernel XLA writes loops over so few lanes
# out, and steps 64 with up to 8 logits, or 48 with more, a quarter faster than many. As a kernel for each operation a
# step touches about fifteen arrays: so many numbers in one of them keep all within the second-level cache, and each
# kernel below the size at which XLA splits it between threads, of which all are busy. K = 64 is fastest at 48 lanes;
# P = 8, K = 64, D = 16 with shared features at 64, where of the large arrays none is kept from stage to stage.
_FUSED_FEW = 8
_FUSED_PLACES, _FUSED_PLACES_FEW = 48, 64
_STATE = 3072
_LOGITS = 2**15
_MOST = 64
_DATA = 2**17  # numbers of per-lane features in all places, 1 MiB
_BLOCK = 32  # times the places, at most
_BLOCK_DATA = 2**20  # numbers of a block's lanes, where it is more than twice the places
_LEAVE = 0.5  # of the places
_LEAST, _LEAST_FUSED = 1, 8  # times the places: what a call costs on the host is little beside it
_ACCELERATOR_STATE = 2**22
_ACCELERATOR_LEAVE = 0.15
_STRIDES = 100  # looked at, at most
_ALIGNMENT = 64  # bytes; XLA:CPU computes on NumPy arrays that begin at a multiple of it, and copies others


def choose_size(layout: Layout, problems: Problem, platform: str) -> Size:
    """Lanes that go together, places in multiples of 16, so that all go through the same vector instructions."""
    outputs = problems.num_prompts * problems.num_outputs
    own = _own_numbers(layout, problems)
    if platform != "cpu":
        # Room for all, lest places be changed, which is done one by one; by powers of 2, lest every N be compiled anew.
        most = _ACCELERATOR_STATE // max(outputs, own)
        places = max(16, min(most // 16 * 16, 1 << (len(problems) - 1).bit_length()))
        return Size(places, places, int(_ACCELERATOR_LEAVE * places), places)
    if layout.fused:
        places = _FUSED_PLACES_FEW if outputs <= _FUSED_FEW else _FUSED_PLACES
    elif layout.form == "params" and not own:
        places = max(16, min(_LOGITS // outputs, _MOST) // 16 * 16)
    else:
        places = max(16, min(_STATE // outputs, _DATA // max(own, 1), _MOST) // 16 * 16)
    block = places * max(2, min(_BLOCK, _BLOCK_DATA // (places * (6 * outputs + own))))
    return Size(places, block, int(_LEAVE * places), places * (_LEAST_FUSED if layout.fused else _LEAST))


def _own_numbers(layout: Layout, problems: Problem) -> int:
    """Numbers of features, or of their Gram matrix, that each lane has of its own."""
    if problems.features is None or problems.features.ndim < 4:
        return 0
    if layout.form == "kernel":
        return (problems.num_prompts * problems.num_outputs) ** 2
    return int(np.prod(problems.features.shape[1:]))


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
        devices: the devices to use; several split every block between them.
    """
    alone = len(devices) == 1 and devices[0] == jax.local_devices()[0]  # where JAX computes unasked
    mesh = None if alone else Mesh(np.array(devices), ("lanes",))
    platform = devices[0].platform
    size = choose_size(layout, problems, platform)
    table = Table(layout, problems, objective, t1, goal)
    # Weights of [N] are in the lanes; here they would make every N a program of its own.
    common = jax.tree.map(lambda leaf: jnp.zeros(()) if np.ndim(leaf) == 1 else leaf, objective)
    weights, static = eqx.partition(common, eqx.is_array)
    constants = program.structure((weights, table.shared))
    made = program.compiled(layout, static, table.packing, size.places, mesh, platform, constants)
    found = _Found(table.order, made.found)
    job = Job(table, Common(weights, table.shared, control, None), made, size, len(devices), found)
    workers = cores.count() if alone and platform == "cpu" else 1
    most = len(devices) * (size.block - size.leave)
    _share_out(workers, partial(_play, job, tick), len(table.order), len(devices) * size.least, most)
    return {**found.arrays, "params": table.params(found.arrays["params"])}


@dataclass(frozen=True)
class Job:
    """What the threads of one call have in common."""

    table: Table
    common: Common
    program: Program
    size: Size
    devices: int
    found: _Found


def _share_out(workers: int, work: Callable[[_Hands], None], lanes: int, least: int, most: int) -> None:
    """`work(hands)` in up to `workers` threads, which take the hands between them.

    An error in one of them, or an interrupt, closes the hands: the others end with what they hold.
    """
    hands = _Hands(lanes, least, most, workers)
    cores.together(partial(work, hands), min(workers, lanes), hands.close)


class _Hands(Iterator[np.ndarray]):
    """Deals lanes into hands, and gives each once, to whichever thread asks first: arrays of their numbers, ascending.

    Any hand is spread evenly over all lanes: multiples of N over the golden ratio are, wherever they begin and end.
    Hands are shorter towards the end, lest one thread be left with work when the others have none.
    """

    def __init__(self, lanes: int, least: int, most: int, workers: int):
        """Of lanes 0 to `lanes` - 1, for so many threads, by `least` to `most` of them."""
        self.closed = False
        self._left, self._lanes, self._workers = lanes, lanes, workers
        self._least, self._most = min(least, most, -(-lanes // workers)), most
        self._stride = even_stride(lanes)
        self._lock = threading.Lock()

    def __next__(self) -> np.ndarray:
        with self._lock:
            if self.closed or self._left == 0:
                raise StopIteration
            share = self._left if self._workers == 1 else self._left // (2 * self._workers)
            stop = self._left
            self._left -= min(max(self._least, share), self._most, stop)
            start = self._left
        return np.sort(np.arange(start, stop) * self._stride % self._lanes)

    @property
    def last(self) -> bool:
        """Whether too few are left for every thread to get another."""
        return self._left < self._workers * self._least

    def close(self) -> None:
        """Gives nothing more."""
        self.closed = True


@lru_cache
def even_stride(lanes: int) -> int:
    """A number without common divisor with N whose successive multiples, mod N, are spread evenly at every moment.

    They are the more so, the smaller all quotients of its ratio to N are in the continued fraction; those of the golden
    ratio are all 1.
    """
    golden = round(lanes * (math.sqrt(5) - 1) / 2)
    best, least = 1, lanes + 1
    for move in range(2 * _STRIDES):
        stride = golden + (move // 2 if move % 2 else -move // 2)
        if 0 < stride <= lanes and (largest := _largest_quotient(stride, lanes)) < least:
            best, least = stride, largest
        if least <= 3:
            break
    return best


def _largest_quotient(one: int, other: int) -> int:
    """Of the continued fraction of `one` / `other`; more than there are numbers, where they have a common divisor."""
    if math.gcd(one, other) > 1:
        return other + 1
    largest = 0
    while other:
        one, other, largest = other, one % other, max(largest, one // other)
    return largest


class _Found:
    """What is found of every problem: arrays [N, ...], filled by several threads."""

    def __init__(self, order: np.ndarray, packing: Packing):
        self._order = order
        self.arrays: dict[str, np.ndarray] = packing.empty(len(order))

    def put(self, lanes: np.ndarray, values: dict[str, np.ndarray]) -> None:
        """What is found of some lanes, arrays [len(lanes), ...]."""
        problems = self._order[lanes]
        for name, array in values.items():
            self.arrays[name][problems] = array


class _Waiting(NamedTuple):
    """Lanes that were handed back: their numbers, their data and where they stand, a row each."""

    numbers: np.ndarray
    rows: np.ndarray
    stands: np.ndarray


def _play(job: Job, tick: Callable[[int], None], hands: _Hands) -> None:
    """One thread's work: a hand after the other, each with the lanes that the one before handed back."""
    nothing = np.empty(0, int)
    waiting = _Waiting(nothing, np.empty((0, job.table.packing.size)), np.empty((0, job.program.stands.size)))
    while not hands.closed:
        hand = next(hands, nothing)
        lanes = len(waiting.numbers) + len(hand)
        if lanes == 0:
            return
        waiting = _run(job, waiting, hand, 0 if hands.last else job.size.leave)
        tick(lanes - len(waiting.numbers))


def _run(job: Job, waiting: _Waiting, fresh: np.ndarray, leave: int) -> _Waiting:
    """Runs one block: lanes that wait, and others from their start. Gives those that have not ended."""
    devices, program = job.devices, job.program
    rows = _aligned((devices, job.size.block, job.table.packing.size))
    stands = _aligned((devices, job.size.places, program.stands.size))
    counts, resumed = np.empty(devices, np.int32), np.empty(devices, np.int32)
    numbers = []
    for i in range(devices):
        old, new = _Waiting(*(part[i::devices] for part in waiting)), fresh[i::devices]
        resumed[i], counts[i] = len(old.numbers), len(old.numbers) + len(new)
        rows[i, : resumed[i]] = old.rows
        stands[i, : resumed[i]] = old.stands
        job.table.fill(rows[i, resumed[i] : counts[i]], new)
        numbers.append(np.concatenate([old.numbers, new]))
    given = (counts, resumed, rows.reshape(-1, rows.shape[-1]), stands.reshape(-1, stands.shape[-1]))
    ends = np.asarray(program.run(job.common._replace(leave=np.int32(leave)), *given))
    left = []
    for number, row, end in zip(numbers, rows, ends.reshape(devices, job.size.block, -1), strict=True):
        end = end[: len(number)]
        stand = end[:, : program.stands.size]
        job.found.put(number, program.found.take_apart(end[:, program.stands.size :]))
        running = np.nonzero(program.stands.take_apart(stand).code == RUNNING)[0]
        left.append(_Waiting(number[running], row[running], stand[running]))
    return _Waiting(*map(np.concatenate, zip(*left, strict=True)))


def _aligned(shape: tuple[int, ...]) -> np.ndarray:
    room = np.empty(math.prod(shape) + _ALIGNMENT // 8)
    start = -room.ctypes.data % _ALIGNMENT // 8
    return room[start : start + math.prod(shape)].reshape(shape)
