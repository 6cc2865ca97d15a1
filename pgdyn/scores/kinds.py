"""Which kind of table a file is, and its rows as arrays.

| kind | what tells it |
|---|---|
| RewardBench v2 scores | a column of lists `scores`, and `num_correct` |
| RewardBench v1 scores | `scores_chosen` and `scores_rejected`, and a `subset` that RewardBench v1 has |
| pairs | numeric columns whose names differ in "chosen" and "rejected" |
| responses | a prompt, and numeric columns of scores: one row a response |

The names below are known; `columns` of `pgdyn.evaluate` gives others. Letter case, blanks and hyphens do not matter.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from pgdyn.metrics.benchmarks import SECTION, TIES
from pgdyn.scores.cells import Sieve, is_numeric, key
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
_IGNORED = frozenset(
    "index row length len num_tokens tokens n_tokens seed temperature turn rank split step results num_correct "
    "num_incorrect total_completions unnamed_0".split()
)
_PLAIN = frozenset("score scores reward rewards proxy proxy_reward".split())
V1, V2, PAIRS, RESPONSES = "RewardBench v1 scores", "RewardBench v2 scores", "pairs", "one row a response"
KINDS = (RESPONSES, PAIRS, V1, V2)  # the one that knows most comes first


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


@dataclasses.dataclass
class Rows:
    """Good rows of one or more models.

    Attributes:
        kind: one of `V1`, `V2`, `PAIRS`, `RESPONSES`.
        prompt: [N], codes of the prompts.
        prompts: what to show of each code.
        lines: [N], places in the file.
        scores: model -> arrays: pairs {"chosen", "rejected", perhaps "mean_reward"} [N]; responses {"score"} [N]; v2
            {"scores"}, a list of N arrays.
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
            raise ValueError(f"{table.path} has no column {name!r:.80}; it has {', '.join(table.columns)}")
    for name in models:
        if name not in table.columns:
            raise ValueError(f"{table.path} has no column {name!r:.80}; it has {', '.join(table.columns)}")
    roles = _roles(table, columns)
    by_name = {normal(name): name for name in table.columns}
    sieve = Sieve(table)
    if "scores" in by_name and "num_correct" in by_name:
        return _v2(sieve, roles, by_name)
    if pairs := _pair_columns(table, roles):
        return _pairs(sieve, roles, pairs)
    if "prompt" not in roles and "id" in roles:
        roles["prompt"] = roles.pop("id")
    taken = {name for role, name in roles.items() if role != "mean_reward"}
    ours = list(models) or [
        name
        for name in table.columns
        if name not in taken
        and normal(name) not in _IGNORED
        and not _has_role(name)
        and not {"chosen", "rejected"} & {*normal(name).split("_")}
        and is_numeric(table.columns[name])
    ]
    if "prompt" in roles and ours:
        return _responses(sieve, roles, ours)
    raise ValueError(
        f"{table.path} is no table of scores that is known: its columns are {', '.join(map(repr, table.columns)):.300}"
        ". "
        "Known are RewardBench v1 (scores_chosen, scores_rejected, subset) and v2 (scores, num_correct, subset, id) "
        "scores, pairs (prompt, chosen, rejected) and one row a response (prompt, response, a column for each reward "
        "model)"
    )


def _has_role(name: str) -> bool:
    return any(normal(name) in names for role, names in ROLES.items() if role != "mean_reward")


def _roles(table: Table, columns: Mapping[str, str]) -> dict[str, str]:
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
        if any(normal(rest) in _PLAIN for rest in found):
            del found[""]
    return found


def _are_scores(table: Table, *names: str) -> bool:
    """Whether both columns hold numbers, or one mostly does: a column full of errors is still what its name says."""
    columns = [table.columns[name] for name in names]
    return any(map(is_numeric, columns)) or all(is_numeric(column, most=False) for column in columns)


def _names(table: Table) -> str:
    """What a file's only reward model is called."""
    named = table.scalars.get("model")
    stem = table.path.name.removesuffix(".gz")
    return str(named) if isinstance(named, str) and named else stem.rpartition(".")[0] or stem


