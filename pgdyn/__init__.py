"""pgdyn: how a softmax policy moves under policy gradient when its reward is not quite the one that matters.

    import pgdyn

    problem = pgdyn.Problem.tabular([0.05, 0.5, 0.15, 0.15, 0.15], [1, 0.8, -1, -1, -1], [1, -1, -1, -1, -1])
    solution = pgdyn.flow(problem, t1=100.0, target=0.9)
    solution.hitting_time

Arrays are float64: importing pgdyn turns JAX's 64-bit mode on. `PGDYN_X64=0` in the environment leaves it alone.

The names below are loaded when they are first used, so that the command line can show its help without JAX.
"""

import importlib
import os
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pgdyn import errors, estimators, exact, labels, mdp, metrics, plot, sweep, theory, verifiable
    from pgdyn.batch import Batch, stack
    from pgdyn.dynamics.ascend import Ascend
    from pgdyn.dynamics.flow import Flow
    from pgdyn.dynamics.sampled import AscendSampled
    from pgdyn.errors.categorize import categorize
    from pgdyn.errors.design import design
    from pgdyn.errors.sensitivity import hitting_time_sensitivity, sensitivity
    from pgdyn.evaluate import evaluate
    from pgdyn.io.problem_file import load_problem, save_problem
    from pgdyn.objective import Objective
    from pgdyn.policy import kernel
    from pgdyn.problem import Problem
    from pgdyn.solution import Result, Solution
    from pgdyn.solve import ascend, ascend_many, ascend_sampled, ascend_sampled_many, flow, flow_many, solve
    from pgdyn.version import __version__

__all__ = [
    "Ascend",
    "AscendSampled",
    "Batch",
    "Flow",
    "Objective",
    "Problem",
    "Result",
    "Solution",
    "__version__",
    "ascend",
    "ascend_many",
    "ascend_sampled",
    "ascend_sampled_many",
    "categorize",
    "design",
    "errors",
    "estimators",
    "evaluate",
    "exact",
    "flow",
    "flow_many",
    "hitting_time_sensitivity",
    "kernel",
    "labels",
    "load_problem",
    "mdp",
    "metrics",
    "plot",
    "save_problem",
    "sensitivity",
    "solve",
    "stack",
    "sweep",
    "theory",
    "verifiable",
]

_HOMES = {  # module -> the public names that it holds; other names are modules themselves
    "batch": ("Batch", "stack"),
    "dynamics.ascend": ("Ascend",),
    "dynamics.flow": ("Flow",),
    "dynamics.sampled": ("AscendSampled",),
    "errors.categorize": ("categorize",),
    "errors.design": ("design",),
    "errors.sensitivity": ("hitting_time_sensitivity", "sensitivity"),
    "evaluate": ("evaluate",),
    "io.problem_file": ("load_problem", "save_problem"),
    "objective": ("Objective",),
    "policy": ("kernel",),
    "problem": ("Problem",),
    "solve": ("ascend", "ascend_many", "ascend_sampled", "ascend_sampled_many", "flow", "flow_many", "solve"),
    "solution": ("Result", "Solution"),
    "version": ("__version__",),
}
_FLAG = "JAX_ENABLE_X64"
_inherited = os.environ.get(_FLAG)

if os.environ.get("PGDYN_X64", "1") != "0":
    if "jax" in sys.modules:
        importlib.import_module("jax").config.update("jax_enable_x64", True)
    else:
        os.environ[_FLAG] = "1"  # JAX reads it when it is imported, by pgdyn or by the user


class _Package(ModuleType):
    """Lets `pgdyn.solve` be the function when the module of that name is imported, too."""

    def __setattr__(self, name: str, value: Any) -> None:
        held = isinstance(value, ModuleType) and name in _HOMES.get(name, ())
        super().__setattr__(name, getattr(value, name) if held else value)


sys.modules[__name__].__class__ = _Package


def __getattr__(name: str) -> Any:
    home = next((module for module, held in _HOMES.items() if name in held), None)
    try:
        found = importlib.import_module(f"pgdyn.{home or name}")
    except ModuleNotFoundError as error:
        if home is None and error.name == f"pgdyn.{name}":
            raise AttributeError(f"module 'pgdyn' has no attribute {name!r}") from None
        raise
    if "jax" in sys.modules and os.environ.pop(_FLAG, None) and _inherited is not None:
        os.environ[_FLAG] = _inherited  # it was set for this process, not for those that it starts
    globals()[name] = found = getattr(found, name) if home else found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
