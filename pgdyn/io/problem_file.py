"""Problems as TOML and JSON files, under `Problem`'s own field names or those of the program of arXiv 2604.25872.

    true_reward = [1.0, 0.8, -1.0, -1.0, -1.0]          # also: ground_truth_rewards
    proxy_reward = [1.0, -1.0, -1.0, -1.0, -1.0]        # also: rewards, the reward trained on; alone it is both
    initial_policy = [0.05, 0.5, 0.15, 0.15, 0.15]      # also: initial_policy_probabilities
    # initial_params = [...]                            # also: initial_policy_weights; instead of initial_policy
    # features = [[...], ...]                           # also: output_features; without them the policy is tabular
    # temperature = 1.0, prompt_weights = [...]         # and name, description, comment, provenance, which are skipped
    # transitions = [[1, -1], [-1, -1]]                 # where outputs lead, -1 the end; mask = [[1, 1], [1, 0]]

Rewards and policies are [K] or [P, K], features [K, D] or [P, K, D]; initial_params are [D] with features and, without,
the tabular policy's own parameters, [K] or [P, K]. Transitions are [P, K] numbers of decision points, or [P, K, P]
probabilities; a mask is [P, K], 1 where there is such an output and 0 where there is none.
"""

from __future__ import annotations

import os
import pathlib
import re
from collections.abc import Mapping
from typing import Any

import equinox as eqx
import numpy as np

from pgdyn import construct, policy, validate
from pgdyn.batch import Batch
from pgdyn.io import tables
from pgdyn.problem import ARRAYS, Problem, require_single

_AXES = {  # the most axes that a field may have in a file, which holds one problem
    "features": (3, "[K, D] or [P, K, D]"),
    "true_reward": (2, "[K] or [P, K]"),
    "proxy_reward": (2, "[K] or [P, K]"),
    "initial_policy": (2, "[K] or [P, K]"),
    "initial_params": (2, "[D] with features, [K] or [P, K] without"),
    "temperature": (0, "a single number"),
    "prompt_weights": (1, "[P]"),
    "transitions": (3, "[P, K] or [P, K, P]"),
    "mask": (2, "[K] or [P, K]"),
}
_ALIASES = {
    "output_features": "features",
    "ground_truth_rewards": "true_reward",
    "rewards": "proxy_reward",
    "initial_policy_probabilities": "initial_policy",
    "initial_policy_weights": "initial_params",
}
_CLOSE = 1e-6  # of a start's probabilities, which a file has rounded
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

    Example:
        >>> import tempfile
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "problem.toml"
        >>> _ = path.write_text("true_reward = [1.0, 0.8]")
        >>> load_problem(path).true_reward.tolist()
        [[1.0, 0.8]]
    """
    table = tables.read(path)
    with tables.within(path):
        arrays, written = table_arrays(table)
        try:
            return _build(arrays)
        except ValueError as error:
            # The constructors speak of fields; a reader of the file looks for the key that stands in it.
            renamed = re.sub(r"\w+", lambda word: written.get(word[0], word[0]), str(error))
            raise ValueError(renamed) from None


def start_note(path: str | os.PathLike[str], problem: Problem) -> str:
    r"""A sentence where the start of a file's problem is not the policy that the file asks for; empty where it is.

    Features that cannot express `initial_policy` begin at the nearest policy that they can (`Problem.linear`).

    Example:
        >>> import tempfile
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "problem.toml"
        >>> text = "true_reward = [1, 0, 0]\nfeatures = [[1], [1], [1]]\ninitial_policy = [0.2, 0.3, 0.5]"
        >>> _ = path.write_text(text)
        >>> start_note(path, load_problem(path))
        'the features cannot express initial_policy: the run begins at 0.333 instead of 0.5 for output 2 of prompt 0'
    """
    if problem.features is None:  # a tabular policy can be any; the file is not read a second time
        return ""
    arrays, written = table_arrays(tables.read(path))
    if "initial_policy" not in arrays:
        return ""
    wanted = np.broadcast_to(arrays["initial_policy"], problem.true_reward.shape)
    found = np.exp(np.asarray(policy.log_policy(problem, problem.initial_params)))
    off = np.abs(found - wanted)
    if off.max() <= _CLOSE:
        return ""
    prompt, output = np.unravel_index(np.argmax(off), off.shape)
    begins = f"the run begins at {found[prompt, output]:.3g} instead of {wanted[prompt, output]:.3g}"
    key = written["initial_policy"]
    return f"the features cannot express {key}: {begins} for output {output} of prompt {prompt}"


def table_arrays(table: Mapping[str, Any], *, complete: bool = True) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The arrays of a problem file's table, shaped as written there.

    Args:
        table: the keys of a problem file and their values.
        complete: whether the table must hold a true reward.

    Returns:
        The arrays by field name, and for each field the key that gives it.

    Raises:
        ValueError: naming the key or entry that is wrong.

    Example:
        >>> table_arrays({"ground_truth_rewards": [1, 0]})
        ({'true_reward': array([1., 0.])}, {'true_reward': 'ground_truth_rewards'})
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

    Example:
        >>> import tempfile
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "problem.toml"
        >>> save_problem(Problem.tabular(None, [1.0, 0.8], temperature=2.0), path)
        >>> print(path.read_text().splitlines()[0])
        true_reward = [1.0, 0.8]
    """
    tables.suffix(pathlib.Path(path), "problem")
    if isinstance(problem, Batch):
        raise ValueError(f"a problem file holds one problem and this is a batch of {len(problem)}; index it")
    if not isinstance(problem, Problem):
        raise ValueError(f"save_problem takes a pgdyn.Problem, got {validate.shown(problem)}")
    require_single(problem, "save_problem")
    validate.require_known("save_problem", problem)
    tables.write(path, problem_arrays(problem))