def _per_model(table: Table, sieve: Sieve, roles: Mapping[str, str]) -> list[tuple[str, np.ndarray]]:
    """(name, rows) of each model that a column names; all rows where none does."""
    if "model" not in roles:
        return [(_names(table), np.flatnonzero(sieve.good))]
    codes, names = sieve.keys(roles["model"])
    return [(name, found) for i, name in enumerate(names) if len(found := np.flatnonzero(sieve.good & (codes == i)))]


def _finish(sieve: Sieve, rows: list[Rows], taken_for: str, notes: list[str], scalars: bool = True) -> Reading:
    table = sieve.table
    if not any(len(one.prompt) for one in rows):
        place = min(sieve.bad)
        raise ValueError(
            f"{table.path} has no row that can be used; {len(sieve.bad)} cannot, the first is {table.unit} {place}: "
            f"{sieve.bad[place]}"
        )
    total = len(table) + len(table.bad)
    return Reading(rows, taken_for, notes, dict(sorted(sieve.bad.items())), total, table.unit)


def _prompt_codes(sieve: Sieve, roles: Mapping[str, str], own: bool) -> tuple[np.ndarray, list[str]]:
    """Codes of prompts and what to show of them; where `own`, rows without a prompt are prompts of their own."""
    if "prompt" in roles:
        return sieve.keys(roles["prompt"])
    assert own
    return np.arange(len(sieve.table)), []


def _shown(table: Table, roles: Mapping[str, str], codes: np.ndarray, texts: list[str]) -> list[str]:
    """The prompt's text beside an id, where a column has it."""
    names = {normal(name): name for name in table.columns}
    text = next((names[name] for name in ("prompt", "prompt_text", "instruction", "question") if name in names), None)
    if text is None or text == roles.get("prompt"):
        return texts
    found = [""] * (int(codes.max(initial=-1)) + 1)
    for code, cell in zip(codes, table.columns[text].cells(), strict=True):
        found[code] = found[code] or f"{texts[code]}: {str(cell)[:200]}" if texts else str(cell)[:200]
    return found


def _pairs(sieve: Sieve, roles: dict[str, str], pairs: dict[str, tuple[str, str]]) -> Reading:
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
        subset = np.array(
            [key(cell) if not isinstance(cell, str) else cell for cell in table.columns[roles["subset"]].cells()]
        )
    v1 = (
        subset is not None
        and any(normal(rest) in _PLAIN or not rest for rest in pairs)
        and bool({*subset.tolist()} & {*SECTION})
    )
    codes, texts = _prompt_codes(sieve, {} if v1 else roles, own=True)
    shown = _shown(table, {} if v1 else roles, codes, texts)
    if "id" in roles:
        ids = [str(cell) for cell in table.columns[roles["id"]].cells()]
        others = None if subset is None else subset.tolist()
        model = list(table.columns[roles["model"]].cells()) if "model" in roles else None
        if v1 or "prompt" not in roles or not _is_prompt_id(ids, codes):
            words = f"the id {{}} is there twice{' in its subset' if subset is not None else ''}"
            _reject_twice(sieve, [ids, others, model], words)
        shown = shown or ids
    values = {rest: [sieve.numbers(name) for name in both] for rest, both in pairs.items()}
    logps = None if logp is None else np.stack([_log_probabilities(sieve, name) for name in logp], axis=1)
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
    for name, found in _per_model(table, sieve, roles):
        found = found[sieve.good[found]] if tied is None else found[sieve.good[found] & ~tied[found]]
        scores = {}
        for rest, (chosen, rejected) in values.items():
            label = name if normal(rest) in _PLAIN or not rest or (single and not rest) else rest
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
    return _finish(sieve, rows, words, notes)


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


def _log_probabilities(sieve: Sieve, name: str) -> np.ndarray:
    values = sieve.numbers(name)
    above = np.flatnonzero(values > 1e-6)
    sieve.reject(above, [f"{name}: {values[i]:g} is above 0, which no log-probability is" for i in above])
    return np.minimum(values, 0.0)


