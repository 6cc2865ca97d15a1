"""Results as `xarray.Dataset`s with named dimensions, units and what made them, and their storage as zarr.

Dimensions: "time" (the saved points), "prompt", "output", "feature" (of a linear policy), and one for each axis that a
run was vmapped over.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import shutil
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray

from pgdyn import provenance
from pgdyn.dynamics.result import Result

if TYPE_CHECKING:
    from pgdyn.objective import Objective
    from pgdyn.problem import Problem
    from pgdyn.trajectory import Trajectory

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


def trajectory_dataset(trajectory: Trajectory, batch_dims: Sequence[str] | None = None) -> xarray.Dataset:
    """A trajectory, with its problem among the variables and what made it in the attributes.

    Variables carry the names of `Trajectory`'s and `Problem`'s fields. `params` and `initial_params` have dimensions
    ("prompt", "output") when tabular and ("feature",) with features. The coordinate "time" holds `t`; where the runs of
    a batch were saved at different times there is no such coordinate and a variable `t` of every run instead. The
    weights of the objective are in the attributes, or variables `objective_kl` and `objective_entropy` where they vary
    over a batch.

    Args:
        trajectory: one run or, from `jax.vmap`, a batch with leading axes.
        batch_dims: names for the leading axes; None names them "run" (one axis) or "run_0", "run_1", ...

    Raises:
        ValueError: if the names are not one for each leading axis, all different and different from the other
            dimensions and variables.
    """
    batch_shape = np.shape(trajectory.result)
    batch = _batch_dims(batch_dims, batch_shape)
    params_dims = ("prompt", "output") if trajectory.problem.is_tabular else ("feature",)
    time_unit, time_name = _TIME.get(trajectory.dynamics, ("1", "time"))
    variables: dict[str, Any] = {}
    coords: dict[str, Any] = {}

    def describe(unit: str, name: str, **more: Any) -> dict[str, Any]:
        return {"units": unit, "long_name": name, **more}

    t = np.asarray(trajectory.t)
    flat = t.reshape(-1, t.shape[-1])
    if (flat == flat[:1]).all():
        coords["time"] = ("time", flat[0], describe(time_unit, time_name))
    else:
        variables["t"] = ((*batch, "time"), t, describe(time_unit, time_name))
    inner = {"log_policy": ("prompt", "output"), "params": params_dims}
    for field, (unit, name) in _PATH.items():
        dims = (*batch, "time", *inner.get(field, ()))
        variables[field] = (dims, np.asarray(getattr(trajectory, field)), describe(unit, name))
    hit = describe(time_unit, "first time with true_value >= target; inf: never, nan: no target")
    variables["hitting_time"] = (batch, np.asarray(trajectory.hitting_time), hit)
    variables["result"] = (batch, np.asarray(trajectory.result), result_attributes(trajectory.message))
    steps = "solver steps, accepted and rejected" if trajectory.dynamics == "flow" else "updates"
    variables["steps"] = (batch, np.asarray(trajectory.steps), describe("1", steps))
    variables |= problem_variables(trajectory.problem, batch, batch_shape)
    objective, weights = _objective(trajectory.objective, batch)
    variables |= weights
    attrs = {
        "dynamics": trajectory.dynamics,
        "objective": objective,
        **provenance.attributes(dict(trajectory.settings), like=trajectory.log_policy),
    }
    return xarray.Dataset(variables, coords, attrs)


def problem_variables(
    problem: Problem, batch_dims: Sequence[str] = (), batch_shape: Sequence[int] = ()
) -> dict[str, tuple[tuple[str, ...], np.ndarray, dict[str, str]]]:
    """A problem's arrays as (dimensions, values, attributes), under the names of its fields.

    Args:
        problem: one problem, or a batch whose arrays have the leading axes `batch_shape`, or only some of them have.
        batch_dims: the names of these axes.
        batch_shape: their lengths.

    Raises:
        ValueError: if an array has other leading axes than these.
    """
    params_dims = ("prompt", "output") if problem.is_tabular else ("feature",)
    variables = {}
    for field, (unit, name, dims) in _PROBLEM.items():
        value = getattr(problem, field)
        if value is None:
            continue
        array = np.asarray(value)
        dims = params_dims if dims is None else dims
        lead = array.shape[: array.ndim - len(dims)]
        if lead not in ((), tuple(batch_shape)):
            raise ValueError(f"problem.{field} has leading axes {lead} but the batch has {tuple(batch_shape)}")
        dims = (*batch_dims, *dims) if lead else dims
        variables[field] = (dims, array, {"units": unit, "long_name": name})
    return variables


def result_attributes(message: str) -> dict[str, Any]:
    """Attributes of a variable of `pgdyn.Result` codes: CF flags, and the outcome in words."""
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
    """
    present = pathlib.Path(path)
    if present.is_dir() and any(present.iterdir()) and not (present / "zarr.json").exists():
        raise FileExistsError(f"{path} is a folder and no zarr store; it is not overwritten")
    with whole_folder(path, overwrite=overwrite) as folder, warnings.catch_warnings():
        # Consolidated metadata is an extension of zarr 3, and without it every plain `xarray.open_zarr` warns.
        warnings.filterwarnings("ignore", message="Consolidated metadata is currently not part")
        dataset.to_zarr(folder, mode="w", zarr_format=3, consolidated=True)


