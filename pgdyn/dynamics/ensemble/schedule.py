"""Who runs which lanes when: lanes dealt into hands, cores or devices beside each other, stragglers passed on.

The lanes of a batch, ordered by predicted difficulty, are dealt like cards: hands of which each is a fair sample of the
batch, its hardest lanes first. Each is run as a block of a compiled program (`program`), on a core that has one more to
come when it is done (`launch`). The few lanes of a block that take longest are handed back and go on with a later one:
none holds up others.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from pgdyn import cores
from pgdyn.dynamics.ensemble import launch, program
from pgdyn.dynamics.ensemble.block import Arrays, Common, Constants, Order
from pgdyn.dynamics.ensemble.lanes import Layout
from pgdyn.dynamics.ensemble.packing import Packing
from pgdyn.dynamics.ensemble.program import Program
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
        least: fresh lanes of a block, where a core has several.
        worth: lanes for which one more core is used.
        ahead: blocks begun on a core, of which one runs. With 1 a core waits while its next is laid out; with 2 it does
            not, but lanes handed back wait a block longer.
    """

    places: int
    block: int
    leave: int
    least: int
    worth: int
    ahead: int


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
_WORTH, _WORTH_FUSED = 1, 4  # times the places: they take longer than a call costs on the host
_AHEAD, _AHEAD_FUSED = 1, 2  # what takes many times as long as to lay it out had better wait for lanes handed back
_LOOK, _LOOK_MOST = 1e-4, 1e-3  # seconds between looks at which blocks have ended; a look takes about 1e-5
_PATIENCE = 0.25  # of the time since one has ended, before the next look
_LOOKS = 2  # at least, before waiting for one: when a thread falls asleep, Linux moves another to its core, and now and
# then both blocks of a short call have been put on one core
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
        return Size(places, places, int(_ACCELERATOR_LEAVE * places), places, places, _AHEAD)
    if layout.fused:
        places = _FUSED_PLACES_FEW if outputs <= _FUSED_FEW else _FUSED_PLACES
    elif layout.form == "params" and not own:
        places = max(16, min(_LOGITS // outputs, _MOST) // 16 * 16)
    else:
        places = max(16, min(_STATE // outputs, _DATA // max(own, 1), _MOST) // 16 * 16)
    block = places * max(2, min(_BLOCK, _BLOCK_DATA // (places * (6 * outputs + own))))
    least, worth, ahead = (_LEAST_FUSED, _WORTH_FUSED, _AHEAD_FUSED) if layout.fused else (_LEAST, _WORTH, _AHEAD)
    return Size(places, block, int(_LEAVE * places), places * least, places * worth, ahead)


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
        tick: called with the number of lanes that have ended since its last call.
        devices: the devices to use; several split every block between them.
    """
    alone = len(devices) == 1 and devices[0] == jax.local_devices()[0]  # where JAX computes unasked
    mesh = None if alone else Mesh(np.array(devices), ("lanes",))
    platform = devices[0].platform
    size = choose_size(layout, problems, platform)
    table = Table(layout, problems, objective, t1, goal)
    arrays, constants = Constants.of(Common(objective, table.shared))
    made = program.compiled(layout, constants, table.packing, size.places, mesh, platform)
    found = _Found(table.order, made.found)
    none = _Waiting(np.empty(0, int), np.empty((0, table.packing.size)), np.empty((0, made.stands.size)))
    nowhere = _aligned((len(devices) * size.places, made.stands.size))
    nowhere[:] = 0
    job = Job(table, arrays, control, made, size, len(devices), found, none, nowhere)
    lanes = len(table.order)
    workers = min(cores.count(), -(-lanes // size.worth), launch.MOST) if alone and platform == "cpu" else 1
    ahead = min(size.ahead, launch.MOST // workers)
    least, block, leave = (len(devices) * number for number in (size.least, size.block, size.leave))
    _play(job, tick, deal(lanes, least, block, leave, workers, ahead), workers, ahead)
    return {**found.arrays, "params": table.params(found.arrays["params"])}


@dataclass(frozen=True)
class Job:
    """What the blocks of one call have in common.

    Attributes:
        table: the lanes.
        arrays: that all lanes use.
        control: tolerances and budgets.
        program: what runs a block.
        size: of a block.
        devices: how many share it.
        found: what is found.
        none: no lanes that wait.
        nowhere: where lanes stand when none is resumed: a block's `stands`, never read.
    """

    table: Table
    arrays: Arrays
    control: Control
    program: Program
    size: Size
    devices: int
    found: _Found
    none: _Waiting
    nowhere: np.ndarray


def deal(lanes: int, least: int, block: int, leave: int, workers: int, ahead: int) -> Iterator[tuple[np.ndarray, bool]]:
    """Hands of lanes, each lane in one, spread evenly over all of them: arrays of their numbers, ascending.

    One hand a core where that is enough. Else multiples of N over the golden ratio, which are spread evenly wherever
    they begin and end; shorter hands towards the end, lest one core be left with work when the others have none.

    Args:
        lanes: N.
        least: lanes of a hand, where there are as many and it is not the only one of its core.
        block: lanes that fit into a block.
        leave: lanes of an earlier hand that a hand must have room for, unless it is the only one of its core.
        workers: how many cores there are.
        ahead: hands that a core takes before the first is played.

    Yields:
        A hand, and whether so many are left that every core will get another when it has played this one.
    """
    if lanes <= workers * block:
        for first in range(min(workers, lanes)):
            yield np.arange(first, lanes, workers), False
        return
    stride, left, most = even_stride(lanes), lanes, block - leave
    least = min(least, most)
    while left:
        size = min(max(least, left // (max(2, ahead) * workers)), most, left)
        numbers = np.arange(left - size, left) * stride % lanes
        left -= size
        yield np.sort(numbers), left >= ahead * workers * least


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
    """What is found of every problem: arrays [N, ...]."""

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


def _play(
    job: Job, tick: Callable[[int], None], hands: Iterator[tuple[np.ndarray, bool]], workers: int, ahead: int
) -> None:
    """Runs every hand: on each core one after the other, each with the lanes that an earlier one handed back.

    While there may be something to begin when a block ends, whichever it is, this looks from time to time. When there
    cannot, since all hands are dealt and no block will hand lanes back, it waits for one after the other.
    """
    none = job.none
    begun: dict[int, _Block] = {}
    number = itertools.count()
    all_dealt, looks = False, _LOOKS if workers > 1 else 0

    def go_on(core: int, waiting: _Waiting) -> None:
        nonlocal all_dealt
        fresh, more = next(hands, (None, False))
        all_dealt = fresh is None
        if fresh is not None or len(waiting.numbers):
            leave = job.size.leave if more else 0
            begun[next(number)] = _begin(job, waiting, none.numbers if fresh is None else fresh, leave, core, workers)

    try:
        for _ in range(ahead):
            for core in range(workers):
                go_on(core, none)
        last = time.perf_counter()
        while begun:
            ended = [key for key, block in begun.items() if block.running.is_ready()]
            done = all_dealt and not any(block.leave for block in begun.values())
            if not ended and (done or workers == 1) and looks == 0:
                ended = [min(begun)]
            for key in ended:
                block = begun.pop(key)
                waiting = _end(job, block)
                tick(sum(map(len, block.numbers)) - len(waiting.numbers))
                go_on(block.core, waiting)
            if ended:
                last = time.perf_counter()
            else:
                time.sleep(min(max(_LOOK, _PATIENCE * (time.perf_counter() - last)), _LOOK_MOST))
                looks = max(0, looks - 1)
    finally:  # after an error: what runs cannot be stopped, and ends by itself
        for block in begun.values():
            block.running.cancel()


class _Block(NamedTuple):
    """A block that runs.

    Attributes:
        core: where.
        leave: how many lanes each device may hand back.
        numbers: of each device the numbers of its lanes.
        rows: [devices, block, R], their data.
        running: the call.
    """

    core: int
    leave: int
    numbers: list[np.ndarray]
    rows: np.ndarray
    running: launch.Running


def _begin(job: Job, waiting: _Waiting, fresh: np.ndarray, leave: int, core: int, workers: int) -> _Block:
    """Begins a block: lanes that wait, and others from their start."""
    devices, program = job.devices, job.program
    rows = _aligned((devices, job.size.block, job.table.packing.size))
    stands = job.nowhere
    if len(waiting.numbers):
        stands = _aligned(stands.shape)
    orders, numbers = [], []
    for i in range(devices):
        new, resumed = fresh[i::devices], 0
        if len(waiting.numbers):
            old = _Waiting(*(part[i::devices] for part in waiting))
            resumed = len(old.numbers)
            rows[i, :resumed] = old.rows
            stands[i * job.size.places :][:resumed] = old.stands
            new = np.concatenate([old.numbers, new])
        job.table.fill(rows[i, resumed : len(new)], new[resumed:])
        orders.append(Order(len(new), resumed, leave, job.control).numbers)
        numbers.append(new)
    given = (np.array(orders), rows.reshape(-1, rows.shape[-1]), stands)
    return _Block(core, leave, numbers, rows, launch.begin(lambda: program.run(job.arrays, *given), core, workers))


def _end(job: Job, block: _Block) -> _Waiting:
    """Waits for the end of a block, keeps what is found, and gives the lanes that have not ended."""
    stands, found = job.program.stands, job.program.found
    left = []
    ends = block.running.result().reshape(job.devices, job.size.block, -1)
    for number, row, end in zip(block.numbers, block.rows, ends, strict=True):
        end = end[: len(number)]
        job.found.put(number, found.take_apart(end[:, stands.size :]))
        if block.leave:
            stand = end[:, : stands.size]
            running = np.nonzero(stands.take_apart(stand).code == RUNNING)[0]
            left.append(_Waiting(number[running], row[running], stand[running]))
    return _Waiting(*map(np.concatenate, zip(*left, strict=True))) if block.leave else job.none


def _aligned(shape: tuple[int, ...]) -> np.ndarray:
    room = np.empty(math.prod(shape) + _ALIGNMENT // 8)
    start = -room.__array_interface__["data"][0] % _ALIGNMENT // 8
    return room[start : start + math.prod(shape)].reshape(shape)
