r"""Softmax policy gradient on a bandit: convergence rates, slow starts, noisy verifiers.

Rewards in [0, 1], one prompt, tabular unless said otherwise; a* the best output, V* its reward, Delta its lead over the
second best, delta_t = V* - V_t. Steps are theta_{t+1} = theta_t + (2/5) grad V, t counted from 0. V is 5/2-smooth, so
a step gains at least |grad V|^2 / 5 (Mei et al., arXiv 2005.06392, lemma 2), and at most (3/5) |grad V|^2.
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
from pgdyn.dynamics.ensemble import flow_many
from pgdyn.dynamics.flow import velocity
from pgdyn.objective import Objective
from pgdyn.problem import Problem
from pgdyn.theory import draws
from pgdyn.theory.draws import Stream
from pgdyn.theory.predecessor import feature_norm, initial_variance
from pgdyn.theory.theorem import Check, Theorem

STEP = 0.4
_UPDATES = 2000
_EPS = float(np.finfo(np.float64).eps)
_MEI = "Mei, Xiao, Szepesvari, Schuurmans, arXiv 2005.06392"


def gaps(log_policy: Float[Array, "*path K"], reward: Float[Array, " K"]) -> Float[Array, "*path"]:
    """delta = sum pi (r* - r), without the cancellation of V* - V."""
    return jnp.exp(log_policy) @ (jnp.max(reward) - reward)


def _path(problem: Problem) -> tuple[Float[Array, "S K"], Float[Array, " K"]]:
    run = ascend(problem, _UPDATES, optimizer=optax.sgd(STEP))
    return run.log_policy[:, 0], problem.true_reward[0]


def is_bandit(problem: Problem, **parameters: Any) -> Any:
    """One prompt, tabular at temperature 1, proxy = true reward in [0, 1]."""
    if not problem.is_tabular or problem.num_prompts > 1:
        return False
    reward = problem.true_reward
    inside = jnp.all((reward >= 0) & (reward <= 1))
    return inside & jnp.all(problem.proxy_reward == reward) & (problem.temperature == 1)


def _draw_bandit(key: Array, outputs: int) -> tuple[Problem, dict[str, Any]]:
    stream = Stream(key)
    reward = (1 + draws.rewards(stream, (1, outputs))) / 2
    return Problem.tabular(draws.policy(stream, (1, outputs), (0.1, 3.0)), reward), {}


# ------------------------------------------------------------------ E1: the gradient is never small far from V*


def _lojasiewicz(problem: Problem) -> Check:
    log_policy = policy.log_policy(problem, problem.initial_params)[0]
    gradient = Objective().gradient(problem, problem.initial_params)
    best = jnp.exp(log_policy[jnp.argmax(problem.true_reward[0])])
    bound = best * gaps(log_policy, problem.true_reward[0])
    return Check.at_least(jnp.sqrt(jnp.sum(gradient**2)), bound, rounding=64 * _EPS)


lojasiewicz = Theorem(
    name="lojasiewicz",
    statement="|grad V|_2 >= pi(a*) (V* - V).",
    source=_MEI + ", lemma 3",
    kind="bound",
    unit="the norm; holds up to 64 eps",
    draw=_draw_bandit,
    claim=_lojasiewicz,
    premise=is_bandit,
    sizes=(2, 5, 10),
)


# ------------------------------------------------------------------ E2: how fast, at least


def _margin(measured: Array, bound: Array) -> Check:
    """measured <= bound along a path, in ln, so that late times weigh as much as early ones."""
    tiny = np.finfo(np.float64).tiny
    return Check.at_most(jnp.log(jnp.maximum(measured, tiny)), jnp.log(bound), rounding=1e-9).worst()


def _global_rate(problem: Problem) -> Check:
    path, reward = _path(problem)
    delta, best = gaps(path, reward), jnp.exp(path[:, jnp.argmax(reward)])
    t = jnp.arange(1, _UPDATES + 1, dtype=delta.dtype)
    least = jax.lax.cummin(best)[:-1]
    return _margin(delta[1:], 5 / (least**2 * t))


def _global_rate_sum(problem: Problem) -> Check:
    path, reward = _path(problem)
    delta, best = gaps(path, reward), jnp.exp(path[:, jnp.argmax(reward)])
    start = jnp.where(delta[0] > 0, 1 / jnp.where(delta[0] > 0, delta[0], 1.0), jnp.inf)
    bound = 1 / (start + jnp.cumsum(best[:-1] ** 2) / 5)
    return _margin(delta[1:], jnp.where(delta[0] > 0, bound, 1.0))


global_rate = Theorem(
    name="global_rate",
    statement="V* - V_t <= 5/(c^2 t), c the least pi_s(a*) up to then, at every t.",
    source=_MEI + ", theorem 2",
    kind="bound",
    unit="ln of bound over V* - V_t, the worst of 2,000 updates; holds up to 1e-9",
    draw=_draw_bandit,
    claim=_global_rate,
    premise=is_bandit,
    sizes=(5,),
)

global_rate_sum = Theorem(
    name="global_rate_sum",
    statement="V* - V_t <= 1 / [1/(V* - V_0) + (1/5) sum_{s<t} pi_s(a*)^2], which implies global_rate and is sharper.",
    source="derived here, from the proof of " + _MEI + ", theorem 2",
    kind="bound",
    unit="ln of bound over V* - V_t, the worst of 2,000 updates; holds up to 1e-9",
    draw=_draw_bandit,
    claim=_global_rate_sum,
    premise=is_bandit,
    sizes=(5,),
)


def _uniform_rate(problem: Problem) -> Check:
    path, reward = _path(problem)
    t = jnp.arange(1, _UPDATES + 1, dtype=path.dtype)
    return _margin(gaps(path, reward)[1:], 5 * problem.num_outputs**2 / t)


def _draw_uniform(key: Array, outputs: int) -> tuple[Problem, dict[str, Any]]:
    return Problem.tabular(None, (1 + draws.rewards(Stream(key), (1, outputs))) / 2), {}


uniform_rate = Theorem(
    name="uniform_rate",
    statement="From the uniform policy V* - V_t <= 5 K^2 / t.",
    source=_MEI + ", theorem 3 (bandit with uniform start)",
    kind="bound",
    unit="ln of bound over V* - V_t, the worst of 2,000 updates; holds up to 1e-9",
    draw=_draw_uniform,
    claim=_uniform_rate,
    premise=lambda problem, **_: is_bandit(problem) & (jnp.ptp(problem.initial_params) < 1e-12),
    sizes=(5,),
)


# ------------------------------------------------------------------ E3: how fast, at most


def _rate_lower(problem: Problem) -> Check:
    path, reward = _path(problem)
    delta = gaps(path, reward)
    lead = jnp.max(reward) - jnp.sort(reward)[-2]
    late = delta <= lead**2 / 18
    first = jnp.argmax(late)
    since = jnp.arange(delta.size, dtype=delta.dtype) - first.astype(delta.dtype)
    bound = 1 / (1 / delta[first] + 6 * since / lead**2)
    checked = jnp.any(late) & (since >= 1)
    margin = jnp.where(checked, jnp.log(delta), jnp.inf)
    return Check.at_least(margin, jnp.where(checked, jnp.log(bound), 0.0), rounding=1e-9).worst()


def _draw_near_optimum(key: Array, outputs: int) -> tuple[Problem, dict[str, Any]]:
    stream = Stream(key)
    lead = stream.uniform(0.1, 1.0)
    others = jnp.append(1 - lead, (1 - lead) * stream.uniform(shape=(outputs - 2,)))
    left = lead**2 / 18 * stream.uniform(0.1, 3.0)
    rest = left * stream.simplex(outputs - 1)
    start = jnp.append(1 - left, rest)
    return Problem.tabular(start, jnp.append(1.0, others)), {}


rate_lower = Theorem(
    name="rate_lower",
    statement=(
        "One best output, lead Delta: from the first s with V* - V_s <= Delta^2/18 on, V* - V_t >= 1 / [1/(V* - V_s) + "
        "6 (t - s)/Delta^2]; hence V* - V_t >= Delta^2/(6 t) for all large t. Proof: delta falls by at most (3/5) "
        "|grad V|^2 <= (6/5) delta^2/Delta^2 a step."
    ),
    source=_MEI + ", theorem 9, which says 'for large enough t'; from where on is derived here",
    kind="bound",
    unit="ln of V* - V_t over the bound, the worst of 2,000 updates; holds up to 1e-9",
    draw=_draw_near_optimum,
    claim=_rate_lower,
    premise=lambda problem, **_: (
        is_bandit(problem) & (jnp.sum(problem.true_reward == jnp.max(problem.true_reward)) == 1)
    ),
    sizes=(2, 5),
)


# ------------------------------------------------------------------ E4: a near-optimal output in the way

_PULL_UPDATES = 12_000
PULL_GAP = 0.09


def updates_to(problem: Problem, gap: float = PULL_GAP) -> Array:
    """Updates of 2/5 until V* - V_t <= gap, inf where more than 12,000."""
    target = jnp.max(problem.true_reward) - gap
    return ascend(
        problem, _PULL_UPDATES, optimizer=optax.sgd(STEP), target=target, save_every=_PULL_UPDATES
    ).hitting_time


def _gravitational_pull(problem: Problem) -> Check:
    swapped = problem.initial_params[:, jnp.array([1, 0, 2])]
    mirrored = Problem(
        None, problem.true_reward, problem.proxy_reward, swapped, problem.temperature, problem.prompt_weights
    )
    return Check.at_least(jnp.log(updates_to(problem) / updates_to(mirrored)), np.log(20.0))


def _draw_pull(key: Array, _: Any) -> tuple[Problem, dict[str, Any]]:
    stream = Stream(key)
    masses = jnp.array([0.01, 0.05]) * stream.uniform(0.85, 1.15, (2,))
    return Problem.tabular(jnp.append(masses, 1 - jnp.sum(masses)), [1.0, 0.9, 0.1]), {}


gravitational_pull = Theorem(
    name="gravitational_pull",
    statement=(
        "r = (1, .9, .1), steps 2/5: from (.05, .01, .94) V* - V <= .09 takes 53 updates, from (.01, .05, .94) it "
        "takes 7367 (the 7368th policy, counted from 1): the second best output first takes all. With both small "
        "masses 15% off in either direction the factor stays above 20."
    ),
    source=_MEI + ", section 3 (softmax gravitational well); the gap .09 was found here to give their 7368",
    kind="law",
    unit="ln of the ratio of updates, less ln 20",
    draw=_draw_pull,
    claim=_gravitational_pull,
    premise=lambda problem, **_: is_bandit(problem) & (problem.num_outputs == 3),
    sizes=(3,),
)


# ------------------------------------------------------------------ E5: a verifier that errs


def verifier_problem(start: Array, correct: int, false_positive: Array, true_positive: Array) -> Problem:
    """Outputs of which the first `correct` are right; the proxy is a noisy verifier's expected reward."""
    right = jnp.arange(start.shape[-1]) < correct
    return Problem.tabular(start, jnp.where(right, 1.0, 0.0), jnp.where(right, true_positive, false_positive))


