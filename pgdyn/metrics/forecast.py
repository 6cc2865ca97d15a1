r"""The forecast: what training on a reward model would do, from the responses that are at hand.

Each prompt's n responses, drawn from the initial policy, are the outputs of a softmax problem that starts at 1/n each
(or, where their probabilities sum to 1, at these). Under gradient flow on the scores r every logit has a law in closed
form: with u_y = 1 / pi_y,

    u_y(t) proportional to  w_y = u_y(0) - a r_y + b,     sum_y log w_y = sum_y log u_y(0),
    t = int_0^a sum_y 1 / w_y da'

so one number a, for which b is a root, gives policy, value and time (theory F1, and `pgdyn.exact` for problems at
large). All prompts are trained for one time, chosen so that the mean KL(pi_t || pi_0) is what was asked for; time
itself can be matched instead, but then a reward model gains by the scale of its scores alone.

A response that was not sampled plays no part: the forecast knows what training does to what the initial policy says
already. With `held_out`, half of each prompt's responses are trained on and the other half, weighted by the law of
their own scores, tells the true value; then the halves change places.

Source: this project.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from pgdyn import validate

_FINENESS, _DECADES = 12, (-4, 7)  # points of the path for each power of ten of a, in units of the prompt's scale
_BLOCK = 2**18  # numbers held at once: few enough for a cache
_LEAST = -700.0  # of the log of a w: below it, 1 / w would overflow


@dataclasses.dataclass(frozen=True)
class Forecast:
    """What training on one reward model would do.

    Attributes:
        time: of training, the same for all prompts.
        kl: [P], KL(pi_t || pi_0) of each prompt.
        proxy_gain: [P], the rise of the mean score.
        true_value: [P], nan where true rewards are not known.
        true_gain: [P], its rise.
        leader: [P], the response that is likeliest at the end, an index into the rows.
        probability: [N], of each row at the end.
        reached: whether the KL that was asked for is reached at any time.
    """

    time: float
    kl: np.ndarray
    proxy_gain: np.ndarray
    true_value: np.ndarray
    true_gain: np.ndarray
    leader: np.ndarray
    probability: np.ndarray
    reached: bool


def forecast(
    prompt: np.ndarray,
    scores: np.ndarray,
    true_reward: np.ndarray | None = None,
    *,
    initial: np.ndarray | None = None,
    kl: float | None = 0.5,
    time: float | None = None,
    held_out: bool = False,
) -> Forecast:
    """Trains on the scores of sampled responses.

    Args:
        prompt: [N] indices 0..P-1 of the rows' prompts, in any order.
        scores: [N].
        true_reward: [N], or None.
        initial: [N] initial probabilities, summing to 1 on each prompt; None for 1 / n.
        kl: the mean KL at which to stop, in nats; not with `time`.
        time: of training, in units of 1 / score.
        held_out: judge each half of the responses by training on the other.

    Raises:
        ValueError: on shapes that do not fit, entries that are not finite, numbers out of range, or both `kl` and
            `time`.

    Example:
        >>> found = forecast(np.zeros(3, int), np.array([1.0, 0.0, 0.0]), np.array([0.0, 1.0, 1.0]), kl=0.3)
        >>> float(found.kl.mean().round(3)), bool(found.true_gain < 0), found.leader.tolist()
        (0.3, True, [0])
    """
    rows = np.asarray(prompt, np.int64)
    values = np.asarray(validate.as_floats("scores", scores))
    truth = (
        np.full(len(rows), np.nan)
        if true_reward is None
        else np.asarray(validate.as_floats("true_reward", true_reward))
    )
    count = np.bincount(rows)
    start = 1 / count[rows] if initial is None else np.asarray(validate.as_floats("initial", initial))
    if not rows.shape == values.shape == truth.shape == start.shape:
        raise ValueError("prompt, scores, true_reward and initial must have one length")
    validate.require_finite("scores", values)
    if true_reward is not None:
        validate.require_finite("true_reward", truth)
    validate.require("initial", start, start > 0, "it must be positive")
    if np.any(off := np.abs(np.bincount(rows, start) - 1) > 1e-6) or np.any(count == 0):
        raise ValueError(f"the initial probabilities of prompt {int(np.argmax(off | (count == 0)))} do not sum to 1")
    if (kl is None) == (time is None):
        raise ValueError("one of kl and time says when training stops, not both and not neither")
    limit = float(validate.number(*(("kl", kl) if time is None else ("time", time)), positive=True))
    if held_out:
        return _held_out(rows, values, truth, start, None if time is not None else limit, time)
    return _train(rows, values, truth, start, None if time is not None else limit, time)


@dataclasses.dataclass(frozen=True)
class _Paths:
    """Time along the path of every prompt: [P, G] logs of a, of time, and of the flux a dt/da, a power of a in
    between.
    """

    log_slope: np.ndarray
    log_time: np.ndarray
    flux: np.ndarray


def _table(
    rows: np.ndarray, columns: list[np.ndarray], fill: list[float]
) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    """Ragged rows as [P, K] arrays, and where each row went."""
    order = np.argsort(rows, kind="stable")
    count = np.bincount(rows)
    first = np.cumsum(count) - count
    place = np.empty(len(rows), np.int64)
    place[order] = np.arange(len(rows)) - first[rows[order]]
    made = []
    for column, value in zip(columns, fill, strict=True):
        table = np.full((len(count), int(count.max())), value)
        table[rows, place] = column
        made.append(table)
    return made, place, count


def _paths(scores: np.ndarray, start: np.ndarray) -> _Paths:
    """The law of the module on a grid of a; entries with a start of 0 are padding."""
    here = start > 0
    inverse = np.where(here, 1 / np.where(here, start, 1.0), np.inf)
    unit = np.ptp(np.where(here, scores, np.nan), axis=1) if here.all() else _spread(scores, here)
    # a is measured in units of the smallest u over the range of scores, beyond which the leader changes.
    scale = np.min(inverse, axis=1) / np.where(unit > 0, unit, 1.0)
    powers = np.arange(_DECADES[0] * _FINENESS, _DECADES[1] * _FINENESS + 1) / _FINENESS
    log_slope, log_time, flux = np.empty((3, len(scores), len(powers)))
    width = max(1, _BLOCK // (len(powers) * scores.shape[1]))
    for first in range(0, len(scores), width):
        part = slice(first, first + width)
        grid = scale[part, None] * 10.0**powers
        heights, _ = _heights(inverse[part], scores[part], here[part], grid)
        # t = int speed da: from 0 to the first point speed is nearly constant; from there it is taken for a power of a.
        own = np.log(np.sum(1 / heights, axis=2) * grid)
        rise = np.diff(own, axis=1)
        steep = np.where(np.abs(rise) > 1e-9, np.expm1(rise) / np.where(rise == 0, 1.0, rise), 1.0)
        log_slope[part], flux[part] = np.log(grid), own
        steps = np.exp(own[:, :-1]) * steep * np.diff(log_slope[part], axis=1)
        begin = np.exp(own[:, :1])
        log_time[part] = np.log(np.concatenate([begin, begin + np.cumsum(steps, axis=1)], axis=1))
    return _Paths(log_slope, log_time, flux)


def _divergence(policy: np.ndarray, start: np.ndarray) -> np.ndarray:
    """KL(policy || start) over the last axis; what has no mass adds nothing."""
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = policy * (np.log(policy) - np.log(start))
    return np.maximum(np.sum(np.where(policy > 0, terms, 0.0), axis=-1), 0.0)


def _spread(scores: np.ndarray, here: np.ndarray) -> np.ndarray:
    return np.max(np.where(here, scores, -np.inf), axis=1) - np.min(np.where(here, scores, np.inf), axis=1)


def _heights(
    inverse: np.ndarray, scores: np.ndarray, here: np.ndarray, slope: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """w, [P, G, K], infinite for padding, and b, [P, G]: the sum of log w is what it was.

    The unknown is x, the log of the lowest w: the sum of log(e^x + gap) is convex in x and rises at least as fast as x.
    Newton's method begins where the other w would be as large as they can, below the root, steps over it, and comes
    back to it without a bracket. Heights are built from the gaps, so that the lowest keeps all of its digits.
    """
    # Outputs come first here, so that sums over them run along whole rows.
    mask, full = here.T[:, :, None], bool(here.all())
    lines = inverse.T[:, :, None] - slope * scores.T[:, :, None]
    lowest = (lines if full else np.where(mask, lines, np.inf)).min(axis=0)
    gaps = lines - lowest if full else np.where(mask, lines - lowest, np.inf)

    def logs(heights: np.ndarray) -> np.ndarray:
        return np.sum(np.log(heights if full else np.where(mask, heights, 1.0)), axis=0)

    target = np.sum(np.log(np.where(here, inverse, 1.0)), axis=1)[:, None]
    most = np.broadcast_to(target / here.sum(axis=1)[:, None], lowest.shape)
    x = np.maximum(target - (logs(np.exp(most) + gaps) - most), _LEAST)
    for _ in range(100):
        heights = np.exp(x) + gaps
        before, slant = x, np.exp(x) * np.sum(1 / heights, axis=0)
        x = np.clip(x - (logs(heights) - target) / slant, _LEAST, most)
        # The next error is about the square of this step.
        if np.max(np.abs(x - before)) < 1e-8 * max(1.0, float(np.max(np.abs(x)))):
            break
    return np.moveaxis(np.exp(x) + gaps, 0, 2), np.exp(x) - lowest


def _train(
    rows: np.ndarray, values: np.ndarray, truth: np.ndarray, start: np.ndarray, kl: float | None, time: float | None
) -> Forecast:
    (scores, first, true), place, count = _table(rows, [values, start, truth], [0.0, 0.0, 0.0])
    paths = _paths(scores, first)
    log_time, reached = _stop(paths, scores, first, kl, time)
    policy, found = _policy(paths, scores, first, log_time)
    before, after = np.sum(first * scores, axis=1), np.sum(policy * scores, axis=1)
    value, was = np.sum(policy * true, axis=1), np.sum(first * true, axis=1)
    if np.isnan(truth).any():
        value, was = np.full((2, len(count)), np.nan)
    leader = np.full(len(count), -1)
    best = np.argmax(policy, axis=1)
    own = place == best[rows]
    leader[rows[own]] = np.flatnonzero(own)
    return Forecast(
        float(np.exp(log_time)), found, after - before, value, value - was, leader, policy[rows, place], reached
    )


def _stop(
    paths: _Paths, scores: np.ndarray, start: np.ndarray, kl: float | None, time: float | None
) -> tuple[float, bool]:
    """The log of the time at which the mean KL is met; the end of the paths where it never is."""
    from scipy.optimize import brentq

    if kl is None:
        assert time is not None
        return float(np.log(time)), True

    def mean(log_time: float) -> float:
        return float(_policy(paths, scores, start, log_time)[1].mean())

    low, high = float(paths.log_time.min()), float(paths.log_time[:, -1].max())
    if mean(high) < kl:
        return high, False
    if mean(low) >= kl:
        return low, True
    # The KL grows about as a power of time, so that its log is the straighter function.
    root: Any = brentq(lambda log_time: np.log(mean(log_time) / kl), low, high, xtol=1e-7)
    return float(root), True


def _at(paths: _Paths, log_time: float) -> np.ndarray:
    """[P, 1], a at a time; beyond the path's end as at its end."""
    size = paths.log_time.shape[1]
    below = np.clip(np.sum(paths.log_time <= log_time, axis=1) - 1, 0, size - 2)[:, None]
    take = [np.take_along_axis(one, below, axis=1) for one in (paths.log_slope, paths.log_time, paths.flux)]
    more = [np.take_along_axis(one, below + 1, axis=1) for one in (paths.log_slope, paths.flux)]
    power = (more[1] - take[2]) / (more[0] - take[0])
    passed = np.expm1(log_time - take[1]) * np.exp(take[1] - take[2])
    steep = np.abs(power) > 1e-9
    inside = np.log1p(np.maximum(np.where(steep, power, 1.0) * passed, -1 + 1e-12)) / np.where(steep, power, 1.0)
    moved = take[0] + np.where(steep, inside, passed)
    # Before the first point time is proportional to a.
    early = paths.log_slope[:, :1] + (log_time - paths.log_time[:, :1])
    return np.exp(np.where(log_time < paths.log_time[:, :1], early, np.clip(moved, take[0], more[0])))


