r"""Flows without an integrator: by one root and one quadrature, for the problems that have an exact solution.

    pgdyn.exact.hitting_time(problem, 0.9)     # first time at which the true value is 0.9, on the proxy's flow
    pgdyn.exact.log_policy(problem, 1e6)       # the state at time t
    pgdyn.exact.crossings(problem, 0.9)        # every time at which the true value passes 0.9
    pgdyn.exact.staircase(problem)             # the outputs that lead, one after the other
    pgdyn.exact.covers(problem)                # whether it has an exact solution

Every K-output softmax flow of `pgdyn.exact.reach` moves on a plane (`pgdyn.exact.plane`), and the time along its path
is an integral (`pgdyn.exact.march`). Times from 1e-10 to 1e300 cost about the same, and are right to about twelve
digits. The solution is of the euclidean flow on a reward, of one problem or of each of a batch.
"""

from __future__ import annotations

from pgdyn.exact.hull import staircase
from pgdyn.exact.run import covers, crossings, hitting_time, log_policy, refusal, true_value

__all__ = ["covers", "crossings", "hitting_time", "log_policy", "refusal", "staircase", "true_value"]
