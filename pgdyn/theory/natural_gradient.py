r"""Natural policy gradient (mirror descent) in closed form, without and with a KL penalty.

    F^+ g = T (r - mean_y r)                                F = E[score score^T],  g = dV/dtheta
    pi_t ~ pi_0 e^{t r}                                     dV/dt = Var_pi(r),  dH/dt = -Cov_pi(ln pi, r)
    z_t - z_opt = e^{-beta t} (z_0 - z_opt)                 pi_opt = pi_ref e^{r/beta} / Z

The fixed point pi_opt of the penalised objective is that of the ordinary flow, too.
"""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from pgdyn import policy
from pgdyn.batch import Batch
from pgdyn.dynamics.flow import velocity
from pgdyn.objective import Objective
from pgdyn.problem import Problem
from pgdyn.theory import draws, flows
from pgdyn.theory.check import EPS, Check
from pgdyn.theory.draws import Drawn, Stream, streamed
from pgdyn.theory.starts import initial_log_policy, initial_rate, initial_velocity
from pgdyn.theory.theorem import Theorem, for_each

_SAVES = 6
_WORST_CONDITION = 1e10  # of a Fisher information that is inverted, the least probability's inverse
_TIGHT: dict[str, Any] = {"geometry": "natural", "rtol": 1e-10, "atol": 1e-12}


def _rate_error(problem: Problem) -> Array:
    """The error of dV/dt and dH/dt at the start, as a share of what is allowed."""
    start, reward = initial_log_policy(problem), problem.proxy_reward
    direction = initial_velocity(problem, geometry="natural")

    def rate(observable: Any) -> Array:
        return initial_rate(problem, lambda theta: observable(policy.log_policy(problem, theta)), direction)

    probabilities = jnp.exp(start)
    surprise = start - jnp.sum(probabilities * start, axis=-1, keepdims=True)
    covariance = jnp.sum(probabilities * surprise * policy.advantage(start, reward), axis=-1)
    value_error = rate(lambda log: policy.prompt_values(log, reward)) - policy.prompt_variances(start, reward)
    entropy_error = rate(policy.entropies) + covariance
    # Both rates are means over pi of terms of the sizes r^2 and |log pi| r, with sums of K terms.
    size = (2 * jnp.max(jnp.abs(reward)) + 1e-100) * (1 + jnp.max(jnp.abs(start)) + 2 * jnp.max(jnp.abs(reward)))
    errors = jnp.append(value_error, entropy_error) / size
    return jnp.max(jnp.abs(errors)) / (16 * problem.num_outputs * EPS)


def fisher_gradient(problem: Problem) -> tuple[Array, Array]:
    """Computes F^+ g and F at the start of a tabular problem, by enumeration of scores and an eigendecomposition of F.

    F loses one rank a prompt, as equal logits are no change at all; the other eigenvalues are inverted however small.

    Example:
        >>> direction, fisher = fisher_gradient(Problem.tabular([0.25, 0.75], [1.0, 0.0]))
        >>> direction.round(6).tolist(), fisher.round(4).tolist()
        ([[0.5, -0.5]], [[0.1875, -0.1875], [-0.1875, 0.1875]])
    """
    scores = jax.jacfwd(lambda theta: policy.log_policy(problem, theta))(problem.initial_params)
    scores = scores.reshape(problem.num_prompts * problem.num_outputs, -1)
    weights = (problem.prompt_weights[:, None] * jnp.exp(initial_log_policy(problem))).reshape(-1)
    fisher = scores.T @ (weights[:, None] * scores)
    gradient = scores.T @ (weights * problem.proxy_reward.reshape(-1))
    sizes, vectors = jnp.linalg.eigh(fisher)
    kept = jnp.arange(sizes.size) >= problem.num_prompts
    along = jnp.where(kept, vectors.T @ gradient / jnp.where(kept, sizes, 1.0), 0.0)
    return (vectors @ along).reshape(problem.params_shape), fisher


def _direction_error(problem: Problem) -> Array:
    """What `pgdyn`'s natural velocity and F^+ g differ by, as a share of what is allowed."""
    direction, fisher = fisher_gradient(problem)
    found = initial_velocity(problem, geometry="natural")
    # Eigenvalues of diag(pi) - pi pi^T lie between probabilities, so that the least but one is at least the smallest;
    # the scores that make up F and g are known to eps.
    weights = problem.prompt_weights[:, None] * jnp.exp(initial_log_policy(problem))
    condition = jnp.max(problem.prompt_weights) / jnp.min(weights)
    allowed = 16 * fisher.shape[0] * EPS * condition * (jnp.max(jnp.abs(problem.proxy_reward)) + 1e-100)
    error = jnp.max(jnp.abs(found - direction)) / (problem.temperature * allowed)
    return jnp.where(condition < _WORST_CONDITION, error, 0.0)


def _natural_gradient(batch: Batch, t1: np.ndarray) -> Check:
    times = flows.log_times(t1, _SAVES)
    path = flows.path(batch, times, **_TIGHT)
    exponent = path[:, :1] + times[:, :, None, None] * batch.proxy_reward[:, None]
    normalizer = np.max(exponent, axis=-1, keepdims=True)
    normalizer = normalizer + np.log(np.sum(np.exp(exponent - normalizer), axis=-1, keepdims=True))
    error = np.max(np.abs(path - (exponent - normalizer)), axis=(1, 2, 3))
    depth = 1 + np.max(np.abs(exponent), axis=(1, 2, 3))
    errors = (error / (depth * 1000 * EPS), *for_each(batch, start_errors))
    return Check.each_of(*(Check.identity(each, 1.0) for each in errors))


