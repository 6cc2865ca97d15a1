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

Errors on several outputs: the proxy's type is that of the heaviest output whose type implies an effect (hacking,
stalling, escaping); without such an output, that of the heaviest output of a benign type. The weight is
w_p pi_0(y) |e(y)|, the change of w_p pi_0(y) A_P(y), the output's attraction at the start (theory: attraction). For
hacking e(y) is replaced by the change of the gap to the best good output, (r_P(y) - H_P) - (r_G(y) - H_G), which is
positive even where the error is that good outputs were lowered. With several prompts every prompt has a target of its
own, at the same height between its V_G and its best truth.

In a sequence of decisions the outputs are whole outputs, a prompt is a start, and an output's number its place in
`pgdyn.mdp.leaves`. Where chance decides, or a start has more than 512 whole outputs, no type is told: "none".
"""

from __future__ import annotations

from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int

from pgdyn import policy, validate
from pgdyn.batch import Batch
from pgdyn.mdp import episodes
from pgdyn.problem import Problem
from pgdyn.validate import Numbers

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
_ROWS, _NUMBERS = 1024, 2**18  # problems of one compiled call, and numbers that its comparisons of outputs may take


class Causes(NamedTuple):
    """The a-priori mechanism of each of N proxies, and the output that it is about.

    Attributes:
        mechanism: [N], names from `MECHANISMS`.
        prompt: [N], index of the prompt of the heaviest output of that type; -1 for "none".
        output: [N], index of that output; -1 for "none".
    """

    mechanism: np.ndarray
    prompt: np.ndarray
    output: np.ndarray


def mechanisms(problem: Problem, proxy_rewards: Numbers, target: ArrayLike) -> np.ndarray:
    """The a-priori mechanism of each proxy of one problem.

    Args:
        problem: one problem; its own proxy plays no part.
        proxy_rewards: [M, P, K].
        target: tau, the true value to be reached.

    Returns:
        [M] names from `MECHANISMS`. Another M compiles nothing.

    Raises:
        ValueError: on a batch, entries that are not finite or shapes that do not fit.

    Example:
        >>> problem = Problem.tabular([0.05, 0.5, 0.15, 0.15, 0.15], [1, 0.8, -1, -1, -1])
        >>> mechanisms(problem, [[[1, -1, -1, -1, -1]], [[1, 0.8, 1.5, -1, -1]]], 0.9).tolist()
        ['escapes mediocrity', 'reward hacking']
    """
    return causes(Batch.of(problem.with_proxy(proxy_rewards)), target).mechanism


def causes(batch: Batch, target: ArrayLike) -> Causes:
    """The a-priori mechanism of the proxy of every problem of a batch.

    Args:
        batch: N problems with their proxies.
        target: tau, one number or [N].

    Returns:
        `Causes` of the N proxies. Another N compiles nothing.

    Raises:
        ValueError: if `target` has another shape, or an entry that is not finite.

    Example:
        >>> problem = Problem.tabular([0.05, 0.5, 0.15, 0.15, 0.15], [1, 0.8, -1, -1, -1])
        >>> found = causes(problem.with_proxy([[[1, -1, -1, -1, -1]], [[1, 0.8, 1.5, -1, -1]]]), 0.9)
        >>> found.mechanism.tolist(), found.output.tolist()
        (['escapes mediocrity', 'reward hacking'], [1, 2])
    """
    size = len(batch)
    if batch.problems.transitions is not None:
        outputs = episodes.whole_outputs(batch)
        if outputs is None:
            return Causes(np.full(size, MECHANISMS[NONE]), np.full(size, -1), np.full(size, -1))
        batch = outputs
    goals = validate.as_floats("target", target)
    if goals.shape not in ((), (size,)):
        raise ValueError(f"target has shape {goals.shape}; it must be one number or one for each of {size} problems")
    validate.require_finite("target", goals)
    targets = np.broadcast_to(goals, (size,))
    # As many rows in every call, the last ones repeated, so that one compiled program serves any N.
    width = int(np.clip(_NUMBERS // (batch.num_prompts * batch.num_outputs**2), 1, _ROWS))
    parts = []
    for first in range(0, size, width):
        rows = np.minimum(np.arange(first, first + width), size - 1)
        codes, places = _causes(batch[rows], targets[rows])
        parts.append((np.asarray(codes), np.asarray(places)))
    code, place = (np.concatenate(column)[:size] for column in zip(*parts, strict=True))
    prompt, output = np.divmod(place, batch.num_outputs)
    typed = code != NONE
    return Causes(np.asarray(MECHANISMS)[code], np.where(typed, prompt, -1), np.where(typed, output, -1))


@eqx.filter_jit
def _causes(batch: Batch, targets: Float[Array | np.ndarray, " N"]) -> tuple[Array, Array]:
    return batch.map(lambda problem, target: dominant(*output_types(problem, target)), targets)


def output_types(problem: Problem, target: Float[Array, ""]) -> tuple[Int[Array, "P K"], Float[Array, "P K"]]:
    """The type and the weight of each output, by the rules of the module, for the problem's own proxy.

    Args:
        problem: one problem.
        target: tau.

    Returns:
        Types as indices into `MECHANISMS`, and weights w_p pi_0(y) |e(y)|.

    Example:
        >>> problem = Problem.tabular([0.05, 0.5, 0.45], [1, 0.8, -1], [1, -1, -1])
        >>> types, weights = output_types(problem, jnp.asarray(0.9))
        >>> [MECHANISMS[code] for code in types[0]], weights.round(3).tolist()
        (['none', 'escapes mediocrity', 'none'], [[0.0, 0.9, 0.0]])
    """
    truth, proxy = problem.true_reward, problem.proxy_reward
    log_policy = policy.log_policy(problem, problem.initial_params)
    initial = jnp.exp(log_policy)
    true_value = policy.prompt_values(log_policy, truth)[:, None]
    proxy_value = policy.prompt_values(log_policy, proxy)[:, None]
    best = jnp.max(truth, axis=1, keepdims=True)
    goal = true_value + _height(problem, true_value, best, target) * (best - true_value)

    rounding = _SAME * jnp.maximum(jnp.max(jnp.abs(truth)), jnp.max(jnp.abs(proxy)))
    error = _error(proxy - truth, proxy_value - true_value, rounding)
    # A height that is 1 to rounding must leave the best output good.
    good = truth >= goal - rounding
    mediocre = ~good & (truth > true_value)
    top_proxy = jnp.max(jnp.where(good, proxy, -jnp.inf), axis=1, keepdims=True)
    top_truth = jnp.max(jnp.where(good, truth, -jnp.inf), axis=1, keepdims=True)
    likeliest = jnp.max(jnp.where(good, initial, 0.0), axis=1, keepdims=True)

    wrong = jnp.abs(error) > rounding
    # No output is good where the target is above every truth; nothing can then be hacked by comparison with them.
    hacking = jnp.any(good, axis=1, keepdims=True) & ~good & (proxy >= top_proxy)
    size = jnp.where(hacking, (proxy - top_proxy) - (truth - top_truth), jnp.abs(error))
    escapes = mediocre & wrong & (error < 0) & (proxy < proxy_value)
    stalling = ~good & wrong & (error > 0) & (proxy > proxy_value)
    never = ~good & ~mediocre & wrong & (proxy <= proxy_value)
    negligible = ~good & (wrong | hacking) & (initial <= _NEGLIGIBLE * likeliest)
    types = jnp.select(
        [negligible, hacking, escapes, stalling, never], [NEGLIGIBLE, HACKING, ESCAPES, STALLING, NEVER], NONE
    )
    return types, problem.prompt_weights[:, None] * initial * size


def dominant(types: Int[Array, "P K"], weights: Float[Array, "P K"]) -> tuple[Int[Array, ""], Int[Array, ""]]:
    """The type of the heaviest output among those with an effect, or else among those of a benign type.

    Args:
        types: indices into `MECHANISMS`.
        weights: of the outputs.

    Returns:
        The type, and the index p K + y of that output; type 0 ("none") where no output has a type.

    Example:
        >>> code, place = dominant(jnp.array([[0, NEVER, STALLING]]), jnp.array([[0.0, 0.9, 0.1]]))
        >>> MECHANISMS[code], int(place)
        ('stalling', 2)
    """
    effect = (types == HACKING) | (types == STALLING) | (types == ESCAPES)
    typed = types != NONE
    chosen = jnp.where(jnp.any(effect), effect, typed)
    heaviest = jnp.argmax(jnp.where(chosen, weights, -jnp.inf))
    return jnp.where(jnp.any(typed), jnp.ravel(types)[heaviest], NONE), heaviest


def _height(
    problem: Problem, true_value: Float[Array, "P 1"], best: Float[Array, "P 1"], target: Float[Array, ""]
) -> Float[Array, ""]:
    """Where the target lies between the value at the start (0) and the best possible (1)."""
    start = policy.mean(problem, true_value[:, 0])
    room = policy.mean(problem, best[:, 0]) - start
    return jnp.where(room > 0, (target - start) / jnp.where(room > 0, room, 1.0), 1.0)


def _error(
    difference: Float[Array, "P K"], mean: Float[Array, "P 1"], rounding: Float[Array, ""]
) -> Float[Array, "P K"]:
    """The differences counted from each prompt's most frequent one; of equals, the one nearest to the mean."""
    alike = jnp.abs(difference[:, :, None] - difference[:, None, :]) <= rounding
    counts = jnp.sum(alike, axis=2)
    most = counts == jnp.max(counts, axis=1, keepdims=True)
    index = jnp.argmin(jnp.where(most, jnp.abs(difference - mean), jnp.inf), axis=1, keepdims=True)
    return difference - jnp.take_along_axis(difference, index, axis=1)