def _policy(paths: _Paths, scores: np.ndarray, start: np.ndarray, log_time: float) -> tuple[np.ndarray, np.ndarray]:
    """The policy [P, K] and KL [P] at a time."""
    here = start > 0
    inverse = np.where(here, 1 / np.where(here, start, 1.0), np.inf)
    heights, _ = _heights(inverse, scores, here, _at(paths, log_time))
    policy = 1 / heights[:, 0]
    policy /= policy.sum(axis=1, keepdims=True)
    return policy, _divergence(policy, start)


def _held_out(
    rows: np.ndarray, values: np.ndarray, truth: np.ndarray, start: np.ndarray, kl: float | None, time: float | None
) -> Forecast:
    """Every second response of a prompt in each half; each half weighted by the law that the other one learns."""
    _, place, count = _table(rows, [values], [0.0])
    if np.any(count < 4):
        raise ValueError("held_out needs at least four responses of each prompt, two in each half")
    parts = []
    for half in (0, 1):
        own, other = place % 2 == half, place % 2 != half
        total = np.bincount(rows, start * own)[rows]
        (scores, first), _, _ = _table(rows[own], [values[own], (start / total)[own]], [0.0, 0.0])
        paths = _paths(scores, first)
        log_time, reached = _stop(paths, scores, first, kl, time)
        slope = _at(paths, log_time)
        here = first > 0
        inverse = np.where(here, 1 / np.where(here, first, 1.0), np.inf)
        heights, shift = _heights(inverse, scores, here, slope)
        lowest, slope, shift = heights[:, 0].min(axis=1), slope[:, 0], shift[:, 0]
        rest = np.bincount(rows, start * other)[rows]
        fresh = (start / rest)[other]
        at = rows[other]
        # A response of a higher score than any that was trained on is as likely as the best of these.
        heights = np.maximum(1 / fresh - slope[at] * values[other] + shift[at], lowest[at])
        weight = 1 / heights
        weight /= np.bincount(at, weight)[at]
        value, was, after, before = (
            np.bincount(at, mass * column[other]) for column in (truth, values) for mass in (weight, fresh)
        )
        divergence = np.bincount(at, weight * (np.log(weight) - np.log(fresh)))
        parts.append((np.exp(log_time), divergence, after - before, value, value - was, weight, other, reached))
    chance = np.zeros(len(rows))
    for part in parts:
        chance[part[6]] = part[5] / 2
    leader = np.full(len(count), -1)
    order = np.lexsort((chance, rows))
    leader[rows[order]] = order
    kl_of, proxy_gain, true_value, true_gain = (np.mean([part[i] for part in parts], axis=0) for i in range(1, 5))
    stop = float(np.mean([part[0] for part in parts]))
    reached = all(part[7] for part in parts)
    return Forecast(stop, kl_of, proxy_gain, true_value, true_gain, leader, chance, reached)
