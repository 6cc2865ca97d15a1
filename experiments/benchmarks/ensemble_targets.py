"""What the ensemble engine has to reach, and whether the rows of a benchmark show it.

Against another adaptive solver two ratios of medians are given: at the same tolerance, and at the same achieved error,
which is the one that counts: the peer's time at the error that the engine has at its default tolerance, over its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from experiments.benchmarks.ensemble_cases import DEFAULT, DIFFRAX, ENGINE, NUMBA
from experiments.benchmarks.work_precision import Match, time_at_error

Row = dict[str, Any]
MEMORY_MIB = 2048.0
HITTING_ERROR = 1e-6
COLUMNS: tuple[str, ...] = ("case", "target", "bound", "measured", "at_equal_tolerance", "verdict", "note")


@dataclass(frozen=True)
class Speedup:
    """The engine is to be `at_least` times as fast as `peer` in `case`."""

    case: str
    peer: str
    at_least: float


CPU_SPEEDUPS = (
    Speedup("standard-1e4", DIFFRAX, 10),
    Speedup("standard-1e5", DIFFRAX, 25),
    Speedup("standard-1e4", NUMBA, 2.5),
    Speedup("standard-1e5", NUMBA, 2.5),
    Speedup("wide", DIFFRAX, 5),
    Speedup("linear-shared", DIFFRAX, 5),
    Speedup("linear-own", DIFFRAX, 5),
)
GPU_SPEEDUPS = (Speedup("standard-1e6", DIFFRAX, 20),)
# For the record, without a bound.
CONTEXT = (Speedup("standard-1e4", "SciPy loop", 0), Speedup("wide", NUMBA, 0))


def match(rows: Sequence[Row], case: str, peer: str) -> Match:
    """The peer's time at the error that the engine has, at its default tolerance, in the same case."""
    own = _one(rows, case=case, peer=ENGINE, rtol=DEFAULT)
    curve = _all(rows, case=case, peer=peer)
    return time_at_error([row["error_p99"] for row in curve], [row["warm_s"] for row in curve], own["error_p99"])


def judge(rows: Sequence[Row], platform: str) -> list[Row]:
    """A row for every target whose case was run."""
    speedups = CPU_SPEEDUPS + CONTEXT if platform == "cpu" else GPU_SPEEDUPS
    found = [_speedup(rows, wanted) for wanted in speedups if _all(rows, case=wanted.case)]
    cases = {row["case"] for row in rows}
    if "scaling" in cases:
        found += _scaling(rows, platform)
    if "hitting" in cases:
        found += _hitting(rows)
    if "tails" in cases:
        found += _tails(rows)
    return found


def _speedup(rows: Sequence[Row], wanted: Speedup) -> Row:
    own = _one(rows, case=wanted.case, peer=ENGINE, rtol=DEFAULT)
    named = f"{wanted.peer}, N = {own['problems']:,}: times as fast"
    bound = f">= {wanted.at_least:g}" if wanted.at_least else "none"
    curve = _all(rows, case=wanted.case, peer=wanted.peer)
    if not curve:
        return _line(wanted.case, named, bound, None, None, "not measured", f"{wanted.peer} is not installed")
    found = match(rows, wanted.case, wanted.peer)
    ratio = found.seconds / own["warm_s"]
    same = _all(rows, case=wanted.case, peer=wanted.peer, rtol=DEFAULT)
    equal = same[0]["warm_s"] / own["warm_s"] if same else None
    notes = {
        "=": f"at error {own['error_p99']:.1e} (99 %)",
        ">": f"beyond range: it never gets to the engine's error, {own['error_p99']:.1e} (99 %); its most accurate run",
        "<": f"beyond range: all its runs are more accurate than the engine's {own['error_p99']:.1e}; its fastest run",
    }
    reached = found.relation != "<" or ratio < wanted.at_least
    verdict = _verdict(ratio >= wanted.at_least and reached) if wanted.at_least else ""
    if found.relation == "<" and ratio >= wanted.at_least and wanted.at_least:
        verdict = "not shown"  # an upper bound on the ratio proves nothing
    return _line(wanted.case, named, bound, ratio, equal, verdict, notes[found.relation], found.relation)


