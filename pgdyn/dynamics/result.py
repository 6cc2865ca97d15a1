"""How a run ended, as a value: compiled code cannot raise, and one failed run must not take a batch with it."""

from __future__ import annotations

import enum


class Result(enum.IntEnum):
    """Why a run stopped. Stored as integers, so a batch of results compares elementwise with a member."""

    completed = 0
    reached_target = 1
    step_budget_spent = 2
    not_finite = 3

    @property
    def message(self) -> str:
        """The outcome in plain words."""
        return _MESSAGES[self]


_MESSAGES = {
    Result.completed: "ran to the end",
    Result.reached_target: "stopped on reaching the target",
    Result.step_budget_spent: "stopped early: the step budget was spent before the end time",
    Result.not_finite: "stopped early: the state was no longer finite",
}
