"""The machine's limit: the engine's arithmetic in a C loop, with everything else left out.

As many steps of DOP853 as the engine takes on average, each of twelve evaluations: an exponential for each output, a
division, and the sums of the softmax, of the stages and of both error estimates. No lane waits, no step is rejected,
nothing is moved: a few lanes go through the steps together, in vector registers and the nearest cache, on every core. A
C compiler with OpenMP is needed.
"""

from __future__ import annotations

import ctypes
import functools
import math
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

import pgdyn
from experiments.benchmarks.peer import ABSOLUTE, Ends, Solve, plain_arrays
from experiments.benchmarks.tableaux import DOP853, Tableau, weighted
from experiments.benchmarks.timing import once
from experiments.benchmarks.workloads import Workload

COMPILER = shutil.which("gcc") or shutil.which("cc")
# What `-ffast-math` allows but another order of sums, which would undo the rounding in `exponential`. Not the option
# itself: a library linked with it makes the whole process flush subnormal numbers to zero.
_OPTIONS = (
    *"-O3 -march=native -mprefer-vector-width=512 -fopenmp -shared -fPIC".split(),
    *"-fno-math-errno -fno-trapping-math -ffinite-math-only -fno-signed-zeros -freciprocal-math".split(),
)
_STEP = 0.1  # of time: its length changes nothing
_TOGETHER = (8, 16, 32, 64)  # lanes; how many are fastest depends on the processor and on K

_PROGRAM = """
#include <math.h>
#define K {outputs}
#define LANES for (int l = 0; l < W; l++)
typedef double Numbers[K][W] __attribute__((aligned(64)));

/* 2^n exp(x - n log 2), by the Taylor polynomial of degree 12: within two units in the last place. */
static inline double exponential(double x) {{
    union {{ double value; long bits; }} scale;
    double shifted = x * 0x1.71547652b82fep0 + 0x1.8p52, n = shifted - 0x1.8p52;
    double r = x - n * 0x1.62e42fefa39efp-1 - n * 0x1.abc9e3b39803fp-56;
    scale.value = shifted;
    scale.bits = (scale.bits + 1023) << 52;
    double sum = 1.0 / 479001600;
    {horner}
    return sum * scale.value;
}}

static inline void slope(const Numbers state, const Numbers reward, Numbers out) {{
    double mass[W] __attribute__((aligned(64))) = {{0}}, moment[W] __attribute__((aligned(64))) = {{0}};
    for (int i = 0; i < K; i++) LANES {{
        out[i][l] = exponential(state[i][l]);
        mass[l] += out[i][l];
        moment[l] += out[i][l] * reward[i][l];
    }}
    LANES {{ mass[l] = 1.0 / mass[l]; moment[l] *= mass[l]; }}
    for (int i = 0; i < K; i++) LANES out[i][l] *= mass[l] * (reward[i][l] - moment[l]);
}}

void run(const double *start, const double *rewards, double *end, long blocks, long steps, double h) {{
    #pragma omp parallel for schedule(static)
    for (long block = 0; block < blocks; block++) {{
        Numbers y, r, at, {slopes};
        double total[W] __attribute__((aligned(64))) = {{0}};
        for (int i = 0; i < K; i++) LANES {{
            y[i][l] = start[(block * K + i) * W + l];
            r[i][l] = rewards[(block * K + i) * W + l];
        }}
        slope(y, r, k0);
        for (long step = 0; step < steps; step++) {{
{stages}
            for (int i = 0; i < K; i++) LANES {{
                double first = {error}, second = {second};
                total[l] += first * first + second * second;
                y[i][l] += h * ({solution});
            }}
            slope(y, r, k0);
        }}
        for (int i = 0; i < K; i++) LANES end[(block * K + i) * W + l] = y[i][l] + 1e-300 * total[l];
    }}
}}
"""
_STAGE = """
            for (int i = 0; i < K; i++) LANES at[i][l] = y[i][l] + h * ({sum});
            slope(at, r, k{number});
"""


