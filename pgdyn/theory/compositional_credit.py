r"""Partial credit for two constraints, met independently with probabilities sigma(z_1), sigma(z_2).

Outputs 00, 10, 01, 11 have features (0,0), (1,0), (0,1), (1,1). Partial credit (sigma(z_1) + sigma(z_2))/2 trains each
logit alone,

    z_i' = sigma(z_i)(1 - sigma(z_i))/2,      2 (2 z_i + e^{z_i} - e^{-z_i}) = t + const,

and the binary reward sigma(z_1) sigma(z_2) moves them along a curve of constant z_1 + e^{z_1} - z_2 - e^{z_2}. (Both
derived here.) Times are those to pi(11) = .95.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from pgdyn.batch import Batch
from pgdyn.problem import Problem
from pgdyn.theory import flows
from pgdyn.theory.check import Check
from pgdyn.theory.draws import Drawn, Stream, streamed
from pgdyn.theory.partial_credit import PAPER, TARGET
from pgdyn.theory.theorem import Theorem, for_each

CONSTRAINTS = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
_BINARY, _PARTIAL = np.array([0.0, 0.0, 0.0, 1.0]), np.array([0.0, 0.5, 0.5, 1.0])
_TIGHT: dict[str, Any] = {"rtol": 1e-10, "atol": 1e-12}


def constraints_problem(logits: Array) -> Problem:
    """Makes the problem of two independent constraints with these logits; true reward binary, proxy partial.

    Example:
        >>> constraints_problem(jnp.zeros(2)).proxy_reward.tolist()
        [[0.0, 0.5, 0.5, 1.0]]
    """
    return Problem.linear(CONSTRAINTS, _BINARY, _PARTIAL, initial_params=logits)


def _has_two_logits(problem: Problem) -> bool:
    return problem.features is not None and problem.features.shape == (1, 4, 2)


def has_two_constraints(problem: Problem, **parameters: Any) -> Any:
    """Tells whether the problem is one of `constraints_problem`."""
    if not _has_two_logits(problem):
        return False
    assert problem.features is not None
    features = jnp.all(problem.features[0] == CONSTRAINTS)
    rewards = jnp.all(problem.true_reward[0] == _BINARY) & jnp.all(problem.proxy_reward[0] == _PARTIAL)
    return features & rewards & (problem.temperature == 1)


def _binary(batch: Batch) -> Batch:
    return batch.replace(proxy_reward=batch.true_reward)


def partial_clock(z: np.ndarray) -> np.ndarray:
    """Computes 2 (2 z + e^z - e^-z), which partial credit moves at rate 1.

    Example:
        >>> float(partial_clock(np.zeros(())))
        0.0
    """
    return 2 * (2 * z + 2 * np.sinh(z))


def _partial_time(batch: Batch, t1: np.ndarray) -> Check:
    before, after = partial_clock(batch.initial_params), partial_clock(flows.run(batch, t1, **_TIGHT).params)
    error = (after - before - t1[:, None]) / (t1[:, None] + np.abs(before))
    return Check.identity(np.max(np.abs(error), axis=1), 1e-9)


@streamed
def _draw_constraints(stream: Stream, _: Any) -> Drawn:
    return constraints_problem(stream.uniform(-7.0, 3.0, (2,))), {"t1": stream.log_uniform(1.0, 1e5)}


compositional_partial_time = Theorem(
    name="compositional_partial_time",
    statement=(
        "Partial credit on two independent constraints trains each alone: 2 (2 z_i + e^z_i - e^-z_i) = t + const."
    ),
    source="derived here",
    kind="exact",
    unit="error relative to t + |const|; holds up to 1e-9, what the integrator leaves at rtol 1e-10",
    draw=_draw_constraints,
    batch_claim=_partial_time,
    premise=has_two_constraints,
    sizes=(2,),
    defaults={"t1": 100.0},
)


def _binary_curve(batch: Batch, t1: np.ndarray) -> Check:
    def difference(z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        terms = z + np.exp(z)
        return terms[:, 0] - terms[:, 1], np.max(np.abs(terms), axis=1)

    end = flows.run(_binary(batch), t1, **_TIGHT).params
    (before, _), (after, size) = difference(batch.initial_params), difference(end)
    return Check.identity((after - before) / (1 + size), 1e-9)


compositional_binary_curve = Theorem(
    name="compositional_binary_curve",
    statement="The binary reward on two independent constraints keeps z_1 + e^z_1 - z_2 - e^z_2 constant.",
    source="derived here",
    kind="exact",
    unit="drift relative to the terms; holds up to 1e-9, what the integrator leaves at rtol 1e-10",
    draw=_draw_constraints,
    batch_claim=_binary_curve,
    premise=has_two_constraints,
    sizes=(2,),
    defaults={"t1": 100.0},
)


def partial_cost(easy: Array) -> Array:
    r"""Computes lim T_partial / T_binary as the second constraint gets rare, the first one met with probability `easy`.

    While z_2 rises by x from its rare start, z_1 + e^{z_1} rises by x too, so that T_binary ~ (1/s) int e^-x /
    sigma(z_1(x)) dx against T_partial ~ 2/s. With w = easy/(1 - easy) and the exponential integrals E_k the ratio is
    2 / {w e^w [E_1(w) + 2 E_2(w)/w + E_3(w)/w^2]}, which grows from 4 easy to 2.

    Example:
        >>> float(partial_cost(jnp.asarray(0.5)).round(4))
        1.1752
    """
    w = easy / (1 - easy)
    first = jnp.exp(w) * jax.scipy.special.exp1(w)
    second = 1 - w * first
    third = (1 - w * second) / 2
    return 2 / (w * first + 2 * second + third / w)


def cost_of_start(problem: Problem) -> Array:
    """Computes `partial_cost` for the first constraint of a problem."""
    return partial_cost(jax.nn.sigmoid(problem.initial_params[0]))


def _easy_rare(batch: Batch) -> Check:
    ratio = flows.arrival_times(batch, TARGET) / flows.arrival_times(_binary(batch), TARGET)
    return Check.near(ratio, for_each(batch, cost_of_start), 5e-4)


def _logit(probability: Array) -> Array:
    return jnp.log(probability) - jnp.log1p(-probability)


def _is_easy_and_rare(problem: Problem, **parameters: Any) -> Any:
    if not _has_two_logits(problem):
        return False
    easy, rare = jax.nn.sigmoid(problem.initial_params)
    return has_two_constraints(problem) & (easy >= 0.2) & (easy <= 0.95) & (rare <= 1e-5)


def _are_both_rare(problem: Problem, **parameters: Any) -> Any:
    if not _has_two_logits(problem):
        return False
    first, second = problem.initial_params
    return has_two_constraints(problem) & (jnp.abs(first - second) <= 1e-9) & (jax.nn.sigmoid(first) <= 1e-5)


@streamed
def _draw_easy_rare(stream: Stream, _: Any) -> Drawn:
    return constraints_problem(_logit(jnp.stack([stream.uniform(0.2, 0.95), stream.log_uniform(1e-7, 1e-5)]))), {}


compositional_easy_rare = Theorem(
    name="compositional_easy_rare",
    statement=(
        "One easy constraint and one rare: partial credit costs only a constant factor, which tends to 2 / {w e^w "
        "[E_1(w) + 2 E_2(w)/w + E_3(w)/w^2]} < 2, w the odds of the easy one, as the other gets rare. Measured with "
        "the easy one met with probability .2 to .95 and the rare one with at most 1e-5."
    ),
    source=PAPER,
    kind="law",
    unit="left over of a tolerance of 5e-4 in the ratio of times",
    draw=_draw_easy_rare,
    batch_claim=_easy_rare,
    premise=_is_easy_and_rare,
    sizes=(2,),
)


def _both_rare(batch: Batch) -> Check:
    s = 1 / (1 + np.exp(-batch.initial_params[:, 0]))
    binary = flows.arrival_times(_binary(batch), TARGET) * 2 * s**2
    partial = flows.arrival_times(batch, TARGET) * s / 2
    return Check.each_of(Check.near(binary, 1.0, 1e-4), Check.near(partial, 1.0, 2e-3))


@streamed
def _draw_both_rare(stream: Stream, _: Any) -> Drawn:
    return constraints_problem(_logit(stream.log_uniform(1e-7, 1e-5) * jnp.ones(2))), {}


compositional_both_rare = Theorem(
    name="compositional_both_rare",
    statement=(
        "Both constraints rare, met with probability s: binary takes 1/(2 s^2), partial credit 2/s; partial wins. "
        "Measured at s <= 1e-5."
    ),
    source=PAPER,
    kind="law",
    unit="left over of tolerances of 1e-4 (binary) and .002 (partial) in the ratios of times to these",
    draw=_draw_both_rare,
    batch_claim=_both_rare,
    premise=_are_both_rare,
    sizes=(2,),
)


# C4 of docs/theory.md.
THEOREMS = [
    compositional_partial_time,
    compositional_binary_curve,
    compositional_easy_rare,
    compositional_both_rare,
]
