"""Flows of a batch: chunks of lanes for the engine, and how many go together."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from pgdyn.batch import Batch
from pgdyn.dynamics.flow import Flow
from pgdyn.ensemble import driver, executor, program, tuning, xla
from pgdyn.ensemble.lanes import Lanes
from pgdyn.ensemble.slots import Chunk

_ALIGNMENT = 64  # bytes; XLA:CPU computes on NumPy arrays that begin at a multiple of it, and copies others

# Measured on cores of 48 KiB first-level and 2 MiB second-level cache. In one kernel XLA writes loops over so few lanes
# out, and steps 64 with up to 8 logits, or 48 with more, a quarter faster than many. As a kernel for each operation a
# step touches about fifteen arrays: so many numbers in one of them keep all within the second-level cache, and each
# kernel below the size at which XLA splits it between threads, of which all are busy.
_ONE_KERNEL_LOGITS, _ONE_KERNEL_FEATURES = 16, 64  # of a lane, at most
_FEW, _SLOTS_FEW, _SLOTS_MORE = 8, 64, 48
_STATE = 3072
_LOGITS = 2**15
_MOST_SLOTS = 64
_FEATURES = 2**17  # numbers of per-lane features in all slots, 1 MiB
_CHUNK = 32  # times the slots, at most
_CHUNK_NUMBERS = 2**20  # of a chunk's lanes, where it is more than twice the slots
_ACCELERATOR_STATE = 2**22


class Size(NamedTuple):
    """How many lanes go together.

    Attributes:
        slots: lanes that are stepped at once.
        chunk: lanes that one call of a compiled program has, at most; a multiple of `slots`.
        worth: lanes for which one more core is used: they take longer than a call costs on the host.
    """

    slots: int
    chunk: int
    worth: int


def solve(
    batch: Batch,
    flow: Flow,
    tolerances: dict[str, float],
    tick: Callable[[int], None],
    devices: Sequence[Any] | None,
) -> dict[str, np.ndarray]:
    """Runs every flow of a batch; gives the arrays of a `Solution`."""
    switches = tuning.current()
    default = getattr(jax.config, "jax_default_device", None)  # a device, the name of a platform, or None
    given = devices is not None or default is not None
    devices = list(devices) if devices is not None else [_device(default)]
    platform = devices[0].platform
    lanes = Lanes(batch, flow)
    one_kernel = platform == "cpu" and switches.one_kernel and is_small(batch, flow)
    size = choose_size(batch, one_kernel, platform)
    options = flow.chosen_objective.with_weights(None, None)
    natural, stop = flow.geometry == "natural", flow.stop_at_target
    chunk = Chunk(options, natural, stop, one_kernel, size.slots, lanes.packing, lanes.transitions)
    shared = None if lanes.shared is None else (lanes.shared.shape, lanes.shared.dtype)
    made = program.compiled(chunk, shared, platform, switches.of_programs)
    # Parameters have their own shape, which that of the lanes' state need not be.
    found = {**made.found.empty(len(batch)), "params": np.empty((len(batch), *batch.params_shape))}
    placed = [jax.device_put(lanes.shared, device) if given else lanes.shared for device in devices]

    def call(numbers: np.ndarray, worker: int) -> Callable[[], Any]:
        rows = _aligned((size.chunk, lanes.packing.size))
        lanes.fill(rows[: len(numbers)], numbers)
        rows[len(numbers) :] = rows[0]  # stepped too where slots are left; what is no problem may keep LAPACK for ever
        control = np.array([len(numbers), tolerances["rtol"], tolerances["atol"], flow.max_steps])
        device = devices[worker % len(devices)]
        if given:
            control, rows = jax.device_put((control, rows), device)
        return lambda: made.run(placed[worker % len(devices)], control, rows)

    def collect(numbers: np.ndarray, ends: np.ndarray) -> None:
        lanes.collect(numbers, made.found.take_apart(ends[: len(numbers)]), found)

    workers = len(devices)
    if platform == "cpu" and len(devices) == 1:
        workers = min(executor.cores(), -(-len(batch) // size.worth), xla.MOST_CALLS)
    ahead = min(2 if switches.ahead else 1, max(1, xla.MOST_CALLS // workers))
    # What is known is computed, also while a function is traced for `jax.jit`, and by compiled code in any case.
    with jax.ensure_compile_time_eval(), jax.disable_jit(False):
        driver.run(share_out(len(batch), size.chunk, workers), call, collect, tick, workers, ahead)
    return found


def share_out(lanes: int, chunk: int, workers: int) -> Iterator[np.ndarray]:
    """Chunks of lanes, each lane in one: every so many, so that each is a fair sample.

    One chunk a worker where that is enough. Else an equal number for each worker, of which the last ones are cut in
    halves and quarters, so that no worker is left with work when the others have none.

    Example:
        >>> [part.tolist() for part in share_out(7, 4, 2)]
        [[0, 2, 4, 6], [1, 3, 5]]
    """
    count = -(-lanes // chunk)
    count = max(min(workers, lanes), count)
    if count > workers:
        count = min(lanes, -(-count // workers) * workers)
    whole = count if count <= workers else max(0, count - workers)
    for first in range(count):
        numbers = np.arange(first, lanes, count)
        if first < whole:
            yield numbers
            continue
        half = len(numbers) // 2
        parts = (numbers[::2], numbers[1::4], numbers[3::4]) if half > 8 else (numbers,)
        yield from parts


def is_small(batch: Batch, flow: Flow) -> bool:
    """Whether a lane is so small that one kernel steps it fastest."""
    logits = batch.num_prompts * batch.num_outputs
    if batch.is_tabular:
        return logits <= _ONE_KERNEL_LOGITS
    numbers = logits * min(batch.params_shape[0], logits)
    # The natural gradient with features calls a library.
    return logits <= _ONE_KERNEL_LOGITS and numbers <= _ONE_KERNEL_FEATURES and flow.geometry == "euclidean"


def choose_size(batch: Batch, one_kernel: bool, platform: str) -> Size:
    """Lanes that go together; slots in multiples of 16, so that all go through the same vector instructions."""
    logits = batch.num_prompts * batch.num_outputs
    width = 1 if batch.is_tabular else min(batch.params_shape[0], logits)
    own = 0 if batch.is_tabular or "features" in batch.shared else logits * width
    if platform != "cpu":
        # Slots for all, as slots are changed one by one; by powers of 2, so that few sizes of N are compiled.
        most = _ACCELERATOR_STATE // max(logits, own)
        slots = max(16, min(most // 16 * 16, 1 << (len(batch) - 1).bit_length()))
        return Size(slots, slots, slots)
    if one_kernel:
        slots = _SLOTS_FEW if logits <= _FEW else _SLOTS_MORE
    elif not batch.is_tabular and not own:
        slots = max(16, min(_LOGITS // logits, _MOST_SLOTS) // 16 * 16)
    else:
        slots = max(16, min(_STATE // logits, _FEATURES // max(own, 1), _MOST_SLOTS) // 16 * 16)
    chunk = slots * max(2, min(_CHUNK, _CHUNK_NUMBERS // (slots * (6 * logits + own))))
    return Size(slots, chunk, slots * (4 if one_kernel else 1))


def _device(chosen: Any) -> Any:
    if chosen is None or isinstance(chosen, str):
        return jax.local_devices(backend=chosen)[0]
    return chosen


def _aligned(shape: tuple[int, ...]) -> np.ndarray:
    room = np.empty(math.prod(shape) + _ALIGNMENT // 8)
    start = -room.__array_interface__["data"][0] % _ALIGNMENT // 8
    return room[start : start + math.prod(shape)].reshape(shape)
