r"""What attracts probability: identities of the flow at one point.

With p = pi_theta, advantage A = r - V, centred features phi - phibar (phibar = E_pi phi), weights w of the prompts and
temperature T,

    theta' = grad V = sum_q w_q Phi_q^T (pi_q * A_q) / T,
    d ln pi_p(y)/dt = sum_q w_q sum_z pi_q(z) A_q(z) <phi_q(z), phi_p(y) - phibar_p> / T^2.

The identities are checked at a problem's start, with rates by forward-mode differentiation along `pgdyn`'s velocity.

Rounding. eps is 2^-52. A sum of n terms carries a relative error of at most n eps of the sum of their magnitudes, and a
probability one of about |log pi| eps, of which pi |log pi| <= 1/e keeps only a fraction in any mean over pi. So errors
are measured relative to the size of the terms that enter, with a tolerance of 4 n eps.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array

from pgdyn import policy
from pgdyn.objective import Objective
from pgdyn.problem import Problem
from pgdyn.theory import draws
from pgdyn.theory.check import EPS, Check
from pgdyn.theory.premises import is_orthonormal
from pgdyn.theory.starts import initial_log_policy, initial_log_rate, initial_velocity, trained_on
from pgdyn.theory.theorem import Theorem

_POINT = "largest error relative to the terms that enter; holds up to 4 n eps, n terms in the longest sum"
_SIZES = ((1, 5, None), (3, 5, None), (1, 30, 3), (3, 5, 8))
_TABULAR_SIZES = (2, 5, 30)


def rounding(problem: Problem) -> float:
    """Gives 4 n eps, n the terms of the longest sum."""
    return 4 * (sum(problem.params_shape) + problem.num_prompts * problem.num_outputs) * EPS


def reward_size(reward: Array) -> Array:
    """Gives the size of an advantage, 2 max |r|; not 0 where all rewards are."""
    return 2 * jnp.max(jnp.abs(reward)) + 1e-100


def _kernel_size(problem: Problem) -> Array:
    squares = 1.0 if problem.features is None else jnp.max(jnp.sum(problem.features**2, axis=-1))
    return squares / problem.temperature**2


def _relative(problem: Problem, error: Array, scale: Array) -> Check:
    return Check.identity(jnp.max(jnp.abs(error)) / scale, rounding(problem))


def _attraction(problem: Problem) -> Check:
    log_policy = initial_log_policy(problem)
    pull = problem.prompt_weights[:, None] * jnp.exp(log_policy)
    pull = pull * (problem.proxy_reward - policy.prompt_values(log_policy, problem.proxy_reward)[:, None])
    gram = policy.kernel(problem)
    mean = jnp.einsum("pk,pkqz->pqz", jnp.exp(log_policy), gram)
    formula = jnp.einsum("qz,pkqz->pk", pull, gram - mean[:, None])
    error = initial_log_rate(problem, initial_velocity(problem)) - formula
    return _relative(problem, error, 2 * reward_size(problem.proxy_reward) * _kernel_size(problem))


attraction = Theorem(
    name="attraction",
    statement=(
        "Under the flow of V_P the probability of output y of prompt p moves by d ln pi_p(y)/dt = sum_q w_q sum_z "
        "pi_q(z) A_q(z) <phi_q(z), phi_p(y) - phibar_p> / T^2: features alone decide which advantages reach it."
    ),
    source="arXiv 2604.25872, section 2 (logit dynamics); this form derived here",
    kind="exact",
    unit=_POINT,
    draw=draws.any_problem,
    claim=_attraction,
    sizes=_SIZES,
)


def _orthonormal_drift(problem: Problem) -> tuple[Array, Array, Array]:
    """(pi A, B = sum pi^2 A, Cov_pi(pi, r)), of the proxy."""
    log_policy = initial_log_policy(problem)[0]
    probabilities = jnp.exp(log_policy)
    pull = probabilities * policy.advantage(log_policy[None], problem.proxy_reward)[0]
    centred = probabilities - jnp.sum(probabilities**2)
    return pull, jnp.sum(probabilities * pull), jnp.sum(probabilities * centred * problem.proxy_reward[0])


def _attraction_orthonormal(problem: Problem) -> Check:
    pull, drift, covariance = _orthonormal_drift(problem)
    rate = initial_log_rate(problem, initial_velocity(problem))[0]
    error = jnp.append(rate - (pull - drift), drift - covariance)
    return _relative(problem, error, 2 * reward_size(problem.proxy_reward))


attraction_orthonormal = Theorem(
    name="attraction_orthonormal",
    statement=(
        "Orthonormal features, flow of V_P: d ln pi(y)/dt = pi(y) A(y) - B with B = sum_z pi(z)^2 A(z) = "
        "Cov_pi(pi(y), r(y)). So y gains probability iff pi(y) A(y) > B."
    ),
    source="arXiv 2604.25872, section 2 (logit dynamics); B as a covariance derived here",
    kind="exact",
    unit=_POINT,
    draw=draws.orthonormal,
    claim=_attraction_orthonormal,
    premise=is_orthonormal,
    sizes=_TABULAR_SIZES,
)


def _positive_advantage_attracts(problem: Problem) -> Check:
    pull, drift, _ = _orthonormal_drift(problem)
    gain = jnp.where(pull > 0, pull - drift, jnp.inf)
    return Check.at_least(gain, 0.0, rounding=64 * EPS).worst()


positive_advantage_attracts = Theorem(
    name="positive_advantage_attracts",
    statement=(
        "Claim: under the orthonormal flow every output of positive advantage gains probability at first. False: a "
        "rare output loses whenever likelier ones of positive advantage make B = Cov_pi(pi, r) exceed pi(y) A(y)."
    ),
    source="derived here, from attraction_orthonormal",
    kind="known false",
    unit="d ln pi(y)/dt of the worst output with A(y) > 0; rounding 64 eps",
    draw=draws.orthonormal,
    claim=_positive_advantage_attracts,
    premise=is_orthonormal,
    sizes=_TABULAR_SIZES[1:],
)


def _instantaneous_error_effect(problem: Problem) -> Check:
    towards_truth = initial_velocity(problem, Objective(reward="true"))

    def speed(proxy: Array) -> Array:
        return jnp.sum(towards_truth * initial_velocity(trained_on(problem, proxy)))

    effect = jax.grad(speed)(problem.proxy_reward)
    gain = jnp.exp(initial_log_policy(problem)) * initial_log_rate(problem, towards_truth)
    error = effect - problem.prompt_weights[:, None] * gain
    return _relative(problem, error, 2 * reward_size(problem.true_reward) * _kernel_size(problem))


instantaneous_error_effect = Theorem(
    name="instantaneous_error_effect",
    statement=(
        "d/dr_P(y0) of (dV_G/dt under the flow of V_P) = <grad V_G, grad pi(y0)> = d pi(y0)/dt under the flow of "
        "V_G, at the same theta (times the prompt's weight): over-rating y0 helps at once iff the ground truth would "
        "raise y0."
    ),
    source="derived here",
    kind="exact",
    unit=_POINT,
    draw=draws.any_problem,
    claim=_instantaneous_error_effect,
    sizes=_SIZES,
)


def _log_ratio(problem: Problem) -> Check:
    log_policy = initial_log_policy(problem)
    pull = (jnp.exp(log_policy) * policy.advantage(log_policy, problem.proxy_reward))[0]
    rate = initial_log_rate(problem, initial_velocity(problem))[0]
    error = (rate[:, None] - rate[None, :]) - (pull[:, None] - pull[None, :])
    return _relative(problem, error, 2 * reward_size(problem.proxy_reward))


log_ratio = Theorem(
    name="log_ratio",
    statement="Orthonormal flow: d ln(pi(y)/pi(u))/dt = pi(y) A(y) - pi(u) A(u) for all outputs y, u.",
    source="derived here",
    kind="exact",
    unit=_POINT,
    draw=draws.orthonormal,
    claim=_log_ratio,
    premise=is_orthonormal,
    sizes=_TABULAR_SIZES,
)


# A1 to A3 of docs/theory.md.
THEOREMS = [attraction, attraction_orthonormal, positive_advantage_attracts, instantaneous_error_effect, log_ratio]
