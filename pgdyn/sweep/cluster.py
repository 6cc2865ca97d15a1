"""Shards computed by the workers of a Dask cluster (the optional dependency `pgdyn[cluster]`).

Workers get a spec's table and the number of a shard and send the arrays back; the process that called writes the store,
so that workers need no common file system. Dask gives the shards of a worker that is lost to another one.
"""

from __future__ import annotations

import collections
import contextlib
import json
import logging
import queue
import re
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from pgdyn import validate
from pgdyn.sweep import engine
from pgdyn.sweep.run import SweepStopped
from pgdyn.sweep.spec import Spec

_CONNECT = "10s"
_AHEAD = 2  # shards given to each worker at once, so that it need not wait for the next
_RETRIES = 3  # times that a shard is sent out again after Dask has given it up, each after several lost workers
_LOOK = 1.0  # seconds between looks at whether there still are workers
_PATIENCE = 60  # seconds without any worker after which a sweep stops


def require(address: str | None = None, workers: int | None = None) -> None:
    """Raises before anything is written where no cluster can be had.

    Raises:
        ValueError: if Dask is not installed, `address` is no address, or `workers` no count.
    """
    if address is not None and re.fullmatch(r"([a-z]+://)?[^\s/]+:\d{1,5}", address) is None:
        raise ValueError(f"the cluster's address is {address!r}; it must look like tcp://10.0.0.1:8786")
    if workers is not None:
        validate.count("workers", workers, minimum=1)
    try:
        import distributed  # noqa: F401
    except ImportError:
        raise ValueError(
            "--workers and --cluster need Dask, which is not installed; install it with: pip install 'pgdyn[cluster]'"
        ) from None


@contextlib.contextmanager
def connect(
    spec: Spec, numbers: Mapping[str, Any], *, address: str | None = None, workers: int | None = None
) -> Iterator[Farm]:
    """The workers of the scheduler at `address`, or of a local cluster of `workers` processes for the block.

    Raises:
        ValueError: if there is no scheduler at that address.
    """
    import distributed

    with contextlib.ExitStack() as stack:
        stack.enter_context(_quiet())
        if address is None:
            with _deaf():
                local: Any = distributed.LocalCluster(
                    n_workers=workers,
                    threads_per_worker=1,
                    processes=True,
                    dashboard_address=None,  # pyright: ignore[reportArgumentType]
                    host="127.0.0.1",
                    silence_logs=logging.ERROR,
                )
            address = stack.enter_context(local).scheduler_address
        try:
            client = distributed.Client(address, timeout=_CONNECT, set_as_default=False)
        except (OSError, TimeoutError, ValueError) as error:
            raise ValueError(f"no Dask scheduler answers at {address!r}: {error}") from None
        yield Farm(spec, numbers, stack.enter_context(client))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Dask's client does not log what this process says in a sentence of its own."""
    logger = logging.getLogger("distributed.client")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)


@contextlib.contextmanager
def _deaf() -> Iterator[None]:
    """Processes started meanwhile ignore Ctrl-C, which a terminal sends to all: it is this process that ends them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


class Farm:
    """A connected cluster; see `pgdyn.sweep.run.Workers`."""

    def __init__(self, spec: Spec, numbers: Mapping[str, Any], client: Any):
        self._table = json.dumps(spec.to_table())
        self._numbers = dict(numbers)
        self._client = client
        self._ended: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def compute(self, take: Callable[[], int | None]) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
        """See `Workers`.

        Raises:
            SweepStopped: if the scheduler is lost, all workers are and none comes, a shard costs one worker after
                another, or a worker fails.
            ValueError: if a worker's versions are not those of the store, or it refuses the problem.
        """
        flying: dict[Any, int] = {}
        attempts: collections.Counter[int] = collections.Counter()
        try:
            self._fill(flying, take)
            while flying:
                future = self._wait()
                shard = flying.pop(future)
                arrays = self._result(future, shard, attempts[shard])
                if arrays is None:
                    attempts[shard] += 1
                    self._send(flying, shard)
                    continue
                self._fill(flying, take)  # before the shard is written, so that no worker waits for the disk
                yield shard, arrays
        finally:
            with contextlib.suppress(Exception):
                self._client.cancel(list(flying))

    def _fill(self, flying: dict[Any, int], take: Callable[[], int | None]) -> None:
        room = _AHEAD * max(1, self._workers())
        while len(flying) < room and (shard := take()) is not None:
            self._send(flying, shard)

    def _send(self, flying: dict[Any, int], shard: int) -> None:
        future = self._client.submit(_task, self._table, shard, self._numbers, pure=False)
        flying[future] = shard
        future.add_done_callback(self._ended.put)

    def _wait(self) -> Any:
        """The next task that has ended, in whatever way."""
        alone = 0
        while True:
            try:
                return self._ended.get(timeout=_LOOK)
            except queue.Empty:
                alone = 0 if self._workers() else alone + 1
                if alone * _LOOK > _PATIENCE:
                    raise SweepStopped(
                        f"the cluster has had no workers for {_PATIENCE} seconds; the same command goes on from there"
                    ) from None

    def _workers(self) -> int:
        try:
            return len(self._client.scheduler_info()["workers"])
        except (OSError, TimeoutError, RuntimeError):
            raise SweepStopped("the scheduler was lost; the same command goes on from there") from None

    def _result(self, future: Any, shard: int, attempts: int) -> dict[str, np.ndarray] | None:
        """The arrays; None if Dask has given the shard up because workers were lost, and it is to be sent out again."""
        from concurrent.futures import CancelledError

        from distributed import KilledWorker

        try:
            return future.result()
        except KilledWorker:
            if attempts < _RETRIES:
                return None
            raise SweepStopped(
                f"shard {shard} was lost with every worker that had it, {attempts + 1} rounds long; "
                "memory may be short, so try a smaller shard_size in a new store"
            ) from None
        except ValueError:
            raise
        except (CancelledError, OSError, TimeoutError):
            raise SweepStopped("the scheduler was lost; the same command goes on from there") from None
        except Exception as error:
            raise SweepStopped(f"shard {shard} failed on a worker: {type(error).__name__}: {error}") from error


def _task(table: str, shard: int, numbers: dict[str, Any]) -> dict[str, np.ndarray]:
    """One shard, on a worker."""
    own = engine.numbers_version()
    for name, value in numbers.items():
        if own.get(name) != value:
            raise ValueError(f"a worker has {name} {own.get(name)!r} where the store has {value!r}; make them alike")
    return engine.compute_shard(engine.spec_of(table), shard)
