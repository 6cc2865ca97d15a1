"""Results as `xarray.Dataset`s with named dimensions, units and what made them, and their storage as zarr.

Dimensions: "time" (the saved points), "prompt", "output", "feature" (of a linear policy), and one for each leading axis
of many runs: the problems of a batch, the keys of sampled ascents, or what `jax.vmap` mapped over.
"""

from __future__ import annotations

import os
import pathlib
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import equinox as eqx
import jax
import numpy as np
import xarray

from pgdyn import validate
from pgdyn.batch import Batch
from pgdyn.dynamics import flow as _flow
from pgdyn.dynamics.fields import describe, to_table
from pgdyn.io import atomic, provenance
from pgdyn.problem import Problem
from pgdyn.solution import Result, Solution

Variable = tuple[tuple[str, ...], np.ndarray, dict[str, Any]]  # dimensions, values, attributes

_TIME = {
    "flow": ("1", "gradient-flow time"),
    "ascend": ("update", "updates made"),
    "ascend_sampled": ("update", "updates made"),
}
_PATH = {
    "log_policy": ("nat", "log-probability of each output"),
    "true_value": ("reward", "value of the true reward, averaged over prompts"),
    "proxy_value": ("reward", "value of the proxy reward, averaged over prompts"),
    "reward_variance": ("reward^2", "variance of the proxy reward under the policy, averaged over prompts"),
    "kl": ("nat", "KL to the objective's reference, averaged over prompts"),
    "params": ("1", "parameters of the policy"),
}
_PROBLEM = {
    "true_reward": ("reward", "true reward", ("prompt", "output")),
    "proxy_reward": ("reward", "proxy reward", ("prompt", "output")),
    "initial_params": ("1", "parameters at the start", None),
    "features": ("1", "features of each output", ("prompt", "output", "feature")),
    "temperature": ("1", "temperature; logits are features @ params / temperature", ()),
    "prompt_weights": ("1", "weight of each prompt in averages", ("prompt",)),
}
_SETTING_UNITS = {"target": "reward", "kl": "reward/nat", "entropy": "reward/nat"}


def solution_dataset(solution: Solution, batch_dims: Sequence[str] | None = None) -> xarray.Dataset:
    """A solution, with its problem among the variables and what made it in the attributes.

    Variables carry the names of the fields of `Solution` and `Problem`. Those along the path have the dimension "time";
    a solution of ends alone has no such dimension. `params` and `initial_params` have the dimensions
    ("prompt", "output") when tabular and ("feature",) with features. What all problems of a `Batch` share is stored
    once.

    The coordinate "time" holds `t`. Where runs were saved at different times there is no such coordinate, and a
    variable `t` of every run instead. Settings are in the attributes, with the defaults that were in force. Those that
    differ between runs are variables under their own names (`t1`, `target`, ...), the weights of the objective as
    `objective_kl` and `objective_entropy`, and keys as `key`.

    Args:
        solution: one run or many.
        batch_dims: names for the leading axes of many runs; None names them "run" (one axis) or "run_0", "run_1", ...

    Raises:
        ValueError: if the names are not one for each leading axis, all different and different from the other
            dimensions and variables.

    Example:
        >>> import pgdyn
        >>> problem = pgdyn.Problem.tabular([0.05, 0.5, 0.15, 0.15, 0.15], [1, 0.8, -1, -1, -1])
        >>> lowered = problem.with_proxy([[[1, c, -1, -1, -1]] for c in (0.0, -1.0)])
        >>> runs = solution_dataset(pgdyn.ascend_many(lowered, 100), ("proxy",))
        >>> dict(runs.sizes), runs.true_reward.dims, runs.attrs["settings"]["optimizer"]
        ({'proxy': 2, 'prompt': 1, 'output': 5}, ('prompt', 'output'), 'sgd')
    """
    validate.require_known("to_dataset", solution)
    shape = np.shape(solution.result)
    batch = _batch_dims(batch_dims, shape)
    point = batch if solution.t is None else (*batch, "time")
    inner = {"log_policy": ("prompt", "output"), "params": _params_dims(solution.problem)}
    time_unit, time_name = _TIME[solution.dynamics]
    variables: dict[str, Variable] = {}
    coords: dict[str, Variable] = {}
    if solution.t is not None:
        t = np.asarray(solution.t)
        flat = t.reshape(-1, t.shape[-1])
        if (flat == flat[:1]).all():
            coords["time"] = (("time",), flat[0], _described(time_unit, time_name))
        else:
            variables["t"] = (point, t, _described(time_unit, time_name))
    for field, (unit, name) in _PATH.items():
        values = np.asarray(getattr(solution, field))
        variables[field] = ((*point, *inner.get(field, ())), values, _described(unit, name))
    hit = _described(time_unit, "first time with true_value >= target; inf: never, nan: no target")
    variables["hitting_time"] = (batch, np.asarray(solution.hitting_time), hit)
    variables["result"] = (batch, np.asarray(solution.result), result_attributes(solution.message))
    steps = "solver steps, accepted and rejected" if solution.dynamics == "flow" else "updates"
    variables["steps"] = (batch, np.asarray(solution.steps), _described("1", steps))
    variables |= problem_variables(solution.problem, batch, shape)
    table, varying = _settings(solution, batch)
    attrs = {
        "dynamics": table.pop("kind"),
        "objective": table.pop("objective"),
        **provenance.attributes(table, like=solution.log_policy),
    }
    return xarray.Dataset(variables | varying, coords, provenance.plain(attrs))


