"""Rows of the table of targets: what is to be reached, what was measured, and whether it was met."""

from __future__ import annotations

from typing import Any

Row = dict[str, Any]
COLUMNS: tuple[str, ...] = ("case", "target", "bound", "measured", "at_equal_tolerance", "verdict", "note")


def line(
    case: str,
    target: str,
    bound: str,
    measured: Any = None,
    verdict: bool | str = "",
    note: str = "",
    *,
    equal: float | None = None,
    relation: str = "=",
) -> Row:
    """One row.

    Args:
        case: the case measured.
        target: what is measured, in words.
        bound: what it has to reach, in words; "none" where it is there for comparison.
        measured: a number or words; None where nothing was measured.
        verdict: whether it was met, or other words.
        note: anything else to know.
        equal: the same ratio at equal tolerances.
        relation: "<" or ">" where the number is only a bound of what it stands for.

    Example:
        >>> row = line("hitting", "ratio", "<= 1.3", 1.25, True)
        >>> row["measured"], row["verdict"]
        ('1.25', 'met')
    """
    sign = "" if relation == "=" else relation + " "
    shown = None if measured is None else f"{sign}{measured:.4g}" if isinstance(measured, float) else str(measured)
    words = verdict if isinstance(verdict, str) else "met" if verdict else "missed"
    tolerance = None if equal is None else f"{equal:.4g}"
    return dict(zip(COLUMNS, (case, target, bound, shown, tolerance, words, note), strict=True))