def _modes(problem: Problem) -> tuple[Array, Array, Array, Array]:
    """(is right [K], wrong mass p, masses within the right ones [K], within the wrong ones [K])."""
    probabilities = jnp.exp(policy.log_policy(problem, problem.initial_params))[0]
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
    log_policy = policy.log_policy(problem, problem.initial_params)
    slope = velocity(problem, Objective(), problem.initial_params, log_policy) / s

    def state(theta: Array) -> Array:
        probabilities = jnp.exp(policy.log_policy(problem, theta))[0]
        mass = jnp.sum(jnp.where(right, 0.0, probabilities))
        within = jnp.where(right, probabilities / (1 - mass), probabilities / mass)
        return jnp.append(within, mass)

    rate = jax.jvp(state, (problem.initial_params,), (slope,))[1]
    k = power * p * (1 - p) / s
    squares = jnp.sum(y**2), jnp.sum(z**2)
    within = jnp.where(right, k * y * (y - squares[0]), -k * z * (z - squares[1]))
    mass = -(power / s) * (p * (1 - p)) ** 2 * (squares[0] + squares[1])
    # Within one side rates are differences of logit slopes over s, the wrong mass may be small, and so may s.
    error = jnp.max(jnp.abs(rate - jnp.append(within, mass))) * s
    return Check.identity(error, 64 * problem.num_outputs * _EPS)


