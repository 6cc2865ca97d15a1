r"""Flows of many problems: where they are at given times, and when they reach a value.

Compiling the engine for one shape of problem takes seconds, more than all the flows of a theorem. Problems are
therefore brought to one of a few shapes, which changes nothing of what they do:

    more outputs        of logit -1e4, whose probability is 0 in float64, and so is all that it is multiplied with
    more prompts        of weight 0
    more features       that are 0 for every output

and every run has a target, which those that are to end at a given time never reach.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import equinox as eqx
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Float

from pgdyn.batch import Batch
from pgdyn.objective import Objective
from pgdyn.solution import Result, Solution
from pgdyn.solve import flow_many

HORIZON = 1e30  # later than any escape that is measured here; a plateau costs few steps however long it is
# Errors made at the start are magnified on the way out of a plateau, but only in proportion.
RTOL, ATOL = 1e-8, 1e-10
_SHAPES = {True: ((1, 5, None), (1, 30, None), (3, 5, None)), False: ((1, 5, 5), (3, 5, 5))}  # (P, K, D)
_IMPOSSIBLE = -1e4  # a logit


def arrival_times(
    batch: Batch, target: ArrayLike, objective: Objective | None = None, until: ArrayLike = HORIZON
) -> Float[np.ndarray, " N"]:
    """Computes the first times at which the flows' true values reach `target`; inf where not before `until`.

    Args:
        batch: the problems.
        target: one true value, or [N].
        objective: what is climbed; None for the proxy's value alone.
        until: the latest time of interest, one or [N].

    Example:
        >>> batch = Batch.tabular([0.05, 0.5, 0.15, 0.15, 0.15], [1, 0.8, -1, -1, -1], [[[1, -1, -1, -1, -1]]])
        >>> arrival_times(batch, 0.9).round(3).tolist()
        [16.7]
    """
    return run(batch, until, target, objective).hitting_time


def rise_times(batch: Batch, rise: Float[np.ndarray, " N"], until: ArrayLike) -> Float[np.ndarray, " N"]:
    """Computes T_gamma, the first times at which the true values have risen by gamma; inf where not before `until`.

    Example:
        >>> batch = Batch.tabular([0.05, 0.5, 0.15, 0.15, 0.15], [1, 0.8, -1, -1, -1], [[[1, -1, -1, -1, -1]]])
        >>> rise_times(batch, np.array([0.9]), 100.0).round(3).tolist()
        [16.7]
    """
    return arrival_times(batch, initial_values(batch) + rise, until=until)


def initial_values(batch: Batch) -> Float[np.ndarray, " N"]:
    """Computes V_G at the start.

    Example:
        >>> initial_values(Batch.tabular([[[0.25, 0.75]]], [1, 0])).tolist()
        [0.25]
    """
    values = np.sum(np.exp(start_log_policy(batch)) * batch.true_reward, axis=-1)
    return np.sum(batch.prompt_weights * values, axis=-1)


def start_log_policy(batch: Batch) -> Float[np.ndarray, "N P K"]:
    """Computes log pi_0 of every problem.

    Example:
        >>> np.exp(start_log_policy(Batch.tabular([[[0.25, 0.75]]], [1, 0]))).round(3).tolist()
        [[[0.25, 0.75]]]
    """
    logits = batch.initial_params
    if not batch.is_tabular:
        logits = np.einsum("npkd,nd->npk", batch.features, logits)
    logits = logits / batch.temperature[:, None, None]
    logits = logits - np.max(logits, axis=-1, keepdims=True)
    return logits - np.log(np.sum(np.exp(logits), axis=-1, keepdims=True))


def path(
    batch: Batch,
    times: Float[np.ndarray, "N S"],
    objective: Objective | None = None,
    *,
    observed: str = "log_policy",
    **settings: Any,
) -> Float[np.ndarray, "N S *shape"]:
    """Computes log pi, "params" or "true_value" at S times of each flow, which may be 0; `settings` as in `run`.

    Example:
        >>> batch = Batch.tabular([0.5, 0.5], [[[1, 0]]])
        >>> np.exp(path(batch, np.array([[0.0, 9.0]]))[0, :, 0]).round(3).tolist()
        [[0.5, 0.5], [0.928, 0.072]]
    """
    count, points = times.shape
    rows = np.repeat(np.arange(count), points)
    later = np.maximum(times.reshape(-1), np.finfo(float).tiny)
    ends = run(batch[rows], later, objective=_repeated(objective, rows), **settings)
    found = getattr(ends, observed)
    found = found.reshape(count, points, *found.shape[1:])
    starts = {"log_policy": start_log_policy, "params": lambda b: b.initial_params, "true_value": initial_values}
    later = (times > 0).reshape(count, points, *(1,) * (found.ndim - 2))
    return np.where(later, found, starts[observed](batch)[:, None])


def log_times(end: Float[np.ndarray, " N"], points: int) -> Float[np.ndarray, "N S"]:
    """Gives times from 0 to `end`, evenly spaced in log(1 + t), as those that `pgdyn.flow` saves.

    Example:
        >>> log_times(np.array([3.0]), 3).round(3).tolist()
        [[0.0, 1.0, 3.0]]
    """
    return np.expm1(np.linspace(0.0, 1.0, points) * np.log1p(end)[:, None])


def run(
    batch: Batch,
    t1: ArrayLike,
    target: ArrayLike | None = None,
    objective: Objective | None = None,
    *,
    rtol: float = RTOL,
    atol: float = ATOL,
    geometry: str = "euclidean",
) -> Solution:
    """Runs every flow until t1, or until its true value reaches the target; what breaks off before is nan.

    Example:
        >>> run(Batch.tabular(None, [[[1.0, 0.0, 0.0]]]), 4.0).params.shape
        (1, 1, 3)
    """
    settings: dict[str, Any] = {"rtol": rtol, "atol": atol, "geometry": geometry}
    plain = geometry == "euclidean" and (objective is None or objective.kl is None)
    widened = _widened(batch) if plain else batch
    if target is None and widened is not batch:
        target = 1.0 + np.max(batch.true_reward)
    stop = target is not None
    found = flow_many(widened, t1, objective=objective, target=target, stop_at_target=stop, **settings)
    ends = {
        "params": found.params[(slice(None), *map(slice, batch.params_shape))],
        "log_policy": found.log_policy[:, : batch.num_prompts, : batch.num_outputs],
        "true_value": found.true_value,
        "hitting_time": found.hitting_time,
    }
    broken = ~np.isin(found.result, (Result.completed, Result.reached_target))
    ends = {name: np.where(broken.reshape(-1, *(1,) * (end.ndim - 1)), np.nan, end) for name, end in ends.items()}
    return dataclasses.replace(found, problem=batch, **ends)


def _repeated(objective: Objective | None, rows: np.ndarray) -> Objective | None:
    if objective is None or objective.kl is None or objective.kl.ndim == 0:
        return objective
    return objective.with_weights(np.asarray(objective.kl)[rows], objective.entropy)


def _widened(batch: Batch) -> Batch:
    """The same problems in the first of `_SHAPES` that holds them; the batch itself where none does."""
    prompts, outputs = batch.num_prompts, batch.num_outputs
    width = None if batch.is_tabular else batch.params_shape[0]
    for shape in _SHAPES[batch.is_tabular]:
        more = outputs < shape[1]
        fits = prompts <= shape[0] and outputs <= shape[1]
        if fits and (width is None or (prompts == shape[0] and width + more <= shape[2])):
            return _in_shape(batch, *shape)
    return batch


def _in_shape(batch: Batch, prompts: int, outputs: int, width: int | None) -> Batch:
    known, more = slice(batch.num_outputs), outputs - batch.num_outputs
    widths = ((0, 0), (0, prompts - batch.num_prompts), (0, more))
    wide: dict[str, np.ndarray] = {"temperature": batch.temperature}
    wide["prompt_weights"] = np.pad(batch.prompt_weights, widths[:2])
    for name in ("true_reward", "proxy_reward"):
        wide[name] = np.pad(getattr(batch, name), widths, mode="minimum")
    if width is None:
        params = np.zeros((len(batch), prompts, outputs))
        params[:, : batch.num_prompts, known] = batch.initial_params
        params[:, :, batch.num_outputs :] = _IMPOSSIBLE
    else:
        params = np.zeros((len(batch), width))
        params[:, : batch.params_shape[0]] = batch.initial_params
        features = np.zeros((len(batch), prompts, outputs, width))
        features[:, :, known, : batch.params_shape[0]] = batch.features
        if more:
            params[:, -1] = _IMPOSSIBLE
            features[:, :, batch.num_outputs :, -1] = 1.0
        wide["features"] = features
    wide["initial_params"] = params
    problems = eqx.tree_at(lambda p: [getattr(p, name) for name in wide], batch.problems, [*wide.values()])
    return Batch.from_arrays(problems)
