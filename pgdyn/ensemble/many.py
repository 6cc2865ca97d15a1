"""`solve_many`: a batch under any dynamics. What is given is checked here, once for all of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import numpy as np

from pgdyn import validate
from pgdyn.batch import Batch
from pgdyn.dynamics.ascend import Ascend
from pgdyn.dynamics.flow import MANY, Flow, require_float64
from pgdyn.dynamics.sampled import AscendSampled
from pgdyn.ensemble import ascents, flows, vmapped
from pgdyn.solution import Solution


class Ticker:
    """Counts ended runs and reports them: call it with how many more have ended."""

    def __init__(self, total: int, progress: Callable[[int, int], None] | None):
        self._total, self._progress, self._done = total, progress, 0

    def __call__(self, more: int) -> None:
        """Reports `more` runs."""
        self._done += more
        if self._progress is not None and more:
            self._progress(self._done, self._total)


def solve_many(
    batch: Batch,
    dynamics: Flow | Ascend | AscendSampled,
    *,
    progress: Callable[[int, int], None] | None = None,
    devices: Sequence[Any] | None = None,
    backend: str = "engine",
) -> Solution:
    """Runs every problem of a batch; see `pgdyn.solve`.

    Raises:
        ValueError: on an empty batch, settings of another length than the batch, float32 flows, or traced values where
            the engine cannot have them.

    Example:
        >>> from pgdyn import Batch, Flow
        >>> batch = Batch.tabular(None, [[[1.0, 0.0]], [[2.0, 0.0]]])
        >>> solve_many(batch, Flow(t1=5.0)).true_value.shape
        (2,)
    """
    size = len(batch)
    if size == 0:
        raise ValueError(f"{dynamics.name}_many needs at least one problem, and this batch is empty")
    if devices is not None and len(devices) == 0:
        raise ValueError("devices is empty; give at least one, or None for the one where JAX computes")
    _require_lengths(dynamics, size)
    traced = any(map(validate.is_traced, jax.tree.leaves((batch, eqx.filter(dynamics, eqx.is_array)))))
    if isinstance(dynamics, Flow):
        require_float64(batch.problems.initial_params.dtype, "flow_many")
        tolerances = {name: getattr(dynamics, name) for name in MANY if getattr(dynamics, name) is not None}
        if any(np.ndim(value) for value in tolerances.values()):
            raise ValueError("rtol and atol must be single numbers, the same for every problem of a batch")
        if batch.problems.network is not None and backend == "engine":
            raise ValueError(
                "the engine of flow_many has no networks, whose features move; "
                'use backend="diffrax", or pgdyn.flow for one problem'
            )
        if backend == "diffrax":
            return vmapped.solve(batch, dynamics, Ticker(size, progress), traced)
        if dynamics.solver is not None or dynamics.adjoint is not None:
            raise ValueError('solver and adjoint are those of one run; the engine has its own, backend="diffrax" none')
        if traced:
            raise ValueError(
                "the engine of flow_many has no derivative and cannot be traced; inside jax.grad, jax.jit or jax.vmap "
                'use backend="diffrax", or pgdyn.flow for one problem'
            )
        found = flows.solve(batch, dynamics, {**MANY, **tolerances}, Ticker(size, progress), devices)
        return Solution(t=None, **found, problem=batch, settings=dynamics)
    if backend != "engine":
        raise ValueError(f'backend="{backend}" is for flows')
    if traced:
        raise ValueError(f"{dynamics.name}_many cannot be traced; use jax.vmap of pgdyn.{dynamics.name}")
    runs = size * (dynamics.keys.shape[-1] if isinstance(dynamics, AscendSampled) and dynamics.keys.ndim else 1)
    found = ascents.solve(batch, dynamics, Ticker(runs, progress), devices)
    return Solution(**found, problem=batch, settings=dynamics)


def _require_lengths(dynamics: Any, size: int) -> None:
    numbers = {name: getattr(dynamics, name, None) for name in ("t1", "target", "learning_rate")}
    objective = dynamics.chosen_objective
    for name, value in {**numbers, "kl": objective.kl, "entropy": objective.entropy}.items():
        if value is not None and np.shape(value) not in ((), (size,)):
            raise ValueError(
                f"{name} has shape {np.shape(value)}; it must be one number or one for each of {size} problems"
            )
    if isinstance(dynamics, AscendSampled):
        shape = dynamics.keys.shape
        if len(shape) > 2 or (len(shape) == 2 and shape[0] != size):
            raise ValueError(f"keys have shape {shape}; they must be [R], or [N, R] with N = {size} problems")
