"""RewardBench v2 scores as rows: a list of scores for each prompt."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from pgdyn.metrics.benchmarks import TIES
from pgdyn.scores.cells import Sieve, key, reject_twice
from pgdyn.scores.files import number
from pgdyn.scores.rows import V2, Reading, Rows, finish, per_model, shown_prompts


def read_lists(sieve: Sieve, roles: dict[str, str], by_name: Mapping[str, str]) -> Reading:
    """The rows of RewardBench v2 scores.

    Args:
        sieve: the table.
        roles: role -> column.
        by_name: `normal` name -> column, with scores and num_correct.

    Raises:
        ValueError: if there is no good row.
    """
    table = sieve.table
    right = sieve.numbers(by_name["num_correct"])
    subset = None
    if "subset" in roles:
        subset = np.array([key(cell) for cell in table.columns[roles["subset"]].cells()])
    ids = [str(cell) for cell in table.columns[roles["id"]].cells()] if "id" in roles else None
    scores: list[Any] = []
    wrong: dict[int, str] = {}
    for i, cell in enumerate(table.columns[by_name["scores"]].cells()):
        read = [number(entry) for entry in cell] if isinstance(cell, list) else []
        first = next((f"scores[{j}]: {why}" for j, (_, why) in enumerate(read) if why), "")
        if len(read) < 2 or first:
            wrong[i] = first or "scores is no list of two numbers or more"
        elif not (right[i] == right[i] // 1 and 1 <= right[i] < len(read)):
            wrong[i] = f"num_correct is {right[i]:g}, with {len(read)} scores"
        elif subset is not None and subset[i].lower() == TIES:
            kind, _, prompt = (ids[i] if ids else "").partition(":")
            if kind not in ("ref", "tied") or not prompt:
                wrong[i] = f"its id is {ids[i] if ids else ''!r:.60}; in the subset ties it is ref:n or tied:n"
        scores.append(np.array([value for value, _ in read]))
    sieve.reject(list(wrong), wrong.values())
    if ids is not None:
        model = [key(cell) for cell in table.columns[roles["model"]].cells()] if "model" in roles else None
        reject_twice(
            sieve, [ids, None if subset is None else subset.tolist(), model], "the id {} is there twice in its subset"
        )
    shown = shown_prompts(table, {}, np.arange(len(table)), []) or ids or []
    rows = [
        Rows(
            V2,
            found,
            shown,
            table.lines[found],
            {name: {"scores": [scores[i] for i in found]}},
            subset=None if subset is None else subset[found],
            ids=None if ids is None else [ids[i] for i in found],
            num_correct=right[found].astype(int),
        )
        for name, found in per_model(table, sieve, roles)
    ]
    return finish(sieve, rows, V2, [])
