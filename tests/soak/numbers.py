"""Numbers at the ends of float64: flows against the exact solution, one integrator and small steps of ascent.

Rewards, temperatures, starts and end times of any size. A run may say in its result that it did not arrive; what it
gives otherwise must be right. The oracle, `pgdyn.exact`, is a quadrature and no integrator.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

import pgdyn
from pgdyn import Batch, Result, exact

from .tally import Effort, Tally

SIZES = (1, 2, 3, 5, 40, 1000, 5000)
LANES = 64
STEPS = 4000
SMALL = 0.01  # largest step of ascent on the flow's own clock that is compared with it
SEEN = 1e-12  # probabilities below it are not compared
CLOSE, COARSE = 1e-4, 2e-2  # in probability relative to itself: flows, and ascents with small steps
LEFT = Result.step_budget_spent  # from here on a result says why there is no answer


class Drawn(NamedTuple):
    """A batch of N problems with their end times and targets; `clock` is the time that each takes to move."""

    batch: Batch
    t1: np.ndarray
    target: np.ndarray
    at_an_end: np.ndarray
    clock: np.ndarray
    words: list[str]


def rewards(rng: np.random.Generator, outputs: int) -> tuple[np.ndarray, str]:
    """One prompt's rewards of size about 1, and what is special about them."""
    kind = rng.choice(["uniform", "ties", "equal", "one", "near", "signs", "steep"])
    match kind:
        case "ties":
            row = rng.integers(0, 3, outputs) / 2
        case "equal":
            row = np.full(outputs, 0.7)
        case "one":
            row = np.eye(outputs)[rng.integers(outputs)]
        case "near":
            row = 1 + 1e-10 * rng.integers(-9, 10, outputs)
        case "signs":
            row = rng.choice([-1.0, 1.0], outputs)
        case "steep":
            row = -(10.0 ** rng.uniform(-12, 0, outputs))
        case _:
            row = rng.uniform(-1, 1, outputs)
    return row, str(kind)


def policy(rng: np.random.Generator, outputs: int) -> tuple[np.ndarray, str]:
    """A start, and what is special about it."""
    kind = rng.choice(["flat", "peaked", "tiny", "tinier"])
    logits = rng.normal(size=outputs) * {"peaked": 8.0}.get(str(kind), 1.0)
    if kind in ("tiny", "tinier") and outputs > 1:
        some = rng.random(outputs) < 0.5
        some[rng.integers(outputs)] = False
        logits[some] -= 690.0 if kind == "tinier" else rng.uniform(10, 600)
    weights = np.exp(logits - logits.max())
    return np.maximum(weights / weights.sum(), 1e-300), str(kind)


def size(rng: np.random.Generator) -> float:
    return float(10.0 ** rng.uniform(-300, 300)) if rng.random() < 0.5 else 1.0


def draw(rng: np.random.Generator, outputs: int, lanes: int = LANES) -> Drawn:
    """Tabular problems of one prompt."""
    rows: dict[str, list[Any]] = {name: [] for name in ("policy", "true", "proxy", "temperature", "t1", "target")}
    clocks, tops, words = [], [], []
    for _ in range(lanes):
        (true, kind), (proxy, proxy_kind), (start, start_kind) = (
            rewards(rng, outputs), rewards(rng, outputs), policy(rng, outputs),
        )  # fmt: skip
        true_size, proxy_size = size(rng), size(rng)
        if rng.random() < 0.4:
            proxy, proxy_size, proxy_kind = true, true_size, kind
        true, proxy = true * true_size, proxy * proxy_size
        temperature = float(10.0 ** rng.uniform(-6, 6)) if rng.random() < 0.6 else 1.0
        clock = temperature**2 / proxy_size
        t1 = clock * 10.0 ** rng.uniform(-3, 4) if rng.random() < 0.7 else 10.0 ** rng.uniform(-300, 300)
        t1 = float(np.clip(t1, 1e-300, min(1e300, 1e300 * clock)))
        value = float(start @ true)
        where = rng.choice(["start", "between", "top"], p=[0.2, 0.6, 0.2])
        share = {"start": 0.0, "top": 1.0}.get(str(where), rng.uniform(0.05, 0.95))
        target = value if where == "start" else true.max() if where == "top" else value + share * (true.max() - value)
        for name, number in zip(rows, (start, true, proxy, temperature, t1, target), strict=True):
            rows[name].append(number)
        clocks.append(clock)
        tops.append(where != "between" or true.max() - value <= 1e-9 * abs(true).max())
        words.append(
            f"K {outputs}, true {kind} x {true_size:.3g}, proxy {proxy_kind} x {proxy_size:.3g}, start {start_kind}, "
            f"T {temperature:.3g}, t1 {t1:.3g} = {t1 / clock:.3g} clocks, target at {where}"
        )
    batch = Batch.tabular(
        np.array(rows["policy"])[:, None],
        np.array(rows["true"])[:, None],
        np.array(rows["proxy"])[:, None],
        temperature=np.array(rows["temperature"]),
    )
    return Drawn(batch, np.array(rows["t1"]), np.array(rows["target"]), np.array(tops), np.array(clocks), words)


