"""Tables of one row a response as rows."""

from __future__ import annotations

from typing import Any

import numpy as np

from pgdyn.scores.cells import Sieve, is_prompt_id, key, log_probabilities, reject_twice
from pgdyn.scores.columns import PLAIN, normal
from pgdyn.scores.rows import RESPONSES, Reading, Rows, finish, per_model, shown_prompts


def read_responses(sieve: Sieve, roles: dict[str, str], ours: list[str]) -> Reading:
    """The rows of a table of one row a response.

    Args:
        sieve: the table.
        roles: role -> column, with a prompt.
        ours: the columns of scores.

    Raises:
        ValueError: if there is no good row.
    """
    table, notes = sieve.table, []
    codes, texts = sieve.keys(roles["prompt"])
    values = {name: sieve.numbers(name) for name in ours}
    logp = log_probabilities(sieve, roles["logp"]) if "logp" in roles else None
    truth = sieve.numbers(roles["true_reward"], truths=True) if "true_reward" in roles else None
    model = [key(cell) for cell in table.columns[roles["model"]].cells()] if "model" in roles else None
    if "id" in roles and roles["id"] != roles["prompt"]:
        ids = list(map(str, table.columns[roles["id"]].cells()))
        if not is_prompt_id(ids, codes):
            reject_twice(sieve, [ids, model], "the id {} is there twice")
    if "response" in roles:
        _reject_changed(sieve, roles["response"], codes, model, [*values.values(), *([] if truth is None else [truth])])
    rows = []
    for name, found in per_model(table, sieve, roles):
        # Stable, so that rows of a prompt keep their order.
        found = found[np.argsort(codes[found], kind="stable")]
        plain = len(ours) == 1 and ("model" in roles or normal(ours[0]) in PLAIN)
        scores = {
            (name if plain else column): {"score": column_values[found]} for column, column_values in values.items()
        }
        if not plain and "model" in roles:
            scores = {f"{name}: {column}": one for column, one in scores.items()}
        rows.append(
            Rows(
                RESPONSES,
                codes[found],
                shown_prompts(table, roles, codes, texts) if not rows else rows[0].prompts,
                table.lines[found],
                scores,
                logp=None if logp is None else logp[found],
                true_reward=None if truth is None else truth[found],
            )
        )
    parts = [
        f"{role.replace('_', ' ')}: {roles[role]}"
        for role in ("prompt", "logp", "true_reward", "model")
        if role in roles
    ]
    words = f"{RESPONSES} ({'; '.join(parts)}; reward models: {', '.join(ours)})"
    return finish(sieve, rows, words, notes)


def _reject_changed(
    sieve: Sieve, name: str, codes: np.ndarray, model: list[Any] | None, values: list[np.ndarray]
) -> None:
    """A response that is there again may be a second sample; with other scores it is an error."""
    first: dict[Any, int] = {}
    wrong = []
    for i, text in enumerate(sieve.table.columns[name].cells()):
        place = (int(codes[i]), None if model is None else model[i], hash(key(text)))
        if text is None or text == "":
            continue
        before = first.setdefault(place, i)
        if before != i and any(column[before] != column[i] for column in values) and sieve.good[i]:
            wrong.append(i)
    sieve.reject(wrong, "its response has been there with other scores")
