r"""Stalls without end: opposed features of the best and the mediocre output, kappa < -H.

From s = u/w below -(kappa + H)/(a* - kappa) the best output is never found, and

    pi(y*) ~ t^{-(a_m - kappa)/(a_m + H)}.

The setting is that of `mediocre_trap` and `trap_features`; where it comes from is in `feature_geometry`.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from pgdyn.batch import Batch
from pgdyn.problem import Problem
from pgdyn.theory import flows
from pgdyn.theory.check import Check
from pgdyn.theory.draws import Drawn, Stream, streamed
from pgdyn.theory.mediocre_trap import draw_rewards, mass_off, pulls, start_of_pulls
from pgdyn.theory.theorem import Theorem, for_each
from pgdyn.theory.trap_features import (
    draw_between,
    geometry,
    harmonic,
    has_trap_features,
    has_trap_shape,
    trap_features,
    trap_problem,
)

_LATE = (1e18, 1e24)


def stall_exponent(problem: Problem) -> Array:
    """Computes -(a_m - kappa) / (a_m + H), the power of t with which the best output's probability falls."""
    _, mediocre, inner, bad = geometry(problem)
    return -(mediocre - inner) / (mediocre + harmonic(bad))


def _stall(batch: Batch) -> Check:
    times = np.broadcast_to(_LATE, (len(batch), 2))
    logs = flows.path(batch, times)[:, :, 0, 0]
    slope = (logs[:, 1] - logs[:, 0]) / np.log(_LATE[1] / _LATE[0])
    return Check.near(slope, for_each(batch, stall_exponent), 5e-4)


@streamed
def _draw_stall(stream: Stream, n: int) -> Drawn:
    best, mediocre = stream.uniform(1.0, 2.5), stream.uniform(1.0, 2.0)
    bad = stream.uniform(0.3, 0.8, (n,)) * (0.6 if n == 1 else 1.0)
    # The ratio s falls with the power (kappa + H)/(a_m + H) of time; near zero the start is felt for ever.
    inner = draw_between(stream, -0.95 * jnp.sqrt(best * mediocre), -harmonic(bad) - 0.4)
    rewards = draw_rewards(stream, n)
    total = stream.log_uniform(1e-5, 1e-4)
    s = stream.uniform(0.02, 0.5) * -(inner + harmonic(bad)) / (best - inner)
    start = start_of_pulls(rewards, s * total, total * harmonic(bad) / bad)
    return trap_problem(trap_features(best, mediocre, inner, bad), rewards, start), {}


def _stalls(problem: Problem, **parameters: Any) -> Any:
    if not has_trap_shape(problem):
        return False
    best, _, inner, bad = geometry(problem)
    u, w = pulls(problem)
    opposed = inner + harmonic(bad) <= -0.4
    threshold = -(inner + harmonic(bad)) / (best - inner)
    near = (u < 0.5 * threshold * jnp.sum(w)) & (mass_off(problem) <= 0.01)
    return has_trap_features(problem) & opposed & near


permanent_stall = Theorem(
    name="permanent_stall",
    statement=(
        "Flow on the true reward, kappa < -H, from near the mediocre output with s = D* p / sum_b D_b q_b below "
        "-(kappa + H)/(a* - kappa): y* is never found. Its probability falls for ever, like t^(-(a_m - kappa)/(a_m "
        "+ H)). Measured at kappa + H <= -.4 and half of that threshold; nearer to it the start is felt for longer."
    ),
    source="derived here; arXiv 2604.25872, appendix A.1, for the direction of the effect",
    kind="law",
    unit="left over of a tolerance of 5e-4 in d ln p / d ln t between t = 1e18 and 1e24",
    draw=_draw_stall,
    batch_claim=_stall,
    premise=_stalls,
    sizes=(1, 3),
)


# C2d of docs/theory.md.
THEOREMS = [permanent_stall]
