"""Shards computed by the workers of a Dask cluster (the optional dependency `pgdyn[cluster]`).

Workers get a spec's table and the number of a shard and send the arrays back; the process that called writes the store,
so that workers need no common file system. Dask gives the shards of a worker that is lost to another one, and those of
a worker that is deaf are sent out again here. No wait is without a time limit: without workers, or a sign of life of
one, a sweep stops after `worker_timeout` seconds. Workers that the user started keep compiled programs where their own
`JAX_COMPILATION_CACHE_DIR` says.

A worker that is stopped, or cut off while its connections stay open, is in the scheduler's list for minutes, and the
shards that it holds with it. It is deaf from then on: its heartbeats end at once, so they are what counts.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import functools
import json
import logging
import math
import re
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, wait
from typing import Any, TypeAlias

from pgdyn import validate
from pgdyn.sweep import engine
from pgdyn.sweep.engine import Arrays
from pgdyn.sweep.local_cluster import local_cluster
from pgdyn.sweep.progress import SweepStopped
from pgdyn.sweep.spec import Spec

Take: TypeAlias = Callable[[], int | None]  # gives the number of a shard to compute, or None
Computed: TypeAlias = Iterator[tuple[int, Arrays] | str]  # a shard and its arrays, or what is waited for

_CONNECT = "10s"
_AHEAD = 2  # shards given to each worker at once, so that it need not wait for the next
_RETRIES = 3  # times that a shard is sent out again after Dask has given it up, each after several lost workers
_WAIT = 0.1  # seconds to wait for a shard at a time
_LOOK = 0.5  # seconds between looks at the scheduler's list of workers
_ANSWER = 2.0  # seconds that the scheduler may take to answer
_SILENT = 1.0  # seconds without workers that nothing is said of
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

    Raises ValueError if there is no scheduler at that address, SweepStopped if the local cluster does not start.
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

    Raises SweepStopped if the scheduler is lost, workers give no sign for `limit` seconds, a shard costs a worker
    after another, or a worker fails; ValueError if a worker has other versions or refuses the problem.
    """
    sent: dict[Future[Arrays | None], tuple[Any, int]] = {}  # its arrays -> Dask's task, the shard
    again: list[int] = []  # shards that Dask has given up, or that only deaf workers hold
    losses: collections.Counter[int] = collections.Counter()
    workers, checked, silence = Workers(client), time.monotonic(), max(limit, _BEAT)
    try:
        while True:
            try:
                listed, heard = workers.look(), workers.heard(silence)
            except Exception:  # Dask raises whatever its lost connection happens to run into
                raise SweepStopped(_LOST) from None
            some_are_deaf = 0 < len(heard) < listed
            room = _AHEAD * max(1, len(heard))
            while len(sent) < room and (shard := again.pop() if again else take()) is not None:
                # Left alone, Dask would choose a deaf worker, which has so little to do.
                task = client.submit(_task, table, shard, numbers, workers=heard if some_are_deaf else None, pure=False)
                # Awaited in the client's loop, where a worker that does not send its arrays holds up no one.
                sent[asyncio.run_coroutine_threadsafe(_arrays(task, shard), client.loop.asyncio_loop)] = task, shard
            if not sent:
                return
            if some_are_deaf and time.monotonic() - checked > silence:
                checked = time.monotonic()
                # Nobody works on these, or their arrays are on their way from a worker that does not send them.
                tasks = {task: future for future, (task, _) in sent.items() if not future.done()}
                for task in _forsaken(client, [*tasks], heard):
                    again.append(sent.pop(tasks[task])[1])
            arrived, _ = wait(sent, _WAIT, FIRST_COMPLETED)
            for future in arrived:
                shard = sent.pop(future)[1]
                if (arrays := future.result()) is not None:
                    yield shard, arrays
                    continue
                again.append(shard)
                losses[shard] += 1
                if losses[shard] > _RETRIES:
                    raise SweepStopped(
                        f"shard {shard} was lost with every worker that had it, {losses[shard]} rounds long; "
                        "memory may be short, so try a smaller shard_size in a new store"
                    )
            if not arrived and (words := _waiting(workers.alone, silence if listed else limit, listed)):
                yield words
    finally:
        with contextlib.suppress(Exception):
            client.cancel([task for task, _ in sent.values()])


async def _arrays(task: Any, shard: int) -> Arrays | None:
    """The arrays of a shard; None if Dask has given it up because workers were lost."""
    from distributed import KilledWorker

    try:
        return await task
    except KilledWorker:
        return None
    except ValueError:
        raise
    except (asyncio.CancelledError, CancelledError, OSError):
        raise SweepStopped(_LOST) from None
    except Exception as error:
        raise SweepStopped(f"shard {shard} failed on a worker: {type(error).__name__}: {error}") from error


class Workers:
    """The workers of a client's scheduler, and which of them give signs of life.

    The scheduler's clock need not be this process's: a worker is heard when the time of its last heartbeat changes.
    """

    def __init__(self, client: Any):
        self._client, self._looked = client, -math.inf
        self._beats: dict[str, tuple[Any, float]] = {}  # address -> its last heartbeat, and when it was new
        self._sign = time.monotonic()  # when workers were first missed, or one was last heard

    def look(self) -> int:
        """How many workers the scheduler lists, 0 where it does not answer; a look that is recent counts."""
        now, before = time.monotonic(), self._beats
        if now - self._looked < _LOOK:
            return len(before)
        self._looked, found = now, {}
        with contextlib.suppress(TimeoutError):
            identity = self._client.sync(self._client.scheduler.identity, n_workers=-1, callback_timeout=_ANSWER)
            found = {address: worker["last_seen"] for address, worker in identity["workers"].items()}
        same = {address for address, (beat, _) in before.items() if found.get(address) == beat}
        self._beats = {address: before[address] if address in same else (found[address], now) for address in found}
        if len(same) < len(found) or before and not found:
            self._sign = now
        return len(found)

    @property
    def alone(self) -> float:
        """Seconds without workers, or since one of those that are listed was heard."""
        return time.monotonic() - self._sign

    def heard(self, limit: float) -> list[str]:
        """The addresses of those that have been heard in the last `limit` seconds."""
        now = time.monotonic()
        return [address for address, (_, when) in self._beats.items() if now - when <= limit]


def _forsaken(client: Any, tasks: list[Any], heard: list[str]) -> list[Any]:
    """Those that none of the workers that are heard is at, cancelled."""
    with contextlib.suppress(Exception):  # a connection that is lost is told by the next look
        held = client.sync(client.scheduler.processing, workers=heard, callback_timeout=_ANSWER)
        lost = [task for task in tasks if task.key not in set().union(*held.values())]
        client.cancel(lost)
        return lost
    return []


def _waiting(alone: float, limit: float, listed: int) -> str | None:
    """What is waited for, after so many seconds without workers, or without a sign of life of those listed."""
    having = "heard nothing from its workers" if listed else "had no workers"
    if alone > limit:
        raise SweepStopped(f"the cluster has {having} for {limit:g} seconds; the same command goes on from there")
    if alone < (_BEAT if listed else _SILENT):
        return None
    return f"the cluster has {having} for {alone:.0f} s; the sweep stops after {limit:g} s"


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