def _scaling(rows: Sequence[Row], platform: str) -> list[Row]:
    curve = [row for row in _all(rows, case="scaling", peer=ENGINE) if row["problems"] >= 1000]
    each = [row["warm_s"] / row["problems"] for row in curve]
    name = f"cost of a trajectory, N = {curve[0]['problems']:,} to {curve[-1]['problems']:,}: dearest over cheapest"
    spread = max(each) / min(each)
    note = ", ".join(f"{second * 1e6:.2f}" for second in each) + " us"
    found = [_line("scaling", name, "<= 1.3", spread, None, _verdict(spread <= 1.3), note)]
    if platform == "cpu" and curve[-1].get("peak_mib"):
        peak = curve[-1]["peak_mib"]
        name = f"peak memory of the whole process, N = {curve[-1]['problems']:,}, MiB"
        found.append(_line("scaling", name, f"< {MEMORY_MIB:g}", peak, None, _verdict(peak < MEMORY_MIB), ""))
    return found


def _hitting(rows: Sequence[Row]) -> list[Row]:
    without = _one(rows, case="hitting", workload="without a target", peer=ENGINE, rtol=DEFAULT)
    aimed = [row for row in _all(rows, case="hitting", peer=ENGINE) if row["workload"] == "with a target"]
    own = _one(aimed, rtol=DEFAULT)
    ratio = own["warm_s"] / without["warm_s"]
    error = own["hit_error_max"]
    good = [row for row in aimed if row["hit_error_max"] <= HITTING_ERROR]
    note = f"99 % within {own['hit_error_p99']:.1e}"
    if error > HITTING_ERROR and good:
        cheapest = max(good, key=lambda row: row["rtol"])
        note += f"; all within {cheapest['hit_error_max']:.1e} at rtol {cheapest['rtol']:.0e}"
        note += f", for {cheapest['warm_s'] / own['warm_s']:.2f} times the time"
    name = "relative error of hitting times at rtol 1e-6, largest"
    return [
        _line("hitting", "time with a target over time without", "<= 1.5", ratio, None, _verdict(ratio <= 1.5), ""),
        _line("hitting", name, "<= 1e-6", error, None, _verdict(error <= HITTING_ERROR), note),
    ]


def _tails(rows: Sequence[Row]) -> list[Row]:
    alone, both = (
        _one(rows, case="tails", workload=name, peer=ENGINE, rtol=DEFAULT)
        for name in ("random problems alone", "with plateau problems")
    )
    name = f"problems that run to t = 1e15, of {both['problems']:,}"
    note = f"most steps {both['steps_max']}, hitting times of the plateaus within {both['hit_error_hard']:.1e}"
    done = both["finished"] == both["problems"]
    found = [_line("tails", name, "all", both["finished"], None, _verdict(done), note)]
    hard = both["problems"] - alone["problems"]
    note = ""
    peer = _all(rows, case="tails", peer=DIFFRAX)
    if len(peer) == 2:
        note = f"diffrax vmap: {peer[1]['warm_s'] / peer[0]['warm_s']:.2f}"
    name = f"time with {hard} plateau problems over time without"
    return [*found, _line("tails", name, "none", both["warm_s"] / alone["warm_s"], None, "", note)]


def _verdict(good: bool) -> str:
    return "met" if good else "missed"


def _line(
    case: str, target: str, bound: str, measured: Any, equal: float | None, verdict: str, note: str, relation: str = "="
) -> Row:
    sign = "" if relation == "=" else relation + " "
    shown = None if measured is None else f"{sign}{measured:.4g}" if isinstance(measured, float) else str(measured)
    tolerance = None if equal is None else f"{equal:.4g}"
    return dict(zip(COLUMNS, (case, target, bound, shown, tolerance, verdict, note), strict=True))


def _all(rows: Sequence[Row], **wanted: Any) -> list[Row]:
    return [row for row in rows if all(row[name] == value for name, value in wanted.items())]


def _one(rows: Sequence[Row], **wanted: Any) -> Row:
    found = _all(rows, **wanted)
    if len(found) != 1:
        raise ValueError(f"{len(found)} rows have {wanted}; there must be one")
    return found[0]