def problem_arrays(problem: Problem) -> dict[str, np.ndarray]:
    """The arrays of a problem by field name, shaped as a file has them: one prompt has no axis of its own.

    Raises:
        ValueError: on an entry that is not finite.

    Example:
        >>> arrays = problem_arrays(Problem.tabular([0.2, 0.8], [1.0, 0.0]))
        >>> arrays["true_reward"], list(arrays)
        (array([1., 0.]), ['true_reward', 'proxy_reward', 'initial_params', 'temperature', 'prompt_weights'])
    """
    if problem.network is not None:
        raise ValueError("the policy is a network, a function, which a problem file cannot hold")
    arrays = {name: np.asarray(getattr(problem, name)) for name in ARRAYS if getattr(problem, name) is not None}
    arrays = {name: arrays[name] for name in _AXES if name in arrays}
    for name, array in arrays.items():
        validate.require_finite(name, array)
    if (transitions := problem.transitions) is not None:
        arrays["transitions"] = np.asarray(transitions)
        if transitions.mask is not None:
            arrays["mask"] = transitions.mask.astype(int)
        return arrays
    return {name: array[0] if array.ndim > 1 and problem.num_prompts == 1 else array for name, array in arrays.items()}


def _canonical(table: Mapping[str, Any]) -> dict[str, str]:
    """Which key of the file gives each field."""
    validate.refuse_unknown(table, [*_AXES, *_ALIASES, *_METADATA])
    written: dict[str, str] = {}
    for key, value in table.items():
        if key in _METADATA or value is None:
            continue
        field = _ALIASES.get(key, key)
        if field in written:
            raise ValueError(f"{written[field]} and {key} are two names of the same thing; give one of them")
        written[field] = key
    return written


def _array(field: str, key: str, value: Any) -> np.ndarray:
    axes, shape = _AXES[field]
    numbers = tables.numbers(key, value, axes, shape)
    if numbers.ndim == 0 and axes > 0:
        raise ValueError(f"{key} is a single number; it must be {shape}")
    return numbers


def _build(arrays: dict[str, np.ndarray]) -> Problem:
    if "features" in arrays:
        problem = Problem.linear(**arrays)  # pyright: ignore[reportArgumentType]
    elif "initial_params" in arrays:
        problem = _tabular_from_params(dict(arrays))
    else:
        rest = dict(arrays)
        problem = Problem.tabular(rest.pop("initial_policy", None), **rest)  # pyright: ignore[reportArgumentType]
    weights = arrays.get("prompt_weights", np.zeros(1))
    rounding = 4 * np.finfo(validate.float_dtype()).eps * weights.size
    if weights.max() <= 1 + rounding and abs(weights.sum() - 1) <= rounding:
        # Dividing by a sum that is 1 up to rounding would change the last bit of weights that were normalised already.
        problem = eqx.tree_at(lambda p: p.prompt_weights, problem, construct.to_device(weights))
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
    start = np.broadcast_to(params, problem.params_shape)
    construct.require_finite_logits(None, start, np.asarray(problem.temperature))
    return eqx.tree_at(lambda p: p.initial_params, problem, construct.to_device(start))