def problem_variables(
    problem: Problem | Batch, batch_dims: Sequence[str] = (), batch_shape: Sequence[int] = ()
) -> dict[str, Variable]:
    """A problem's arrays as (dimensions, values, attributes), under the names of its fields.

    Args:
        problem: one problem; a batch; or a problem that `jax.vmap` gave, whose arrays have leading axes.
        batch_dims: names of the leading axes.
        batch_shape: their lengths. An array has all of them, the first few, or none.

    Transitions are integers over (prompt, output), or probabilities over (prompt, output, next_prompt); prompts are
    decision points then.

    Raises:
        ValueError: if an array has other leading axes than these.

    Example:
        >>> sorted(problem_variables(Problem.tabular([0.2, 0.8], [1, 0])))
        ['initial_params', 'prompt_weights', 'proxy_reward', 'temperature', 'true_reward']
    """
    stored = problem.problems if isinstance(problem, Batch) else problem
    variables: dict[str, Variable] = {}
    for field, (unit, name, own) in _PROBLEM.items():
        value = getattr(stored, field)
        if value is None:
            continue
        array = np.asarray(value)
        dims = _params_dims(problem) if own is None else own
        lead = array.shape[: array.ndim - len(dims)]
        if lead != tuple(batch_shape[: len(lead)]):
            raise ValueError(f"problem.{field} has leading axes {lead} but the batch has {tuple(batch_shape)}")
        variables[field] = ((*batch_dims[: len(lead)], *dims), array, _described(unit, name))
    if (transitions := stored.transitions) is not None:
        if transitions.probabilities is None:
            name = "decision point that each output leads to; -1: the end"
            variables["transitions"] = (("prompt", "output"), np.asarray(transitions), _described("1", name))
        else:
            name = "probability of each next decision point; the rest is that of the end"
            dims = ("prompt", "output", "next_prompt")
            variables["transitions"] = (dims, np.asarray(transitions), _described("1", name))
        if transitions.mask is not None:
            described = _described("1", "whether there is such an output")
            variables["mask"] = (("prompt", "output"), transitions.mask, described)
    return variables


def result_attributes(message: str) -> dict[str, Any]:
    """Attributes of a variable of `pgdyn.Result` codes: CF flags, and the outcome in words.

    Example:
        >>> result_attributes("ran to the end")["flag_values"]
        [0, 1, 2, 3]
    """
    return {
        "units": "1",
        "long_name": "why the run stopped",
        "flag_values": [int(member) for member in Result],
        "flag_meanings": " ".join(member.name for member in Result),
        "message": message,
    }


