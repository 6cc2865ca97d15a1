"""Problems as TOML and JSON files, under `Problem`'s own field names or those of the program of arXiv 2604.25872.

    true_reward = [1.0, 0.8, -1.0, -1.0, -1.0]          # also: ground_truth_rewards
    proxy_reward = [1.0, -1.0, -1.0, -1.0, -1.0]        # also: rewards, the reward trained on; alone it is both
    initial_policy = [0.05, 0.5, 0.15, 0.15, 0.15]      # also: initial_policy_probabilities
    # initial_params = [...]                            # also: initial_policy_weights; instead of initial_policy
    # features = [[...], ...]                           # also: output_features; without them the policy is tabular
    # temperature = 1.0, prompt_weights = [...]         # and name, description, comment, provenance, which are skipped

Rewards and policies are [K] or [P, K], features [K, D] or [P, K, D]; initial_params are [D] with features and, without,
the tabular policy's own parameters, [K] or [P, K].
"""

from __future__ import annotations

import contextlib
import difflib
import json
import os
import pathlib
import re
import tomllib
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from pgdyn import validate
from pgdyn.problem import Problem

_AXES = {  # the most axes that a field may have in a file, which holds one problem
    "features": (3, "[K, D] or [P, K, D]"),
    "true_reward": (2, "[K] or [P, K]"),
    "proxy_reward": (2, "[K] or [P, K]"),
    "initial_policy": (2, "[K] or [P, K]"),
    "initial_params": (2, "[D] with features, [K] or [P, K] without"),
    "temperature": (0, "a single number"),
    "prompt_weights": (1, "[P]"),
}
_ALIASES = {
    "output_features": "features",
    "ground_truth_rewards": "true_reward",
    "rewards": "proxy_reward",
    "initial_policy_probabilities": "initial_policy",
    "initial_policy_weights": "initial_params",
}
_METADATA = ("name", "description", "comment", "provenance")


def load_problem(path: str | os.PathLike[str]) -> Problem:
    """The problem of a TOML or JSON file, told apart by its suffix.

    Args:
        path: a file ending in .toml or .json, in UTF-8, with the keys shown above. A key that is null in JSON counts as
            not given.

    Raises:
        FileNotFoundError: if there is no such file.
        OSError: if it cannot be read.
        ValueError: naming the file and the line, key or entry that is wrong.
    """
    path = pathlib.Path(path)
    table = read_table(path)
    with _naming(path):
        arrays, written = table_arrays(table)
        try:
            return _build(arrays)
        except ValueError as error:
            # The constructors speak of fields; a reader of the file looks for the key that stands in it.
            renamed = re.sub(r"\w+", lambda word: written.get(word[0], word[0]), str(error))
            raise ValueError(renamed) from None


