"""Shards computed by the workers of a Dask cluster (the optional dependency `pgdyn[cluster]`).

Workers get a spec's table and the number of a shard and send the arrays back; the process that called writes the store,
so that workers need no common file system. Dask gives the shards of a worker that is lost to another one, and those of
a worker that is deaf are sent out again here. No wait is without a time limit: without workers, or a sign of life of
one, a sweep stops after `worker_timeout` seconds. Workers that the user started
keep compiled programs where their own `JAX_COMPILATION_CACHE_DIR` says.
"""

from __future__ import annotations

import collections
import contextlib
import functools
import json
import logging
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import CancelledError, Future
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
    """Raises before anything is written where no cluster can be had.

    Raises:
        ValueError: if Dask is not installed, `address` is no address, or `workers` no count.
    """
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
    spec: Spec, numbers: Mapping[str, Any], *, address: str | None, workers: int | None, worker_timeout: float
) -> Iterator[Callable[[Take], Computed]]:
    """Has shards computed by the scheduler at `address`, or by a local cluster of `workers` processes, for the block.

    Raises:
        ValueError: if there is no scheduler at that address.
        SweepStopped: if the local cluster does not start.
    """
    import distributed

    loggers = [logging.getLogger(name) for name in _LOGGERS]
    with contextlib.ExitStack() as stack:
        for logger in loggers:  # Dask logs nothing that this process says in a sentence of its own
            stack.callback(logger.setLevel, logger.level)
            logger.setLevel(logging.CRITICAL + 1)
        if address is None:
            assert workers is not None
            address = stack.enter_context(local_cluster(workers))
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
    sent: dict[Any, int] = {}
    fetched: dict[Any, Future[Arrays]] = {}
    again: list[int] = []  # shards that Dask has given up because workers were lost
    losses: collections.Counter[int] = collections.Counter()
    workers, checked, silence = Workers(client), time.monotonic(), max(limit, _BEAT)
    try:
        while True:
            heard = _heard(workers, silence)
            deaf = len(heard) < workers.listed
            room = _AHEAD * max(1, len(heard))
            while len(sent) < room and (shard := again.pop() if again else take()) is not None:
                # Left alone, Dask would choose a deaf worker, which has so little to do.
                own = heard if deaf and heard else None
                sent[client.submit(_task, table, shard, numbers, workers=own, pure=False)] = shard
            if not sent:
                return
            if deaf and heard and time.monotonic() - checked > silence:
                checked = time.monotonic()
                # Nobody works on these, or their arrays are on their way from a worker that does not send them.
                waiting = [future for future in sent if future not in fetched or not fetched[future].done()]
                for future in _forsaken(client, waiting, workers, heard):
                    fetched.pop(future, None)
                    again.append(sent.pop(future))
            for future in sent.keys() - fetched.keys():
                if future.done():
                    fetched[future] = _in_background(future.result)
            arrived = [future for future in fetched if fetched[future].done()]
            for future in arrived:
                shard = sent.pop(future)
                if (arrays := _arrays(fetched.pop(future), shard)) is not None:
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
                time.sleep(_LOOK)
                yield _waiting(workers.alone, silence if workers.listed else limit, workers.listed)
    finally:
        with contextlib.suppress(Exception):
            client.cancel(list(sent))


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


def _in_background(function: Callable[[], Arrays]) -> Future[Arrays]:
    """Calls a function that may take long to notice a lost worker; its thread holds up no one, not even the end."""
    result: Future[Arrays] = Future()

    def call() -> None:
        try:
            result.set_result(function())
        except BaseException as error:
            result.set_exception(error)

    threading.Thread(target=call, daemon=True).start()
    return result


def _arrays(fetched: Future[Arrays], shard: int) -> Arrays | None:
    """The arrays of a shard; None if Dask has given it up because workers were lost."""
    from distributed import KilledWorker

    try:
        return fetched.result()
    except KilledWorker:
        return None
    except ValueError:
        raise
    except (CancelledError, OSError):
        raise SweepStopped(_LOST) from None
    except Exception as error:
        raise SweepStopped(f"shard {shard} failed on a worker: {type(error).__name__}: {error}") from error


def _task(table: str, shard: int, numbers: dict[str, Any]) -> Arrays:
    """One shard, on a worker."""
    own = engine.numbers_version()
    for name, value in numbers.items():
        if own.get(name) != value:
            raise ValueError(f"a worker has {name} {own.get(name)!r} where the store has {value!r}; make them alike")
    return engine.compute_shard(engine.spec_of(table), shard)
