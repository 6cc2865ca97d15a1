"""Errors against a reference, and the time a peer needs for a given error: what makes times comparable."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

SHARE = 0.99  # of the problems: the error that most problems keep, beside the largest


class ErrorSummary(NamedTuple):
    """Largest error, and the one that 99 % of the problems keep."""

    largest: float
    most: float


def summarize(errors: np.ndarray) -> ErrorSummary:
    """The summary of [n] errors; nan where an error is nan.

    Example:
        >>> summarize(np.array([0.0, 1.0])).largest
        1.0
    """
    method = "higher" if np.isinf(errors).any() else "linear"  # between 0 and inf nothing can be interpolated
    return ErrorSummary(float(np.max(errors)), float(np.quantile(errors, SHARE, method=method)))


def log_policy_error(log_policy: np.ndarray, reference: np.ndarray) -> ErrorSummary:
    """max over prompts and outputs of |log pi - reference|, in nats, summarised over the problems [n, P, K].

    Example:
        >>> log_policy_error(np.zeros((1, 1, 2)), np.array([[[0.5, -0.25]]])).largest
        0.5
    """
    return summarize(np.abs(log_policy - reference).max(axis=(1, 2)))


def hitting_time_error(times: np.ndarray, reference: np.ndarray) -> ErrorSummary:
    """|T / reference - 1| summarised over [n] problems; 0 where neither hits or both start there, inf if one does.

    Example:
        >>> hitting_time_error(np.array([2.0, np.inf]), np.array([1.0, np.inf])).largest
        1.0
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        errors = np.abs(times / reference - 1)
    errors = np.where(times == reference, 0.0, errors)
    return summarize(np.where(np.isnan(errors) | (np.isinf(times) != np.isinf(reference)), np.inf, errors))


class Match(NamedTuple):
    """Seconds that a peer needs for an error, and how they are to be read.

    Attributes:
        seconds: the time.
        relation: "=" where the peer's curve brackets the error; ">" where none of its runs is as accurate, and the time
            is that of its most accurate one; "<" where even its fastest run is better, and the time is that run's.
    """

    seconds: float
    relation: str


def time_at_error(errors: Sequence[float], seconds: Sequence[float], wanted: float) -> Match:
    """Reads a work-precision curve: the time at the error `wanted`, interpolated linearly in both logarithms.

    Only runs that no other run beats in both error and time count.

    Args:
        errors: error of each run of a peer, by tolerance.
        seconds: its time.
        wanted: the error to be matched.

    Example:
        >>> match = time_at_error([1e-4, 1e-8], [1.0, 4.0], wanted=1e-6)
        >>> round(match.seconds, 12), match.relation
        (2.0, '=')
    """
    front: list[tuple[float, float]] = []
    for error, second in sorted(zip(errors, seconds, strict=True), key=lambda run: (run[1], run[0])):
        if not front or error < front[-1][0]:
            front.append((error, second))
    if wanted > front[0][0]:
        return Match(front[0][1], "<")
    if wanted < front[-1][0]:
        return Match(front[-1][1], ">")
    ascending = np.log(np.array(front[::-1]))
    return Match(float(np.exp(np.interp(np.log(wanted), ascending[:, 0], ascending[:, 1]))), "=")
