r"""Do two finite samples of successes come from one probability?

Fisher's exact test: given the total number of successes, the successes of the first sample are hypergeometric under the
hypothesis; the two-sided p-value is the probability of all tables that are no likelier than the one seen. It needs no
large samples, and treats the reference for what it is: a sample too.
"""

from __future__ import annotations

import bisect
import math


def fisher_exact(successes: int, trials: int, other_successes: int, other_trials: int) -> float:
    """Gives the two-sided p-value of Fisher's exact test (R. A. Fisher, 1935).

    Raises:
        ValueError: if a sample has more successes than trials, or negative counts.

    Example:
        >>> round(fisher_exact(8, 10, 1, 6), 4)
        0.035
    """
    for name, found, of in (("successes", successes, trials), ("other_successes", other_successes, other_trials)):
        if not 0 <= found <= of:
            raise ValueError(f"{name} is {found}; it must lie between 0 and the number of trials, {of}")
    total = successes + other_successes

    def log_ways(k: int) -> float:
        return _log_choose(trials, k) + _log_choose(other_trials, total - k)

    seen = log_ways(successes)
    ways = [log_ways(k) for k in range(max(0, total - other_trials), min(trials, total) + 1)]
    most = max(ways)
    # Tables that are as likely as the one seen differ from it by rounding.
    kept = math.fsum(math.exp(way - most) for way in ways if way <= seen + _ROUNDING)
    return kept / math.fsum(math.exp(way - most) for way in ways)


_ROUNDING = 1e-7


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


def acceptable(trials: int, other_successes: int, other_trials: int, level: float) -> tuple[int, int]:
    """Gives the smallest and largest number of successes of `trials` that the test at `level` does not reject.

    Example:
        >>> acceptable(10, 5, 10, 0.05)
        (1, 9)
    """

    def kept(k: int) -> bool:
        return fisher_exact(k, trials, other_successes, other_trials) >= level

    # What is kept is an interval around the other sample's proportion.
    middle = round(trials * other_successes / other_trials)
    least = bisect.bisect_left(range(middle), True, key=kept)
    most = trials - bisect.bisect_left(range(trials - middle), True, key=lambda k: kept(trials - k))
    return least, most


def wilson_interval(successes: int, trials: int, z: float = 1.959963984540054) -> tuple[float, float]:
    """Gives Wilson's score interval (1927) for a proportion, 95 % by default.

    Example:
        >>> [round(end, 3) for end in wilson_interval(9, 10)]
        [0.596, 0.982]
    """
    proportion = successes / trials
    scale = 1 + z**2 / trials
    middle = (proportion + z**2 / (2 * trials)) / scale
    half = z / scale * math.sqrt(proportion * (1 - proportion) / trials + z**2 / (4 * trials**2))
    return max(0.0, middle - half), min(1.0, middle + half)
