r"""Closed forms of policy-gradient flows: dynamics whose path, or whose clock, can be written down.

Each is compared with `pgdyn`'s integration of the same problem. What is allowed is the integrator's own error, stated
with each theorem; the formulas themselves are exact.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from pgdyn import policy
from pgdyn.dynamics.flow import flow, velocity
from pgdyn.objective import Objective
from pgdyn.problem import Problem
from pgdyn.theory import draws
from pgdyn.theory.draws import Stream
from pgdyn.theory.theorem import Check, Theorem

_EPS = float(np.finfo(np.float64).eps)
_SAVES = 6
_TIGHT: dict[str, Any] = {"rtol": 1e-10, "atol": 1e-12, "saves": _SAVES}
_CLOCK = 1e-7
_CLOCK_UNIT = "error of the logit difference, in nats; holds up to 1e-7 (integrated at rtol 1e-10)"


def _clock_error(path: Float[Array, " S"], elapsed: Array, slope: Array) -> Check:
    """|F(u_t) - F(u_0) - c t| as an error of u: divided by the largest F' so far (F' is convex: at one of the ends).

    An error of u that the integrator makes at time s moves F by F'(u_s) times it, and stays in F from then on.
    """
    return Check.identity(elapsed / jnp.maximum(slope, slope[:1]), _CLOCK).worst()


# ------------------------------------------------------------------ A5: two outputs


def _two_outputs(problem: Problem, t1: Array) -> Check:
    assert problem.features is not None
    squares = jnp.sum(problem.features[0] ** 2, axis=-1)
    gap = problem.proxy_reward[0, 0] - problem.proxy_reward[0, 1]
    run = flow(problem, t1, **_TIGHT)
    u = run.log_policy[:, 0, 0] - run.log_policy[:, 0, 1]
    clock = jnp.sinh(u) + u
    # The gap enters with its sign, so the clock runs backwards for gap < 0.
    return _clock_error(u, clock - clock[0] - jnp.sum(squares) * gap * run.t / 2, jnp.cosh(u) + 1)


def _orthogonal_pair(problem: Problem, **_: Any) -> Array | bool:
    if problem.features is None or problem.num_outputs != 2 or problem.num_prompts != 1:
        return False
    first, second = problem.features[0]
    inner = jnp.abs(jnp.sum(first * second))
    size = jnp.sqrt(jnp.sum(first**2) * jnp.sum(second**2))
    return (inner <= 64 * _EPS * size) & (problem.temperature == 1)


def _draw_pair(key: Array, width: int) -> tuple[Problem, dict[str, Any]]:
    stream = Stream(key)
    first, second = stream.normal((2, width))
    second = second - jnp.sum(first * second) / jnp.sum(first**2) * first
    second = second - jnp.sum(first * second) / jnp.sum(first**2) * first  # once more: orthogonal to the last digit
    features = jnp.stack([first, second])
    squares = jnp.sum(features**2, axis=-1)
    u0 = stream.uniform(-8.0, 4.0)
    u1 = u0 + stream.uniform(0.5, 8.0)
    low = stream.uniform(-1.0, 1.0)
    gap = stream.log_uniform(0.01, 2.0)
    params = jnp.sum(features * (jnp.stack([u0, -u0]) / 2 / squares)[:, None], axis=0)
    t1 = (jnp.sinh(u1) + u1 - jnp.sinh(u0) - u0) * 2 / (jnp.sum(squares) * gap)
    problem = Problem.linear(features, jnp.stack([low + gap, low]), initial_params=params)
    return problem, {"t1": t1}


two_outputs_closed_form = Theorem(
    name="two_outputs_closed_form",
    statement=(
        "K = 2, orthogonal features of squared norms a and b, rewards with gap D: the logit difference u follows "
        "sinh u + u = (a + b) D t / 2 + sinh u_0 + u_0."
    ),
    source="derived here",
    kind="exact",
    unit=_CLOCK_UNIT,
    draw=_draw_pair,
    claim=_two_outputs,
    premise=_orthogonal_pair,
    sizes=(3,),
    defaults={"t1": 10.0},
)


# ------------------------------------------------------------------ A6: one good output among equals


def _two_level(problem: Problem, t1: Array) -> Check:
    others = problem.num_outputs - 1
    gap = problem.proxy_reward[0, 0] - problem.proxy_reward[0, 1]
    run = flow(problem, t1, **_TIGHT)
    u = run.log_policy[:, 0, 0] - run.log_policy[:, 0, 1]
    clock = (jnp.exp(u) + 2 * others * u - others**2 * jnp.exp(-u)) / others
    slope = (jnp.exp(u) + 2 * others + others**2 * jnp.exp(-u)) / others
    elapsed = clock - clock[0] - gap * problem.num_outputs / others * run.t
    spread = jnp.max(jnp.abs(run.log_policy[:, 0, 1:] - run.log_policy[:, 0, 1:2]), axis=-1)
    return Check.all_of(_clock_error(u, elapsed, slope), Check.identity(spread, _CLOCK))


def _is_two_level(problem: Problem, **_: Any) -> Array | bool:
    if not problem.is_tabular or problem.num_prompts != 1:
        return False
    start, reward = problem.initial_params[0], problem.proxy_reward[0]
    equal = jnp.all(start[1:] == start[1]) & jnp.all(reward[1:] == reward[1])
    return equal & (reward[0] > reward[1]) & (problem.temperature == 1)


def _draw_two_level(key: Array, outputs: int) -> tuple[Problem, dict[str, Any]]:
    stream = Stream(key)
    others = outputs - 1
    u0 = stream.uniform(-8.0, 3.0)
    u1 = u0 + stream.uniform(0.5, 9.0)
    low, gap = stream.uniform(-1.0, 1.0), stream.log_uniform(0.01, 2.0)
    best = jax.nn.sigmoid(u0 - jnp.log(float(others)))
    start = jnp.full(outputs, (1 - best) / others).at[0].set(best)
    reward = jnp.full(outputs, low).at[0].set(low + gap)

    def clock(u: Array) -> Array:
        return (jnp.exp(u) + 2 * others * u - others**2 * jnp.exp(-u)) / others

    return Problem.tabular(start, reward), {"t1": (clock(u1) - clock(u0)) * others / (gap * outputs)}


two_level_closed_form = Theorem(
    name="two_level_closed_form",
    statement=(
        "Tabular, one output with a reward D above N = K - 1 others of equal reward and initial probability: the logit "
        "difference u has F(u_t) - F(u_0) = D K t / (K - 1), F(u) = (e^u + 2 N u - N^2 e^-u) / N. (K = 5, p_0 = .05, "
        "D = 2: p = .9 at t = 15.2478337688.)"
    ),
    source="derived here",
    kind="exact",
    unit=_CLOCK_UNIT,
    draw=_draw_two_level,
    claim=_two_level,
    premise=_is_two_level,
    sizes=(5,),
    defaults={"t1": 10.0},
)


# ------------------------------------------------------------------ A7: natural policy gradient


def _natural_gradient(problem: Problem, t1: Array) -> Check:
    run = flow(problem, t1, geometry="natural", **_TIGHT)
    exponent = run.log_policy[:1] + run.t[:, None, None] * problem.proxy_reward[None]
    path = run.log_policy - jax.nn.log_softmax(exponent, axis=-1)
    start, reward = run.log_policy[0], problem.proxy_reward
    direction = velocity(problem, Objective(), problem.initial_params, start, "natural")

    def rate(observable: Any) -> Array:
        def at(theta: Array) -> Array:
            return observable(policy.log_policy(problem, theta))

        return jax.jvp(at, (problem.initial_params,), (direction,))[1]

    probabilities = jnp.exp(start)
    surprise = start - jnp.sum(probabilities * start, axis=-1, keepdims=True)
    covariance = jnp.sum(probabilities * surprise * policy.advantage(start, reward), axis=-1)
    value_error = rate(lambda log: policy.prompt_values(log, reward)) - policy.prompt_variances(start, reward)
    entropy_error = rate(policy.entropies) + covariance
    # Both rates are means over pi of terms of the sizes r^2 and |log pi| r, with sums of K terms.
    size = (2 * jnp.max(jnp.abs(reward)) + 1e-100) * (1 + jnp.max(jnp.abs(start)) + 2 * jnp.max(jnp.abs(reward)))
    errors = jnp.append(value_error, entropy_error) / size
    depth = 1 + jnp.max(jnp.abs(exponent))
    return Check.all_of(
        Check.identity(jnp.max(jnp.abs(path)) / (depth * 1000 * _EPS), 1.0),
        Check.identity(jnp.max(jnp.abs(errors)) / (16 * problem.num_outputs * _EPS), 1.0),
    )


def _draw_natural(key: Array, size: Any) -> tuple[Problem, dict[str, Any]]:
    stream = Stream(key)
    return draws.problem(stream, size), {"t1": stream.log_uniform(0.1, 100.0)}


natural_gradient_closed_form = Theorem(
    name="natural_gradient_closed_form",
    statement=(
        "Natural policy gradient (mirror descent), tabular: pi_t ~ pi_0 e^{t r} for every prompt, with dV/dt = "
        "Var_pi(r) and dH/dt = -Cov_pi(ln pi, r)."
    ),
    source="Kakade (2001); arXiv 1908.00261, section 5.3",
    kind="exact",
    unit=(
        "share of what is allowed: 1000 eps of 1 + max |log pi_0 + t r| for log-probabilities (the field is "
        "constant, so the integrator only rounds), 16 K eps of their terms for the rates"
    ),
    draw=_draw_natural,
    claim=_natural_gradient,
    premise=lambda problem, **_: problem.is_tabular,
    sizes=((2, 5, None),),
    defaults={"t1": 10.0},
)


# ------------------------------------------------------------------ A8: the optimum under a KL penalty


def _kl_optimum(problem: Problem, beta: Array, t1: Array) -> Check:
    objective = Objective(kl=beta)
    reference = objective.reference_log_policy(problem)
    exponent = reference + problem.proxy_reward / beta
    optimum = jax.nn.log_softmax(exponent, axis=-1) * problem.temperature
    best = beta * jnp.sum(problem.prompt_weights * jax.nn.logsumexp(exponent, axis=-1))
    # log pi - log ref at the optimum carries the rounding of log pi, and beta times it enters the gradient.
    size = 1 + 2 * jnp.max(jnp.abs(problem.proxy_reward)) + beta * jnp.max(jnp.abs(reference))
    at_rest = velocity(problem, objective, optimum, reference) * problem.temperature

    run = flow(problem, t1, objective=objective, geometry="natural", **_TIGHT)
    away = run.params - optimum[None]
    away = away - jnp.mean(away, axis=-1, keepdims=True)
    left = away - away[:1] * jnp.exp(-beta * run.t)[:, None, None]
    return Check.all_of(
        Check.identity(jnp.max(jnp.abs(at_rest)) / (size * 16 * problem.num_outputs * _EPS), 1.0),
        Check.identity((objective.value(problem, optimum) - best) / (size * 16 * problem.num_outputs * _EPS), 1.0),
        Check.identity(jnp.max(jnp.abs(left)) / (1e-7 * (1 + jnp.max(jnp.abs(away[0])))), 1.0),
    )


def _draw_penalised(key: Array, size: Any) -> tuple[Problem, dict[str, Any]]:
    stream = Stream(key)
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
    claim=_kl_optimum,
    premise=lambda problem, **_: problem.is_tabular,
    sizes=((2, 5, None),),
    defaults={"beta": 0.1, "t1": 10.0},
)


THEOREMS = [two_outputs_closed_form, two_level_closed_form, natural_gradient_closed_form, kl_optimum]