def apart(found: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """[N], the largest difference of log-probabilities [N, P, K] among those that count in either."""
    counts = np.maximum(found, wanted) > np.log(SEEN)
    with np.errstate(invalid="ignore"):
        return np.where(counts, np.abs(found - wanted), 0.0).max(axis=(1, 2))


def compare(
    tally: Tally, kind: str, drawn: Drawn, ends: Any, wanted: np.ndarray, close: float, use: Any = None
) -> None:
    """Notes of each run whether it is right, or says why not."""
    off = apart(np.asarray(ends.log_policy), wanted)
    for i, words in enumerate(drawn.words):
        if use is not None and not use[i]:
            continue
        if not np.isfinite(wanted[i]).all():
            tally.note("the exact solution has an answer", "no answer", words)
        elif ends.result[i] >= LEFT:
            tally.note(f"{kind}, which say why not", None)
        else:
            wrong = "" if off[i] < close else f"log-probabilities are {off[i]:.2g} off"
            tally.note(kind, wrong, words)


def compare_times(tally: Tally, kind: str, drawn: Drawn, ends: Any, wanted: np.ndarray, value: np.ndarray) -> None:
    """Notes of each hitting time whether it is right; `wanted` are exact ones, `value` the exact values at the end."""
    wanted = np.where(wanted <= drawn.t1, wanted, np.inf)
    largest = np.abs(np.asarray(drawn.batch.true_reward)).max(axis=(1, 2)) + 1e-320
    for i, words in enumerate(drawn.words):
        found = float(ends.hitting_time[i])
        if ends.result[i] >= LEFT or not np.isfinite(value[i]):
            continue
        if np.isnan(found):
            wrong = "nan"
        elif drawn.at_an_end[i] or abs(value[i] - drawn.target[i]) < 1e-6 * largest[i]:
            wrong = ""  # a matter of rounding, whether and when it is reached
        elif np.isinf(found) or np.isinf(wanted[i]):
            wrong = "" if found == wanted[i] else f"{found:.6g}, not {wanted[i]:.6g}"
        else:
            wrong = "" if abs(found - wanted[i]) <= 1e-3 * wanted[i] + 1e-300 else f"{found:.6g}, not {wanted[i]:.6g}"
        tally.note(kind, wrong, words)


def flows(effort: Effort, tally: Tally, sizes: tuple[int, ...] = SIZES) -> None:
    """Tabular flows, hitting times and ascents."""
    for turn in range(effort.count(30)):
        for outputs in sizes:
            if effort.spent:
                return
            one_round(np.random.default_rng([effort.seed, turn, outputs]), tally, outputs)


def one_round(rng: np.random.Generator, tally: Tally, outputs: int, lanes: int = LANES, single: bool = True) -> None:
    """A batch of problems by every way."""
    drawn = draw(rng, outputs, min(lanes, max(2, 2000 // outputs)))  # the exact solution takes a second for the largest
    settings = {"target": drawn.target, "max_steps": 20_000}
    wanted = np.asarray(exact.log_policy(drawn.batch, drawn.t1))
    with np.errstate(all="ignore"):
        value = np.sum(np.exp(wanted) * np.asarray(drawn.batch.true_reward), axis=(1, 2))
    times = np.asarray(exact.hitting_time(drawn.batch, drawn.target))
    ends = pgdyn.flow_many(drawn.batch, drawn.t1, **settings)
    compare(tally, "flows of flow_many", drawn, ends, wanted, CLOSE)
    compare_times(tally, "hitting times of flow_many", drawn, ends, times, value)
    if single and outputs <= 40:
        for i in range(4):
            one = pgdyn.flow(drawn.batch[i], drawn.t1[i], target=drawn.target[i], saves=4, max_steps=20_000).end
            row = Drawn(drawn.batch[[i]], *(part[i : i + 1] for part in drawn[1:]))  # pyright: ignore
            ended = _Ends(np.asarray(one.log_policy)[None], np.array([one.result]), np.array([one.hitting_time]))
            compare(tally, "flows of flow", row, ended, wanted[i : i + 1], CLOSE)
            compare_times(tally, "hitting times of flow", row, ended, times[i : i + 1], value[i : i + 1])
    if outputs <= 1000:
        rate = np.clip(drawn.t1, 1e-295, 1e295) / STEPS
        small = (drawn.t1 < SMALL * STEPS * drawn.clock) & (drawn.t1 < 1e295) & (drawn.t1 > 1e-295)
        ascents = pgdyn.ascend_many(drawn.batch, STEPS if outputs < 100 else STEPS // 4, learning_rate=rate)
        compare(tally, "ascents by small steps", drawn, ascents, wanted, COARSE, small & (outputs < 100))


class _Ends(NamedTuple):
    log_policy: np.ndarray
    result: np.ndarray
    hitting_time: np.ndarray


FEATURES = ("duplicated rows", "duplicated columns", "dependent", "zero row", "zero", "huge", "tiny", "uneven")


def spoil_features(rng: np.random.Generator, features: np.ndarray, kind: str) -> np.ndarray:
    """Features [P, K, D] in trouble."""
    features = features.copy()
    match kind:
        case "duplicated rows":
            features[:, 1] = features[:, 0]
        case "duplicated columns":
            features[..., 1] = features[..., 0]
        case "dependent":
            features[..., 2] = features[..., 0] - features[..., 1] + 1e-9 * rng.normal(size=features.shape[:-1])
        case "zero row":
            features[:, 0] = 0
        case "zero":
            features[:] = 0
        case "huge":
            features *= 1e6
        case "tiny":
            features *= 1e-6
        case "uneven":
            features *= 10.0 ** rng.uniform(-3, 3, features.shape[-1])
    return features


def linear(effort: Effort, tally: Tally) -> None:
    """Linear policies of three prompts: both integrators and small steps of ascent must agree."""
    for turn in range(effort.count(40)):
        if effort.spent:
            return
        linear_round(np.random.default_rng([effort.seed, turn]), tally)


def linear_round(rng: np.random.Generator, tally: Tally, lanes: int = 32) -> None:
    """A batch of problems with features in trouble and prompts that do not count."""
    shape = (lanes, 3, 5)
    kinds = rng.choice(FEATURES, lanes)
    features = np.stack([spoil_features(rng, rng.normal(size=(3, 5, 4)), str(kind)) for kind in kinds])
    weights = rng.dirichlet(np.ones(3), lanes)
    weights[::3, 0] = 0
    weights[::6, 1] = 0
    scale, temperature = 10.0 ** rng.uniform(-100, 100, lanes), 10.0 ** rng.uniform(-3, 3, lanes)
    norm = np.einsum("npkd,npkd->npk", features, features).max(axis=(1, 2)) + 1e-30
    reward = rng.uniform(-1, 1, shape) * scale[:, None, None]
    clock = temperature**2 / (scale * norm)
    t1 = clock * 10.0 ** rng.uniform(-2, 1.5, lanes)
    batch = Batch.linear(features, reward, temperature=temperature, prompt_weights=weights)
    target = np.full(lanes, 0.5) * reward.max(axis=-1).min(axis=-1)
    words = [
        f"{kind} features, reward x {s:.3g}, T {t:.3g}, t1 {c:.3g} clocks, weights {w.round(3).tolist()}"
        for kind, s, t, c, w in zip(kinds, scale, temperature, t1 / clock, weights, strict=True)
    ]
    drawn = Drawn(batch, t1, target, np.zeros(lanes, bool), clock, words)
    ends = pgdyn.flow_many(batch, t1, target=target)
    other = pgdyn.flow_many(batch, t1, target=target, backend="diffrax", rtol=1e-8, atol=1e-10)
    good = np.asarray(other.result) < LEFT
    compare(tally, "flows with features in trouble", drawn, ends, np.asarray(other.log_policy), CLOSE, good)
    value = np.asarray(other.true_value)
    times = np.asarray(other.hitting_time)
    compare_times(tally, "hitting times with features in trouble", drawn, ends, times, np.where(good, value, np.nan))
    ascents = pgdyn.ascend_many(batch, STEPS, learning_rate=t1 / STEPS)
    compare(tally, "ascents with features in trouble", drawn, ascents, np.asarray(other.log_policy), COARSE, good)
