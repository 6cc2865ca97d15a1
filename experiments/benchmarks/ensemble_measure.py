"""Measures one case of the ensemble benchmark: rows of times with errors and step counts beside them."""

from __future__ import annotations

import functools
from typing import Any

import jax
import numpy as np

from experiments.benchmarks import peers, scipy_loop, timing, vmapped_diffrax, work_precision
from experiments.benchmarks.ensemble_cases import Batch, Scale
from experiments.benchmarks.peer import Ends, Peer, Solve
from experiments.benchmarks.peers import PEERS
from experiments.benchmarks.workloads import Workload

COLUMNS: tuple[str, ...] = (
    "case",
    "workload",
    "peer",
    "problems",
    "problems_run",
    "prompts",
    "outputs",
    "features",
    "t1",
    "dtype",
    "rtol",
    "cold_s",
    "warm_s",
    "warm_min_s",
    "warm_max_s",
    "repeats",
    "error_max",
    "error_p99",
    "hit_error_max",
    "hit_error_p99",
    "hit_error_hard",
    "steps_mean",
    "steps_max",
    "finished",
    "peak_mib",
)
Row = dict[str, Any]
CHECK = "SciPy DOP853 at 1e-13"
_LONG = 8.0  # seconds of a call, from which on it is timed once


def measure(case: str, batches: list[Batch], scale: Scale, platform: str) -> list[Row]:
    """All rows of a case. The peers of all its batches take turns.

    Args:
        case: its name.
        batches: what is solved.
        scale: repeats and their budget.
        platform: "cpu" or "gpu"; peers that do not belong there or are not installed are left out.
    """
    known = [vmapped_diffrax.reference(_head(batch.workload, scale.compared)) for batch in batches]
    jax.clear_caches()  # so that the first call below is a first call
    tasks, cold = {}, {}
    for i, batch in enumerate(batches):
        for name, tolerances in batch.peers.items():
            peer = PEERS[name]
            if not peer.available() or (platform != "cpu" and peer.on_cpu_only):
                continue
            solve = peer.prepare(batch.workload)
            _, cold[i, name] = timing.once(functools.partial(solve, tolerances[0]))
            for rtol in tolerances:
                tasks[i, name, rtol] = functools.partial(_solve_and_keep_head, solve, rtol, scale.compared)
    timings = timing.in_turns(tasks, rounds=scale.rounds, at_least=scale.at_least, budget=scale.budget, long=_LONG)
    rows = []
    for i, batch in enumerate(batches):
        for (at, name, rtol), one in timings.items():
            if at == i:
                first = rtol == batch.peers[name][0]
                row = _row(case, batch, PEERS[name], rtol, cold[i, name] if first else None, one)
                rows.append(row | _errors(batch, one.result, known[i]))
        rows += _check_reference(case, batch, known[i], scale.checked)
    return rows


def describe(batch: Workload) -> Row:
    """The columns that say what was solved."""
    problems = batch.problems
    return {
        "workload": batch.name,
        "problems": len(problems),
        "prompts": problems.num_prompts,
        "outputs": problems.num_outputs,
        "features": None if problems.is_tabular else problems.params_shape[0],
        "t1": batch.t1,
    }


def _head(workload: Workload, compared: int) -> Workload:
    """The problems whose errors are computed: all of them where hitting times are wanted."""
    problems = workload.problems
    if len(problems) <= compared or workload.target is not None:
        return workload
    return Workload(workload.name, problems[:compared], workload.t1)


def _solve_and_keep_head(solve: Solve, rtol: float, compared: int) -> Ends:
    ends = solve(rtol)
    if ends.log_policy is None or ends.hitting_time is not None:
        return ends
    # Views would keep a million problems in memory for every tolerance.
    return ends._replace(log_policy=ends.log_policy[:compared].copy())


def _row(case: str, batch: Batch, peer: Peer, rtol: float, cold: float | None, one: timing.Timing) -> Row:
    size = len(batch.workload.problems)
    run = size if peer.most is None else min(size, peer.most)
    scaled = [seconds * size / run for seconds in one.seconds]
    ends: Ends = one.result
    return {
        "case": case,
        **describe(batch.workload),
        "peer": peer.name,
        "problems_run": run,
        "dtype": peer.dtype,
        "rtol": rtol if peer.adaptive else None,
        "cold_s": cold,
        "warm_s": float(np.median(scaled)),
        "warm_min_s": min(scaled),
        "warm_max_s": max(scaled),
        "repeats": len(scaled),
        "steps_mean": peers.ASCENT_STEPS if ends.steps is None else float(np.mean(ends.steps)),
        "steps_max": peers.ASCENT_STEPS if ends.steps is None else int(np.max(ends.steps)),
        "finished": None if ends.finished is None else int(np.sum(ends.finished)),
    }


def _errors(batch: Batch, ends: Ends, known: Ends) -> Row:
    if ends.log_policy is None or known.log_policy is None:
        return {}
    count = min(len(ends.log_policy), len(known.log_policy))
    error = work_precision.log_policy_error(ends.log_policy[:count], known.log_policy[:count])
    found: Row = {"error_max": error.largest, "error_p99": error.most}
    if batch.workload.target is not None and ends.hitting_time is not None and known.hitting_time is not None:
        times, right = ends.hitting_time[:count], known.hitting_time[:count]
        hit = work_precision.hitting_time_error(times, right)
        found |= {"hit_error_max": hit.largest, "hit_error_p99": hit.most}
        if batch.hard is not None and (hard := batch.hard[:count]).any():
            found["hit_error_hard"] = work_precision.hitting_time_error(times[hard], right[hard]).largest
    return found


def _check_reference(case: str, batch: Batch, known: Ends, count: int) -> list[Row]:
    """The reference's own error on a few problems: half of those that took it most steps, half any others."""
    if not PEERS[peers.SCIPY].available() or known.steps is None or known.log_policy is None:
        return []
    hardest = np.argsort(-known.steps, kind="stable")
    lanes = np.unique(np.r_[hardest[: count // 2], np.arange(count - count // 2)])
    lanes = lanes[lanes < len(known.log_policy)]
    found = scipy_loop.judge(batch.workload, lanes)
    subset = Ends(known.log_policy[lanes], None, None if known.hitting_time is None else known.hitting_time[lanes])
    part = Batch(batch.workload, batch.peers, None if batch.hard is None else batch.hard[lanes])
    row = {"case": case, **describe(batch.workload), "peer": CHECK, "problems_run": len(lanes), "dtype": "float64"}
    return [row | {"rtol": 1e-13} | _errors(part, found, subset)]
