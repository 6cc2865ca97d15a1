"""Shards computed by the workers of a Dask cluster (the optional dependency `pgdyn[cluster]`).

Workers get a spec's table and the number of a shard and send the arrays back; the process that called writes the store,
so that workers need no common file system. Dask gives the shards of a worker that is lost to another one, and those of
a worker that is deaf are sent out again here. No wait is without a time limit: without workers, or a sign of life of
one, a sweep stops after `worker_timeout` seconds. Workers that the user started keep compiled programs where their own
`JAX_COMPILATION_CACHE_DIR` says.
"""

from __future__ import annotations

import asyncio
import collections
import concurrent.futures
import contextlib
import functools
import json
import logging
import re
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

from pgdyn import validate
from pgdyn.sweep import engine
from pgdyn.sweep.engine import Arrays
from pgdyn.sweep.local_cluster import local_cluster
from pgdyn.sweep.progress import SweepStopped
from pgdyn.sweep.spec import Spec
from pgdyn.sweep.workers import Workers

Take: TypeAlias = Callable[[], int | None]  # gives the number of a shard to compute, or None
Computed: TypeAlias = Iterator[tuple[int, Arrays] | str | None]  # a shard and its arrays, what is waited for, or None

_CONNECT = "10s"
_AHEAD = 2  # shards given to each worker at once, so that it need not wait for the next
_RETRIES = 3  # times that a shard is sent out again after Dask has given it up, each after several lost workers
_LOOK = 0.1  # seconds between looks at the cluster
_BEAT = 15.0  # seconds between heartbeats that mean nothing: a worker that imports its libraries gives none
_LOGGERS = ("distributed", "distributed.client", "tornado.application", "asyncio")
_LOST = "the scheduler was lost; the same command goes on from there"


def require(address: str | None = None, workers: int | None = None) -> None:
    """Raises ValueError, before anything is written, where no cluster can be had."""
    if address is not None and re.fullmatch(r"((tcp|tls|ws|wss|ucx)://)?[^\s/]+:\d{1,5}", address) is None:
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
    spec: Spec, numbers: Mapping[str, Any], address: str | None, workers: int | None, worker_timeout: float
) -> Iterator[Callable[[Take], Computed]]:
    """Has shards computed by the scheduler at `address`, or by a local cluster of `workers` processes, for the block.

    Raises:
        ValueError: if there is no scheduler at that address.
        SweepStopped: if the local cluster does not start.
    """
    import distributed

    with contextlib.ExitStack() as stack:
        for logger in map(logging.getLogger, _LOGGERS):  # Dask logs nothing that is said here in a sentence
            stack.callback(logger.setLevel, logger.level)
            logger.setLevel(logging.CRITICAL + 1)
        if address is None:
            address = stack.enter_context(local_cluster(workers or 1))
        try:
            client = distributed.Client(address, timeout=_CONNECT, set_as_default=False)
        except Exception as error:  # Dask has no common class for what it says of an address
            raise ValueError(f"no Dask scheduler answers at {address!r}: {error}") from None
        try:
            yield functools.partial(_compute, client, json.dumps(spec.to_table()), dict(numbers), worker_timeout)
        finally:
            with contextlib.suppress(Exception):
                client.close(timeout=1.0)