def _draw_verifier(key: Array, outputs: int) -> tuple[Problem, dict[str, Any]]:
    stream = Stream(key)
    start = jax.nn.softmax(stream.log_uniform(0.1, 3.0) * stream.normal((outputs,)))
    return verifier_problem(start, outputs // 2, stream.uniform(0.02, 0.98), stream.uniform(0.02, 0.98)), {}


def _has_verifier(problem: Problem, **parameters: Any) -> Any:
    if not problem.is_tabular or problem.num_prompts > 1:
        return False
    right, reward = problem.true_reward[0] == 1, problem.proxy_reward[0]

    def level(side: Array) -> Array:
        return jnp.max(jnp.where(side, reward, -jnp.inf)) == jnp.min(jnp.where(side, reward, jnp.inf))

    binary = jnp.all(right | (problem.true_reward[0] == 0)) & jnp.all((reward > 0) & (reward < 1))
    return binary & level(right) & level(~right) & (problem.temperature == 1)


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
    sizes=(4, 6),
)


def _verifier_phase(problems: Problem, t1: Array) -> Check:
    right = problems.true_reward[:, 0] == 1
    start = jax.vmap(lambda p: policy.log_policy(p, p.initial_params)[0], in_axes=(problems.batch_axes,))(problems)
    end = jnp.asarray(flow_many(problems, t1, rtol=1e-8, atol=1e-10).log_policy)[:, 0]

    def odds(log_policy: Array) -> Array:
        def mass(side: Array) -> Array:
            return jax.nn.logsumexp(jnp.where(side, log_policy, -jnp.inf), axis=1)

        return mass(~right) - mass(right)

    reward = problems.proxy_reward[:, 0]
    power = jnp.max(jnp.where(right, reward, 0.0), axis=1) - jnp.max(jnp.where(right, 0.0, reward), axis=1)
    return Check.at_most(jnp.sign(power) * (odds(end) - odds(start)), 0.0, rounding=1e-9)


