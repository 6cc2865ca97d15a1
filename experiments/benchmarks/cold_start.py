"""How long a user waits before anything happens: imports, and first and second runs of the command line.

    python -m experiments.benchmarks.cold_start

Every process is new; the compilation cache is in a folder of its own, empty at first.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from experiments.benchmarks.target_table import Row, line
from pgdyn import compilation_cache

IMPORT_SECONDS, SIMULATE_SECONDS = 1.0, 3.0
VERIFY_SECONDS, VERIFY_COLD_SECONDS = 60.0, 120.0
PROBLEM = "initial_policy = [0.05, 0.5, 0.15, 0.15, 0.15]\ntrue_reward = [1, 0.8, -1, -1, -1]\n"
_IMPORT = "import time; begin = time.perf_counter(); import pgdyn; print(time.perf_counter() - begin)"


def targets(quick: bool = False) -> list[Row]:
    """A row for every target of cold start.

    Args:
        quick: one import and the runs of `pgdyn simulate` alone.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        problem = folder / "problem.toml"
        problem.write_text(PROBLEM)
        imports = [float(_run(["-c", _IMPORT], folder)[1]) for _ in range(1 if quick else 7)]
        found = [_row("import pgdyn, s", IMPORT_SECONDS, statistics.median(imports), "median of new processes")]
        simulate = ["-m", "pgdyn.cli", "simulate", str(problem), "--t1", "1e6", "--out"]
        runs = [_run([*simulate, str(folder / f"run{i}")], folder)[0] for i in range(2 if quick else 4)]
        note = f"the first took {runs[0]:.2f} s"
        found.append(_row("pgdyn simulate --out, second run, s", SIMULATE_SECONDS, statistics.median(runs[1:]), note))
        if not quick:
            cold, warm = (_run(["-m", "pgdyn.cli", "verify", "--problems", "10"], folder)[0] for _ in range(2))
            found.append(_row("pgdyn verify --problems 10, first run, s", VERIFY_COLD_SECONDS, cold, ""))
            found.append(_row("pgdyn verify --problems 10, second run, s", VERIFY_SECONDS, warm, ""))
    return found


def _row(target: str, bound: float, measured: float, note: str) -> Row:
    return line("cold start", target, f"< {bound:g}", measured, measured < bound, note)


def _run(arguments: Sequence[str], folder: Path) -> tuple[float, str]:
    """(seconds, output) of a new Python process."""
    environment = os.environ | {compilation_cache.VARIABLE: str(folder / "compiled")}
    begin = time.perf_counter()
    done = subprocess.run(
        [sys.executable, *arguments], env=environment, capture_output=True, text=True, cwd=Path(__file__).parents[2]
    )
    seconds = time.perf_counter() - begin
    if done.returncode:
        raise RuntimeError(f"{' '.join(arguments)} failed:\n{done.stderr}")
    return seconds, done.stdout


if __name__ == "__main__":
    for row in targets():
        print(f"{row['target']}: {row['measured']} ({row['bound']}, {row['verdict']}) {row['note']}")
