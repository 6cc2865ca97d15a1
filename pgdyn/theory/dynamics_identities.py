r"""Identities of policy-gradient dynamics: each an equation between something simulated and a formula.

With p = pi_theta, advantage A = r - V, centred features phi - phibar (phibar = E_pi phi), weights w of the prompts and
temperature T, flow means theta' = grad V = sum_p w_p Phi_p^T (pi_p * A_p) / T. The identities at one point are checked
at the problem's start, with rates by forward-mode differentiation along `pgdyn`'s own velocity.

Rounding. eps is 2^-52. A sum of n terms carries a relative error of at most n eps of the sum of their magnitudes, and a
probability one of about |log pi| eps, of which pi |log pi| <= 1/e keeps only a fraction in any mean over pi. So
identities at one point are measured relative to the size of the terms that enter, with a tolerance of 4 n eps. Those
along a path add the integrator's error and say so.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from pgdyn import policy
from pgdyn.dynamics.ascend import ascend
from pgdyn.dynamics.flow import flow, velocity
from pgdyn.dynamics.sampled import ascend_sampled
from pgdyn.objective import Objective
from pgdyn.problem import Problem
from pgdyn.theory import draws
from pgdyn.theory.draws import Stream
from pgdyn.theory.theorem import Check, Theorem

EPS = float(np.finfo(np.float64).eps)
_POINT = "largest error relative to the terms that enter; holds up to 4 n eps, n terms in the longest sum"
_SIZES = ((1, 5, None), (3, 5, None), (1, 5, 3), (3, 5, 8))
_TABULAR_SIZES = (2, 5, 10)


def _draw(key: Array, size: Any) -> tuple[Problem, dict[str, Any]]:
    return draws.problem(Stream(key), size), {}


def _start(problem: Problem) -> Float[Array, "P K"]:
    return policy.log_policy(problem, problem.initial_params)


def _velocity(problem: Problem, reward: str = "proxy", geometry: str = "euclidean") -> Array:
    return velocity(problem, Objective(reward=reward), problem.initial_params, _start(problem), geometry)  # pyright: ignore[reportArgumentType]


def _rate(problem: Problem, function: Any, direction: Array) -> Array:
    """d function(theta)/dt at the start, moving along `direction`."""
    return jax.jvp(function, (problem.initial_params,), (direction,))[1]


def _log_rate(problem: Problem, direction: Array) -> Float[Array, "P K"]:
    return _rate(problem, lambda theta: policy.log_policy(problem, theta), direction)


def _terms(problem: Problem) -> int:
    return sum(problem.params_shape) + problem.num_prompts * problem.num_outputs


def _size(reward: Array) -> Array:
    return 2 * jnp.max(jnp.abs(reward)) + 1e-100  # not 0/0 where all rewards are 0


def _kernel_size(problem: Problem) -> Array:
    squares = 1.0 if problem.features is None else jnp.max(jnp.sum(problem.features**2, axis=-1))
    return squares / problem.temperature**2


def _relative(problem: Problem, error: Array, scale: Array) -> Check:
    return Check.identity(jnp.max(jnp.abs(error)) / scale, 4 * _terms(problem) * EPS)


def is_orthonormal(problem: Problem) -> bool:
    """Whether the policy is tabular with one prompt at temperature 1: G = identity."""
    plain = problem.is_tabular and problem.num_prompts == 1
    return plain & (problem.temperature == 1)  # pyright: ignore[reportReturnType]


def orthonormal(key: Array, size: Any) -> tuple[Problem, dict[str, Any]]:
    """`plain_tabular` as a `Theorem.draw`; `size` is K."""
    return plain_tabular(Stream(key), size), {}


def plain_tabular(stream: Stream, outputs: int) -> Problem:
    """A random tabular problem with one prompt at temperature 1."""
    shape = (outputs,)
    return Problem.tabular(draws.policy(stream, shape), draws.rewards(stream, shape), draws.rewards(stream, shape))


# ------------------------------------------------------------------ A1: what attracts probability


def _attraction(problem: Problem) -> Check:
    log_policy = _start(problem)
    pull = problem.prompt_weights[:, None] * jnp.exp(log_policy)
    pull = pull * (problem.proxy_reward - policy.prompt_values(log_policy, problem.proxy_reward)[:, None])
    gram = policy.kernel(problem)
    mean = jnp.einsum("pk,pkqz->pqz", jnp.exp(log_policy), gram)
    formula = jnp.einsum("qz,pkqz->pk", pull, gram - mean[:, None])
    error = _log_rate(problem, _velocity(problem)) - formula
    return _relative(problem, error, 2 * _size(problem.proxy_reward) * _kernel_size(problem))


attraction = Theorem(
    name="attraction",
    statement=(
        "Under the flow of V_P the probability of output y of prompt p moves by d ln pi_p(y)/dt = sum_q w_q sum_z "
        "pi_q(z) A_q(z) <phi_q(z), phi_p(y) - phibar_p> / T^2: features alone decide which advantages reach it."
    ),
    source="arXiv 2604.25872, section 2 (logit dynamics); this form derived here",
    kind="exact",
    unit=_POINT,
    draw=_draw,
    claim=_attraction,
    sizes=_SIZES,
)


def _orthonormal_drift(problem: Problem) -> tuple[Array, Array, Array]:
    """(pi A, B = sum pi^2 A, Cov_pi(pi, r)), of the proxy."""
    log_policy = _start(problem)[0]
    probabilities = jnp.exp(log_policy)
    pull = probabilities * policy.advantage(log_policy[None], problem.proxy_reward)[0]
    centred = probabilities - jnp.sum(probabilities**2)
    return pull, jnp.sum(probabilities * pull), jnp.sum(probabilities * centred * problem.proxy_reward[0])


def _attraction_orthonormal(problem: Problem) -> Check:
    pull, drift, covariance = _orthonormal_drift(problem)
    rate = _log_rate(problem, _velocity(problem))[0]
    error = jnp.append(rate - (pull - drift), drift - covariance)
    return _relative(problem, error, 2 * _size(problem.proxy_reward))


attraction_orthonormal = Theorem(
    name="attraction_orthonormal",
    statement=(
        "Orthonormal features, flow of V_P: d ln pi(y)/dt = pi(y) A(y) - B with B = sum_z pi(z)^2 A(z) = "
        "Cov_pi(pi(y), r(y)). So y gains probability iff pi(y) A(y) > B."
    ),
    source="arXiv 2604.25872, section 2 (logit dynamics); B as a covariance derived here",
    kind="exact",
    unit=_POINT,
    draw=orthonormal,
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
    draw=orthonormal,
    claim=_positive_advantage_attracts,
    premise=is_orthonormal,
    sizes=_TABULAR_SIZES[1:],
)


# ------------------------------------------------------------------ A2: the instantaneous effect of an error


def _instantaneous_error_effect(problem: Problem) -> Check:
    towards_truth = _velocity(problem, "true")

    def speed(proxy: Array) -> Array:
        return jnp.sum(towards_truth * _velocity(problem.with_proxy(proxy)))

    effect = jax.grad(speed)(problem.proxy_reward)
    gain = jnp.exp(_start(problem)) * _log_rate(problem, towards_truth)
    error = effect - problem.prompt_weights[:, None] * gain
    return _relative(problem, error, 2 * _size(problem.true_reward) * _kernel_size(problem))


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
    draw=_draw,
    claim=_instantaneous_error_effect,
    sizes=_SIZES,
)


# ------------------------------------------------------------------ A3: ratios of probabilities


def _log_ratio(problem: Problem) -> Check:
    log_policy = _start(problem)
    pull = (jnp.exp(log_policy) * policy.advantage(log_policy, problem.proxy_reward))[0]
    rate = _log_rate(problem, _velocity(problem))[0]
    error = (rate[:, None] - rate[None, :]) - (pull[:, None] - pull[None, :])
    return _relative(problem, error, 2 * _size(problem.proxy_reward))


log_ratio = Theorem(
    name="log_ratio",
    statement="Orthonormal flow: d ln(pi(y)/pi(u))/dt = pi(y) A(y) - pi(u) A(u) for all outputs y, u.",
    source="derived here",
    kind="exact",
    unit=_POINT,
    draw=orthonormal,
    claim=_log_ratio,
    premise=is_orthonormal,
    sizes=_TABULAR_SIZES,
)


# ------------------------------------------------------------------ A4: what tabular training conserves

_UPDATES = 30


def _conserved_sum(problem: Problem, t1: Array, seed: Array) -> Check:
    runs = (
        flow(problem, t1, saves=5, rtol=1e-6, atol=1e-9),
        ascend(problem, _UPDATES, optimizer=optax.sgd(0.5)),
        ascend_sampled(problem, _UPDATES, jax.random.wrap_key_data(seed), optimizer=optax.sgd(0.5)),
    )

    def error(path: Array) -> Array:
        drift = jnp.sum(path - problem.initial_params[None], axis=-1)
        return jnp.max(jnp.abs(drift)) / jnp.max(jnp.abs(path))

    # A step adds K rounding errors of the largest logit's size; no run here takes more than 1,000.
    return Check.identity(jnp.stack([error(run.params) for run in runs]), 1000 * problem.num_outputs * EPS).worst()


def _draw_conserved(key: Array, size: Any) -> tuple[Problem, dict[str, Any]]:
    stream = Stream(key)
    parameters = {"t1": stream.log_uniform(0.1, 100.0), "seed": jax.random.key_data(key)}
    return draws.problem(stream, size), parameters


conserved_sum = Theorem(
    name="conserved_sum",
    statement=(
        "Tabular policy: the sum over outputs of each prompt's parameters never changes, under gradient flow, exact "
        "ascent and sampled ascent alike, since every score sums to zero."
    ),
    source="derived here; arXiv 2005.06392, section 3, for exact gradients",
    kind="exact",
    unit="drift relative to the largest parameter; holds up to 1000 K eps (K eps a step, fewer than 1,000 steps)",
    draw=_draw_conserved,
    claim=_conserved_sum,
    premise=lambda problem, **_: problem.is_tabular,
    sizes=((2, 5, None),),
    defaults={"t1": 10.0, "seed": np.zeros(2, np.uint32)},
)


# ------------------------------------------------------------------ A9: what a change of units does


def _perturbation_linearity(problem: Problem, scale: Array, shift: Array, t1: Array) -> Check:
    changed = problem.with_proxy(scale * problem.proxy_reward + shift[:, None])
    proxies = jnp.stack([problem.proxy_reward, changed.proxy_reward])

    def end(proxy: Array, t1: Array) -> Array:
        return flow(problem.with_proxy(proxy), t1, saves=2, rtol=1e-10, atol=1e-12).log_policy[-1]

    plain, moved = jax.vmap(end)(proxies, jnp.stack([t1, t1 / scale]))
    size = scale * _size(problem.proxy_reward) + jnp.max(jnp.abs(shift))
    features = jnp.max(jnp.abs(problem.features)) if problem.features is not None else 1.0
    at_start = (_velocity(changed) - scale * _velocity(problem)) * problem.temperature / (features * size)
    ends = jnp.abs(jnp.exp(plain) - jnp.exp(moved))
    return Check.all_of(
        Check.identity(jnp.max(jnp.abs(at_start)) / (4 * _terms(problem) * EPS), 1.0),
        Check.identity(jnp.max(ends) / 1e-7, 1.0),
    )


def _draw_units(key: Array, size: Any) -> tuple[Problem, dict[str, Any]]:
    stream = Stream(key)
    parameters = {
        "scale": stream.log_uniform(0.01, 100.0),
        "shift": stream.uniform(-3.0, 3.0, (size[0],)),
        "t1": stream.log_uniform(0.1, 30.0),
    }
    return draws.problem(stream, size), parameters


perturbation_linearity = Theorem(
    name="perturbation_linearity",
    statement=(
        "Rewards times c > 0 run the flow c times faster along the same path; a constant added to all rewards of a "
        "prompt changes nothing. So only shape matters, and times of proxies of different range compare after scaling."
    ),
    source="derived here",
    kind="exact",
    unit=(
        "share of what is allowed: 4 n eps of its terms for the velocity at the start, 1e-7 in probability for the "
        "ends of two flows integrated at rtol 1e-10"
    ),
    draw=_draw_units,
    claim=_perturbation_linearity,
    premise=lambda problem, scale, **_: scale > 0,
    sizes=((2, 3, 4),),
)


THEOREMS = [
    attraction,
    attraction_orthonormal,
    positive_advantage_attracts,
    instantaneous_error_effect,
    log_ratio,
    conserved_sum,
    perturbation_linearity,
]