def _draw_phase(key: Array, outputs: int) -> tuple[Problem, dict[str, Any]]:
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
    sizes=(4,),
    defaults={"t1": 10.0},
)


# ------------------------------------------------------------------ E6, E7: the size of the gradient


def _gradient_gap(problem: Problem) -> Check:
    log_policy = policy.log_policy(problem, problem.initial_params)[0]
    scores = jax.jacfwd(lambda theta: policy.log_policy(problem, theta)[0])(problem.initial_params)
    scores = scores.reshape(problem.num_outputs, -1)
    right = problem.proxy_reward[0] == 1

    def mean(side: Array) -> tuple[Array, Array]:
        log_mass = jax.nn.logsumexp(jnp.where(side, log_policy, -jnp.inf))
        weights = jnp.where(side, jnp.exp(log_policy - log_mass), 0.0)
        return jnp.exp(log_mass), jnp.sum(weights[:, None] * scores, axis=0)

    (success, correct), (failure, wrong) = mean(right), mean(~right)
    gradient = Objective().gradient(problem, problem.initial_params).reshape(-1)
    size = 1 + jnp.max(jnp.abs(scores))
    error = jnp.max(jnp.abs(gradient - success * failure * (correct - wrong))) / size
    return Check.identity(error, 64 * (problem.num_outputs + gradient.size) * _EPS)


def _draw_binary(key: Array, size: Any) -> tuple[Problem, dict[str, Any]]:
    problem = draws.problem(Stream(key), size)
    split = jnp.arange(problem.num_outputs) < 2
    return problem.with_proxy(jnp.where(split, 1.0, 0.0)), {}


gradient_gap = Theorem(
    name="gradient_gap",
    statement="Binary reward of mean J, any features: grad J = J (1 - J) (E[score | correct] - E[score | wrong]).",
    source="arXiv 2510.08539 (gradient gap)",
    kind="exact",
    unit="error relative to the largest score; holds up to 64 (K + D) eps",
    draw=_draw_binary,
    claim=_gradient_gap,
    premise=lambda problem, **_: (
        (problem.num_prompts == 1) & jnp.all((problem.proxy_reward == 0) | (problem.proxy_reward == 1))
    ),
    sizes=((1, 5, None), (1, 5, 3)),
)


def _vanishing_gradient(problem: Problem) -> Check:
    gradient = Objective().gradient(problem, problem.initial_params)
    bound = 6 * feature_norm(problem) * initial_variance(problem) ** (1 / 3)
    return Check.at_most(jnp.sqrt(jnp.sum(gradient**2)), bound, rounding=64 * _EPS * (1 + feature_norm(problem)))


def _draw_problem(key: Array, size: Any) -> tuple[Problem, dict[str, Any]]:
    return draws.problem(Stream(key), size), {}


vanishing_gradient = Theorem(
    name="vanishing_gradient",
    statement=(
        "Rewards in [-1, 1]: |grad V|_2 <= 6 L J (E Var_pi[r])^(1/3), L = 1 the output length, J the largest |d "
        "logits/d theta|_2. Where the reward hardly varies there is hardly a gradient, however far V is from its best."
    ),
    source="arXiv 2310.20703, theorem 1; the lambda = 0 case of the lemma behind arXiv 2503.15477, Theorem 1",
    kind="bound",
    unit="the norm; holds up to 64 eps of it",
    draw=_draw_problem,
    claim=_vanishing_gradient,
    premise=lambda problem, **_: jnp.max(jnp.abs(problem.proxy_reward)) <= 1,
    sizes=((1, 5, None), (3, 5, 8)),
)


THEOREMS = [
    lojasiewicz,
    global_rate,
    global_rate_sum,
    uniform_rate,
    rate_lower,
    gravitational_pull,
    noisy_verifier,
    verifier_phase,
    gradient_gap,
    vanishing_gradient,
]
