r"""Consistency over similar instructions: does a response score best under its own instruction?

With s[i, j] the score of instruction i's reward for the response to instruction j,

    response consistency      mean over i != j of 1[ s[i, i] > s[i, j] ]
    instruction consistency   mean over i != j of 1[ s[i, i] > s[j, i] ]

A reward that does not look at the instruction, s[i, j] = v[j], has response consistency 1/2 (no ties in v) and
instruction consistency 0: every comparison is a tie. Source: the trickle-down study of reward inconsistency.
"""

from __future__ import annotations

import numpy as np

from pgdyn import validate
from pgdyn.validate import Numbers


def response_consistency(scores: Numbers, *, strict: bool = True) -> np.ndarray:
    """How often an instruction's own response beats the responses to similar instructions.

    Args:
        scores: [n, n] or [groups, n, n]: s[i, j], instruction i, response to instruction j.
        strict: whether a tie is an error.

    Raises:
        ValueError: on other shapes, entries that are not finite, or one instruction.

    Example:
        >>> float(response_consistency([[1.0, 2.0], [1.0, 2.0]]))
        0.5
    """
    table = _square(scores)
    own = np.diagonal(table, axis1=1, axis2=2)[:, :, None]
    return _mean(own > table if strict else own >= table)


def instruction_consistency(scores: Numbers, *, strict: bool = True) -> np.ndarray:
    """How often a response scores higher under its own instruction than under a similar one.

    Args:
        scores: as for `response_consistency`.
        strict: whether a tie is an error.

    Raises:
        ValueError: as for `response_consistency`.

    Example:
        >>> blind = [[1.0, 2.0], [1.0, 2.0]]
        >>> float(instruction_consistency(blind)), float(instruction_consistency(blind, strict=False))
        (0.0, 1.0)
    """
    table = _square(scores)
    own = np.diagonal(table, axis1=1, axis2=2)[:, None, :]
    return _mean(own > table if strict else own >= table)


def _square(scores: Numbers) -> np.ndarray:
    table = np.asarray(validate.as_floats("scores", scores))
    table = table[None] if table.ndim == 2 else table
    if table.ndim != 3 or table.shape[1] != table.shape[2] or table.shape[1] < 2:
        raise ValueError(f"scores has shape {np.shape(scores)}; it must be [n, n] or [groups, n, n] with n at least 2")
    validate.require_finite("scores", table)
    return table


def _mean(right: np.ndarray) -> np.ndarray:
    size = right.shape[1]
    return np.asarray(right[:, ~np.eye(size, dtype=bool)].mean())
