r"""A verifier that errs (arXiv 2601.04411): wrong outputs die out iff its power J = TPR - FPR is positive.

Binary reward read with true and false positive rates; mean-field GRPO flow z' = pi A / s. With p the wrong mass, y and
z the masses within the right and the wrong outputs, q = TPR - J p, s = sqrt(q (1 - q)) and k = J p (1 - p)/s,

    p' = -(J/s) [p (1 - p)]^2 (|y|^2 + |z|^2),      y' = k y (y - |y|^2),      z' = -k z (z - |z|^2).
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from pgdyn import policy
from pgdyn.batch import Batch
from pgdyn.problem import Problem
from pgdyn.theory import flows
from pgdyn.theory.check import EPS, Check
from pgdyn.theory.draws import Drawn, Stream, streamed
from pgdyn.theory.premises import is_orthonormal
from pgdyn.theory.starts import initial_log_policy, initial_rate, initial_velocity
from pgdyn.theory.theorem import Theorem


def verifier_problem(start: Array, correct: int, false_positive: Array, true_positive: Array) -> Problem:
    """Makes outputs of which the first `correct` are right; the proxy is a noisy verifier's expected reward.

    Example:
        >>> verifier_problem(jnp.array([0.5, 0.3, 0.2]), 1, jnp.asarray(0.1), jnp.asarray(0.8)).proxy_reward.tolist()
        [[0.8, 0.1, 0.1]]
    """
    right = jnp.arange(start.shape[-1]) < correct
    return Problem.tabular(start, jnp.where(right, 1.0, 0.0), jnp.where(right, true_positive, false_positive))


def _modes(problem: Problem) -> tuple[Array, Array, Array, Array]:
    """(is right [K], wrong mass p, masses within the right ones [K], within the wrong ones [K])."""
    probabilities = jnp.exp(initial_log_policy(problem))[0]
    right = problem.true_reward[0] == 1
    wrong_mass = jnp.sum(jnp.where(right, 0.0, probabilities))
    y = jnp.where(right, probabilities, 0.0) / (1 - wrong_mass)
    return right, wrong_mass, y, jnp.where(right, 0.0, probabilities) / wrong_mass


def _noisy_verifier(problem: Problem) -> Check:
    right, p, y, z = _modes(problem)
    true_positive = jnp.max(jnp.where(right, problem.proxy_reward[0], 0.0))
    false_positive = jnp.max(jnp.where(right, 0.0, problem.proxy_reward[0]))
    power = true_positive - false_positive
    q = true_positive - power * p
    s = jnp.sqrt(q * (1 - q))

    def state(theta: Array) -> Array:
        probabilities = jnp.exp(policy.log_policy(problem, theta))[0]
        mass = jnp.sum(jnp.where(right, 0.0, probabilities))
        within = jnp.where(right, probabilities / (1 - mass), probabilities / mass)
        return jnp.append(within, mass)

    rate = initial_rate(problem, state, initial_velocity(problem) / s)
    k = power * p * (1 - p) / s
    squares = jnp.sum(y**2), jnp.sum(z**2)
    within = jnp.where(right, k * y * (y - squares[0]), -k * z * (z - squares[1]))
    mass = -(power / s) * (p * (1 - p)) ** 2 * (squares[0] + squares[1])
    # Within one side rates are differences of logit slopes over s, the wrong mass may be small, and so may s.
    error = jnp.max(jnp.abs(rate - jnp.append(within, mass))) * s
    return Check.identity(error, 64 * problem.num_outputs * EPS)


@streamed
def _draw_verifier(stream: Stream, outputs: int) -> Drawn:
    start = jax.nn.softmax(stream.log_uniform(0.1, 3.0) * stream.normal((outputs,)))
    return verifier_problem(start, outputs // 2, stream.uniform(0.02, 0.98), stream.uniform(0.02, 0.98)), {}


def _has_verifier(problem: Problem, **parameters: Any) -> Any:
    right, reward = problem.true_reward[0] == 1, problem.proxy_reward[0]

    def level(side: Array) -> Array:
        return jnp.max(jnp.where(side, reward, -jnp.inf)) == jnp.min(jnp.where(side, reward, jnp.inf))

    binary = jnp.all(right | (problem.true_reward[0] == 0)) & jnp.all((reward > 0) & (reward < 1))
    return is_orthonormal(problem) & binary & level(right) & level(~right)


noisy_verifier = Theorem(
    name="noisy_verifier",
    statement=(
        "Binary reward read by a verifier with true and false positive rates TPR, FPR, J = TPR - FPR; mean-field "
        "GRPO flow z' = pi A / s, q = TPR - J p, s = sqrt(q (1 - q)). The wrong mass p and the masses y, z within "
        "the right and the wrong outputs obey p' = -(J/s) [p (1 - p)]^2 (|y|^2 + |z|^2), y' = k y (y - |y|^2), z' = "
        "-k z (z - |z|^2), k = J p (1 - p)/s: wrong outputs die out iff J > 0, and take over iff J < 0."
    ),
    source="arXiv 2601.04411 (mean-field dynamics), step size 1",
    kind="exact",
    unit="error times s; holds up to 64 K eps",
    draw=_draw_verifier,
    claim=_noisy_verifier,
    premise=_has_verifier,
    sizes=(4, 30),
)


def _verifier_phase(batch: Batch, t1: np.ndarray) -> Check:
    right = batch.true_reward[:, 0] == 1

    def odds(log_policy: np.ndarray) -> np.ndarray:
        wrong = np.logaddexp.reduce(np.where(right, -np.inf, log_policy[:, 0]), axis=1)
        return wrong - np.logaddexp.reduce(np.where(right, log_policy[:, 0], -np.inf), axis=1)

    reward = batch.proxy_reward[:, 0]
    power = np.max(np.where(right, reward, 0.0), axis=1) - np.max(np.where(right, 0.0, reward), axis=1)
    change = odds(flows.run(batch, t1).log_policy) - odds(flows.start_log_policy(batch))
    return Check.at_most(np.sign(power) * change, 0.0, rounding=1e-9)


def _draw_phase(key: Array, outputs: int) -> Drawn:
    problem, _ = _draw_verifier(key, outputs)
    return problem, {"t1": Stream(jax.random.fold_in(key, 1)).log_uniform(1.0, 1e4)}


verifier_phase = Theorem(
    name="verifier_phase",
    statement=(
        "Same verifier: the odds of the wrong outputs fall for ever if J > 0 and rise for ever if J < 0, at any "
        "noise. (Dividing by s only changes the clock of the flow.)"
    ),
    source="arXiv 2601.04411 (phase transition at J = 0)",
    kind="bound",
    unit="-sign(J) times the change of the wrong outputs' log-odds up to t1; holds up to 1e-9",
    draw=_draw_phase,
    batch_claim=_verifier_phase,
    premise=_has_verifier,
    sizes=(4, 2, 30),
    defaults={"t1": 10.0},
)


# E5 of docs/theory.md.
THEOREMS = [noisy_verifier, verifier_phase]
