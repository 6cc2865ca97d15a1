r"""Tasks of several constraints that can be checked: which outcomes there are, and what credit each is given.

An outcome says which of C constraints are met, x in {0, 1}^C; the task is solved where all are. `constraints` makes the
problem of all 2^C outcomes from the probability that each is met; a `Credit` says what an outcome is worth while
training; `adaptive` gives partial credit until full success is likely enough, and binary credit from then on.
"""

from pgdyn.verifiable.adaptive import AdaptiveCredit
from pgdyn.verifiable.constraints import constraints, joint, outcomes, success
from pgdyn.verifiable.credit import Binary, Credit, Lexicographic, Partial, Thresholded, Weighted, verified

__all__ = [
    "CREDITS",
    "AdaptiveCredit",
    "Binary",
    "Credit",
    "Lexicographic",
    "Partial",
    "Thresholded",
    "Weighted",
    "constraints",
    "joint",
    "outcomes",
    "success",
    "verified",
]

CREDITS: dict[str, type[Credit]] = {
    cls.__name__.lower(): cls for cls in (Binary, Partial, Weighted, Lexicographic, Thresholded)
}