def save(dataset: xarray.Dataset, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
    """Writes a zarr store (format 3), whole or not at all.

    Args:
        dataset: what to write.
        path: the store's folder.
        overwrite: replace the store that is there; otherwise it is an error.

    Raises:
        FileExistsError: if `path` exists and `overwrite` is False, or what is there is no zarr store.
        OSError: if writing fails; what was there before is then still there.

    Example:
        >>> import tempfile
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "run.zarr"
        >>> save(xarray.Dataset({"true_value": ("time", [0.1, 0.9])}), path)
        >>> load(path).true_value.values
        array([0.1, 0.9])
    """
    import zarr.storage

    present = pathlib.Path(path)
    if present.is_dir() and any(present.iterdir()) and not (present / "zarr.json").exists():
        raise FileExistsError(f"{path} is a folder and no zarr store; it is not overwritten")
    with atomic.whole_folder(path, overwrite=overwrite) as folder, warnings.catch_warnings():
        # Consolidated metadata is an extension of zarr 3, and without it every plain `xarray.open_zarr` warns.
        warnings.filterwarnings("ignore", message="Consolidated metadata is currently not part")
        files: dict[str, Any] = {}
        dataset.to_zarr(zarr.storage.MemoryStore(files), mode="w", zarr_format=3, consolidated=True)
        atomic.write_tree(folder, {name: data.to_bytes() for name, data in files.items()})


def load(path: str | os.PathLike[str]) -> xarray.Dataset:
    """Reads a store written by `save` into memory.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: if it is no such store, or damaged.

    Example:
        >>> load("absent.zarr")
        Traceback (most recent call last):
            ...
        FileNotFoundError: absent.zarr: there is no such store
    """
    if not pathlib.Path(path).exists():
        raise FileNotFoundError(f"{path}: there is no such store")
    try:
        # Format 3 alone, which `save` writes: stores of format 2 may ask for their objects to be unpickled.
        with xarray.open_zarr(path, zarr_format=3, consolidated=None) as dataset:
            return dataset.load()
    except Exception as error:  # zarr and its codecs raise whatever they run into
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise ValueError(f"{path} is no whole store of a dataset: {reason[0]:.200}") from None


def _described(unit: str, name: str) -> dict[str, Any]:
    return {"units": unit, "long_name": name}


def _params_dims(problem: Problem | Batch) -> tuple[str, ...]:
    return ("prompt", "output") if problem.is_tabular else ("feature",)


def _batch_dims(names: Sequence[str] | None, shape: tuple[int, ...]) -> tuple[str, ...]:
    if names is None:
        return ("run",) if len(shape) == 1 else tuple(f"run_{i}" for i in range(len(shape)))
    if isinstance(names, str):
        raise ValueError(f"batch_dims is {names!r}; it must be a tuple of names, for instance ({names!r},)")
    names = tuple(names)
    if len(names) != len(shape):
        raise ValueError(f"batch_dims has {len(names)} names but the solution has {len(shape)} leading axes")
    taken = {"time", "prompt", "output", "feature", "t", "hitting_time", "result", "steps", *_PATH, *_PROBLEM}
    taken |= {"t1", "target", "learning_rate", "objective_kl", "objective_entropy", "key", "key_word"}
    for i, name in enumerate(names):
        if not isinstance(name, str) or name in taken or name in names[:i]:
            raise ValueError(f"batch_dims[{i}] is {name!r}; it must be a name that nothing else in the dataset has")
    return names


def _settings(solution: Solution, batch: tuple[str, ...]) -> tuple[dict[str, Any], dict[str, Variable]]:
    """The settings as a table, and as variables those that differ between runs."""
    table = settings_table(solution)
    helps = {name: field.help.split(".")[0] for name, field in describe(type(solution.settings)).items()}
    variables: dict[str, Variable] = {}

    def split(entries: Mapping[str, Any], prefix: str) -> dict[str, Any]:
        alike = {}
        for name, value in entries.items():
            if isinstance(value, Mapping):
                value = split(value, f"{name}_")
            elif isinstance(value, jax.Array) and jax.numpy.issubdtype(value.dtype, jax.dtypes.prng_key):
                value = np.asarray(jax.random.key_data(value))
                if value.ndim > 1:
                    # Keys [R] of N problems belong to the last of the axes [N, R].
                    dims = (*batch[len(batch) - value.ndim + 1 :], "key_word")
                    variables[name] = (dims, value, _described("1", "key of the random numbers, as its data"))
                    continue
            elif np.ndim(value) > 0 and not isinstance(value, list):
                array = np.asarray(value)
                if (array != array.flat[0]).any():
                    words = helps.get(prefix + name, f"{name} of the {prefix.rstrip('_')}")
                    described = _described(_SETTING_UNITS.get(name, "1"), words)
                    variables[prefix + name] = (batch[: array.ndim], array, described)
                    continue
                value = array.flat[0]
            alike[name] = value
        return alike

    return split(table, ""), variables


def settings_table(solution: Solution) -> dict[str, Any]:
    """The settings' values with the defaults that were in force, and without those that had no effect.

    Args:
        solution: one run or many.

    Example:
        >>> import pgdyn
        >>> settings_table(pgdyn.ascend(Problem.tabular([0.2, 0.8], [1, 0]), 3))["learning_rate"]
        0.1
    """
    settings = solution.settings
    used = {"objective": solution.objective}
    if solution.dynamics == "flow":
        used |= _flow.MANY if isinstance(solution.problem, Batch) else _flow.ONE
    elif solution.dynamics == "ascend_sampled":
        used["estimator"] = settings.chosen_estimator
    absent = {name: value for name, value in used.items() if getattr(settings, name) is None}
    if absent:
        settings = eqx.tree_at(
            lambda s: [getattr(s, name) for name in absent], settings, [*absent.values()], is_leaf=lambda x: x is None
        )
    table = to_table(settings)
    if solution.dynamics != "flow":
        table = {"optimizer": "sgd", **table}
        if table["optimizer"] != settings.optimizer and settings.optimizer is not None:
            del table["learning_rate"]  # an optax transformation has its own
    if solution.t is None:
        table.pop("saves", None)
    elif solution.dynamics != "flow":
        table = {"save_every": 1, **table}
    return table
