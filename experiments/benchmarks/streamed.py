"""Peak memory and time of a batch too large to keep: solved in pieces, of which the true values alone are kept.

    python -m experiments.benchmarks.streamed N PIECES

prints, as JSON, the largest resident set in MiB of a process that does nothing else (interpreter, libraries, problems,
solutions), and the seconds that `pgdyn.flow_many` took.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

import pgdyn
from experiments.benchmarks import workloads


class Streamed(NamedTuple):
    """Peak resident set of the process in MiB, and seconds of all pieces."""

    peak_mib: float
    seconds: float


def measure(size: int, pieces: int) -> Streamed:
    """Solves the standard problems in a new process.

    Args:
        size: number of problems N.
        pieces: how many batches they come in.

    Raises:
        RuntimeError: if the process fails.
    """
    command = [sys.executable, "-m", "experiments.benchmarks.streamed", str(size), str(pieces)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    if done.returncode:
        raise RuntimeError(f"the measurement of {size} problems in a stream failed:\n{done.stderr}")
    return Streamed(**json.loads(done.stdout))


def of_this_process() -> float:
    """Peak resident set of this process in MiB.

    Example:
        >>> of_this_process() > 10
        True
    """
    status = Path("/proc/self/status")
    if status.exists():
        # getrusage's figure starts from that of the parent, which may be larger.
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    scale = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / scale


def _main(size: int, pieces: int) -> None:
    finals, seconds = np.empty(size), 0.0
    for piece, rows in enumerate(np.array_split(np.arange(size), pieces)):
        batch = workloads.standard(len(rows), seed=piece)
        if piece == 0:
            pgdyn.flow_many(batch[: len(rows) // 10], workloads.STANDARD_TIME)  # compiles
        begin = time.perf_counter()
        finals[rows] = pgdyn.flow_many(batch, workloads.STANDARD_TIME).true_value
        seconds += time.perf_counter() - begin
        del batch
    assert np.isfinite(finals).all()
    print(json.dumps(Streamed(of_this_process(), seconds)._asdict()))


if __name__ == "__main__":
    _main(int(sys.argv[1]), int(sys.argv[2]))
