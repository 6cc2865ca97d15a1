r"""Preferences from factors in order of importance (HERON).

Two outputs are compared by the first factor; if it differs by no more than a threshold sigma_l times its standard
deviation, by the second, and so on. Pairs that no factor decides are dropped. The labels do not change when a factor is
scaled by a positive number, and with thresholds of 0 not even under an increasing map; a weighted sum of factors, the
other way to use them, does. With positive thresholds preferences may go round in circles (a like b, b like c, a better
than c), and a fit compromises.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pgdyn import validate
from pgdyn.labels.preferences import Preferences
from pgdyn.validate import Numbers


def hierarchical_preferences(
    factors: Numbers, order: Sequence[int] | None = None, thresholds: Numbers = 0.0
) -> Preferences:
    """Every pair that the factors decide, labelled.

    Args:
        factors: [K, F] or [P, K, F].
        order: the factors from the most important one; None for as they are.
        thresholds: sigma_l of each factor in that order, a number or a list, at least 0. Standard deviations divide by
            n - 1 and are those of a factor over all prompts and outputs.

    Raises:
        ValueError: on shapes that do not fit, or a negative threshold.

    Example:
        >>> factors = [[1.0, 0.0], [0.9, 5.0], [0.2, 9.0]]
        >>> found = hierarchical_preferences(factors, thresholds=0.5)
        >>> list(zip(found.chosen.tolist(), found.rejected.tolist(), strict=True))
        [(1, 0), (0, 2), (1, 2)]
    """
    table = np.asarray(validate.as_floats("factors", factors))
    table = table[None] if table.ndim == 2 else table
    if table.ndim != 3:
        raise ValueError(f"factors has shape {table.shape}; it must be [K, F] or [P, K, F]")
    validate.require_finite("factors", table)
    steps = list(range(table.shape[2])) if order is None else list(order)
    if not steps or not all(0 <= one < table.shape[2] for one in steps):
        raise ValueError(f"order is {steps}; it must name factors from 0 to {table.shape[2] - 1}")
    given = np.asarray(validate.as_floats("thresholds", thresholds))
    if given.shape not in ((), (len(steps),)):
        raise ValueError(
            f"thresholds has shape {given.shape}; it must be one number or one for each of {len(steps)} factors"
        )
    validate.require("thresholds", given, given >= 0, "it must be at least 0")
    limits = np.broadcast_to(given, (len(steps),))
    one, other = np.triu_indices(table.shape[1], 1)
    sign = np.zeros((len(table), len(one)))
    for factor, limit in zip(steps, limits, strict=True):
        values = table[:, :, factor]
        gap = values[:, one] - values[:, other]
        bar = limit * values.std(ddof=1) if limit else 0.0
        sign = np.where(sign == 0, np.sign(gap) * (np.abs(gap) > bar), sign)
    prompt, pair = np.nonzero(sign)
    up = sign[prompt, pair] > 0
    return Preferences.of(prompt, np.where(up, one[pair], other[pair]), np.where(up, other[pair], one[pair]))
