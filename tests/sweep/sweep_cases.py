"""What the tests of sweeps share: specs, processes that run them, and stores compared byte by byte."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import pathlib
import subprocess
import sys
import time
from collections.abc import Callable

PATIENCE = 240.0  # seconds; a bound on hanging, not a measure of speed
TRUE_REWARD = [1.0, 0.8, -1.0]
INITIAL_POLICY = [0.1, 0.6, 0.3]

# 12 shards of some tenths of a second, so that there is time to interfere between the first and the last.
SLOW = """
observables = ["true_value", "hitting_time", "log_policy"]
shard_size = 20

[problem]
true_reward = [1.0, 0.8, -1.0]
initial_policy = [0.1, 0.6, 0.3]

[[axes]]
field = "initial_policy[0]"
name = "p0"
kind = "log"
start = 1e-3
stop = 0.3
count = 24

[[axes]]
field = "proxy_reward[1]"
kind = "linear"
start = -1.0
stop = 1.0
count = 10

[dynamics]
kind = "ascend"
steps = 20000
target = 0.9
"""
SLOW_SHARDS = 12


def command(*arguments: str | os.PathLike[str]) -> list[str]:
    return [sys.executable, "-m", "pgdyn.cli", *map(str, arguments)]


def run(*arguments: str | os.PathLike[str], **options) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*arguments), capture_output=True, text=True, timeout=PATIENCE, **options)


@contextlib.contextmanager
def started(*arguments: str, **options):
    """A process that is gone when the block ends."""
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True} | options
    process = subprocess.Popen(arguments, **options)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def until(condition: Callable[[], bool], what: str, process: subprocess.Popen | None = None) -> None:
    """Waits for a condition, and says which one if it does not come true."""
    end = time.monotonic() + PATIENCE
    while not condition():
        if process is not None and process.poll() is not None and not condition():
            raise AssertionError(f"the process ended before {what}: {process.communicate()}")
        if time.monotonic() > end:
            raise AssertionError(f"waited {PATIENCE:g} s in vain until {what}")
        time.sleep(0.005)


def shards(store: pathlib.Path) -> list[pathlib.Path]:
    """The folders of the shards that carry their final names."""
    folder = store / "shards"
    return sorted(entry for entry in folder.glob("*") if entry.is_dir() and not entry.name.startswith("."))


def contents(store: pathlib.Path) -> dict[str, str]:
    """Every file of a store by its path, hidden ones included, as a digest of its bytes.

    The root's description counts without the git revision: somebody may commit while the tests run.
    """
    found = {}
    for entry in sorted(store.rglob("*")):
        if entry.is_dir():
            continue
        data = entry.read_bytes()
        if entry == store / "zarr.json":
            attributes = json.loads(data)["attributes"]
            attributes["pgdyn_sweep"]["made_by"].pop("git_revision", None)
            data = json.dumps(attributes["pgdyn_sweep"]).encode()
        found[entry.relative_to(store).as_posix()] = hashlib.sha256(data).hexdigest()
    return found
