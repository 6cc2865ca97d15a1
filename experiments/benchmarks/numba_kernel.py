"""A Numba kernel for tabular flows, as an expert would write one: one trajectory after the other on every core.

Each trajectory has adaptive steps of its own. The program is written out for one tableau and one number of outputs, so
that loops over outputs have known lengths and nothing is looked up; a step's last slope is the next one's first; work
arrays are made once for a block of trajectories. Numba is an optional extra.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from experiments.benchmarks.peer import ABSOLUTE, Ends, Solve, plain_arrays
from experiments.benchmarks.tableaux import Tableau, weighted
from experiments.benchmarks.workloads import Workload

_SLOPE = """
def slope(state, reward, out):
    top = state[0]
    for i in range(1, {outputs}):
        top = max(top, state[i])
    mass = 0.0
    moment = 0.0
    for i in range({outputs}):
        out[i] = exp(state[i] - top)
        mass += out[i]
        moment += out[i] * reward[i]
    scale = 1.0 / mass
    mean = moment * scale
    for i in range({outputs}):
        out[i] *= scale * (reward[i] - mean)
"""

_KERNEL = """
def kernel(start, reward, t1, rtol, atol, log_policy, steps):
    lanes = start.shape[0]
    for block in prange((lanes + 63) // 64):
        work = empty(({arrays}, {outputs}))
        {slopes} = {unpacked}
        at = work[{arrays} - 1]
        y = work[{arrays} - 2]
        for lane in range(64 * block, min(lanes, 64 * block + 64)):
            r = reward[lane]
            y[:] = start[lane]
            slope(y, r, k0)
            steepest = 1e-3
            for i in range({outputs}):
                steepest = max(steepest, abs(k0[i]))
            h = min(t1, 0.01 / steepest)
            t = 0.0
            previous = 1.0
            tried = 0
            while t < t1:
                last = t + h >= t1
                if last:
                    h = t1 - t
{stages}
                for i in range({outputs}):
                    at[i] = y[i] + h * ({solution})
                slope(at, r, {last})
                total = 0.0
                second = 0.0
                for i in range({outputs}):
                    scale = 1.0 / (atol + rtol * max(abs(y[i]), abs(at[i])))
                    error = scale * ({error})
                    total += error * error
                    {tempering}
                ratio = {ratio}
                tried += 1
                factor = 0.9 * max(ratio, 1e-10) ** -{exponent} * previous ** {memory}
                if ratio <= 1.0:
                    t = t1 if last else t + h
                    y[:] = at
                    k0[:] = {last}
                    previous = max(ratio, 1e-4)
                h *= min({most}, max({least}, factor))
            top = y[0]
            for i in range(1, {outputs}):
                top = max(top, y[i])
            mass = 0.0
            for i in range({outputs}):
                mass += exp(y[i] - top)
            for i in range({outputs}):
                log_policy[lane, i] = y[i] - top - log(mass)
            steps[lane] = tried
"""

_STAGE = """
                for i in range({outputs}):
                    at[i] = y[i] + h * ({sum})
                slope(at, r, k{number})
"""


def source(tableau: Tableau, outputs: int) -> str:
    """The kernel's program text.

    Args:
        tableau: its Runge-Kutta pair.
        outputs: K.

    Example:
        >>> from experiments.benchmarks.tableaux import DOPRI5
        >>> source(DOPRI5, 5).count("slope(at, r, k")
        6
    """
    count = len(tableau.stages) + 2  # slopes: the first, those of the stages, and that at the new state
    stages = (
        _STAGE.format(outputs=outputs, sum=weighted(row, "k{}[i]"), number=number)
        for number, row in enumerate(tableau.stages, 1)
    )
    double = len(tableau.errors) == 2
    # DOP853: h e5^2 / sqrt(K (e5^2 + e3^2 / 100)); otherwise the root mean square.
    ratio = f"h * total / sqrt({outputs} * (total + 0.01 * second) + 1e-300)" if double else "h * sqrt(total / {})"
    return _SLOPE.format(outputs=outputs) + _KERNEL.format(
        outputs=outputs,
        arrays=count + 2,
        slopes=", ".join(f"k{i}" for i in range(count)),
        unpacked=", ".join(f"work[{i}]" for i in range(count)),
        stages="".join(stages),
        solution=weighted(tableau.solution, "k{}[i]"),
        last=f"k{count - 1}",
        error=weighted(tableau.errors[0], "k{}[i]"),
        tempering=f"second += (scale * ({weighted(tableau.errors[1], 'k{}[i]')})) ** 2" if double else "pass",
        ratio=ratio.format(outputs),
        exponent=tableau.exponent,
        memory=tableau.memory,
        most=tableau.most,
        least=tableau.least,
    )


def compile_kernel(tableau: Tableau, outputs: int) -> Callable[..., None]:
    """A fresh kernel, `kernel(start, reward, t1, rtol, atol, log_policy, steps)`, compiled by its first call.

    `start` and `reward` are [N, K]; the ends go to `log_policy` [N, K] (nats) and the steps tried to `steps` [N].
    """
    numba: Any = importlib.import_module("numba")  # optional, and absent where only the tests are installed
    names: dict[str, Any] = {"prange": numba.prange, "empty": np.empty}
    names |= {name: getattr(math, name) for name in ("exp", "log", "sqrt")}
    exec(source(tableau, outputs), names)
    # Divisions as in NumPy: Numba's own check each for zero, which keeps loops from being vectorised. The kernel gains
    # nothing from `fastmath`.
    names["slope"] = numba.njit(inline="always", error_model="numpy")(names["slope"])
    return numba.njit(parallel=True, error_model="numpy")(names["kernel"])


def prepare(tableau: Tableau) -> Callable[[Workload], Solve]:
    """How a peer with this pair is prepared; its kernels are compiled once for each K."""
    kernels: dict[int, Callable[..., None]] = {}

    def prepared(workload: Workload) -> Solve:
        start, reward = plain_arrays(workload)
        outputs = start.shape[1]
        kernel = kernels[outputs] = kernels.get(outputs) or compile_kernel(tableau, outputs)

        def solve(rtol: float) -> Ends:
            log_policy, steps = np.empty_like(start), np.empty(len(start), np.int64)
            kernel(start, reward, workload.t1, rtol, ABSOLUTE * rtol, log_policy, steps)
            return Ends(log_policy[:, None], steps)

        return solve

    return prepared
