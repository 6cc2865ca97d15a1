"""From the number of a shard to its results: its points' indices along each axis, the problems, `pgdyn.solve`.

The same shard of the same spec gives the same bits in any process, on any number of cores, whatever was run before.
"""

from __future__ import annotations

import dataclasses
import platform
from typing import Any, TypeAlias

import jax
import jaxlib.version
import numpy as np

from pgdyn import validate
from pgdyn.solve import solve
from pgdyn.sweep import addressing
from pgdyn.sweep.dynamics import Dynamics
from pgdyn.sweep.spec import Spec
from pgdyn.version import __version__

Arrays: TypeAlias = dict[str, np.ndarray]

# Raised by hand whenever a change of the code changes the numbers of a sweep: stores made before do not mix with it.
NUMBERS = 5


def numbers_version() -> dict[str, Any]:
    """What besides the spec the numbers depend on: versions, precision and kind of device."""
    return {
        "numbers": NUMBERS,
        "pgdyn": __version__,
        "jax": jax.__version__,
        "jaxlib": jaxlib.version.__version__,
        "dtype": str(np.dtype(validate.float_dtype())),
        "device": jax.devices()[0].device_kind,
        "machine": platform.machine(),
    }


def compute_shard(spec: Spec, shard: int) -> Arrays:
    """The observables of a shard's points, each with a leading axis of its length.

    Raises ValueError if the problem's constructor refuses the points, or the dynamics their precision.
    """
    at = np.unravel_index(np.asarray(spec.shard_points(shard)), spec.shape)
    values, batch = addressing.problems(spec.axes, spec.template, at)
    solution = solve(batch, _settings(spec, values))
    found = {name: np.asarray(getattr(solution, name)) for name in spec.observables}
    keys = np.ndim(solution.result) == 2  # one for each problem
    return {name: np.ascontiguousarray(array[:, 0] if keys else array) for name, array in found.items()}


def _settings(spec: Spec, values: dict[str, np.ndarray]) -> Dynamics:
    """The dynamics of a shard, with one number for each point where an axis sets it."""
    weights = [values.get(f"objective.{name}", getattr(spec.objective, name)) for name in ("kl", "entropy")]
    own: dict[str, Any] = {
        field.removeprefix("dynamics."): row for field, row in values.items() if field.startswith("dynamics.")
    }
    if spec.dynamics.name == "ascend_sampled" and "seed" in values:
        own["key"] = jax.vmap(jax.random.key)(values["seed"])[:, None]
    return dataclasses.replace(spec.dynamics, objective=spec.objective.with_weights(*weights), **own)
