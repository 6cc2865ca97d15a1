"""Pair tables and RewardBench v1 scores as rows."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from pgdyn.metrics.benchmarks import SECTION
from pgdyn.scores.cells import Sieve, is_prompt_id, key, log_probabilities, reject_twice
from pgdyn.scores.columns import PLAIN, ROLES, normal
from pgdyn.scores.rows import PAIRS, V1, Reading, Rows, finish, per_model, shown_prompts


def read_pairs(sieve: Sieve, roles: dict[str, str], pairs: dict[str, tuple[str, str]]) -> Reading:
    """The rows of a table of pairs, or of RewardBench v1 scores.

    Args:
        sieve: the table.
        roles: role -> column.
        pairs: what remains of two names without chosen and rejected -> the two columns.

    Raises:
        ValueError: if there are log-probabilities alone, or no good row.
    """
    table, notes = sieve.table, []
    logp = next((pairs.pop(rest) for rest in list(pairs) if normal(rest) in ROLES["logp"]), None)
    truth = next((pairs.pop(rest) for rest in list(pairs) if normal(rest) in ROLES["true_reward"]), None)
    for rest in list(pairs):
        if normal(rest) in ("length", "len", "num_tokens", "tokens", "id", "index"):
            del pairs[rest]
    if not pairs:
        raise ValueError(
            f"{table.path} has pairs of log-probabilities alone; columns of chosen and rejected scores are missing"
        )
    subset = None
    if "subset" in roles:
        subset = np.array([key(cell) for cell in table.columns[roles["subset"]].cells()])
    v1 = (
        subset is not None
        and any(normal(rest) in PLAIN or not rest for rest in pairs)
        and bool({*subset.tolist()} & {*SECTION})
    )
    codes, texts = _prompt_codes(sieve, {} if v1 else roles, own=True)
    shown = shown_prompts(table, {} if v1 else roles, codes, texts)
    if "id" in roles:
        ids = [str(cell) for cell in table.columns[roles["id"]].cells()]
        others = None if subset is None else subset.tolist()
        model = [key(cell) for cell in table.columns[roles["model"]].cells()] if "model" in roles else None
        if v1 or "prompt" not in roles or not is_prompt_id(ids, codes):
            words = f"the id {{}} is there twice{' in its subset' if subset is not None else ''}"
            reject_twice(sieve, [ids, others, model], words)
        shown = shown or ids
    values = {rest: [sieve.numbers(name) for name in both] for rest, both in pairs.items()}
    logps = None if logp is None else np.stack([log_probabilities(sieve, name) for name in logp], axis=1)
    tied = None
    if truth is not None:
        high, low = (sieve.numbers(name) for name in truth)
        turn = high < low
        for both in values.values():
            both[0], both[1] = np.where(turn, both[1], both[0]), np.where(turn, both[0], both[1])
        if logps is not None:
            logps[turn] = logps[turn][:, ::-1]
        tied = high == low
        if tied.any():
            notes.append(f"{int(tied.sum())} pairs whose true rewards are equal take no part")
    means = _means(sieve, roles, pairs)
    single = len(pairs) == 1
    rows = []
    for name, found in per_model(table, sieve, roles):
        found = found[sieve.good[found]] if tied is None else found[sieve.good[found] & ~tied[found]]
        scores = {}
        for rest, (chosen, rejected) in values.items():
            label = name if normal(rest) in PLAIN or not rest or (single and not rest) else rest
            scores[label] = {"chosen": chosen[found], "rejected": rejected[found]}
            if (mean := means.get(rest)) is not None:
                scores[label]["mean_reward"] = mean[found]
        rows.append(
            Rows(
                V1 if v1 else PAIRS,
                codes[found],
                shown,
                table.lines[found],
                scores,
                logp=None if logps is None else logps[found],
                subset=None if subset is None else subset[found],
            )
        )
    words = V1 if v1 else PAIRS
    if not v1:
        grouped = roles.get("prompt")
        words += f" ({f'prompt: {grouped}' if grouped else 'no prompt column, so each pair is a prompt of its own'}; "
        words += f"scores: {', '.join(f'{a} and {b}' for a, b in pairs.values())}"
        words += f"; log-probabilities: {' and '.join(logp)})" if logp else ")"
    return finish(sieve, rows, words, notes)


def _prompt_codes(sieve: Sieve, roles: Mapping[str, str], own: bool) -> tuple[np.ndarray, list[str]]:
    """Codes of prompts and what to show of them; where `own`, rows without a prompt are prompts of their own."""
    if "prompt" in roles:
        return sieve.keys(roles["prompt"])
    assert own
    return np.arange(len(sieve.table)), []


def _means(sieve: Sieve, roles: Mapping[str, str], pairs: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """What remains of a pair's name -> the mean scores, from a column of the same remainder or the only one."""
    found = {}
    for name in sieve.table.columns:
        for role in ROLES["mean_reward"]:
            plain = normal(name)
            if name != roles.get("mean_reward") and not re.search(rf"(^|_){role}(_|$)", plain):
                continue
            for rest in pairs:
                bare = normal(rest)
                if (plain == role and len(pairs) == 1) or plain in (f"{role}_{bare}", f"{bare}_{role}"):
                    found.setdefault(rest, sieve.numbers(name))
    return found