@contextlib.contextmanager
def whole_folder(path: str | os.PathLike[str], *, overwrite: bool = False) -> Iterator[pathlib.Path]:
    """A folder to write into that takes the name `path` only when the block ends without an exception.

    Until then it is a hidden sibling; after an exception (a full disk, Ctrl-C) it is gone, and what was there stays.

    Raises:
        FileExistsError: if `path` exists, other than as an empty folder, and `overwrite` is False.
    """
    target = pathlib.Path(path).absolute()
    occupied = target.exists() and not (target.is_dir() and not any(target.iterdir()))
    if occupied and not overwrite:
        raise FileExistsError(f"{path} already exists")
    partial = target.with_name(f".{target.name}.partial-{os.getpid()}")
    replaced = target.with_name(f".{target.name}.replaced-{os.getpid()}")
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        partial.mkdir()
        yield partial
        if target.exists():
            target.rename(replaced)
        partial.rename(target)
    except BaseException:
        if replaced.exists() and not target.exists():
            replaced.rename(target)
        raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        if replaced.is_dir():
            shutil.rmtree(replaced, ignore_errors=True)
        else:
            replaced.unlink(missing_ok=True)


def load(path: str | os.PathLike[str]) -> xarray.Dataset:
    """Reads a store written by `save` into memory.

    Raises:
        FileNotFoundError: if there is none.
    """
    with xarray.open_zarr(path) as dataset:
        return dataset.load()


def _batch_dims(names: Sequence[str] | None, shape: tuple[int, ...]) -> tuple[str, ...]:
    if names is None:
        return ("run",) if len(shape) == 1 else tuple(f"run_{i}" for i in range(len(shape)))
    if isinstance(names, str):
        raise ValueError(f"batch_dims is {names!r}; it must be a tuple of names, for instance ({names!r},)")
    names = tuple(names)
    if len(names) != len(shape):
        raise ValueError(f"batch_dims has {len(names)} names but the trajectory has {len(shape)} leading axes")
    taken = {"time", "prompt", "output", "feature", "t", "hitting_time", "result", "steps", *_PATH, *_PROBLEM}
    for i, name in enumerate(names):
        if not isinstance(name, str) or name in taken or name in names[:i]:
            raise ValueError(f"batch_dims[{i}] is {name!r}; it must be a name that nothing else in the dataset has")
    return names


def _objective(objective: Objective, batch: tuple[str, ...]) -> tuple[Mapping[str, Any], dict[str, Any]]:
    """The objective's fields as attributes, and those of its weights that vary over a batch as variables."""
    fields: dict[str, Any] = {
        "reward": objective.reward,
        "reference": objective.reference,
        "kl_direction": objective.kl_direction,
        "normalize_by_std": objective.normalize_by_std,
    }
    variables = {}
    for name in ("kl", "entropy"):
        weight = np.asarray(getattr(objective, name))
        if weight.ndim and (weight != weight.flat[0]).any():
            unit = "reward/nat"
            attrs = {"units": unit, "long_name": f"weight of the objective's {name} term"}
            variables[f"objective_{name}"] = (batch, weight, attrs)
        else:
            fields[name] = float(weight.flat[0])
    return fields, variables
