"""The ways to solve a batch of flows that the ensemble benchmark compares, by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import diffrax
import jax
import jax.numpy as jnp
import numpy as np

import pgdyn
from experiments.benchmarks import (
    batched_tsit5,
    machine_limit,
    numba_kernel,
    scipy_loop,
    tableaux,
    vmapped_diffrax,
)
from experiments.benchmarks.peer import ABSOLUTE, Ends, Peer, Solve, installed, plain_arrays
from experiments.benchmarks.workloads import Workload
from pgdyn import Result

ENGINE, LIMIT, PLAIN = "pgdyn engine", "machine limit", "plain engine"
TSIT5, DOPRI8 = "diffrax Tsit5", "diffrax Dopri8"
NUMBA5, NUMBA8 = "Numba order 5", "Numba order 8"
SCIPY, ASCENT = "SciPy loop", "ascent scan"
DIFFRAX, NUMBA = (TSIT5, DOPRI8), (NUMBA5, NUMBA8)  # each at its best: the faster one at the error compared
ASCENT_STEPS = 50_000


def _engine(workload: Workload) -> Solve:
    def solve(rtol: float) -> Ends:
        solution = pgdyn.flow_many(
            workload.problems, workload.t1, target=workload.target, rtol=rtol, atol=ABSOLUTE * rtol
        )
        finished = solution.result == Result.completed
        return Ends(solution.log_policy, solution.steps, solution.hitting_time, finished)

    return solve


def ascent(workload: Workload) -> Solve:
    """Exact gradient ascent over the same time, as a scan in float32: what a user without a flow would run.

    Example:
        >>> from experiments.benchmarks import workloads
        >>> ascent(Workload("standard", workloads.standard(1), t1=1.0))(0.0).log_policy.shape
        (1, 1, 5)
    """
    start, reward = (jnp.asarray(array.T, jnp.float32) for array in plain_arrays(workload))
    rate = jnp.asarray(workload.t1 / ASCENT_STEPS, jnp.float32)

    @jax.jit
    def run(logits: Any) -> Any:
        def update(logits: Any, _: None) -> tuple[Any, None]:
            policy = jax.nn.softmax(logits, axis=0)
            return logits + rate * policy * (reward - jnp.sum(policy * reward, axis=0, keepdims=True)), None

        logits, _ = jax.lax.scan(update, logits, length=ASCENT_STEPS)
        return jax.nn.log_softmax(logits, axis=0)

    def solve(rtol: float) -> Ends:
        log_policy = np.asarray(jax.block_until_ready(run(start)), np.float64).T
        return Ends(log_policy[:, None])

    return solve


def _with(package: str, prepare: Callable[[Workload], Solve], name: str, **about: Any) -> Peer:
    """A peer that needs an optional package, on a CPU."""
    return Peer(name, prepare, on_cpu_only=True, available=lambda: installed(package), needs=package, **about)


PEERS = {
    peer.name: peer
    for peer in (
        Peer(ENGINE, _engine),
        Peer(TSIT5, vmapped_diffrax.prepare(diffrax.Tsit5())),
        Peer(DOPRI8, vmapped_diffrax.prepare(diffrax.Dopri8())),
        Peer(PLAIN, batched_tsit5.prepare, on_cpu_only=True),
        _with("numba", numba_kernel.prepare(tableaux.DOPRI5), NUMBA5),
        _with("numba", numba_kernel.prepare(tableaux.DOP853), NUMBA8),
        _with("scipy", scipy_loop.prepare, SCIPY, most=scipy_loop.MOST),
        Peer(ASCENT, ascent, dtype="float32", adaptive=False),
        Peer(
            LIMIT,
            machine_limit.prepare,
            on_cpu_only=True,
            available=machine_limit.available,
            needs="a C compiler with OpenMP",
        ),
    )
}
