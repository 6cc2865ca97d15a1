"""When to reward partial credit: time to solve a task of two constraints, by partial over by binary credit.

Tabular (theory C3): one output solves the task (probability f), one meets half of it (g), two meet nothing. Flow, and
the mean field of GRPO for groups of several sizes. On the line where half success first gains, partial credit still
wins: for small f, ln f grows at the rate 2 f with partial and 3 f/2 with binary credit, which gives times in the ratio
3/4. Compositional (theory C4): two constraints with one logit each.
Adaptive credit is partial until full success has some probability, and binary from then on; withdrawn credit is partial
until an output that earns part of it is the mode, and binary from then on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray

from experiments.made_by import recorded
from experiments.mean_times import hitting_times
from experiments.withdrawn_credit import withdrawn_times
from pgdyn import Problem, ascend, flow, validate
from pgdyn.estimators import GRPO, mean_field
from pgdyn.theory.partial_credit import TARGET
from pgdyn.validate import Numbers
from pgdyn.verifiable import AdaptiveCredit, Binary, Partial, constraints, outcomes

FULL = tuple(np.geomspace(1e-3, 0.4, 13))
HALF = tuple(np.geomspace(1e-3, 0.85, 13))
MARKED = ((0.1, 0.1), (0.1, 0.3), (0.01, 0.5), (0.001, 0.001))  # (f, g)
NONE = 2  # outputs of no credit
BINARY, HALFWAY = np.array([1.0, 0.0, 0.0, 0.0]), np.array([1.0, 0.5, 0.0, 0.0])
WHOLE = Problem.tabular(None, BINARY)
PARTLY = Problem.tabular(None, BINARY, HALFWAY)
EDGE = tuple(np.geomspace(1e-6, 0.04, 8))  # f on the line where half success first gains
BEYOND = (1.0, 1.3)  # g there, and above it
LAW = {(0.1, 0.1): 1.18, (0.1, 0.3): 1.47, (0.05, 0.3): 1.97, (0.01, 0.5): 51.9, (0.003, 0.5): 703, (0.001, 0.001): 0.9}


@recorded
def run(
    full: Numbers = FULL,
    half: Numbers = HALF,
    groups: Sequence[int] = (4, 16, 96),
    *,
    threshold: float = 0.1,
    each: int = 11,
    saves: int = 96,
) -> xarray.Dataset:
    """Measures the times.

    Args:
        full: probabilities of the output that solves the task.
        half: probabilities of the output that meets half of it.
        groups: group sizes of GRPO.
        threshold: probability of full success from which adaptive credit is binary.
        each: probabilities of each of two independent constraints, from 1e-3 to 1/2.
        saves: points of each trajectory.

    Returns:
        Along "half" and "full": `flow_ratio`, `adaptive_ratio`, `withdrawn_ratio` (over binary) and, along "group"
        too, `grpo_ratio`; nan where the two probabilities leave nothing. Along "first" and "second":
        `compositional_ratio`, `compositional_adaptive`, `compositional_withdrawn`. Along "factor" and "edge":
        `edge_ratio`, where g is a multiple of that on the line where half success first gains. Along "mark":
        `law_ratio` and its `law_expected`. Along "point", "credit" and "time": `success`. Scalars `toy_partial`,
        `toy_binary`: updates of exact ascent at learning rate .1.

    Raises:
        ValueError: naming the setting that is wrong.
    """
    f, g = (validate.as_floats(name, value) for name, value in (("full", full), ("half", half)))
    cells = np.stack(np.meshgrid(g, f, indexing="ij"), axis=-1).reshape(-1, 2)[:, ::-1]
    room = cells.sum(axis=1) < 0.97
    f_edge = np.array(EDGE)
    edges = np.array([[one, factor * line(one)] for factor in BEYOND for one in f_edge])
    parts = (cells[room], np.array(list(LAW)), edges)
    starts = _tabular(np.concatenate(parts))
    ends = np.cumsum([len(part) for part in parts])[:-1]

    def spread(values: np.ndarray) -> np.ndarray:
        found = np.full(len(cells), np.nan)
        found[room] = values[: ends[0]]
        return found.reshape(len(g), len(f))

    binary = hitting_times(WHOLE, starts, TARGET)
    partial = hitting_times(PARTLY, starts, TARGET)
    ratio = partial / binary
    mapped = starts[: ends[0]]
    withdrawn = withdrawn_times(PARTLY, WHOLE, mapped, partial[: ends[0]], TARGET, [1]) / binary[: ends[0]]
    adaptive = hitting_times(PARTLY, mapped, TARGET, AdaptiveCredit(threshold)) / binary[: ends[0]]
    grpo = []
    for size in groups:
        times = [hitting_times(one, mapped, TARGET, mean_field(GRPO(size), one)) for one in (PARTLY, WHOLE)]
        grpo.append(spread(times[0] / times[1]))
    s = np.geomspace(1e-3, 0.5, each)
    pairs = np.stack(np.meshgrid(s, s, indexing="ij"), axis=-1).reshape(-1, 2)
    composed = [one.reshape(len(s), len(s)) for one in _compositional(pairs, threshold)]
    _, marks, edge = np.split(ratio, ends)
    toy = _toy()
    map_dims, pair_dims = ("half", "full"), ("first", "second")
    return xarray.Dataset(
        {
            "flow_ratio": (map_dims, spread(ratio), _described("time with partial credit over binary, flow")),
            "adaptive_ratio": (map_dims, spread(adaptive), _described("time with adaptive credit over binary")),
            "withdrawn_ratio": (map_dims, spread(withdrawn), _described("time with withdrawn credit over binary")),
            "grpo_ratio": (
                ("group", *map_dims),
                np.stack(grpo),
                _described("partial over binary, GRPO"),
            ),
            "compositional_ratio": (pair_dims, composed[0], _described("the same, flow")),
            "compositional_adaptive": (pair_dims, composed[1], _described("time with adaptive credit over binary")),
            "compositional_withdrawn": (pair_dims, composed[2], _described("time with withdrawn credit over binary")),
            "edge_ratio": (
                ("factor", "edge"),
                edge.reshape(len(BEYOND), len(EDGE)),
                _described("time with partial credit over binary"),
            ),
            "law_ratio": ("mark", marks, _described("time with partial credit over binary")),
            "law_expected": ("mark", list(LAW.values()), _described("as derived")),
            **_paths(threshold, saves),
            "both_rare_binary": ((), toy["both"][0], _described("s = .01, binary")),
            "both_rare_partial": ((), toy["both"][1], _described("s = .01, partial")),
            "toy_partial": ((), toy["partial"], {"units": "update", "long_name": "first update above .9, partial"}),
            "toy_binary": ((), toy["binary"], {"units": "update", "long_name": "first update above .9, binary"}),
        },
        coords={
            "full": ("full", f, {"units": "1", "long_name": "initial probability of full success"}),
            "half": ("half", g, {"units": "1", "long_name": "initial probability of half success"}),
            "factor": ("factor", list(BEYOND), {"units": "1", "long_name": "g over that of the line"}),
            "edge": ("edge", f_edge, {"units": "1", "long_name": "initial probability of full success"}),
            "group": ("group", list(groups), {"units": "1", "long_name": "group size"}),
            "first": ("first", s, {"units": "1", "long_name": "first constraint met"}),
            "second": ("second", s, {"units": "1", "long_name": "second constraint met"}),
        },
        attrs={"dynamics": "flow", "target": TARGET, "marked": MARKED},
    )


def line(f: Any) -> Any:
    """Gives the g above which half success gains on full success at the start: f(1 - f - g/2) = g(1 - 2f - g)/2.

    Example:
        >>> round(float(line(0.1)), 12)
        0.3
    """
    half = (1 - f) / 2
    return half - np.sqrt(half**2 - 2 * f * (1 - f))


def _described(words: str) -> dict[str, str]:
    return {"units": "1", "long_name": words}


def _tabular(cells: np.ndarray) -> np.ndarray:
    """[N, 1, 4], the logits of (f, g) and of two outputs of equal probability."""
    rest = (1 - cells.sum(axis=1, keepdims=True)) / NONE
    return np.log(np.concatenate([cells, np.repeat(rest, NONE, axis=1)], axis=1))[:, None]


def _compositional(pairs: np.ndarray, threshold: float) -> list[np.ndarray]:
    """Partial, adaptive and withdrawn credit, each over binary."""
    partly, wholly = (
        constraints([0.5, 0.5], credit, representation="compositional") for credit in (Partial(), Binary())
    )
    starts = np.log(pairs) - np.log1p(-pairs)
    binary = hitting_times(wholly, starts, TARGET)
    partial, adaptive = (
        hitting_times(partly, starts, TARGET, objective) for objective in (None, AdaptiveCredit(threshold))
    )
    withdrawn = withdrawn_times(partly, wholly, starts, partial, TARGET, [1, 2])
    return [times / binary for times in (partial, adaptive, withdrawn)]


def _paths(threshold: float, saves: int) -> dict[str, Any]:
    """Probability of full success along the flows from the marked points, each on a time axis of its own."""
    starts = np.exp(_tabular(np.array(MARKED)))
    kinds = ((BINARY, None), (HALFWAY, None), (HALFWAY, AdaptiveCredit(threshold)))
    found = []
    for start in starts:
        times = [float(hitting_times(one, np.log(start)[None], TARGET)[0]) for one in (WHOLE, PARTLY)]
        last = 3 * max(times)
        for reward, objective in kinds:
            solution = flow(Problem.tabular(start, BINARY, reward), last, objective=objective, saves=saves)
            found.append((np.asarray(solution.t), np.asarray(solution.true_value)))
    array = np.array(found).reshape(len(MARKED), len(kinds), 2, saves)
    dims = ("point", "credit", "save")
    return {
        "time": (dims, array[:, :, 0], {"units": "time", "long_name": "time"}),
        "success": (dims, array[:, :, 1], _described("probability of full success")),
    }


def _toy() -> dict[str, Any]:
    """The check of the paper's section 5, and both constraints rare (theory C4)."""
    met = outcomes(2)
    start = [0.3, 0.6, 0.05, 0.05]
    updates = {}
    for name, credit in (("partial", Partial()), ("binary", Binary())):
        problem = Problem.tabular(start, Binary()(met), credit(met))
        updates[name] = float(ascend(problem, 1000, target=0.9, save_every=1000).hitting_time)
    rare = np.full((1, 2), np.log(0.01 / 0.99))
    kinds = (constraints([0.5, 0.5], credit, representation="compositional") for credit in (Binary(), Partial()))
    return {**updates, "both": [float(hitting_times(one, rare, TARGET)[0]) for one in kinds]}
