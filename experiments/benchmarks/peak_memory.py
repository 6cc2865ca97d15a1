"""Peak memory of one `pgdyn.flow_many` call, in a process that does nothing else.

    python -m experiments.benchmarks.peak_memory N

prints the largest resident set in MiB from start to end of the process: interpreter, libraries, problems and outcome.
"""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import pgdyn
from experiments.benchmarks import workloads


def of_flow_many(size: int) -> float:
    """Peak resident set in MiB of a new process that makes and solves the standard batch of `size` problems."""
    command = [sys.executable, "-m", "experiments.benchmarks.peak_memory", str(size)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    if done.returncode:
        raise RuntimeError(f"the memory measurement of {size} problems failed:\n{done.stderr}")
    return float(done.stdout)


def of_this_process() -> float:
    """Peak resident set of this process in MiB."""
    status = Path("/proc/self/status")
    if status.exists():
        # getrusage's figure starts from that of the parent, which may be larger.
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    scale = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / scale


if __name__ == "__main__":
    pgdyn.flow_many(workloads.standard(int(sys.argv[1])), workloads.STANDARD_TIME)
    print(of_this_process())
