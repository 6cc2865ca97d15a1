r"""Bounds around the taxonomy of arXiv 2604.25872: benign errors, and the escape without a mediocre output.

All are about gradient flow. "Orthonormal" is the tabular policy with one prompt at temperature 1; V_0 is the value at
the start. The text of the paper's theorems is not at hand, so constants are those derived here.
"""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from pgdyn import policy
from pgdyn.dynamics.ensemble import flow_many
from pgdyn.dynamics.flow import flow
from pgdyn.problem import Problem
from pgdyn.theory import draws, hull
from pgdyn.theory.draws import Stream
from pgdyn.theory.dynamics_identities import is_orthonormal
from pgdyn.theory.theorem import Check, Theorem

_SAVES = 48
_SOLVER: dict[str, Any] = {"rtol": 1e-9, "atol": 1e-11}
_ROUNDING = 1e-7  # what flows at rtol 1e-9 may be off by, in nats


# ------------------------------------------------------------------ B1: benign errors that never attract


def _path(problem: Problem, t1: Array) -> Float[Array, "S P K"]:
    return flow(problem, t1, saves=_SAVES, **_SOLVER).log_policy


def _logit_never_rises(problem: Problem, t1: Array, output: Array) -> Check:
    path = _path(problem, t1)[:, 0]
    # The logits sum to a constant (conserved_sum), so that centring them gives them up to that constant.
    logit = (path - jnp.mean(path, axis=-1, keepdims=True))[:, output]
    return Check.at_most(jnp.diff(logit), 0.0, rounding=_ROUNDING).worst()


def _below_value(problem: Problem, output: Array, **_: Any) -> Any:
    log_policy = policy.log_policy(problem, problem.initial_params)
    value = policy.prompt_values(log_policy, problem.proxy_reward)[0]
    return is_orthonormal(problem) & (problem.proxy_reward[0, output] <= value)


def _draw_benign(key: Array, outputs: int) -> tuple[Problem, dict[str, Any]]:
    stream = Stream(key)
    start = draws.policy(stream, (outputs,))
    proxy = draws.rewards(stream, (outputs,))
    # r(y) <= V iff r(y) is at most the mean over the other outputs.
    others = start[1:] / jnp.sum(start[1:])
    proxy = proxy.at[0].set(jnp.sum(others * proxy[1:]) - stream.log_uniform(1e-6, 1.0))
    turn = stream.uniform(0.0, float(outputs)).astype(int)
    start, proxy = jnp.roll(start, turn), jnp.roll(proxy, turn)
    problem = Problem.tabular(start, draws.rewards(stream, (outputs,)), proxy)
    return problem, {"t1": stream.log_uniform(0.1, 1e4), "output": turn % outputs}


_BENIGN: dict[str, Any] = {
    "draw": _draw_benign,
    "premise": _below_value,
    "sizes": (5,),
    "defaults": {"t1": 100.0, "output": 0},
}

benign_never_attracts = Theorem(
    name="benign_never_attracts",
    statement=(
        "Orthonormal flow of V_P: an output y with r_P(y) <= V_P(0) has a logit that never increases, since V_P never "
        "decreases and so A(y) <= 0 for ever."
    ),
    source="arXiv 2604.25872, the benign category 'never attracts'; proof derived here",
    kind="bound",
    unit="largest rise of the logit between two of 48 saved times, in nats; rounding 1e-7",
    claim=_logit_never_rises,
    **_BENIGN,
)


def _benign_probability(problem: Problem, t1: Array, output: Array) -> Check:
    path = _path(problem, t1)[:, 0]
    outputs = problem.num_outputs
    others = (jnp.sum(path[0]) - path[0, output]) / (outputs - 1)
    bound = jax.nn.log_sigmoid(path[0, output] - others - jnp.log(float(outputs - 1)))
    return Check.at_most(path[:, output], bound, rounding=_ROUNDING).worst()


benign_probability_bound = Theorem(
    name="benign_probability_bound",
    statement=(
        "Orthonormal flow of V_P, r_P(y) <= V_P(0): for all t, pi_t(y) <= pi_0(y) / (pi_0(y) + (K - 1) g), g the "
        "geometric mean of the other outputs' initial probabilities; so also pi_t(y) <= pi_0(y) / (K GeoMean(pi_0)), "
        "which is weaker by the inequality of the means."
    ),
    source="derived here, from conserved_sum and benign_never_attracts",
    kind="bound",
    unit="log-probability, in nats; rounding 1e-7",
    claim=_benign_probability,
    **_BENIGN,
)


def _probability_never_rises(problem: Problem, t1: Array, output: Array) -> Check:
    log_probability = _path(problem, t1)[:, 0, output]
    return Check.at_most(log_probability, log_probability[0], rounding=_ROUNDING).worst()