def source(outputs: int, tableau: Tableau = DOP853) -> str:
    """The program in C.

    Args:
        outputs: K.
        tableau: its Runge-Kutta pair.

    Example:
        >>> source(5).count("slope(")
        14
    """
    stages = (
        _STAGE.format(sum=weighted(row, "k{}[i][l]"), number=number) for number, row in enumerate(tableau.stages, 1)
    )
    return _PROGRAM.format(
        outputs=outputs,
        slopes=", ".join(f"k{i}" for i in range(len(tableau.stages) + 1)),
        stages="".join(stages),
        horner=" ".join(f"sum = sum * r + 1.0 / {math.factorial(n)};" for n in range(11, -1, -1)),
        solution=weighted(tableau.solution, "k{}[i][l]"),
        error=weighted(tableau.errors[0], "k{}[i][l]"),
        second=weighted(tableau.errors[1], "k{}[i][l]"),
    )


@functools.cache
def compile_loop(outputs: int, together: int) -> Any:
    """The compiled loop for K outputs, `together` lanes at a time.

    Raises:
        OSError: if it does not compile or cannot be loaded.
    """
    with tempfile.TemporaryDirectory() as folder:
        text, library = Path(folder, "loop.c"), Path(folder, "loop.so")
        text.write_text(source(outputs))
        assert COMPILER is not None
        command = [COMPILER, str(text), "-o", str(library), f"-DW={together}", *_OPTIONS]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise OSError(f"the machine's limit does not compile:\n{done.stderr}")
        return ctypes.CDLL(str(library)).run


@functools.cache
def available() -> bool:
    """Whether the loop compiles here."""
    try:
        return COMPILER is not None and compile_loop(2, 8) is not None
    except OSError:
        return False


def run(start: np.ndarray, reward: np.ndarray, steps: int, step: float, together: int = 8) -> np.ndarray:
    """`steps` steps of DOP853 of length `step` on every lane.

    Args:
        start: [N, K], logits small enough for their exponentials.
        reward: [N, K].
        steps: number of steps.
        step: their length.
        together: lanes at a time.

    Returns:
        [N, K], logits at the end.

    Raises:
        OSError: without a C compiler that will do.
    """
    laid = _Laid(start, reward, together)
    laid(steps, step)
    return laid.end()


class _Laid:
    """A batch laid out for the loop: blocks of lanes [blocks, K, together]."""

    def __init__(self, start: np.ndarray, reward: np.ndarray, together: int):
        self._lanes, outputs = start.shape
        self._loop = compile_loop(outputs, together)
        rows = np.resize(np.arange(self._lanes), (-(-self._lanes // together), together))
        self._arrays = [np.ascontiguousarray(array[rows].swapaxes(1, 2)) for array in (start, reward)]
        self._end = np.empty_like(self._arrays[0])

    def __call__(self, steps: int, step: float) -> None:
        addresses = (ctypes.c_void_p(array.ctypes.data) for array in (*self._arrays, self._end))
        self._loop(*addresses, ctypes.c_long(len(self._end)), ctypes.c_long(steps), ctypes.c_double(step))

    def end(self) -> np.ndarray:
        """[N, K], the logits that the last call has left."""
        return self._end.swapaxes(1, 2).reshape(-1, self._end.shape[1])[: self._lanes]


def prepare(workload: Workload) -> Solve:
    """How the limit is prepared: the engine tells the number of steps, and what is fastest on this machine is taken."""
    start, reward = plain_arrays(workload)
    start = start - start.max(axis=1, keepdims=True)

    @functools.cache
    def steps(rtol: float) -> int:
        solution = pgdyn.flow_many(workload.problems, workload.t1, rtol=rtol, atol=ABSOLUTE * rtol)
        return round(float(np.mean(solution.steps)))

    ways = [_Laid(start, reward, together) for together in _TOGETHER]
    for way in ways:
        way(1, _STEP)
    fastest = min(ways, key=lambda way: min(once(lambda: way(8, _STEP))[1] for _ in range(5)))

    def solve(rtol: float) -> Ends:
        fastest(steps(rtol), _STEP)
        return Ends(None, np.full(len(start), steps(rtol)))

    return solve
