"""`solve`: a problem or a batch under a dynamics. `flow`, `ascend`, `ascend_sampled` and the `_many` are sugar for it.

A run as data: settings (`pgdyn.dynamics`) say what is run; `solve` checks what it is given and hands one problem to
`settings.run`, and a batch to `pgdyn.ensemble`; both give a `pgdyn.Solution`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import jax
import numpy as np

from pgdyn import ensemble, validate
from pgdyn.batch import Batch
from pgdyn.dynamics import flow as _flow
from pgdyn.dynamics.ascend import Ascend
from pgdyn.dynamics.fields import sugar
from pgdyn.dynamics.flow import Flow
from pgdyn.dynamics.sampled import AscendSampled
from pgdyn.problem import Problem, require_single
from pgdyn.solution import Solution

DYNAMICS = {cls.name: cls for cls in (Flow, Ascend, AscendSampled)}
Progress = Callable[[int, int], None]

_MANY = """\
    progress: called with (runs ended, runs) from time to time, never from two threads at once.
    devices: the devices to use; None for the one where JAX computes, or all its cores.
    backend: "engine", or "diffrax" for single runs under `jax.vmap`: much slower, differentiable, and a check."""


def solve(
    problem: Problem | Batch,
    dynamics: Flow | Ascend | AscendSampled,
    *,
    progress: Progress | None = None,
    devices: Sequence[Any] | None = None,
    backend: Literal["engine", "diffrax"] = "engine",
) -> Solution:
    """Runs one problem, or every problem of a batch.

    Args:
        problem: a problem, whose path is kept; or a batch, whose ends are kept.
        dynamics: what is run, with all its settings.
        progress: for a batch: called with (runs ended, runs) from time to time, never from two threads at once.
        devices: for a batch: the devices to use; None for the one where JAX computes, or all its cores.
        backend: for a batch of flows: "engine", or "diffrax" for single runs under `jax.vmap`: much slower,
            differentiable, and a check.

    Raises:
        ValueError: on anything that is of the wrong kind or does not fit.

    Example:
        >>> from pgdyn import Flow, Problem
        >>> problem = Problem.tabular([0.05, 0.5, 0.15, 0.15, 0.15], [1, 0.8, -1, -1, -1], [1, -1, -1, -1, -1])
        >>> round(float(solve(problem, Flow(t1=100.0, target=0.9)).hitting_time), 4)
        16.7002
    """
    if not isinstance(dynamics, tuple(DYNAMICS.values())):
        names = ", ".join(f"pgdyn.{cls.__name__}" for cls in DYNAMICS.values())
        raise ValueError(f"dynamics is {validate.shown(dynamics)}; it must be one of {names}")
    validate.choice("backend", backend, ("engine", "diffrax"))
    if isinstance(problem, Batch | Problem):
        _require_precision(problem)
    if isinstance(problem, Batch):
        if progress is not None and not callable(progress):
            raise ValueError(f"progress is {validate.shown(progress)}; it must be a function of (runs ended, runs)")
        _require_devices(devices)
        return ensemble.solve_many(problem, dynamics, progress=progress, devices=devices, backend=backend)
    require_single(problem, dynamics.name)
    objective = dynamics.chosen_objective
    for name, weight in (("kl", objective.kl), ("entropy", objective.entropy)):
        if weight is not None and np.ndim(weight):
            raise ValueError(f"{name} must be a single number, got an array of shape {np.shape(weight)}")
    return dynamics.run(problem)


def _require_precision(problem: Problem | Batch) -> None:
    if problem.temperature.dtype == np.float64 and validate.float_dtype() != np.float64:
        raise ValueError(
            "JAX's 64-bit mode was switched off after pgdyn was imported, and float64 problems would run in float32; "
            'switch it on again: jax.config.update("jax_enable_x64", True)'
        )


def _require_devices(devices: Any) -> None:
    if devices is None:
        return
    if isinstance(devices, str) or not isinstance(devices, Sequence):
        raise ValueError(f"devices is {validate.shown(devices)}; it must be a list of jax.Device, or None")
    for i, device in enumerate(devices):
        if not isinstance(device, jax.Device):
            raise ValueError(f"devices[{i}] is {validate.shown(device)}; it must be a jax.Device")


@sugar(Flow, positional=1, first="problem", defaults=_flow.ONE)
def flow(problem: Problem, *arguments: Any, **settings: Any) -> Solution:
    """Gradient flow from t = 0 to `t1`: theta' = dJ/dtheta.

    Args:
        problem: one problem.
        {fields}

    Returns:
        A `Solution` with dynamics "flow". The hitting time is a root of true_value(t) - target on the solver's dense
        output, after the first step that ends at or above the target.

    Raises:
        ValueError: on a batch, a setting out of range, or a problem in float32 (`PGDYN_X64=0`), whose rounding is
            larger than any tolerance that a hitting time needs.

    Example:
        >>> from pgdyn import Problem
        >>> problem = Problem.tabular([0.05, 0.5, 0.15, 0.15, 0.15], [1, 0.8, -1, -1, -1])
        >>> round(float(flow(problem, 1e6, target=0.9).hitting_time), 1)
        33564.7
    """
    require_single(problem, "flow")
    return solve(problem, Flow(*arguments, **settings))


@sugar(Ascend, positional=1, first="problem", defaults={"save_every": 1})
def ascend(problem: Problem, *arguments: Any, **settings: Any) -> Solution:
    """`steps` exact-gradient updates.

    Args:
        problem: one problem.
        {fields}

    Returns:
        A `Solution` with dynamics "ascend" and `t` the updates made so far.

    Raises:
        ValueError: on a batch, a count below 1, or something that is no optax optimiser.

    Example:
        >>> from pgdyn import Problem
        >>> problem = Problem.tabular([0.05, 0.5, 0.15, 0.15, 0.15], [1, 0.8, -1, -1, -1], [1, -1, -1, -1, -1])
        >>> float(ascend(problem, 1000, target=0.9).hitting_time)
        168.0
    """
    require_single(problem, "ascend")
    return solve(problem, Ascend(*arguments, **settings))


@sugar(AscendSampled, positional=2, first="problem", defaults={"save_every": 1})
def ascend_sampled(problem: Problem, *arguments: Any, **settings: Any) -> Solution:
    """`steps` updates along a sampled policy gradient.

    Args:
        problem: one problem.
        {fields}

    Returns:
        A `Solution` with dynamics "ascend_sampled". For many keys use `ascend_sampled_many`.

    Raises:
        ValueError: on a batch, a count below 1, or an estimator or optimiser of the wrong kind.

    Example:
        >>> import jax
        >>> from pgdyn import Problem
        >>> ascend_sampled(Problem.tabular([0.2, 0.8], [1, 0]), 50, jax.random.key(0)).t.shape
        (51,)
    """
    require_single(problem, "ascend_sampled")
    return solve(problem, AscendSampled(*arguments, **settings))


@sugar(Flow, positional=1, first="batch", defaults=_flow.MANY, extra=_MANY)
def flow_many(
    batch: Batch,
    *arguments: Any,
    progress: Progress | None = None,
    devices: Sequence[Any] | None = None,
    backend: Literal["engine", "diffrax"] = "engine",
    **settings: Any,
) -> Solution:
    """Gradient flows of a batch of problems from t = 0 to `t1`, by the ensemble engine.

    Each flow has its own adaptive steps, and none can spoil another: one that fails says so in `result`. The numbers
    are those of `flow`, to the tolerances.

    Args:
        batch: a batch; one problem counts as a batch of one.
        {fields}

    Returns:
        A `Solution` of ends, each with a leading axis N, as NumPy arrays. Hitting times are roots of true value -
        target within the first step that ends at or above the target, by Newton's method on steps of trial length from
        its start: as accurate as the integration.

    Raises:
        ValueError: on shapes that do not fit, settings out of range, float32 problems, or traced values with the engine
            (it has no derivative: use `backend="diffrax"` inside `jax.grad`, `jax.jit` and `jax.vmap`).

    Example:
        >>> import numpy as np
        >>> from pgdyn import Problem
        >>> problem = Problem.tabular([0.05, 0.5, 0.15, 0.15, 0.15], [1, 0.8, -1, -1, -1])
        >>> lowered = problem.with_proxy([[[1, c, -1, -1, -1]] for c in (0.8, 0.0, -1.0)])
        >>> flow_many(lowered, 1e6, target=0.9).hitting_time.round(1).tolist()
        [33564.7, 43.4, 16.7]
    """
    options = {"progress": progress, "devices": devices, "backend": backend}
    return solve(Batch.of(batch), Flow(*arguments, **settings), **options)


@sugar(Ascend, positional=1, first="batch", defaults={}, extra=_MANY)
def ascend_many(
    batch: Batch,
    *arguments: Any,
    progress: Progress | None = None,
    devices: Sequence[Any] | None = None,
    **settings: Any,
) -> Solution:
    """`ascend` for a batch of problems, in chunks on every core.

    Args:
        batch: a batch; one problem counts as a batch of one.
        {fields}

    Returns:
        A `Solution` with a leading axis N on every array.

    Raises:
        ValueError: as `ascend`.

    Example:
        >>> from pgdyn import Problem
        >>> problem = Problem.tabular([0.05, 0.5, 0.15, 0.15, 0.15], [1, 0.8, -1, -1, -1])
        >>> ascend_many(problem.with_proxy([[[1, c, -1, -1, -1]] for c in (0.0, -1.0)]), 1000, target=0.9).hitting_time
        array([436., 168.])
    """
    return solve(Batch.of(batch), Ascend(*arguments, **settings), progress=progress, devices=devices)


@sugar(AscendSampled, positional=2, first="batch", defaults={}, extra=_MANY)
def ascend_sampled_many(
    batch: Batch,
    *arguments: Any,
    progress: Progress | None = None,
    devices: Sequence[Any] | None = None,
    **settings: Any,
) -> Solution:
    """`ascend_sampled` for every pair of a problem and a key, in chunks on every core.

    Args:
        batch: a batch of N problems; one problem counts as a batch of one.
        {fields}

    Returns:
        A `Solution` with leading axes [N, R] on every array.

    Raises:
        ValueError: as `ascend_sampled`, and on keys of another shape.

    Example:
        >>> import jax
        >>> from pgdyn import Problem
        >>> keys = jax.random.split(jax.random.key(0), 3)
        >>> ascend_sampled_many(Problem.tabular([0.2, 0.8], [1, 0]), 50, keys).true_value.shape
        (1, 3)
    """
    return solve(Batch.of(batch), AscendSampled(*arguments, **settings), progress=progress, devices=devices)
