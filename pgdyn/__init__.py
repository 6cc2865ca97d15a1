"""pgdyn: how a softmax policy moves under policy gradient when its reward is not quite the one that matters.

    import pgdyn

    problem = pgdyn.Problem.tabular([0.05, 0.5, 0.15, 0.15, 0.15], [1, 0.8, -1, -1, -1], [1, -1, -1, -1, -1])
    trajectory = pgdyn.flow(problem, t1=100.0, target=0.9)
    trajectory.hitting_time

Arrays are float64 from the moment of import; `PGDYN_X64=0` in the environment leaves JAX's setting alone.
"""

import importlib
import os
from types import ModuleType
from typing import TYPE_CHECKING

import jax

if os.environ.get("PGDYN_X64", "1") != "0":
    jax.config.update("jax_enable_x64", True)

from pgdyn import errors, estimators, metrics
from pgdyn.dynamics.ascend import ascend, ascend_many
from pgdyn.dynamics.ensemble import Outcome, flow_many
from pgdyn.dynamics.flow import flow
from pgdyn.dynamics.result import Result
from pgdyn.dynamics.sampled import ascend_sampled, ascend_sampled_many
from pgdyn.errors.categorize import categorize
from pgdyn.errors.design import design
from pgdyn.errors.sensitivity import hitting_time_sensitivity, sensitivity
from pgdyn.objective import Objective
from pgdyn.problem import Problem, stack
from pgdyn.problem_file import load_problem, save_problem
from pgdyn.trajectory import Trajectory
from pgdyn.version import __version__

if TYPE_CHECKING:
    from pgdyn import sweep, theory

__all__ = [
    "Objective",
    "Outcome",
    "Problem",
    "Result",
    "Trajectory",
    "__version__",
    "ascend",
    "ascend_many",
    "ascend_sampled",
    "ascend_sampled_many",
    "categorize",
    "design",
    "errors",
    "estimators",
    "flow",
    "flow_many",
    "hitting_time_sensitivity",
    "load_problem",
    "metrics",
    "save_problem",
    "sensitivity",
    "stack",
    "sweep",
    "theory",
]


def __getattr__(name: str) -> ModuleType:
    # Theorems take a tenth of a second to import and sweeps need the stores, so both wait until they are asked for.
    if name in ("sweep", "theory"):
        return importlib.import_module(f"pgdyn.{name}")
    raise AttributeError(f"module 'pgdyn' has no attribute {name!r}")