benign_probability_never_rises = Theorem(
    name="benign_probability_never_rises",
    statement=(
        "Claim: orthonormal flow of V_P, r_P(y) <= V_P(0): pi(y) never exceeds its start. False: when likely outputs "
        "of low reward lose their mass, B = Cov_pi(pi, r) < 0 and part of it goes to y, whose own logit falls "
        "meanwhile."
    ),
    source="derived here",
    kind="known false",
    unit="log-probability, in nats; rounding 1e-7",
    claim=_probability_never_rises,
    **_BENIGN,
)


# ------------------------------------------------------------------ B2: benign errors on negligible outputs


def _negligible(problems: Problem, other_proxy: Array, t: Array) -> Check:
    start = jnp.exp(jax.vmap(policy.log_policy)(problems, problems.initial_params))
    mass = jnp.sum(jnp.where(problems.proxy_reward != other_proxy, start, 0.0), axis=(1, 2))
    ends = [
        flow_many(batch, t, rtol=1e-11, atol=1e-13).true_value for batch in (problems, problems.with_proxy(other_proxy))
    ]
    return Check.ratio_at_most(jnp.abs(ends[0] - ends[1]), 4 * mass * jnp.exp(5 * t))


def _within_one(problem: Problem, other_proxy: Array, t: Array) -> Any:
    small = [jnp.all(jnp.abs(r) <= 1) for r in (problem.true_reward, problem.proxy_reward, other_proxy)]
    return is_orthonormal(problem) & small[0] & small[1] & small[2] & (t > 0)


def _draw_negligible(key: Array, outputs: int) -> tuple[Problem, dict[str, Any]]:
    stream = Stream(key)
    mass = stream.log_uniform(1e-7, 0.1)
    rare = jnp.arange(outputs) < jnp.where(stream.flag(0.5), 1, 2)
    start = draws.policy(stream, (outputs,), spread=(0.1, 2.0))
    rarely, mostly = (jnp.where(part, start, 0.0) for part in (rare, ~rare))
    start = mass * rarely / jnp.sum(rarely) + (1 - mass) * mostly / jnp.sum(mostly)
    true, proxy, other = (draws.rewards(stream, (outputs,)) for _ in range(3))
    other = jnp.where(other == proxy, proxy - 0.5 * jnp.where(proxy > 0, 1, -1), other)
    problem = Problem.tabular(start, true, proxy)
    return problem, {"other_proxy": jnp.where(rare, other, proxy)[None], "t": stream.log_uniform(0.01, 3.0)}


benign_negligible = Theorem(
    name="benign_negligible",
    statement=(
        "Orthonormal flow, rewards in [-1, 1], two proxies that differ only on outputs of initial mass mu: the true "
        "values after a time T differ by at most 4 mu e^{5T}."
    ),
    source="arXiv 2604.25872, the benign category 'negligible probability'; constant derived here",
    kind="bound",
    unit="decades: log10(bound / difference); no rounding",
    draw=_draw_negligible,
    batch_claim=_negligible,
    premise=_within_one,
    sizes=(5,),
    defaults={"t": 1.0},
)


# ------------------------------------------------------------------ B3: escape where no output is mediocre


def escape_integral(start: Array, end: Array) -> Array:
    """I = int dp / (p^2 (1 - p)^2) from `start` to `end`."""

    def antiderivative(p: Array) -> Array:
        return -1 / p + 1 / (1 - p) + 2 * (jnp.log(p) - jnp.log1p(-p))

    return antiderivative(end) - antiderivative(start)


def _best_start(problem: Problem) -> tuple[Array, Array, Array]:
    """(best output, its initial probability, the gap D) of a proxy r_b + D 1[y*]."""
    reward = problem.proxy_reward[0]
    log_policy = policy.log_policy(problem, problem.initial_params)[0]
    best = jnp.argmax(reward)
    return best, jnp.exp(log_policy[best]), reward[best] - jnp.min(reward)


def _time_to(problems: Problem, rho: Array, t1: Array) -> Array:
    """The time at which the proxy's best output reaches the probability rho under the flow of V_P; inf beyond t1."""
    best = jax.nn.one_hot(jnp.argmax(problems.proxy_reward, axis=-1), problems.num_outputs)
    counting = eqx.tree_at(lambda p: p.true_reward, problems, best)
    return jnp.asarray(flow_many(counting, t1, target=rho, stop_at_target=True, **_SOLVER).hitting_time)


def one_good_output(problem: Problem, rho: Array) -> Any:
    """Whether the proxy is r_b + D 1[y*] on one prompt at temperature 1, with p_0 < rho < 1."""
    if problem.num_prompts != 1:
        return False
    _, p, gap = _best_start(problem)
    reward = problem.proxy_reward[0]
    others_equal = jnp.sum(reward == jnp.min(reward)) == problem.num_outputs - 1
    return others_equal & (gap > 0) & (p < rho) & (rho < 1) & (problem.temperature == 1)


