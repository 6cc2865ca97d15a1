r"""Why an error should help or harm, told from the initial policy and the rewards alone.

The types are those of arXiv 2604.25872 (table of reward errors). What it says in words is made precise as follows, for
one prompt with initial policy pi_0, truth r_G, proxy r_P and a target value tau:

    V_G, V_P    the two rewards' values at the start
    good        outputs with r_G(y) >= tau: a policy that settles on one reaches the target
    mediocre    V_G < r_G(y) < tau: the truth attracts it at first, and a policy that settles on it misses the target
    low         r_G(y) <= V_G: the truth does not attract it at first
    H_P, H_G    the largest proxy, and the largest truth, of good outputs
    e(y)        the error: r_P(y) - r_G(y), counted from the prompt's most frequent difference (ties: the one nearest to
                V_P - V_G), because a constant added to a prompt's rewards changes nothing

and each output has at most one type, the first of these that applies:

    negligible probability   the output is not good, e(y) != 0 or r_P(y) >= H_P, and
                             pi_0(y) <= 1e-3 max pi_0(good outputs)
    reward hacking           the output is not good, and r_P(y) >= H_P
    escapes mediocrity       mediocre, e(y) < 0, and r_P(y) < V_P
    stalling                 not good, e(y) > 0, and V_P < r_P(y) (< H_P)
    never attracts           low, e(y) != 0, and r_P(y) <= V_P

So "low ground truth" in the paper's harmful types is read as "misses the target", and "low proxy" as "below the mean
proxy at the start". Errors on good outputs have no type in the paper's table, and have none here unless they lift other
outputs above H_P; neither have mediocre outputs whose proxy is lowered but still above V_P.

Errors on several outputs: the type of the proxy is that of the output that outweighs the others, first among the types
that imply an effect (hacking, stalling, escaping), and only without any of those among the benign ones. The weight is
w_p pi_0(y) |e(y)|, the change of w_p pi_0(y) A_P(y), the output's attraction at the start (theory: attraction). For
hacking e(y) is replaced by what the gap to the best good output is off by, (r_P(y) - H_P) - (r_G(y) - H_G), which is
positive even where the error is that good outputs were lowered. With several prompts every prompt has a target of its
own, at the same height between its V_G and its best truth.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from pgdyn import policy
from pgdyn.problem import Problem

NONE, HACKING, STALLING, NEVER, NEGLIGIBLE, ESCAPES = range(6)
MECHANISMS = (
    "none",
    "reward hacking",
    "stalling",
    "never attracts",
    "negligible probability",
    "escapes mediocrity",
)
CATEGORIES = ("harmful", "benign", "beneficial")
PREDICTED = dict(
    zip(MECHANISMS, ("benign", "harmful", "harmful", "benign", "benign", "beneficial"), strict=True),
)

_NEGLIGIBLE = 1e-3
_SAME = 1e-9  # relative to the rewards' size: below it a difference is rounding


def output_types(
    problem: Problem, proxy_reward: Float[Array, "P K"], target: Float[Array, ""]
) -> tuple[Int[Array, "P K"], Float[Array, "P K"]]:
    """Each output's type, an index into `MECHANISMS`, and its weight, both as the module says."""
    truth = problem.true_reward
    log_policy = policy.log_policy(problem, problem.initial_params)
    initial = jnp.exp(log_policy)
    true_value = policy.prompt_values(log_policy, truth)[:, None]
    proxy_value = policy.prompt_values(log_policy, proxy_reward)[:, None]
    best = jnp.max(truth, axis=-1, keepdims=True)
    goal = true_value + _height(problem, true_value, best, target) * (best - true_value)

    scale = jnp.maximum(jnp.max(jnp.abs(truth)), jnp.max(jnp.abs(proxy_reward)))
    rounding = _SAME * scale
    error = _error(proxy_reward - truth, proxy_value - true_value, rounding)
    # A height that is 1 to rounding must leave the best output good.
    good = truth >= goal - rounding
    mediocre = ~good & (truth > true_value)
    top_proxy = jnp.max(jnp.where(good, proxy_reward, -jnp.inf), axis=-1, keepdims=True)
    top_truth = jnp.max(jnp.where(good, truth, -jnp.inf), axis=-1, keepdims=True)
    likeliest = jnp.max(jnp.where(good, initial, 0.0), axis=-1, keepdims=True)

    wrong = jnp.abs(error) > rounding
    # No output is good where the target is above every truth; nothing can then be hacked by comparison with them.
    above = jnp.any(good, axis=-1, keepdims=True) & ~good & (proxy_reward >= top_proxy)
    lost = jnp.where(above, (proxy_reward - top_proxy) - (truth - top_truth), jnp.abs(error))
    hacking = above
    escapes = mediocre & wrong & (error < 0) & (proxy_reward < proxy_value)
    stalling = ~good & wrong & (error > 0) & (proxy_reward > proxy_value)
    never = ~good & ~mediocre & wrong & (proxy_reward <= proxy_value)
    negligible = ~good & (wrong | above) & (initial <= _NEGLIGIBLE * likeliest)
    types = jnp.select(
        [negligible, hacking, escapes, stalling, never], [NEGLIGIBLE, HACKING, ESCAPES, STALLING, NEVER], NONE
    )
    return types, problem.prompt_weights[:, None] * initial * lost


def dominant(types: Int[Array, "P K"], weights: Float[Array, "P K"]) -> Int[Array, ""]:
    """The type of the heaviest output among those with an effect, else among the benign ones."""
    effect = (types == HACKING) | (types == STALLING) | (types == ESCAPES)
    typed = types != NONE
    chosen = jnp.where(jnp.any(effect), effect, typed)
    heaviest = jnp.argmax(jnp.where(chosen, weights, -jnp.inf))
    return jnp.where(jnp.any(typed), jnp.ravel(types)[heaviest], NONE)


def mechanisms(problem: Problem, proxy_rewards: Float[Array, "M P K"], target: float) -> np.ndarray:
    """[M] names from `MECHANISMS`, one for each proxy."""
    codes = _codes(problem, proxy_rewards, jnp.asarray(target, proxy_rewards.dtype))
    return np.asarray(MECHANISMS)[np.asarray(codes)]


@jax.jit
def _codes(problem: Problem, proxy_rewards: Array, target: Array) -> Array:
    return jax.vmap(lambda proxy: dominant(*output_types(problem, proxy, target)))(proxy_rewards)


def _height(problem: Problem, true_value: Array, best: Array, target: Array) -> Array:
    """Where the target lies between the value at the start (0) and the best possible (1)."""
    start = jnp.sum(problem.prompt_weights * true_value[:, 0])
    room = jnp.sum(problem.prompt_weights * best[:, 0]) - start
    return jnp.where(room > 0, (target - start) / jnp.where(room > 0, room, 1.0), 1.0)


def _error(
    difference: Float[Array, "P K"], mean: Float[Array, "P 1"], rounding: Float[Array, ""]
) -> Float[Array, "P K"]:
    """The differences counted from each prompt's most frequent one; of equals, the one nearest to the mean."""
    alike = jnp.abs(difference[:, :, None] - difference[:, None, :]) <= rounding
    counts = jnp.sum(alike, axis=-1)
    most = counts == jnp.max(counts, axis=-1, keepdims=True)
    index = jnp.argmin(jnp.where(most, jnp.abs(difference - mean), jnp.inf), axis=-1, keepdims=True)
    return difference - jnp.take_along_axis(difference, index, axis=-1)
