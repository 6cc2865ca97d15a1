"""The roles that columns have, by their names.

The names below are known; `columns` of `pgdyn.evaluate` gives others. Letter case, blanks and hyphens do not matter.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from pgdyn.scores.cells import is_numeric
from pgdyn.scores.files import EMPTY, Table, number

ROLES = {
    "prompt": ("prompt_id", "prompt", "prompt_text", "instruction", "question", "query", "input", "x"),
    "response": ("response_id", "response", "completion", "output", "answer", "text", "y"),
    "logp": (
        "logp", "logprob", "log_prob", "logprobs", "log_probability", "log_p", "logp_initial", "initial_logp",
        "log_likelihood", "logprob_initial", "sum_logprob", "log_probs", "logps", "ref_logp", "log_pi",
    ),
    "true_reward": (
        "true_reward", "truth", "true", "ground_truth", "ground_truth_reward", "true_score", "gold", "gold_reward",
        "gold_score", "reward_true", "ground_truth_score", "oracle_reward", "label", "correct", "is_correct",
        "is_chosen",
    ),
    "mean_reward": ("mean_reward", "mean_score", "v_p", "value", "mean"),
    "subset": ("subset",),
    "model": ("model", "reward_model", "model_name"),
    "id": ("id", "row_id", "sample_id"),
}  # fmt: skip
IGNORED = frozenset(
    "index row length len num_tokens tokens n_tokens seed temperature turn rank split step results num_correct "
    "num_incorrect total_completions unnamed_0".split()
)
PLAIN = frozenset("score scores reward rewards proxy proxy_reward".split())


def normal(name: str) -> str:
    """A column's name, as it is compared.

    Example:
        >>> normal("Log-Prob "), normal("scores_chosen")
        ('log_prob', 'scores_chosen')
    """
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")


def is_text(name: str, columns: Mapping[str, str]) -> bool:
    """Whether a column's cells are kept as they are, even where they look like numbers."""
    roles = ("prompt", "response", "subset", "model", "id")
    if name in columns.values():
        return any(columns.get(role) == name for role in roles)
    return any(normal(name) in ROLES[role] for role in roles) or normal(name) in ("chosen_text", "text_chosen")


def has_role(name: str) -> bool:
    """Whether a column's name is one of those of a role, means apart.

    Example:
        >>> has_role("Prompt ID"), has_role("rm")
        (True, False)
    """
    return any(normal(name) in names for role, names in ROLES.items() if role != "mean_reward")


def roles_of(table: Table, columns: Mapping[str, str]) -> dict[str, str]:
    """Role -> column: those that are given, and those whose names say so.

    Example:
        >>> from pgdyn.scores.files import of_columns
        >>> table = of_columns({"Prompt": ["a"], "rm": [1.0], "score": [2.0]}, lambda name: name == "Prompt")
        >>> roles_of(table, {"true_reward": "rm"})
        {'prompt': 'Prompt', 'true_reward': 'rm'}
    """
    by_name = {}
    for name in table.columns:
        by_name.setdefault(normal(name), name)
    found = {}
    for role, names in ROLES.items():
        if role in columns:
            found[role] = columns[role]
        elif there := [by_name[name] for name in names if name in by_name and by_name[name] not in columns.values()]:
            found[role] = there[0]
    if "model" in found and found["model"] not in columns.values() and is_numeric(table.columns[found["model"]]):
        del found["model"]
    for role in ("logp", "true_reward"):  # a column without a single value says nothing
        if role in found and all(number(cell)[1] == EMPTY for cell in table.columns[found[role]].cells()):
            del found[role]
    return found
