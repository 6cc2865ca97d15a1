r"""The exponent of the stall under any features: how far the best output is drawn along as the bad ones are left.

Near the mediocre output the bad ones push the parameters along -v to leading order, where v leads from phi_med to the
nearest point of conv{phi_b}: of all bad outputs those of this point's face are left in the end, with sum_b w_b = 1 /
(|v|^2 t), w_b = D_b q_b. The best output's share then moves by

    d ln(p/m)/dt = -h/t,     h = <phi* - phi_med, v> / |v|^2,

so p ~ p_0 t^-h, and y* takes over when its own pull D* p times t is of order 1: T = Theta(p_0^-(1/(1-h))) for h < 1,
and never for h > 1. Orthonormal features have |v|^2 = 1 + 1/n and h = n/(n+1), which is `corner_law`; those of
`trap_features` have h = (a_m - kappa)/(a_m + H), which are `feature_geometry_law` and `permanent_stall`.
"""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from pgdyn.batch import Batch
from pgdyn.problem import Problem
from pgdyn.theory import flows, hull
from pgdyn.theory.check import Check
from pgdyn.theory.draws import Drawn, Stream, streamed
from pgdyn.theory.mediocre_trap import draw_rewards, is_ordered, mass_off, pulls, value_above
from pgdyn.theory.rarity import arrival_exponent, make_rarer
from pgdyn.theory.theorem import Theorem, for_each
from pgdyn.theory.trap_features import trap_problem

_EXPONENT, _SLOPE = 0.015, 0.003
_LATE = (1e10, 1e14)


@eqx.filter_jit  # else each of its operations is compiled by itself where a single problem is looked at
def pull_along(problem: Problem) -> Array:
    """Computes h = <phi* - phi_med, v> / |v|^2, v from phi_med to the nearest point of the bad outputs' hull.

    Example:
        >>> problem = trap_problem(jnp.eye(4), jnp.array([1.0, 0.8, -1.0, -1.0]), jnp.full(4, 0.25))
        >>> round(float(pull_along(problem)), 9)  # n / (n + 1), without correlations
        0.666666667
    """
    assert problem.features is not None
    best, mediocre, *_ = features = problem.features[0]
    # The gradient of half the squared distance leads from the nearest point to phi_med.
    v = -jax.grad(hull.squared_distance)(mediocre, features[2:]) / 2
    return (best - mediocre) @ v / (v @ v)


def escape_exponent(problem: Problem) -> Array:
    """Computes 1 / (1 - h)."""
    return 1 / (1 - pull_along(problem))


def _between(least: float, most: float) -> Any:
    """Premise: a start near the mediocre output of a trap, y* far rarer than any bad output, h within limits."""

    def premise(problem: Problem, **parameters: Any) -> Any:
        if problem.is_tabular or problem.num_prompts > 1 or problem.num_outputs < 3:
            return False
        u, w = pulls(problem)
        h = pull_along(problem)
        near = is_ordered(problem) & (problem.temperature == 1) & (mass_off(problem) <= 0.1)
        return near & (u <= 1e-3 * jnp.min(w)) & (h >= least) & (h <= most)

    return premise


def _features(stream: Stream, n: int, h: Array) -> Array:
    """[n + 2, n + 2] features of a given h: a third bad output lies behind the face of the first two."""
    outputs = n + 2
    a = stream.uniform(0.7, 1.4)
    face = min(n, 2)
    weights = stream.uniform(0.6, 1.0, (face,))
    # Bad outputs that differ little are slow to find their balance.
    sideways = stream.normal((n, outputs - 1))
    sideways = a * sideways / jnp.linalg.norm(sideways, axis=1, keepdims=True) * stream.uniform(0.8, 1.5, (n, 1))
    if n > 1:
        sideways = sideways.at[1].set(-sideways[0] * weights[0] / weights[1])
    else:
        sideways = 0 * sideways
    ahead = a + jnp.where(jnp.arange(n) < face, 0.0, stream.uniform(0.4, 1.0, (n,)))
    best = stream.normal((outputs - 1,))
    best = best / jnp.linalg.norm(best) * stream.uniform(0.9, 1.5)
    rows = [jnp.append(h * a, best), jnp.zeros(outputs)]
    features = jnp.stack([*rows, *jnp.concatenate([ahead[:, None], sideways], axis=1)])
    rotation, _ = jnp.linalg.qr(stream.normal((outputs, outputs)))
    # What is added to all features changes no policy, and makes them independent.
    common = jnp.concatenate([jnp.zeros(1), jnp.ones(outputs - 1)]) * 0.3
    return (features + common.at[0].set(-0.8)[None]) @ rotation


def _draw_corner(stream: Stream, n: int) -> Array:
    """[n + 2] initial probabilities near the mediocre output, the best one rare."""
    best, off = stream.log_uniform(1e-9, 1e-7), stream.log_uniform(0.02, 0.1)
    shares = stream.uniform(0.3, 1.0, (n,))
    bad = (off - best) * shares / jnp.sum(shares)
    return jnp.concatenate([jnp.stack([best, 1 - off]), bad])


def _exponent_claim(batch: Batch, fraction: np.ndarray) -> Check:
    slope = arrival_exponent(batch, make_rarer(batch), value_above(batch, fraction))
    return Check.near(slope, for_each(batch, escape_exponent), _EXPONENT)


@streamed
def _draw_escape(stream: Stream, n: int) -> Drawn:
    features = _features(stream, n, stream.uniform(-0.4, 0.65))
    return trap_problem(features, draw_rewards(stream, n), _draw_corner(stream, n)), {}


general_feature_escape = Theorem(
    name="general_feature_escape",
    statement=(
        "Flow on the true reward from near the mediocre output, any features, y* rare: with v from phi_med to the "
        "nearest point of the bad outputs' convex hull and h = <phi* - phi_med, v>/|v|^2 < 1, the time to a value "
        "above r_med is Theta(p_0^-(1/(1-h))). Of the bad outputs only those that span this point count; corner_law "
        "and feature_geometry_law are cases."
    ),
    source="derived here; arXiv 2604.25872, appendix A.1, for the direction of the effect",
    kind="law",
    unit="left over of a tolerance of .015 in -d ln T / d ln p_0",
    draw=_draw_escape,
    batch_claim=_exponent_claim,
    premise=_between(-0.5, 0.7),
    sizes=(1, 2, 3),
    defaults={"fraction": 0.5},
)


def _stall_claim(batch: Batch) -> Check:
    logs = flows.path(batch, np.broadcast_to(_LATE, (len(batch), 2)))[:, :, 0, 0]
    slope = (logs[:, 1] - logs[:, 0]) / np.log(_LATE[1] / _LATE[0])
    return Check.near(slope, -for_each(batch, pull_along), _SLOPE)


@streamed
def _draw_stall(stream: Stream, n: int) -> Drawn:
    features = _features(stream, n, stream.uniform(1.25, 1.8))
    return trap_problem(features, draw_rewards(stream, n), _draw_corner(stream, n)), {}


general_feature_stall = Theorem(
    name="general_feature_stall",
    statement=(
        "Same flow, h > 1, y* rare enough: y* is never found, and its probability falls for ever, like t^-h. "
        "permanent_stall is a case."
    ),
    source="derived here",
    kind="law",
    unit="left over of a tolerance of .003 in d ln p / d ln t between t = 1e10 and 1e14",
    draw=_draw_stall,
    batch_claim=_stall_claim,
    premise=_between(1.2, 2.0),
    sizes=(1, 3),
)


# F6 of docs/theory.md.
THEOREMS = [general_feature_escape, general_feature_stall]
