"""What the ensemble engine has to reach, and whether the rows of a benchmark show it.

Against another adaptive solver two ratios of medians are given: at the same tolerance, and at the same achieved error,
which is the one that counts: the peer's time at the error that the engine has at its default tolerance, over its own.
A peer with several methods counts with the one that is fastest there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from experiments.benchmarks.ensemble_cases import DEFAULT
from experiments.benchmarks.peers import DIFFRAX, ENGINE, LIMIT, NUMBA, PLAIN, SCIPY, TSIT5
from experiments.benchmarks.target_table import Row, line
from experiments.benchmarks.work_precision import Match, time_at_error

MEMORY_MIB = 2048.0
HITTING_ERROR = 1e-6
TARGET_OVERHEAD = 1.3
SPREAD = 1.3
NEAR_LIMIT = 2.0
ANY = (*DIFFRAX, *NUMBA, PLAIN)


@dataclass(frozen=True)
class Speedup:
    """The engine is to be `at_least` times as fast as the fastest of `peers` in `case`; 0 for no bound."""

    case: str
    named: str
    peers: tuple[str, ...]
    at_least: float


CPU_SPEEDUPS = (
    Speedup("standard-1e4", "best diffrax", DIFFRAX, 40),
    Speedup("standard-1e5", "best diffrax", DIFFRAX, 40),
    Speedup("standard-1e4", "best Numba kernel", NUMBA, 3),
    Speedup("standard-1e5", "best Numba kernel", NUMBA, 3),
    Speedup("wide", "best diffrax", DIFFRAX, 5),
    Speedup("linear-shared", "best diffrax", DIFFRAX, 5),
    Speedup("linear-own", "best diffrax", DIFFRAX, 5),
    Speedup("trees", "best diffrax", DIFFRAX, 5),
    # For comparison.
    Speedup("standard-1e4", "best of all", ANY, 0),
    Speedup("standard-1e5", "best of all", ANY, 0),
    Speedup("wide", "best of all", ANY, 0),
    Speedup("standard-1e4", "SciPy loop", (SCIPY,), 0),
)
GPU_SPEEDUPS = (Speedup("standard-1e6", "best diffrax", DIFFRAX, 20),)
# Targets of what is not built yet, or measured elsewhere.
NOT_HERE = [
    line(case, target, bound, verdict="not measured", note=note)
    for case, target, bound, note in (
        ("exact", "exact solution beside the engine, K = 5 and 64: times as fast", ">= 3, >= 5", "exact_solution.csv"),
        ("tests", "make test on two cores, s", "< 480", "time make test"),
    )
]


def match(rows: Sequence[Row], case: str, peers: Sequence[str]) -> tuple[Match, str] | None:
    """The least time of the peers at the error that the engine has, at its default tolerance, in the same case.

    Returns:
        The match and the name of the fastest peer; None where none of them was run. Where one of them is more accurate
        than wanted in all its runs, even its least time is no bound from below.
    """
    own = _one(rows, case=case, peer=ENGINE, rtol=DEFAULT)
    found = []
    for peer in peers:
        if curve := _all(rows, case=case, peer=peer):
            errors, seconds = [row["error_p99"] for row in curve], [row["warm_s"] for row in curve]
            found.append((time_at_error(errors, seconds, own["error_p99"]), peer))
    if not found:
        return None
    best, peer = min(found, key=lambda pair: pair[0].seconds)
    return Match(best.seconds, "<" if any(one.relation == "<" for one, _ in found) else best.relation), peer


def judge(rows: Sequence[Row], platform: str) -> list[Row]:
    """A row for every target whose case was run."""
    speedups = CPU_SPEEDUPS if platform == "cpu" else GPU_SPEEDUPS
    found = [_speedup(rows, wanted) for wanted in speedups if _all(rows, case=wanted.case)]
    found += [_limit(rows, case) for case in ("standard-1e4", "standard-1e5") if _all(rows, case=case, peer=LIMIT)]
    cases = {row["case"] for row in rows}
    if "scaling" in cases:
        found += _scaling(rows)
    if "hitting" in cases:
        found += _hitting(rows)
    if "tails" in cases:
        found += _tails(rows)
    return found


def _speedup(rows: Sequence[Row], wanted: Speedup) -> Row:
    own = _one(rows, case=wanted.case, peer=ENGINE, rtol=DEFAULT)
    named = f"{wanted.named}, N = {own['problems']:,}: times as fast"
    bound = f">= {wanted.at_least:g}" if wanted.at_least else "none"
    matched = match(rows, wanted.case, wanted.peers)
    if matched is None:
        return line(wanted.case, named, bound, None, "not measured", f"{' and '.join(wanted.peers)}: not installed")
    found, fastest = matched
    ratio = found.seconds / own["warm_s"]
    same = _all(rows, case=wanted.case, peer=fastest, rtol=DEFAULT)
    equal = same[0]["warm_s"] / own["warm_s"] if same else None
    notes = {
        "=": f"{fastest} at error {own['error_p99']:.1e} (99 %)",
        ">": f"{fastest} never gets to the engine's error, {own['error_p99']:.1e} (99 %); its most accurate run",
        "<": f"a peer is more accurate than the engine's {own['error_p99']:.1e} in all runs; the fastest is {fastest}",
    }
    verdict: bool | str = ratio >= wanted.at_least
    if found.relation == "<" and verdict:
        verdict = "not shown"  # an upper bound on the ratio proves nothing
    verdict = verdict if wanted.at_least else ""
    return line(wanted.case, named, bound, ratio, verdict, notes[found.relation], equal=equal, relation=found.relation)


def _limit(rows: Sequence[Row], case: str) -> Row:
    own, limit = (_one(rows, case=case, peer=peer, rtol=DEFAULT) for peer in (ENGINE, LIMIT))
    ratio = own["warm_s"] / limit["warm_s"]
    each = limit["warm_s"] / limit["problems"] * 1e6
    note = f"the limit is {each:.2f} us a trajectory of {limit['steps_mean']:.0f} steps"
    named = f"time over the machine's limit, N = {own['problems']:,}"
    return line(case, named, f"<= {NEAR_LIMIT:g}", ratio, ratio <= NEAR_LIMIT, note)


def _scaling(rows: Sequence[Row]) -> list[Row]:
    curve = [row for row in _all(rows, case="scaling", peer=ENGINE) if row["problems"] >= 1000]
    each = [row["warm_s"] / row["problems"] for row in curve]
    name = f"cost of a trajectory, N = {curve[0]['problems']:,} to {curve[-1]['problems']:,}: dearest over cheapest"
    spread = max(each) / min(each)
    note = ", ".join(f"{second * 1e6:.2f}" for second in each) + " us"
    found = [line("scaling", name, f"<= {SPREAD:g}", spread, spread <= SPREAD, note)]
    if curve[-1].get("peak_mib"):
        peak = curve[-1]["peak_mib"]
        name = f"peak memory of the whole process, N = {curve[-1]['problems']:,}, MiB"
        note = "streamed, finals alone are kept"
        found.append(line("scaling", name, f"< {MEMORY_MIB:g}", peak, peak < MEMORY_MIB, note))
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
    bound = f"<= {TARGET_OVERHEAD:g}"
    return [
        line("hitting", "time with a target over time without", bound, ratio, ratio <= TARGET_OVERHEAD),
        line("hitting", name, f"<= {HITTING_ERROR:g}", error, error <= HITTING_ERROR, note),
    ]


def _tails(rows: Sequence[Row]) -> list[Row]:
    alone, both = (
        _one(rows, case="tails", workload=name, peer=ENGINE, rtol=DEFAULT)
        for name in ("random problems alone", "with plateau problems")
    )
    name = f"problems that run to t = 1e15, of {both['problems']:,}"
    note = f"most steps {both['steps_max']}, hitting times of the plateaus within {both['hit_error_hard']:.1e}"
    found = [line("tails", name, "all", both["finished"], both["finished"] == both["problems"], note)]
    peer = _all(rows, case="tails", peer=TSIT5)
    note = f"{TSIT5}: {peer[1]['warm_s'] / peer[0]['warm_s']:.2f}" if len(peer) == 2 else ""
    name = f"time with {both['problems'] - alone['problems']} plateau problems over time without"
    return [*found, line("tails", name, "none", both["warm_s"] / alone["warm_s"], "", note)]


def _all(rows: Sequence[Row], **wanted: Any) -> list[Row]:
    return [row for row in rows if all(row[name] == value for name, value in wanted.items())]


def _one(rows: Sequence[Row], **wanted: Any) -> Row:
    found = _all(rows, **wanted)
    if len(found) != 1:
        raise ValueError(f"{len(found)} rows have {wanted}; there must be one")
    return found[0]
