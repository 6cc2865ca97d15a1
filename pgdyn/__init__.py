"""pgdyn: how a softmax policy moves under policy gradient when its reward is not quite the one that matters.

    import pgdyn

    problem = pgdyn.Problem.tabular([0.05, 0.5, 0.15, 0.15, 0.15], [1, 0.8, -1, -1, -1], [1, -1, -1, -1, -1])
    trajectory = pgdyn.flow(problem, t1=100.0, target=0.9)
    trajectory.hitting_time

Arrays are float64 from the moment of import; `PGDYN_X64=0` in the environment leaves JAX's setting alone.
"""

import os

import jax

if os.environ.get("PGDYN_X64", "1") != "0":
    jax.config.update("jax_enable_x64", True)

from pgdyn import estimators
from pgdyn.dynamics.ascend import ascend, ascend_many
from pgdyn.dynamics.ensemble import Outcome, flow_many
from pgdyn.dynamics.flow import flow
from pgdyn.dynamics.result import Result
from pgdyn.dynamics.sampled import ascend_sampled, ascend_sampled_many
from pgdyn.objective import Objective
from pgdyn.problem import Problem, stack
from pgdyn.problem_file import load_problem, save_problem
from pgdyn.trajectory import Trajectory
from pgdyn.version import __version__

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
    "estimators",
    "flow",
    "flow_many",
    "load_problem",
    "save_problem",
    "stack",
]
