"""Explicit Runge-Kutta pairs as data, for the peers whose programs are written out from them."""

from __future__ import annotations

from typing import NamedTuple

from pgdyn.ensemble import tableau

Weights = dict[int, float]


class Tableau(NamedTuple):
    """An explicit Runge-Kutta pair; a row of weights maps the number of a slope to its weight.

    Attributes:
        stages: row i gives the argument of slope i + 1.
        solution: the new state.
        errors: estimates of the local error; with two, the second tempers the first as in DOP853.
        exponent: of the error in the step-size controller.
        memory: of the step before's error there; 0 for a controller without memory.
        most: factor by which a step may grow.
        least: factor to which it may shrink.
    """

    stages: tuple[Weights, ...]
    solution: Weights
    errors: tuple[Weights, ...]
    exponent: float
    memory: float
    most: float
    least: float


# Dormand and Prince's pair of orders 5 and 4 (Hairer, Norsett, Wanner I, section II.5, table 5.2), with a PI controller
# (Hairer, Wanner II, section IV.2).
DOPRI5 = Tableau(
    stages=(
        {0: 1 / 5},
        {0: 3 / 40, 1: 9 / 40},
        {0: 44 / 45, 1: -56 / 15, 2: 32 / 9},
        {0: 19372 / 6561, 1: -25360 / 2187, 2: 64448 / 6561, 3: -212 / 729},
        {0: 9017 / 3168, 1: -355 / 33, 2: 46732 / 5247, 3: 49 / 176, 4: -5103 / 18656},
    ),
    solution={0: 35 / 384, 2: 500 / 1113, 3: 125 / 192, 4: -2187 / 6784, 5: 11 / 84},
    # The seventh slope is that at the new state, with which the next step begins.
    errors=({0: 71 / 57600, 2: -71 / 16695, 3: 71 / 1920, 4: -17253 / 339200, 5: 22 / 525, 6: -1 / 40},),
    exponent=0.14,
    memory=0.08,
    most=10.0,
    least=0.2,
)

# DOP853, whose coefficients the ensemble engine has too, with the controller of its authors' program.
DOP853 = Tableau(
    stages=tableau.STAGES,
    solution=tableau.SOLUTION,
    errors=(tableau.ERROR5, tableau.ERROR3),
    exponent=1 / 8,
    memory=0.0,
    most=6.0,
    least=0.333,
)


def weighted(weights: Weights, slope: str) -> str:
    """The sum of weighted slopes as an expression, in Python and in C.

    Args:
        weights: a row.
        slope: how a slope is written, with `{}` for its number.

    Example:
        >>> weighted({0: 0.5, 2: -1.0}, "k{}[i]")
        '0.5 * k0[i] + -1.0 * k2[i]'
    """
    return " + ".join(f"{weight!r} * {slope.format(number)}" for number, weight in weights.items())
