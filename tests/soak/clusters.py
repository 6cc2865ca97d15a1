"""Sweeps on external Dask clusters whose processes are killed, stopped and started again by a hostile user.

Whatever happens, a sweep ends by itself, within a time that is known, with exit code 0 and the undisturbed store or
with one sentence and exit code 1; then the same command without a cluster ends with the undisturbed store.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

from .sweeps import Bench, bench, one_sentence, shards
from .tally import Effort, Tally

LIMIT = 4  # seconds that the cluster may be without workers
PATIENCE = 60.0  # that a sweep may take after a fault
START = 60.0


class Cluster:
    """A scheduler and workers in processes of their own."""

    def __init__(self, place: pathlib.Path, workers: int) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.address = f"tcp://127.0.0.1:{probe.getsockname()[1]}"
        self._place = place
        self.log = place / "workers.log"
        self.processes: list[subprocess.Popen[bytes]] = []
        self.scheduler = self.start_scheduler()
        self.workers = [
            self._start("dask_worker", self.address, "--no-nanny", "--nthreads", "1") for _ in range(workers)
        ]
        end = time.monotonic() + START
        while self.log.read_text(errors="replace").count("Registered to") < workers:
            if time.monotonic() > end:
                raise RuntimeError("the workers did not start")
            time.sleep(0.05)

    def start_scheduler(self) -> subprocess.Popen[bytes]:
        return self._start("dask_scheduler", "--host", self.address)

    def _start(self, program: str, *arguments: str) -> subprocess.Popen[bytes]:
        line = [sys.executable, "-m", f"distributed.cli.{program}", *arguments, "--no-dashboard"]
        if program == "dask_worker":
            line += ["--local-directory", str(self._place)]
        environment = os.environ | {"PYTHONWARNINGS": "ignore"}
        with self.log.open("ab") as log:
            self.processes.append(subprocess.Popen(line, stdout=log, stderr=log, env=environment))
        return self.processes[-1]

    def close(self) -> None:
        for process in self.processes:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGCONT)
            process.kill()
            process.wait()


@contextlib.contextmanager
def cluster(made: Bench, workers: int = 2) -> Iterator[Cluster]:
    place = made.store()
    place.mkdir()
    started = Cluster(place, workers)
    try:
        yield started
    finally:
        started.close()


def kill_scheduler(own: Cluster) -> None:
    own.scheduler.kill()
    own.scheduler.wait()


GONE = "had no workers|heard nothing from its workers|scheduler was lost"

FAULTS: dict[str, tuple[Callable[[Cluster], object], str]] = {  # kind -> the fault, and what is said where it stops
    "a worker killed": (lambda own: own.workers[0].kill(), "nothing"),
    "all workers killed": (lambda own: [worker.kill() for worker in own.workers], GONE),
    "a worker deaf": (lambda own: own.workers[0].send_signal(signal.SIGSTOP), "nothing"),
    "all workers deaf": (lambda own: [worker.send_signal(signal.SIGSTOP) for worker in own.workers], GONE),
    "the scheduler killed": (kill_scheduler, GONE),
    "the scheduler deaf": (lambda own: own.scheduler.send_signal(signal.SIGSTOP), GONE),
}


def clusters(effort: Effort, tally: Tally) -> None:
    """Every fault at a random shard."""
    if importlib.util.find_spec("distributed") is None:
        print("clusters: left out, as Dask is not installed", file=sys.stderr)
        return
    with bench(effort) as made:
        for _ in range(effort.count(10)):
            for kind in FAULTS:
                if effort.spent:
                    return
                tally.note(f"sweeps with {kind}", one_fault(made, kind))


def one_fault(made: Bench, kind: str) -> str:
    """What is wrong with a sweep that meets a fault once some shards are done."""
    fault, words = FAULTS[kind]
    after, store = made.rng.randint(0, 7), made.store()
    with cluster(made) as own:
        line = made.line(store, "--cluster", own.address, "--worker-timeout", LIMIT)
        process = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            end = time.monotonic() + START
            while len(shards(store)) < after and process.poll() is None and time.monotonic() < end:
                time.sleep(0.002)
            time.sleep(made.rng.uniform(0, 0.3) if after == 0 else 0.0)
            begun = time.monotonic()
            fault(own)
            try:
                out, err = process.communicate(timeout=PATIENCE)
            except subprocess.TimeoutExpired:
                return f"it waits for longer than {PATIENCE:g} s, after {after} shards"
            seconds = time.monotonic() - begun
        finally:
            process.kill()
            process.communicate()
        done = subprocess.CompletedProcess(line, process.returncode, out, err)
        # Before the sweep has reached its cluster, a scheduler that is gone is none at that address.
        if wrong := one_sentence(done, (0, 1, 2), words + "|no Dask scheduler answers"):
            return wrong
        if words == "nothing" and done.returncode != 0:
            return f"it stopped: {err[-300:]}"
        if done.returncode == 0:
            return made.differs(store)
        if seconds > 40:
            return f"it took {seconds:.0f} s to stop"
        if kind == "the scheduler killed" and done.returncode == 1:
            own.start_scheduler()  # the workers come back by themselves, or not: then the sweep says so
            again = made.run(store, "--cluster", own.address, "--worker-timeout", LIMIT)
            if wrong := one_sentence(again, (0, 1), GONE):
                return f"with its scheduler back: {wrong}"
    return made.resumed(store)
