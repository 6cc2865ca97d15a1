"""Which kind of table a file is.

| kind | what tells it |
|---|---|
| RewardBench v2 scores | a column of lists `scores`, and `num_correct` |
| RewardBench v1 scores | `scores_chosen` and `scores_rejected`, and a `subset` that RewardBench v1 has |
| the same without scores | `results`, and a `subset` that RewardBench v1 has |
| pairs | numeric columns whose names differ in "chosen" and "rejected" |
| responses | a prompt, and numeric columns of scores: one row a response |
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from pgdyn.metrics.benchmarks import SECTION
from pgdyn.scores.cells import Sieve, is_numeric
from pgdyn.scores.columns import IGNORED, PLAIN, ROLES, has_role, normal, roles_of
from pgdyn.scores.files import EMPTY, Table, number
from pgdyn.scores.lists import read_lists
from pgdyn.scores.pairs import read_pairs
from pgdyn.scores.responses import read_responses
from pgdyn.scores.results import read_results
from pgdyn.scores.rows import Reading


def recognize(table: Table, columns: Mapping[str, str], models: tuple[str, ...] = ()) -> Reading:
    """The rows of a table, by what its columns say.

    Args:
        table: the file.
        columns: role -> column name, where the names are not the known ones.
        models: columns of responses that are reward models; all numeric ones without another role where empty.

    Raises:
        ValueError: if it is no known kind, or has no good row.

    Example:
        >>> from pgdyn.scores.files import of_columns
        >>> table = of_columns({"prompt": ["a", "a"], "rm": [1.0, 2.0]}, lambda name: name == "prompt")
        >>> recognize(table, {}).taken_for
        'one row a response (prompt: prompt; reward models: rm)'
    """
    for role, name in columns.items():
        if role not in ROLES:
            raise ValueError(f"columns names the role {role!r}; the roles are {', '.join(ROLES)}")
        if name not in table.columns:
            raise ValueError(f"{table.path} has no column {name!r:.80}; it has {', '.join(table.columns):.300}")
    for name in models:
        if name not in table.columns:
            raise ValueError(f"{table.path} has no column {name!r:.80}; it has {', '.join(table.columns):.300}")
    _refuse_alike(table)
    roles = roles_of(table, columns)
    by_name = {normal(name): name for name in table.columns}
    sieve = Sieve(table)
    if "scores" in by_name and "num_correct" in by_name:
        return read_lists(sieve, roles, by_name)
    if pairs := _pair_columns(table, roles):
        return read_pairs(sieve, roles, pairs)
    if "results" in by_name and "subset" in roles and _has_sections(table, roles["subset"]):
        return read_results(sieve, roles, by_name["results"])
    if "prompt" not in roles and "id" in roles:
        roles["prompt"] = roles.pop("id")
    taken = {name for role, name in roles.items() if role != "mean_reward"}
    ours = list(models) or [
        name
        for name in table.columns
        if name not in taken
        and normal(name) not in IGNORED
        and not has_role(name)
        and not {"chosen", "rejected"} & {*normal(name).split("_")}
        and is_numeric(table.columns[name])
    ]
    if "prompt" in roles and ours:
        return read_responses(sieve, roles, ours)
    _refuse_words(table, by_name)
    columns_are = (
        f"its columns are {', '.join(map(repr, table.columns)):.300}" if table.columns else "it has no columns"
    )
    raise ValueError(
        f"{table.path} is no table of scores that is known: {columns_are}. "
        "Known are RewardBench v1 (scores_chosen, scores_rejected, subset) and v2 (scores, num_correct, subset, id) "
        "scores, pairs (prompt, chosen, rejected) and one row a response (prompt, response, a column for each reward "
        "model)"
    )


def _refuse_alike(table: Table) -> None:
    """Columns of a role, or of chosen and rejected responses, must differ in more than letter case and punctuation."""
    first: dict[str, str] = {}
    for name in table.columns:
        plain = normal(name)
        other = first.setdefault(plain, name)
        if other != name and (has_role(name) or {"chosen", "rejected"} & {*plain.split("_")}):
            raise ValueError(f"{table.path}: the columns {other!r:.80} and {name!r:.80} are told apart by no letter")


def _refuse_words(table: Table, by_name: Mapping[str, str]) -> None:
    """Columns of chosen and rejected scores that hold no numbers."""
    for plain, name in by_name.items():
        parts = plain.split("_")
        other = by_name.get("_".join("rejected" if part == "chosen" else part for part in parts))
        if "chosen" in parts and other and not {"text", "response"} & {*parts}:
            cells = (cell for column in (name, other) for cell in table.columns[column].cells())
            wrong = next((cell for cell in cells if number(cell)[1] not in ("", EMPTY)), None)
            if wrong is not None:
                raise ValueError(f"{table.path}: {name} and {other} hold no numbers: {number(wrong)[1]}")


def _has_sections(table: Table, name: str) -> bool:
    """Whether a column of subsets names one of RewardBench v1."""
    return any(isinstance(cell, str) and cell in SECTION for cell in table.columns[name].cells())


def _pair_columns(table: Table, roles: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """What remains of the name without chosen and rejected -> the two columns."""
    found = {}
    names = {normal(name): name for name in table.columns}
    for plain, name in names.items():
        parts = plain.split("_")
        if "chosen" not in parts or name == roles.get("true_reward"):
            continue
        other = names.get("_".join("rejected" if part == "chosen" else part for part in parts))
        if other and _are_scores(table, name, other):
            rest = re.sub(r"(?i)(^|[^a-z0-9])chosen([^a-z0-9]|$)", " ", name).strip(" _-.:/")
            found[rest] = name, other
    if len(found) > 1 and "" in found:
        # Beside columns of scores, "chosen" and "rejected" are the responses themselves, numbers though they may be.
        if any(normal(rest) in PLAIN for rest in found):
            del found[""]
    return found


def _are_scores(table: Table, *names: str) -> bool:
    """Whether both columns hold numbers, or one mostly does: a column full of errors is still what its name says."""
    columns = [table.columns[name] for name in names]
    return any(map(is_numeric, columns)) or all(is_numeric(column, most=False) for column in columns)
