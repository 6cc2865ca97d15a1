"""A Dask cluster of processes on this machine, which lives as long as its pipe from this process is open.

It runs in a session of its own: a terminal sends Ctrl-C to the process that was asked for, and to none of these. When
this process ends, in whatever way, the pipe closes and so does the cluster. Its workers keep compiled programs where
this process keeps its own.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from typing import Any

import jax

from pgdyn.sweep.progress import SweepStopped

_SERVE = "import json, sys; path, *rest = json.loads(sys.argv[1]); sys.path[:] = path; " + (
    "from pgdyn.sweep import local_cluster; local_cluster.serve(*rest)"
)
_START = 60.0  # seconds that a cluster may take to start
_STOP = 0.5  # seconds that it may take to end


@contextlib.contextmanager
def local_cluster(workers: int) -> Iterator[str]:
    """The address of the scheduler of `workers` processes with a thread each; SweepStopped if they do not start."""
    with contextlib.ExitStack() as stack:
        scratch = stack.enter_context(tempfile.TemporaryDirectory(prefix="pgdyn-", ignore_cleanup_errors=True))
        log = stack.enter_context(tempfile.TemporaryFile())
        process = subprocess.Popen(
            [sys.executable, "-c", _SERVE, json.dumps([[str(place) for place in sys.path], workers, scratch])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            env=os.environ | _compilation_cache(),
            start_new_session=True,
        )
        stack.callback(_stop, process)
        yield _address(process, log)


def serve(workers: int, scratch: str) -> None:
    """Runs in the cluster's process: starts the cluster, prints its address, and ends with standard input."""
    import distributed

    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # workers do not hold the pipe to the process that waits for the answer
    cluster: Any = distributed.LocalCluster(
        n_workers=workers,
        threads_per_worker=1,
        processes=True,
        dashboard_address=None,  # pyright: ignore[reportArgumentType]
        host="127.0.0.1",
        local_directory=scratch,
        silence_logs=logging.ERROR,
    )
    with cluster:
        print(cluster.scheduler_address, file=answer, flush=True)
        sys.stdin.read()


def _compilation_cache() -> dict[str, str]:
    """This process's settings of JAX's compilation cache, as a process that it starts reads them."""
    names = ("compilation_cache_dir", "persistent_cache_min_compile_time_secs", "persistent_cache_min_entry_size_bytes")
    found = {f"JAX_{name.upper()}": getattr(jax.config, f"jax_{name}") for name in names}
    return {name: str(value) for name, value in found.items() if value is not None}


def _address(process: subprocess.Popen[bytes], log: Any) -> str:
    assert process.stdout is not None
    if select.select([process.stdout], [], [], _START)[0] and (line := process.stdout.readline().decode().strip()):
        return line
    log.seek(0)
    said = [line for line in log.read().decode(errors="replace").splitlines() if line.strip()]
    reason = said[-1] if said else f"no answer within {_START:.0f} seconds"
    raise SweepStopped(f"the local workers did not start: {reason}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)  # what the workers compute is of no use any more
        try:
            process.wait(_STOP)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
