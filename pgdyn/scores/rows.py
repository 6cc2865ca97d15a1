"""Rows of a file as arrays, and what was read of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from pgdyn.scores.cells import Sieve
from pgdyn.scores.columns import normal
from pgdyn.scores.files import Table

V1, V2, PAIRS, RESPONSES = "RewardBench v1 scores", "RewardBench v2 scores", "pairs", "one row a response"
KINDS = (RESPONSES, PAIRS, V1, V2)  # the one that knows most comes first


@dataclasses.dataclass
class Rows:
    """Good rows of one or more models.

    Attributes:
        kind: one of `V1`, `V2`, `PAIRS`, `RESPONSES`.
        prompt: [N], codes of the prompts.
        prompts: what to show of each code.
        lines: [N], places in the file.
        scores: model -> arrays: pairs {"chosen", "rejected", perhaps "mean_reward"} [N]; responses {"score"} [N]; v2
            {"scores"}, a list of N arrays; v1 without scores {"right"} [N], from 0 to 1.
        logp: [N] of responses, or [N, 2] of pairs (chosen, rejected); None where not known.
        true_reward: [N] of responses, or None.
        subset: [N] names, or None.
        ids: [N] of v2.
        num_correct: [N] of v2.
        pairs: what is worked out once for all models of responses.
    """

    kind: str
    prompt: np.ndarray
    prompts: list[str]
    lines: np.ndarray
    scores: dict[str, dict[str, Any]]
    logp: np.ndarray | None = None
    true_reward: np.ndarray | None = None
    subset: np.ndarray | None = None
    ids: list[str] | None = None
    num_correct: np.ndarray | None = None
    pairs: list[Any] | None = None


@dataclasses.dataclass
class Reading:
    """What was read of a file.

    Attributes:
        rows: the good rows, one `Rows` for each model where a column names it.
        taken_for: a sentence that says what the file was taken for.
        notes: further sentences.
        bad: place -> what is wrong.
        total: rows of the file, good or bad.
        unit: what a place counts.
    """

    rows: list[Rows]
    taken_for: str
    notes: list[str]
    bad: dict[int, str]
    total: int
    unit: str


def _only_name(table: Table) -> str:
    """What a file's only reward model is called."""
    named = table.scalars.get("model")
    stem = table.path.name.removesuffix(".gz")
    return str(named) if isinstance(named, str) and named else stem.rpartition(".")[0] or stem


def per_model(table: Table, sieve: Sieve, roles: Mapping[str, str]) -> list[tuple[str, np.ndarray]]:
    """(name, rows) of each model that a column names; all rows where none does."""
    if "model" not in roles:
        return [(_only_name(table), np.flatnonzero(sieve.good))]
    codes, names = sieve.keys(roles["model"])
    return [(name, found) for i, name in enumerate(names) if len(found := np.flatnonzero(sieve.good & (codes == i)))]


def finish(sieve: Sieve, rows: list[Rows], taken_for: str, notes: list[str]) -> Reading:
    """What was read.

    Raises:
        ValueError: if no row is left.
    """
    table = sieve.table
    if not any(len(one.prompt) for one in rows):
        if not sieve.bad:
            raise ValueError(f"{table.path} has no row that can be used: {'; '.join(notes)}")
        place = min(sieve.bad)
        raise ValueError(
            f"{table.path} has no row that can be used; {len(sieve.bad)} cannot, the first is {table.unit} {place}: "
            f"{sieve.bad[place]}"
        )
    total = len(table) + len(table.bad)
    return Reading(rows, taken_for, notes, dict(sorted(sieve.bad.items())), total, table.unit)


def shown_prompts(table: Table, roles: Mapping[str, str], codes: np.ndarray, texts: list[str]) -> list[str]:
    """The prompt's text beside an id, where a column has it."""
    names = {normal(name): name for name in table.columns}
    text = next((names[name] for name in ("prompt", "prompt_text", "instruction", "question") if name in names), None)
    if text is None or text == roles.get("prompt"):
        return texts
    found = [""] * (int(codes.max(initial=-1)) + 1)
    for code, cell in zip(codes, table.columns[text].cells(), strict=True):
        found[code] = found[code] or f"{texts[code]}: {str(cell)[:200]}" if texts else str(cell)[:200]
    return found