def _is_prompt_id(ids: list[str], codes: np.ndarray) -> bool:
    """Whether ids and prompts are one to one and there twice or more on average: then the id is the prompt's."""
    both = {*zip(ids, codes.tolist(), strict=True)}
    return len(both) == len({*ids}) == len({*codes.tolist()}) <= len(ids) / 2


def _reject_twice(sieve: Sieve, columns: list[Any], words: str) -> None:
    """Rows whose cells of all columns were there before, in a good row."""
    seen: set[Any] = set()
    twice = []
    for i, row in enumerate(zip(*(column for column in columns if column is not None), strict=True)):
        if row in seen:
            twice.append(i)
        seen.add(row)
    first = columns[0]
    sieve.reject(twice, [words.format(repr(first[i])[:60]) for i in twice])


def _responses(sieve: Sieve, roles: dict[str, str], ours: list[str]) -> Reading:
    table, notes = sieve.table, []
    codes, texts = sieve.keys(roles["prompt"])
    values = {name: sieve.numbers(name) for name in ours}
    logp = _log_probabilities(sieve, roles["logp"]) if "logp" in roles else None
    truth = sieve.numbers(roles["true_reward"], truths=True) if "true_reward" in roles else None
    model = list(table.columns[roles["model"]].cells()) if "model" in roles else None
    if "id" in roles and roles["id"] != roles["prompt"]:
        ids = list(map(str, table.columns[roles["id"]].cells()))
        if not _is_prompt_id(ids, codes):
            _reject_twice(sieve, [ids, model], "the id {} is there twice")
    if "response" in roles:
        _reject_changed(sieve, roles["response"], codes, model, [*values.values(), *([] if truth is None else [truth])])
    rows = []
    for name, found in _per_model(table, sieve, roles):
        # Stable, so that rows of a prompt keep their order.
        found = found[np.argsort(codes[found], kind="stable")]
        plain = len(ours) == 1 and ("model" in roles or normal(ours[0]) in _PLAIN)
        scores = {
            (name if plain else column): {"score": column_values[found]} for column, column_values in values.items()
        }
        if not plain and "model" in roles:
            scores = {f"{name}: {column}": one for column, one in scores.items()}
        rows.append(
            Rows(
                RESPONSES,
                codes[found],
                _shown(table, roles, codes, texts) if not rows else rows[0].prompts,
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
    return _finish(sieve, rows, words, notes)


def _reject_changed(
    sieve: Sieve, name: str, codes: np.ndarray, model: list[Any] | None, values: list[np.ndarray]
) -> None:
    """A response that is there again may be a second sample; with other scores it is an error."""
    first: dict[Any, int] = {}
    wrong = []
    for i, text in enumerate(sieve.table.columns[name].cells()):
        place = (int(codes[i]), None if model is None else model[i], hash(text if isinstance(text, str) else key(text)))
        if text is None or text == "":
            continue
        before = first.setdefault(place, i)
        if before != i and any(column[before] != column[i] for column in values) and sieve.good[i]:
            wrong.append(i)
    sieve.reject(wrong, "its response has been there with other scores")


def _v2(sieve: Sieve, roles: dict[str, str], by_name: Mapping[str, str]) -> Reading:
    table = sieve.table
    right = sieve.numbers(by_name["num_correct"])
    subset = None
    if "subset" in roles:
        subset = np.array(
            [cell if isinstance(cell, str) else key(cell) for cell in table.columns[roles["subset"]].cells()]
        )
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
        model = list(table.columns[roles["model"]].cells()) if "model" in roles else None
        _reject_twice(
            sieve, [ids, None if subset is None else subset.tolist(), model], "the id {} is there twice in its subset"
        )
    shown = _shown(table, {}, np.arange(len(table)), []) or ids or []
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
        for name, found in _per_model(table, sieve, roles)
    ]
    return _finish(sieve, rows, V2, [])