@eqx.filter_jit
def _hull_bounds(problems: Problem, rho: Array) -> Array:
    def one(problem: Problem, rho: Array) -> Array:
        best, p, gap = _best_start(problem)
        assert problem.features is not None
        phi = jnp.roll(problem.features[0], -best, axis=0)
        return escape_integral(p, rho) / (gap * hull.squared_distance(phi[0], phi[1:]))

    return jax.vmap(one, in_axes=(problems.batch_axes, 0))(problems, rho)


def _no_mediocre_upper(problems: Problem, rho: Array) -> Check:
    bound = _hull_bounds(problems, rho)
    return Check.ratio_at_most(_time_to(problems, rho, 1.01 * bound), bound, rounding=1e-5)


def _draw_features(key: Array, size: tuple[int, int]) -> tuple[Problem, dict[str, Any]]:
    stream = Stream(key)
    outputs, width = size
    phi = stream.normal((outputs, width))
    # Less likely the further the start lies away from phi*.
    away = phi[0] - jnp.mean(phi[1:], axis=0)
    params = stream.uniform(-8.0, 1.0) * away / jnp.sum(away**2) + 0.5 * stream.normal((width,))
    low, gap = stream.uniform(-1.0, 1.0), stream.log_uniform(0.01, 2.0)
    reward = jnp.full(outputs, low).at[0].set(low + gap)
    problem = Problem.linear(phi, reward, initial_params=params)
    _, p, _ = _best_start(problem)
    return problem, {"rho": p + stream.uniform(0.01, 0.99) * (1 - p)}


no_mediocre_upper = Theorem(
    name="no_mediocre_upper",
    statement=(
        "Proxy r_b + D 1[y*], any linear features, one prompt: under the flow p = pi(y*) reaches rho by the time "
        "I / (D dist(phi*, conv{other phi})^2), I = [-1/x + 1/(1-x) + 2 ln(x/(1-x))] from p_0 to rho; so in time "
        "O(1/p_0), as in the paper's second theorem."
    ),
    source="arXiv 2604.25872, theorem 2 (its rate); constant and the extension to features derived here",
    kind="bound",
    unit="decades: log10(bound / time); rounding 1e-5",
    draw=_draw_features,
    batch_claim=_no_mediocre_upper,
    premise=lambda problem, rho: (not problem.is_tabular) & one_good_output(problem, rho),
    sizes=((5, 5),),
    defaults={"rho": 0.9},
)


def _no_mediocre_orthonormal(problems: Problem, rho: Array) -> Check:
    _, p, gap = jax.vmap(_best_start)(problems)
    outputs = problems.num_outputs
    integral = escape_integral(p, rho) / gap
    upper = integral * (outputs - 1) / outputs
    time = _time_to(problems, rho, 1.01 * upper)
    above = Check.ratio_at_most(time, upper, rounding=1e-5)
    below = Check.ratio_at_least(time, integral / 2, rounding=1e-5)
    return jax.tree.map(lambda a, b: jnp.where(above.slack <= below.slack, a, b), above, below)


def _draw_one_good(key: Array, outputs: int) -> tuple[Problem, dict[str, Any]]:
    stream = Stream(key)
    p = stream.log_uniform(1e-6, 0.5)
    start = jnp.append(p, (1 - p) * draws.policy(stream, (outputs - 1,)))
    low, gap = stream.uniform(-1.0, 1.0), stream.log_uniform(0.01, 2.0)
    reward = jnp.full(outputs, low).at[0].set(low + gap)
    return Problem.tabular(start, reward), {"rho": p + stream.uniform(0.01, 0.99) * (1 - p)}


no_mediocre_orthonormal = Theorem(
    name="no_mediocre_orthonormal",
    statement=(
        "Proxy r_b + D 1[y*], K outputs, orthonormal flow: the time T at which pi(y*) reaches rho satisfies "
        "I / (2 D) <= T <= I (K - 1) / (K D), with I as in no_mediocre_upper: the lower end where one other output "
        "holds all the rest, the upper where the others are equal (see two_level_closed_form)."
    ),
    source="derived here; rate of arXiv 2604.25872, theorem 2",
    kind="bound",
    unit="decades to the nearer end; rounding 1e-5",
    draw=_draw_one_good,
    batch_claim=_no_mediocre_orthonormal,
    premise=lambda problem, rho: is_orthonormal(problem) & one_good_output(problem, rho),
    sizes=(3, 10),
    defaults={"rho": 0.9},
)


THEOREMS = [
    benign_never_attracts,
    benign_probability_bound,
    benign_probability_never_rises,
    benign_negligible,
    no_mediocre_upper,
    no_mediocre_orthonormal,
]