def read_table(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The keys and values of a TOML or JSON file, whatever they mean; raises as `load_problem` does."""
    path = pathlib.Path(path)
    return _parse(path, _read(path))


def table_arrays(table: dict[str, Any], *, complete: bool = True) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The arrays of a problem file's table, shaped as written there.

    Args:
        table: the keys of a problem file and their values.
        complete: whether the table must hold a true reward.

    Returns:
        The arrays by field name, and for each field the key that gives it.

    Raises:
        ValueError: naming the key or entry that is wrong.
    """
    written = _canonical(table)
    arrays = {field: _array(field, key, table[key]) for field, key in written.items()}
    if complete and "true_reward" not in arrays and written.get("proxy_reward") == "rewards":
        written["true_reward"], arrays["true_reward"] = "rewards", arrays.pop("proxy_reward")
    if complete and "true_reward" not in arrays:
        raise ValueError("the key true_reward (or ground_truth_rewards) is missing")
    if "initial_params" in arrays and "initial_policy" in arrays:
        starts = f"{written['initial_params']} or {written['initial_policy']}"
        raise ValueError(f"give {starts}, not both: each of them sets the start")
    return arrays, written


def save_problem(problem: Problem, path: str | os.PathLike[str]) -> None:
    """Writes a problem as TOML or JSON, by the suffix of `path`; `load_problem` gives it back bit for bit.

    A file that is there already is replaced, and only by a whole one.

    Raises:
        ValueError: on a batch, an entry that is not finite, or another suffix.
        OSError: if the file cannot be written.
    """
    path = pathlib.Path(path)
    kind = _kind(path)
    if not isinstance(problem, Problem):
        raise ValueError(f"save_problem takes a pgdyn.Problem, got {problem!r:.80}")
    if problem.batch_size is not None:
        raise ValueError(f"a problem file holds one problem and this is a batch of {problem.batch_size}; index it")
    fields = {}
    for name in ("features", "true_reward", "proxy_reward", "initial_params", "temperature", "prompt_weights"):
        value = getattr(problem, name)
        if value is None:
            continue
        array = np.asarray(value, np.float64)
        validate.require_finite(name, array)
        has_prompts = array.ndim > 1
        fields[name] = array[0] if has_prompts and problem.num_prompts == 1 else array
    if kind == "toml":
        text = "".join(f"{name} = {_text(array)}\n" for name, array in fields.items())
    else:
        lines = (f'  "{name}": {_text(array, "  ")}' for name, array in fields.items())
        text = "{\n" + ",\n".join(lines) + "\n}\n"
    _write(path, text)


def _kind(path: pathlib.Path) -> str:
    kind = path.suffix.lower().removeprefix(".")
    if kind not in ("toml", "json"):
        raise ValueError(f"{path}: the name of a problem file ends in .toml or .json")
    return kind


def _read(path: pathlib.Path) -> str:
    if path.is_dir():
        raise ValueError(f"{path} is a directory, not a problem file")
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: there is no such file") from None
    except OSError as error:
        raise type(error)(f"{path} cannot be read: {error.strerror}") from None
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ValueError(f"{path}, line {line}: not UTF-8 text (byte {data[error.start]:#04x})") from None
    if not text.strip():
        raise ValueError(f"{path} is empty")
    return text


def _parse(path: pathlib.Path, text: str) -> dict[str, Any]:
    kind = _kind(path)
    try:
        if kind == "toml":
            return tomllib.loads(text)
        table = json.loads(text, object_pairs_hook=_once)
    except tomllib.TOMLDecodeError as error:
        where = f"line {text.rstrip().count(chr(10)) + 1}, the last"
        reason = str(error).replace("at end of document", f"at {where}")
        raise ValueError(f"{path} is not valid TOML: {reason}") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}, line {error.lineno}: not valid JSON: {error.msg}") from None
    except RecursionError:
        raise ValueError(f"{path} is nested too deeply to be a problem") from None
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    if not isinstance(table, dict):
        kinds = {list: "a list", str: "a string", bool: "a truth value", type(None): "null"}
        found = kinds.get(type(table), "a number")
        raise ValueError(f"{path} holds {found} where a JSON object with the problem's keys is needed")
    return table


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table: dict[str, Any] = {}
    for key, value in pairs:
        if key in table:
            raise ValueError(f"the key {key!r} is given twice")
        table[key] = value
    return table


def _canonical(table: dict[str, Any]) -> dict[str, str]:
    """Which key of the file gives each field."""
    known = [*_AXES, *_ALIASES, *_METADATA]
    written: dict[str, str] = {}
    for key, value in table.items():
        if key not in known:
            close = difflib.get_close_matches(key, known, n=1)
            hint = f"did you mean {close[0]!r}?" if close else "the keys are " + ", ".join([*_AXES, *_METADATA])
            raise ValueError(f"unknown key {key!r:.80}; {hint}")
        if key in _METADATA or value is None:
            continue
        field = _ALIASES.get(key, key)
        if field in written:
            raise ValueError(f"{written[field]} and {key} are two names of the same thing; give one of them")
        written[field] = key
    return written


def _array(field: str, key: str, value: Any) -> np.ndarray:
    axes, shape = _AXES[field]
    numbers = np.asarray(_numbers(key, value, (), axes, shape), np.float64)
    if numbers.ndim == 0 and axes > 0:
        raise ValueError(f"{key} is a single number; it must be {shape}")
    return numbers


