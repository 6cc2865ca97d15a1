r"""A Numba kernel for tabular flows, as an expert would write one: the benchmark's strongest peer on a CPU.

One trajectory an iteration of a parallel loop over the cores, each with its own adaptive steps: the fifth-order pair of
Dormand and Prince (Hairer, Norsett, Wanner I, section II.5), a step's last slope reused as the next one's first, a PI
controller (section IV.2 of volume II) on the root mean square of the error, and no allocation inside the loop.
Numba is an optional extra: `available` says whether it is there.
"""

from __future__ import annotations

import importlib
import importlib.util
import math
from collections.abc import Callable
from typing import Any

import numpy as np


def available() -> bool:
    """Whether Numba is installed."""
    return importlib.util.find_spec("numba") is not None


def compile_kernel() -> Callable[..., None]:
    """A fresh kernel, so that its compilation can be timed: `kernel(start, reward, t1, rtol, atol, log_policy, steps)`.

    `start` and `reward` are [N, K]; the ends go to `log_policy` [N, K] (nats) and the steps tried to `steps` [N].
    """
    numba: Any = importlib.import_module("numba")  # optional, and absent where only the tests are installed

    # Divisions as in NumPy: Numba's own check each for zero, which keeps loops from being vectorised.
    serial = numba.njit(error_model="numpy", inline="always")
    parallel = numba.njit(error_model="numpy", parallel=True)

    @serial
    def slope(state: Any, reward: Any, out: Any) -> None:
        top = state[0]
        for i in range(1, state.size):
            top = max(top, state[i])
        mass = 0.0
        moment = 0.0
        for i in range(state.size):
            out[i] = math.exp(state[i] - top)
            mass += out[i]
            moment += out[i] * reward[i]
        scale = 1.0 / mass
        mean = moment * scale
        for i in range(state.size):
            out[i] *= scale * (reward[i] - mean)

    @parallel
    def kernel(start: Any, reward: Any, t1: float, rtol: float, atol: float, log_policy: Any, steps: Any) -> None:
        for lane in numba.prange(start.shape[0]):
            outputs = start.shape[1]
            y = start[lane].copy()
            r = reward[lane]
            k1, k2, k3 = np.empty(outputs), np.empty(outputs), np.empty(outputs)
            k4, k5, k6, k7 = np.empty(outputs), np.empty(outputs), np.empty(outputs), np.empty(outputs)
            new, at = np.empty(outputs), np.empty(outputs)
            slope(y, r, k1)
            steepest = 1e-3
            for i in range(outputs):
                steepest = max(steepest, abs(k1[i]))
            h = min(t1, 0.01 / steepest)
            t = 0.0
            previous = 1.0
            tried = 0
            while t < t1:
                last = t + h >= t1
                if last:
                    h = t1 - t
                for i in range(outputs):
                    at[i] = y[i] + h * (1 / 5) * k1[i]
                slope(at, r, k2)
                for i in range(outputs):
                    at[i] = y[i] + h * (3 / 40 * k1[i] + 9 / 40 * k2[i])
                slope(at, r, k3)
                for i in range(outputs):
                    at[i] = y[i] + h * (44 / 45 * k1[i] - 56 / 15 * k2[i] + 32 / 9 * k3[i])
                slope(at, r, k4)
                for i in range(outputs):
                    at[i] = y[i] + h * (
                        19372 / 6561 * k1[i] - 25360 / 2187 * k2[i] + 64448 / 6561 * k3[i] - 212 / 729 * k4[i]
                    )
                slope(at, r, k5)
                for i in range(outputs):
                    at[i] = y[i] + h * (
                        9017 / 3168 * k1[i]
                        - 355 / 33 * k2[i]
                        + 46732 / 5247 * k3[i]
                        + 49 / 176 * k4[i]
                        - 5103 / 18656 * k5[i]
                    )
                slope(at, r, k6)
                for i in range(outputs):
                    new[i] = y[i] + h * (
                        35 / 384 * k1[i]
                        + 500 / 1113 * k3[i]
                        + 125 / 192 * k4[i]
                        - 2187 / 6784 * k5[i]
                        + 11 / 84 * k6[i]
                    )
                slope(new, r, k7)
                total = 0.0
                for i in range(outputs):
                    difference = h * (
                        71 / 57600 * k1[i]
                        - 71 / 16695 * k3[i]
                        + 71 / 1920 * k4[i]
                        - 17253 / 339200 * k5[i]
                        + 22 / 525 * k6[i]
                        - 1 / 40 * k7[i]
                    )
                    difference /= atol + rtol * max(abs(y[i]), abs(new[i]))
                    total += difference * difference
                error = math.sqrt(total / outputs)
                tried += 1
                factor = 0.9 * max(error, 1e-10) ** -0.14 * previous**0.08
                if error <= 1.0:
                    t = t1 if last else t + h
                    y, new = new, y
                    k1, k7 = k7, k1
                    previous = max(error, 1e-4)
                h *= min(10.0, max(0.2, factor))
            top = y.max()
            mass = 0.0
            for i in range(outputs):
                mass += math.exp(y[i] - top)
            for i in range(outputs):
                log_policy[lane, i] = y[i] - top - math.log(mass)
            steps[lane] = tried

    return kernel