def start_errors(problem: Problem) -> tuple[Array, Array]:
    """Measures the rates and F^+ g at the start, as shares of the errors allowed.

    Example:
        >>> [bool(error < 1) for error in start_errors(Problem.tabular([0.25, 0.75], [1.0, 0.0]))]
        [True, True]
    """
    return _rate_error(problem), _direction_error(problem)


@streamed
def _draw_natural(stream: Stream, size: Any) -> Drawn:
    problem, t1 = draws.problem(stream, size), stream.log_uniform(0.1, 100.0)
    # Probabilities within e^-12 of each other in most draws, or no digit of F^+ would be left to compare.
    spread = jnp.ptp(problem.initial_params) / problem.temperature
    flatter = jnp.where(stream.flag(0.8), 12 / jnp.maximum(spread, 12), 1)
    return eqx.tree_at(lambda p: p.initial_params, problem, flatter * problem.initial_params), {"t1": t1}


natural_gradient_closed_form = Theorem(
    name="natural_gradient_closed_form",
    statement=(
        "Natural policy gradient (mirror descent), tabular, theta' = F^+ dV/dtheta with the Fisher information F = "
        "E[score score^T]: F^+ dV/dtheta = T (r - mean_y r), so that pi_t ~ pi_0 e^{t r} for every prompt, with dV/dt "
        "= Var_pi(r) and dH/dt = -Cov_pi(ln pi, r)."
    ),
    source="Kakade (2001); arXiv 1908.00261, section 5.3",
    kind="exact",
    unit=(
        "share of what is allowed: 16 P K eps over the least w pi for F^+ dV/dtheta, at 1e-10 w or more; 1000 "
        "eps of 1 + max |log pi_0 + t r| for log-probabilities (the field is constant, so the integrator only "
        "rounds); 16 K eps of their terms for the rates"
    ),
    draw=_draw_natural,
    batch_claim=_natural_gradient,
    premise=lambda problem, **_: problem.is_tabular,
    sizes=((2, 5, None), (1, 30, None)),
    defaults={"t1": 10.0},
)


def _optimum(problem: Problem, beta: Array) -> tuple[Array, Array, Array]:
    """(parameters of the optimum, and velocity and value there as shares of the errors allowed)."""
    objective = Objective(kl=beta)
    reference = objective.reference_log_policy(problem)
    exponent = reference + problem.proxy_reward / beta
    optimum = jax.nn.log_softmax(exponent, axis=-1) * problem.temperature
    best = beta * jnp.sum(problem.prompt_weights * jax.nn.logsumexp(exponent, axis=-1))
    # log pi - log ref at the optimum carries the rounding of log pi, and beta times it enters the gradient.
    size = 1 + 2 * jnp.max(jnp.abs(problem.proxy_reward)) + beta * jnp.max(jnp.abs(reference))
    at_rest = velocity(problem, objective, optimum, reference) * problem.temperature
    allowed = size * 16 * problem.num_outputs * EPS
    return optimum, jnp.max(jnp.abs(at_rest)) / allowed, (objective.value(problem, optimum) - best) / allowed


def _kl_optimum(batch: Batch, beta: np.ndarray, t1: np.ndarray) -> Check:
    optimum, at_rest, value_error = for_each(batch, _optimum, beta)
    times = flows.log_times(t1, _SAVES)
    params = flows.path(batch, times, Objective(kl=beta), observed="params", **_TIGHT)
    away = params - optimum[:, None]
    away = away - np.mean(away, axis=-1, keepdims=True)
    left = np.abs(away - away[:, :1] * np.exp(-beta[:, None] * times)[:, :, None, None])
    allowed = 1e-7 * (1 + np.max(np.abs(away[:, 0]), axis=(1, 2)))
    return Check.each_of(
        Check.identity(at_rest, 1.0),
        Check.identity(value_error, 1.0),
        Check.identity(np.max(left, axis=(1, 2, 3)) / allowed, 1.0),
    )


@streamed
def _draw_penalised(stream: Stream, size: Any) -> Drawn:
    beta = stream.log_uniform(0.03, 3.0)
    return draws.problem(stream, size), {"beta": beta, "t1": stream.uniform(0.1, 5.0) / beta}


kl_optimum = Theorem(
    name="kl_optimum",
    statement=(
        "The flow of V_P - beta KL(pi || pi_ref) rests at pi_ref e^{r/beta} / Z, of value beta ln E_ref e^{r/beta}; "
        "the natural flow approaches it at the rate beta in every centred logit: z_t - z_opt = e^{-beta t} (z_0 - "
        "z_opt)."
    ),
    source="Ziebart et al. (2008); arXiv 1909.08593, section 2.2 for this objective; the approach derived here",
    kind="exact",
    unit=(
        "share of what is allowed: 16 K eps (1 + 2 max |r| + beta max |log ref|) for velocity and value, 1e-7 of "
        "1 + |z_0 - z_opt| for the approach (integrated at rtol 1e-10)"
    ),
    draw=_draw_penalised,
    batch_claim=_kl_optimum,
    premise=lambda problem, **_: problem.is_tabular,
    sizes=((2, 5, None), (1, 30, None)),
    defaults={"beta": 0.1, "t1": 10.0},
)


# A7 and A8 of docs/theory.md.
THEOREMS = [natural_gradient_closed_form, kl_optimum]