def _compute(client: Any, table: str, numbers: dict[str, Any], limit: float, take: Take) -> Computed:
    """Has shards computed until there are none to take; see `pgdyn.sweep.run`.

    Raises:
        SweepStopped: if the scheduler is lost, there is no sign of workers for `limit` seconds, a shard costs a worker
            after another, or a worker fails.
        ValueError: if a worker's versions are not those of the store, or it refuses the problem.
    """
    sent: dict[concurrent.futures.Future[Arrays], tuple[Any, int]] = {}  # its arrays -> the task, the shard
    again: list[int] = []  # shards that Dask has given up because workers were lost, or that only deaf workers hold
    losses: collections.Counter[int] = collections.Counter()
    workers, checked, silence = Workers(client), time.monotonic(), max(limit, _BEAT)
    try:
        while True:
            heard = _heard(workers, silence)
            some_are_deaf = 0 < len(heard) < workers.listed
            room = _AHEAD * max(1, len(heard))
            while len(sent) < room and (shard := again.pop() if again else take()) is not None:
                # Left alone, Dask would choose a deaf worker, which has so little to do.
                task = client.submit(_task, table, shard, numbers, workers=heard if some_are_deaf else None, pure=False)
                sent[asyncio.run_coroutine_threadsafe(_fetched(task), client.loop.asyncio_loop)] = (task, shard)
            if not sent:
                return
            if some_are_deaf and time.monotonic() - checked > silence:
                checked = time.monotonic()
                # Nobody works on these, or their arrays are on their way from a worker that does not send them.
                lost = _forsaken(
                    client, [task for arrays, (task, _) in sent.items() if not arrays.done()], workers, heard
                )
                for arrays in [arrays for arrays, (task, _) in sent.items() if task in lost]:
                    again.append(sent.pop(arrays)[1])
            arrived, _ = concurrent.futures.wait(sent, _LOOK, concurrent.futures.FIRST_COMPLETED)
            for future in arrived:
                shard = sent.pop(future)[1]
                if (arrays := _arrays(future, shard)) is not None:
                    yield shard, arrays
                    continue
                again.append(shard)
                losses[shard] += 1
                if losses[shard] > _RETRIES:
                    raise SweepStopped(
                        f"shard {shard} was lost with every worker that had it, {losses[shard]} rounds long; "
                        "memory may be short, so try a smaller shard_size in a new store"
                    )
            if not arrived:
                yield _waiting(workers.alone, silence if workers.listed else limit, workers.listed)
    finally:
        with contextlib.suppress(Exception):
            client.cancel([task for task, _ in sent.values()])


async def _fetched(task: Any) -> Arrays:
    """The arrays of a Dask future, awaited in the client's loop: a worker that does not send them holds up no one."""
    return await task


def _heard(workers: Workers, limit: float) -> list[str]:
    """The addresses of the workers that give signs of life; none where the scheduler does not answer."""
    try:
        workers.look()
    except Exception:  # Dask raises whatever its lost connection happens to run into
        raise SweepStopped(_LOST) from None
    return workers.heard(limit)


def _forsaken(client: Any, futures: list[Any], workers: Workers, heard: list[str]) -> list[Any]:
    """Those that no worker with signs of life is at, cancelled."""
    with contextlib.suppress(Exception):  # a connection that is lost is told by the next look
        held = workers.holding(heard)
        lost = [future for future in futures if future.key not in held]
        client.cancel(lost)
        return lost
    return []


def _waiting(alone: float, limit: float, listed: int) -> str | None:
    """What is waited for, after so many seconds without workers, or without a sign of life of those listed."""
    having = "heard nothing from its workers" if listed else "had no workers"
    if alone > limit:
        raise SweepStopped(f"the cluster has {having} for {limit:g} seconds; the same command goes on from there")
    if alone < (_BEAT if listed else 10 * _LOOK):
        return None
    return f"the cluster has {having} for {alone:.0f} s; the sweep stops after {limit:g} s"


def _arrays(fetched: concurrent.futures.Future[Arrays], shard: int) -> Arrays | None:
    """The arrays of a shard; None if Dask has given it up because workers were lost."""
    from distributed import KilledWorker

    try:
        return fetched.result()
    except KilledWorker:
        return None
    except ValueError:
        raise
    except (concurrent.futures.CancelledError, OSError):
        raise SweepStopped(_LOST) from None
    except Exception as error:
        raise SweepStopped(f"shard {shard} failed on a worker: {type(error).__name__}: {error}") from error


def _task(table: str, shard: int, numbers: dict[str, Any]) -> Arrays:
    """One shard, on a worker."""
    own = engine.numbers_version()
    for name, value in numbers.items():
        if own.get(name) != value:
            raise ValueError(f"a worker has {name} {own.get(name)!r} where the store has {value!r}; make them alike")
    return engine.compute_shard(_spec(table), shard)


@functools.lru_cache(maxsize=4)
def _spec(table: str) -> Spec:
    return Spec.from_table(json.loads(table))
