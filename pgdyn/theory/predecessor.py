r"""Bounds of "What Makes a Reward Model a Good Teacher?" (arXiv 2503.15477): reward variance sets the pace.

|S| prompts of equal weight, rewards in [-1, 1], Var_0[r_P] the variance of the proxy under the initial policy averaged
over prompts, T_gamma the first time at which the true value has risen by gamma under gradient flow. Constants are those
of the notes at hand on that paper's theorems, which each check below puts to the test.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from pgdyn import policy
from pgdyn.dynamics.ensemble import flow_many
from pgdyn.objective import Objective
from pgdyn.problem import Problem
from pgdyn.theory import draws
from pgdyn.theory.draws import Stream
from pgdyn.theory.theorem import Check, Theorem

_EPS = float(np.finfo(np.float64).eps)
_PAPER = "arXiv 2503.15477"
_TABULAR_SIZES = ((1, 2, None), (1, 5, None), (3, 5, None))
_LATEST = 1e6
_LOG_TIMES = "ln of the ratio of time and bound, with 1e-5 for the integrator"


def _start(problem: Problem) -> Float[Array, "P K"]:
    return policy.log_policy(problem, problem.initial_params)


def initial_variance(problem: Problem) -> Array:
    """E_x Var_{pi_0}[r_P]."""
    return policy.reward_variance(problem, _start(problem), problem.proxy_reward)


def initial_value(problem: Problem) -> Array:
    """V_G at the start."""
    return policy.value(problem, _start(problem), problem.true_reward)


def feature_norm(problem: Problem) -> Array:
    """J, the largest operator norm of d logits / d theta over prompts: 1/T when tabular, else |Phi_p|_2 / T."""
    if problem.features is None:
        return 1 / problem.temperature
    return jnp.max(jnp.linalg.norm(problem.features, ord=2, axis=(-2, -1))) / problem.temperature


def _over(problems: Problem, function: Any) -> Array:
    return jax.vmap(function, in_axes=(problems.batch_axes,))(problems)


def rise_times(problems: Problem, gamma: Array, until: Any = _LATEST) -> Float[Array, " N"]:
    """T_gamma of every flow, inf where later than `until`."""
    target = _over(problems, initial_value) + gamma
    outcome = flow_many(problems, until, target=target, stop_at_target=True, rtol=1e-8, atol=1e-10)
    return jnp.asarray(outcome.hitting_time)


def _no_sooner(problems: Problem, gamma: Array, bound: Array) -> Check:
    # Well beyond the bound, or a flow that is cut short would prove nothing.
    times = rise_times(problems, gamma, jnp.maximum(_LATEST, 10 * bound))
    return Check.at_least(jnp.log(times), jnp.log(bound), rounding=1e-5)


def _in_range(problem: Problem, **parameters: Any) -> Any:
    return (jnp.max(jnp.abs(problem.true_reward)) <= 1) & (jnp.max(jnp.abs(problem.proxy_reward)) <= 1)


def is_plain_tabular(problem: Problem, **parameters: Any) -> Any:
    """Tabular at temperature 1, prompts of equal weight, rewards in [-1, 1]."""
    even = jnp.max(jnp.abs(problem.prompt_weights - 1 / problem.num_prompts)) < 1e-12
    return problem.is_tabular & even & (problem.temperature == 1) & _in_range(problem)


def _tabular(stream: Stream, size: Any, spread: tuple[float, float] = (0.1, 3.0)) -> Problem:
    shape = size[:2]
    return Problem.tabular(
        draws.policy(stream, shape, spread), draws.rewards(stream, shape), draws.rewards(stream, shape)
    )


def _draw_tabular(key: Array, size: Any) -> tuple[Problem, dict[str, Any]]:
    return _tabular(Stream(key), size), {}


def _room(problem: Problem) -> Array:
    """How far the true value can rise."""
    best = jnp.sum(problem.prompt_weights * jnp.max(problem.true_reward, axis=-1))
    return jnp.maximum(best - initial_value(problem), 1e-6)


# ------------------------------------------------------------------ D1, E7: gradients and variance


def _value_gradient(problem: Problem) -> Array:
    return Objective().gradient(problem, problem.initial_params)


def _variance_gradient(problem: Problem) -> Check:
    gradient, variance = _value_gradient(problem), initial_variance(problem)
    likeliest = jnp.exp(jnp.max(_start(problem))) * jnp.max(problem.prompt_weights)
    rounding = 64 * _EPS * (1 + jnp.max(jnp.abs(problem.proxy_reward)))
    return Check.all_of(
        Check.at_most(jnp.sum(jnp.abs(gradient)), jnp.sqrt(variance), rounding=rounding),
        Check.at_most(jnp.sqrt(jnp.sum(gradient**2)), jnp.sqrt(likeliest * variance), rounding=rounding),
    )


variance_gradient = Theorem(
    name="variance_gradient",
    statement=(
        "Tabular: |grad V|_1 <= sqrt(Var_pi r) and |grad V|_2 <= sqrt(max pi Var_pi r); over prompts Var is their "
        "mean and the second bound gains a factor sqrt(max prompt weight)."
    ),
    source="derived here (Cauchy-Schwarz on pi |A|), in the spirit of " + _PAPER,
    kind="bound",
    unit="the norm; holds up to 64 eps of the largest reward",
    draw=_draw_tabular,
    claim=_variance_gradient,
    premise=lambda problem, **_: problem.is_tabular & (problem.temperature == 1),
    sizes=_TABULAR_SIZES,
)


# ------------------------------------------------------------------ D2, D3: the time that variance costs


def general_bound(problem: Problem, gamma: Array, kl: Array) -> Array:
    """min{1 - e^{-gamma/9}, 1 - e^{-7/(3 kl)}} / (8 J^2) (E Var_0[r_P])^{-1/3}, for outputs of length 1."""
    weak = -jnp.expm1(-7 / (3 * jnp.where(kl > 0, kl, 1.0)))
    rise = jnp.minimum(-jnp.expm1(-gamma / 9), jnp.where(kl > 0, weak, 1.0))
    return rise / (8 * feature_norm(problem) ** 2) * initial_variance(problem) ** (-1 / 3)


def _variance_time_general(problems: Problem, gamma: Array, kl: Array) -> Check:
    objective = jax.vmap(lambda weight: Objective(kl=weight))(kl)
    bound = jax.vmap(general_bound, in_axes=(problems.batch_axes, 0, 0))(problems, gamma, kl)
    start = _over(problems, initial_value)
    outcome = flow_many(problems, bound, objective=objective, target=start + gamma, rtol=1e-8, atol=1e-10)
    # No sooner than the bound means: not at any time until then, and so not at the end, which tells by how much.
    never = Check.at_least(jnp.asarray(outcome.hitting_time), bound, rounding=1e-5 * bound)
    at_end = Check.at_most(jnp.asarray(outcome.true_value) - start, gamma, rounding=1e-8)
    return jax.vmap(lambda *each: Check.all_of(*each))(at_end, never)


def _draw_general(key: Array, size: Any) -> tuple[Problem, dict[str, Any]]:
    stream = Stream(key)
    problem = draws.problem(stream, size)
    # Rewards that all tie have no variance, an infinite bound and, with a KL penalty, a stiff flow that never moves.
    problem = problem.with_proxy(stream.log_uniform(1e-3, 1.0) * stream.uniform(-1.0, 1.0, problem.true_reward.shape))
    kl = jnp.where(stream.flag(0.5), 0.0, stream.log_uniform(1e-3, 3.0))
    return problem, {"gamma": stream.uniform(0.05, 0.95) * _room(problem), "kl": kl}


variance_time_general = Theorem(
    name="variance_time_general",
    statement=(
        "Rewards in [-1, 1], KL weight lambda to the initial policy: T_gamma >= min{1 - e^(-gamma/9), "
        "1 - e^(-7/(3 lambda))} / (8 L^2 J^2) (E Var_0[r_P])^(-1/3), L = 1 the output length, J the largest "
        "|d logits/d theta|_2; second term 1 at lambda = 0."
    ),
    source=_PAPER + ", Theorem 1",
    kind="bound",
    unit="gamma less the rise of the true value at the time of the bound; holds up to 1e-8 for the integrator",
    draw=_draw_general,
    batch_claim=_variance_time_general,
    premise=_in_range,
    sizes=((1, 5, None), (3, 5, 4)),
    defaults={"gamma": 0.1, "kl": 0.0},
)


def tabular_bound(problem: Problem, gamma: Array) -> Array:
    """2 |S| (1 - e^{-gamma/2}) / sqrt(Var_0[r_P])."""
    return 2 * problem.num_prompts * -jnp.expm1(-gamma / 2) / jnp.sqrt(initial_variance(problem))


def _variance_time_tabular(problems: Problem, gamma: Array) -> Check:
    return _no_sooner(problems, gamma, jax.vmap(tabular_bound)(problems, gamma))


def _draw_rise(key: Array, size: Any) -> tuple[Problem, dict[str, Any]]:
    stream = Stream(key)
    problem = _tabular(stream, size)
    # A proxy that knows something of the truth, so that the value does rise; from faint to full strength.
    noise = stream.uniform(-1.0, 1.0, problem.true_reward.shape)
    problem = problem.with_proxy(stream.log_uniform(0.01, 1.0) * (problem.true_reward + noise) / 2)
    return problem, {"gamma": stream.uniform(0.05, 0.95) * _room(problem)}


variance_time_tabular = Theorem(
    name="variance_time_tabular",
    statement="Tabular, rewards in [-1, 1]: T_gamma >= 2 |S| (1 - e^(-gamma/2)) / sqrt(E Var_0[r_P]).",
    source=_PAPER + ", Theorem 1 (tabular case)",
    kind="bound",
    unit=_LOG_TIMES,
    draw=_draw_rise,
    batch_claim=_variance_time_tabular,
    premise=is_plain_tabular,
    sizes=_TABULAR_SIZES,
    defaults={"gamma": 0.1},
)


# ------------------------------------------------------------------ D4: accuracy is not what makes a teacher


def accurate_proxy(true_reward: Float[Array, "P K"], slowness: Array) -> Float[Array, "P K"]:
    """Values in (0, 1/slowness) in the order of the true reward."""
    ranks = jnp.argsort(jnp.argsort(true_reward, axis=-1), axis=-1).astype(true_reward.dtype)
    return (ranks + 1) / (true_reward.shape[-1] + 1) / slowness


def spotlight_proxy(true_reward: Float[Array, "P K"], start: Float[Array, "P K"]) -> Float[Array, "P K"]:
    """1 on the best output, all others in (0, pi_0(best)) in the reverse of their true order: accuracy 2/K."""
    best = jnp.argmax(true_reward, axis=-1, keepdims=True)
    inverse = jnp.argsort(jnp.argsort(-true_reward, axis=-1), axis=-1).astype(true_reward.dtype)
    low = jnp.take_along_axis(start, best, axis=-1) * (inverse + 1) / (true_reward.shape[-1] + 2)
    return jnp.where(jnp.arange(true_reward.shape[-1])[None] == best, 1.0, low)


def _distinct(stream: Stream, size: Any) -> tuple[Array, Array]:
    """(start, true reward): all true rewards of a prompt differ."""
    start = draws.policy(stream, size[:2], (0.1, 3.0))
    return start, stream.uniform(-1.0, 1.0, size[:2])


def _accurate_but_slow(problems: Problem, gamma: Array, slowness: Array) -> Check:
    bound = 2 * problems.num_prompts * -jnp.expm1(-gamma / 2) * slowness
    return _no_sooner(problems, gamma, bound)


def _draw_slow(key: Array, size: Any) -> tuple[Problem, dict[str, Any]]:
    stream = Stream(key)
    start, true = _distinct(stream, size)
    slowness = stream.log_uniform(1.0, 1e3)
    problem = Problem.tabular(start, true, accurate_proxy(true, slowness))
    return problem, {"gamma": stream.uniform(0.05, 0.95) * _room(problem), "slowness": slowness}


def _is_accurate(problem: Problem, slowness: Array, **parameters: Any) -> Any:
    def above(reward: Array) -> Array:
        return reward[:, :, None] > reward[:, None, :]

    same = jnp.all(above(problem.proxy_reward) == above(problem.true_reward))
    small = jnp.all((problem.proxy_reward > 0) & (problem.proxy_reward < 1 / slowness))
    return is_plain_tabular(problem) & same & small


accurate_but_slow = Theorem(
    name="accurate_but_slow",
    statement=(
        "For every T >= 1 a perfectly accurate proxy, with values in (0, 1/T) in the true order, has "
        "T_gamma >= 2 |S| (1 - e^(-gamma/2)) T."
    ),
    source=_PAPER + ", Theorem 2",
    kind="bound",
    unit=_LOG_TIMES,
    draw=_draw_slow,
    batch_claim=_accurate_but_slow,
    premise=_is_accurate,
    sizes=((1, 5, None), (3, 5, None)),
    defaults={"gamma": 0.1, "slowness": 10.0},
)


def spotlight_bound(problem: Problem, gamma: Array) -> Array:
    """max over prompts of 4 |S| / (1 - rho)^4 (1/pi_0(y) - 1/rho), rho = (V_G(0) + gamma + 1)/(r_G(y) + 1)."""
    start = _start(problem)
    best = jnp.argmax(problem.proxy_reward, axis=-1)[:, None]
    mass = jnp.exp(jnp.take_along_axis(start, best, axis=-1))[:, 0]
    reward = jnp.take_along_axis(problem.true_reward, best, axis=-1)[:, 0]
    rho = (policy.prompt_values(start, problem.true_reward) + gamma + 1) / (reward + 1)
    return jnp.max(4 * problem.num_prompts / (1 - rho) ** 4 * (1 / mass - 1 / rho))


def _inaccurate_but_fast(problems: Problem, gamma: Array) -> Check:
    bound = jax.vmap(spotlight_bound)(problems, gamma)
    times = rise_times(problems, gamma)
    return Check.at_most(jnp.log(times), jnp.log(bound), rounding=1e-5)


def _prompt_room(start: Array, true: Array) -> Array:
    return jnp.min(jnp.max(true, axis=-1) - jnp.sum(start * true, axis=-1))


def _draw_fast(key: Array, size: Any) -> tuple[Problem, dict[str, Any]]:
    stream = Stream(key)
    prompts, outputs, _ = size
    true = stream.uniform(-1.0, 1.0, (prompts, outputs))
    # Starts with a best output of 1e-3 at least keep the times of the slowest below the end of the runs.
    start = jax.nn.softmax(
        jnp.clip(stream.log_uniform(0.1, 2.0) * stream.normal((prompts, outputs)), -3.0, 3.0), axis=-1
    )
    gamma = stream.uniform(0.05, 0.9) * _prompt_room(start, true)
    return Problem.tabular(start, true, spotlight_proxy(true, start)), {"gamma": gamma}


def _is_spotlight(problem: Problem, gamma: Array, **parameters: Any) -> Any:
    start = jnp.exp(_start(problem))
    best = jnp.argmax(problem.proxy_reward, axis=-1)[:, None]
    mass = jnp.take_along_axis(start, best, axis=-1)
    reward = jnp.take_along_axis(problem.true_reward, best, axis=-1)
    chosen = jnp.arange(problem.num_outputs)[None] == best
    low = jnp.all(
        jnp.where(chosen, problem.proxy_reward == 1, (problem.proxy_reward > 0) & (problem.proxy_reward < mass))
    )
    values = jnp.sum(start * problem.true_reward, axis=-1, keepdims=True)
    return is_plain_tabular(problem) & low & jnp.all(reward > values + gamma)


inaccurate_but_fast = Theorem(
    name="inaccurate_but_fast",
    statement=(
        "A proxy that is 1 on an output y of true reward above V_G(0) + gamma and in (0, pi_0(y)) elsewhere, in any "
        "order (accuracy down to 2/K), has T_gamma <= 4 |S| / (1 - rho)^4 (1/pi_0(y) - 1/rho), "
        "rho = (V_G(0) + gamma + 1)/(r_G(y) + 1), the largest over prompts."
    ),
    source=_PAPER + ", Theorem 2; the largest over prompts added here",
    kind="bound",
    unit=_LOG_TIMES,
    draw=_draw_fast,
    batch_claim=_inaccurate_but_fast,
    premise=_is_spotlight,
    sizes=((1, 5, None), (3, 5, None)),
    defaults={"gamma": 0.1},
)


# ------------------------------------------------------------------ D5: the best teacher depends on the pupil


def teachers(outputs: int) -> tuple[np.ndarray, np.ndarray]:
    """Two proxies, each 1 on one of the first two outputs and 0 elsewhere."""
    return np.eye(outputs)[0], np.eye(outputs)[1]


def _policy_dependent_teacher(problems: Problem, mirrored: Array, gamma: Array) -> Check:
    # A spotlight without lower values: with the others all at 0 the time of `inaccurate_but_fast` still bounds it.
    first, second = (jnp.asarray(proxy) for proxy in teachers(problems.num_outputs))
    shape = problems.true_reward.shape
    pupils = (problems, _started_at(problems, mirrored))
    cases = [(pupil, jnp.broadcast_to(proxy, shape)) for pupil in pupils for proxy in (first, second)]
    checks = []
    for i, (pupil, proxy) in enumerate(cases):
        taught = pupil.with_proxy(proxy)
        if i in (0, 3):
            upper = jnp.log(jax.vmap(spotlight_bound)(taught, gamma))
            checks.append(Check.at_most(jnp.log(rise_times(taught, gamma)), upper, rounding=1e-5))
        else:
            checks.append(_no_sooner(taught, gamma, jax.vmap(tabular_bound)(taught, gamma)))
    # What makes it matter: the slow bound of either pupil lies above its fast bound.
    checks.append(Check.at_most(checks[0].bound, checks[1].bound))
    checks.append(Check.at_most(checks[3].bound, checks[2].bound))
    return jax.vmap(lambda *each: Check.all_of(*each))(*checks)


def _started_at(problems: Problem, log_policy: Array) -> Problem:
    return Problem(
        None,
        problems.true_reward,
        problems.proxy_reward,
        log_policy,
        problems.temperature,
        problems.prompt_weights,
    )


def _draw_pupils(key: Array, outputs: int) -> tuple[Problem, dict[str, Any]]:
    stream = Stream(key)
    likely, rare = stream.uniform(0.1, 0.3), stream.log_uniform(1e-20, 1e-16)
    rest = jnp.full(outputs - 2, 1.0) * (1 - likely - rare) / (outputs - 2)
    true = jnp.concatenate([stream.uniform(0.8, 1.0, (2,)), stream.uniform(-1.0, -0.2, (outputs - 2,))])
    start = jnp.concatenate([jnp.stack([likely, rare]), rest])
    swapped = jnp.concatenate([jnp.stack([rare, likely]), rest])
    gamma = stream.uniform(0.1, 0.5)
    problem = Problem.tabular(start, true, jnp.asarray(teachers(outputs)[0]))
    return problem, {"mirrored": jnp.log(swapped)[None], "gamma": gamma}


policy_dependent_teacher = Theorem(
    name="policy_dependent_teacher",
    statement=(
        "Two good outputs, two proxies that each reward one of them, two families of initial policies that each rarely "
        "produce the other: each proxy is fast for its own family (T_gamma bounded by 1/pi_0 as in "
        "inaccurate_but_fast) and slow for the other (T_gamma >= 2 (1 - e^(-gamma/2)) / sqrt(pi_0 (1 - pi_0)), "
        "beyond any bound as pi_0 falls)."
    ),
    source=_PAPER + ", Theorem 3; this construction derived here",
    kind="bound",
    unit=_LOG_TIMES,
    draw=_draw_pupils,
    batch_claim=_policy_dependent_teacher,
    premise=lambda problem, **_: is_plain_tabular(problem) & (problem.num_prompts == 1),
    sizes=(4,),
)


# ------------------------------------------------------------------ D6: best of N


def best_of_n(log_policy: Float[Array, " K"], reward: Float[Array, " K"], count: Array) -> Float[Array, " K"]:
    """Probabilities of the best of `count` samples by `reward`, ties broken evenly.

    pi_N(y) = pi(y) / P(r = r_y) [P(r <= r_y)^N - P(r < r_y)^N].
    """
    probabilities = jnp.exp(log_policy)
    below = jnp.sum(jnp.where(reward[None, :] < reward[:, None], probabilities, 0.0), axis=1)
    tied = jnp.sum(jnp.where(reward[None, :] == reward[:, None], probabilities, 0.0), axis=1)
    return probabilities / tied * ((below + tied) ** count - below**count)


def _best_of_n(problem: Problem, count: Array, rival: Array) -> Check:
    log_policy, true = _start(problem)[0], problem.true_reward[0]
    accurate = jnp.sum(best_of_n(log_policy, problem.proxy_reward[0], count) * true)
    other = jnp.sum(best_of_n(log_policy, rival, count) * true)
    # E max of N samples = lowest reward + sum over steps of P(max reaches the step) times its height.
    order = jnp.argsort(true)
    climbed = jnp.cumsum(jnp.exp(log_policy)[order])[:-1]
    steps = jnp.diff(true[order])
    highest = true[order][0] + jnp.sum((1 - climbed**count) * steps)
    rounding = 64 * problem.num_outputs * _EPS * (1 + count)
    return Check.all_of(
        Check.at_least(accurate, other, rounding=rounding), Check.identity(accurate - highest, rounding)
    )


def _draw_best(key: Array, outputs: int) -> tuple[Problem, dict[str, Any]]:
    stream = Stream(key)
    shape = (1, outputs)
    true = draws.rewards(stream, shape)
    problem = Problem.tabular(
        draws.policy(stream, shape, (0.1, 2.0)), true, jnp.sinh(3 * true) + stream.uniform(-1.0, 1.0)
    )
    count = jnp.floor(stream.log_uniform(1.0, 257.0))
    return problem, {"count": count, "rival": draws.rewards(stream, (outputs,))}


def _same_order(problem: Problem, **parameters: Any) -> Any:
    def sign(reward: Array) -> Array:
        return jnp.sign(reward[0][:, None] - reward[0][None, :])

    return (problem.num_prompts == 1) & jnp.all(sign(problem.proxy_reward) == sign(problem.true_reward))


best_of_n_accuracy = Theorem(
    name="best_of_n_accuracy",
    statement=(
        "A perfectly accurate proxy is optimal for best-of-N: its choice has the value E[max of N true rewards], at "
        "least that of any other proxy's choice."
    ),
    source=_PAPER + ", section 4",
    kind="bound",
    unit="true value; holds up to 64 K (1 + N) eps",
    draw=_draw_best,
    claim=_best_of_n,
    premise=_same_order,
    sizes=(3, 10),
    defaults={"count": 4.0},
)


THEOREMS = [
    variance_gradient,
    variance_time_general,
    variance_time_tabular,
    accurate_but_slow,
    inaccurate_but_fast,
    policy_dependent_teacher,
    best_of_n_accuracy,
]