def _numbers(key: str, value: Any, index: tuple[int, ...], axes: int, shape_rule: str) -> Any:
    """`value` with every entry checked to be a finite number and every list as long as its neighbours."""
    here = validate.place(key, index)
    if isinstance(value, list):
        if len(index) == axes:
            raise ValueError(f"{here} is a list; a file holds one problem, where {key} must be {shape_rule}")
        if not value:
            raise ValueError(f"{here} is empty")
        rows = [_numbers(key, entry, (*index, i), axes, shape_rule) for i, entry in enumerate(value)]
        shapes = [np.shape(row) for row in rows]
        for i, shape in enumerate(shapes):
            if shape != shapes[0]:
                first, other = (validate.place(key, (*index, j)) for j in (0, i))
                raise ValueError(f"{key} is not rectangular: {first} has shape {shapes[0]} but {other} {shape}")
        return np.asarray(rows)
    if isinstance(value, bool) or not isinstance(value, int | float):
        kind = "a table" if isinstance(value, dict) else "null" if value is None else f"{value!r:.80}"
        raise ValueError(f"{here} is {kind}; it must be a number")
    try:
        number = float(value)
    except OverflowError:
        raise ValueError(f"{here} is a whole number too large for a float") from None
    if not np.isfinite(number):
        raise ValueError(f"{here} is {number}; every entry must be finite")
    return number


def _build(arrays: dict[str, np.ndarray]) -> Problem:
    weights = arrays.get("prompt_weights")
    if "features" in arrays:
        problem = Problem.linear(**arrays)  # pyright: ignore[reportArgumentType]
    elif "initial_params" in arrays:
        problem = _tabular_from_params(dict(arrays))
    else:
        arrays = dict(arrays)
        problem = Problem.tabular(arrays.pop("initial_policy", None), **arrays)  # pyright: ignore[reportArgumentType]
    if weights is not None and abs(weights.sum() - 1) <= 4 * np.finfo(validate.float_dtype()).eps * weights.size:
        # Dividing by a sum that is 1 up to rounding would change the last bit of weights that were normalised already.
        problem = eqx.tree_at(lambda p: p.prompt_weights, problem, jnp.asarray(weights, validate.float_dtype()))
    return problem


def _tabular_from_params(arrays: dict[str, np.ndarray]) -> Problem:
    params = np.atleast_2d(arrays.pop("initial_params"))
    true_reward = np.atleast_2d(arrays.pop("true_reward"))
    prompts, outputs = true_reward.shape
    if params.shape[1] != outputs or (params.shape[0] != prompts and 1 not in (params.shape[0], prompts)):
        raise ValueError(
            f"initial_params has shape {params.shape} but true_reward {true_reward.shape}; "
            "without features the policy has one parameter for each prompt and output"
        )
    true_reward = np.broadcast_to(true_reward, np.broadcast_shapes(params.shape, true_reward.shape))
    problem = Problem.tabular(None, true_reward, **arrays)  # pyright: ignore[reportArgumentType]
    start = jnp.broadcast_to(jnp.asarray(params, validate.float_dtype()), problem.params_shape)
    return eqx.tree_at(lambda p: p.initial_params, problem, start)


@contextlib.contextmanager
def _naming(path: pathlib.Path):
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _text(array: np.ndarray, indent: str = "") -> str:
    """Nested lists, one row a line, every number by its shortest decimal that reads back as the same float."""
    if array.ndim == 0:
        return repr(float(array))
    inner = [_text(entry, indent + "  ") for entry in array]
    if array.ndim == 1:
        return "[" + ", ".join(inner) + "]"
    return "[\n" + ",\n".join(f"{indent}  {row}" for row in inner) + f"\n{indent}]"


def _write(path: pathlib.Path, text: str) -> None:
    partial = path.with_name(f".{path.name}.partial-{os.getpid()}")
    try:
        partial.write_text(text, encoding="utf-8", newline="\n")
        partial.replace(path)
    except OSError as error:
        raise type(error)(f"{path} cannot be written: {error.strerror}") from None
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
