"""RewardBench v1 files without scores, as those of judges that compare two responses: results alone, as rows."""

from __future__ import annotations

import numpy as np

from pgdyn.scores.cells import Sieve, key, reject_twice
from pgdyn.scores.rows import V1, Reading, Rows, finish, per_model, shown_prompts


def read_results(sieve: Sieve, roles: dict[str, str], name: str) -> Reading:
    """The rows of RewardBench v1 results: 1 where the chosen response won, 0 where it lost, between them for a tie.

    Args:
        sieve: the table.
        roles: role -> column, with a subset.
        name: the column of results.

    Raises:
        ValueError: if there is no good row.

    Example:
        >>> from pgdyn.scores.files import of_columns
        >>> columns = {"subset": ["donotanswer"] * 2, "results": [1, 0]}
        >>> found = read_results(Sieve(of_columns(columns, lambda name: False)), {"subset": "subset"}, "results")
        >>> found.rows[0].scores["scores"]["right"].tolist()
        [1.0, 0.0]
    """
    table = sieve.table
    right = sieve.numbers(name, truths=True)
    outside = np.flatnonzero((right < 0) | (right > 1))
    sieve.reject(outside, [f"{name}: {right[i]:g} does not lie between 0 and 1" for i in outside])
    subset = np.array([key(cell) for cell in table.columns[roles["subset"]].cells()])
    ids = None
    if "id" in roles:
        ids = [str(cell) for cell in table.columns[roles["id"]].cells()]
        model = [key(cell) for cell in table.columns[roles["model"]].cells()] if "model" in roles else None
        reject_twice(sieve, [ids, subset.tolist(), model], "the id {} is there twice in its subset")
    codes = np.arange(len(table))
    shown = shown_prompts(table, {}, codes, []) or ids or []
    rows = [
        Rows(V1, codes[found], shown, table.lines[found], {model: {"right": right[found]}}, subset=subset[found])
        for model, found in per_model(table, sieve, roles)
    ]
    return finish(sieve, rows, f"{V1} without scores (results: {name})", [])
