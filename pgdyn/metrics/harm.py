r"""How well a reward model agrees with the ground truth, with and without forgiving errors that cannot harm.

An item is a pair of a chosen output and a rejected one, ranked by the ground truth: r_G(chosen) > r_G(rejected). With
r_P the scores of the reward model and V_P(x) its mean score under the initial policy on prompt x,

    Acc    = mean over items of      1[ r_P(chosen) > r_P(rejected) ]
    HAcc   = mean over items of      1[ r_P(chosen) > r_P(rejected)  or  r_P(rejected) < V_P(x) ]
    Acc-W  = sum over items of w_i * 1[ ... as in Acc ],     w = softmax over all items of l_i
    HAcc-W = sum over items of w_i * 1[ ... as in HAcc ],    l_i = log p(chosen) + log p(rejected)

The second clause of HAcc forgives an error on a rejected output that scores below the mean, since such an output
attracts no probability at the start. One-vs-many: an item is a chosen output and M rejected ones. It is right if all
rejected outputs score below the chosen one (HAcc: below max(r_P(chosen), V_P(x))), and l_i sums log p over all M + 1
outputs. Every inequality is strict, so a tie is an error. Scores and V_P may have any unit; log-probabilities are in
nats.

Every function takes arrays or nested lists and gives a scalar between 0 and 1. Known values are computed by NumPy, so
nothing is compiled; under `jax.jit` and `jax.vmap` the same functions trace.

Source: arXiv 2604.25872, section 4. The worked case of the examples: policy (.05, .5, .15, .15, .15), truth
(1, .8, -1, -1, -1), proxy (1, -.95, -.9, -.8, -1), and the seven pairs that the truth orders strictly.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from pgdyn import validate
from pgdyn.validate import Numbers

Scalar = Float[Array | np.ndarray, ""]


def accuracy(chosen: Numbers, rejected: Numbers, *, one_vs_many: bool = False) -> Scalar:
    r"""Acc: the fraction of items in which the chosen output scores strictly above the rejected one(s).

        Acc = mean_i 1[ r_P(chosen_i) > r_P(rejected_i) ]

    Args:
        chosen: [prompts, pairs] scores; with `one_vs_many`, [prompts].
        rejected: [prompts, pairs] scores; with `one_vs_many`, [prompts, M].
        one_vs_many: whether an item is a prompt's one chosen output against all its rejected ones.

    Returns:
        A scalar.

    Raises:
        ValueError: on shapes that do not fit or entries that are not finite.

    Example:
        >>> chosen = [[1, 1, 1, 1, -0.95, -0.95, -0.95]]
        >>> rejected = [[-0.95, -0.9, -0.8, -1, -0.9, -0.8, -1]]
        >>> round(float(accuracy(chosen, rejected)), 4)
        0.7143
        >>> float(accuracy([1.0, 0.5], [[0.0, -1.0], [0.0, 0.5]], one_vs_many=True))
        0.5
    """
    return _mean(_correct(*_scores(chosen, rejected, one_vs_many), None, one_vs_many), None)


def weighted_accuracy(
    chosen: Numbers, rejected: Numbers, logp_chosen: Numbers, logp_rejected: Numbers, *, one_vs_many: bool = False
) -> Scalar:
    r"""Acc-W: Acc with items weighted by one softmax over all of them.

        Acc-W = sum_i w_i 1[ r_P(chosen_i) > r_P(rejected_i) ],     w = softmax_i( log p(chosen_i) + log p(rejected_i) )

    Args:
        chosen: as for `accuracy`.
        rejected: as for `accuracy`.
        logp_chosen: log-probabilities (nats) of the chosen outputs under the initial policy, shaped like `chosen`;
            -inf gives the item no weight.
        logp_rejected: those of the rejected outputs, shaped like `rejected`.
        one_vs_many: as for `accuracy`; an item's weight then has the sum over its rejected outputs.

    Returns:
        A scalar.

    Raises:
        ValueError: on shapes that do not fit, a score that is not finite, a log-probability that is nan or above 0, or
            if no item has any weight.

    Example:
        >>> best, second, bad = np.log(0.05), np.log(0.5), np.log(0.15)
        >>> chosen = [[1, 1, 1, 1, -0.95, -0.95, -0.95]]
        >>> rejected = [[-0.95, -0.9, -0.8, -1, -0.9, -0.8, -1]]
        >>> high = [[best, best, best, best, second, second, second]]
        >>> low = [[second, bad, bad, bad, bad, bad, bad]]
        >>> round(float(weighted_accuracy(chosen, rejected, high, low)), 4)
        0.4495
    """
    scores = _scores(chosen, rejected, one_vs_many)
    weights = _weights(logp_chosen, logp_rejected, scores, one_vs_many)
    return _mean(_correct(*scores, None, one_vs_many), weights)


def harm_aware_accuracy(
    chosen: Numbers, rejected: Numbers, mean_reward: Numbers, *, one_vs_many: bool = False
) -> Scalar:
    r"""HAcc: Acc that also accepts an item whose rejected output(s) score strictly below the prompt's mean score.

        HAcc = mean_i 1[ r_P(chosen_i) > r_P(rejected_i)  or  r_P(rejected_i) < V_P(x_i) ]

    Args:
        chosen: as for `accuracy`.
        rejected: as for `accuracy`.
        mean_reward: [prompts], V_P(x): the mean score of the initial policy's outputs on each prompt.
        one_vs_many: as for `accuracy`; every rejected output then has to score below the chosen one or below V_P.

    Returns:
        A scalar.

    Raises:
        ValueError: on shapes that do not fit or entries that are not finite.

    Example:
        >>> chosen = [[1, 1, 1, 1, -0.95, -0.95, -0.95]]
        >>> rejected = [[-0.95, -0.9, -0.8, -1, -0.9, -0.8, -1]]
        >>> mean = 0.05 * 1 + 0.5 * -0.95 + 0.15 * (-0.9 - 0.8 - 1)
        >>> round(float(harm_aware_accuracy(chosen, rejected, [mean])), 4)
        0.8571
    """
    scores = _scores(chosen, rejected, one_vs_many)
    return _mean(_correct(*scores, _mean_reward(mean_reward, scores[1]), one_vs_many), None)


def weighted_harm_aware_accuracy(
    chosen: Numbers,
    rejected: Numbers,
    logp_chosen: Numbers,
    logp_rejected: Numbers,
    mean_reward: Numbers,
    *,
    one_vs_many: bool = False,
) -> Scalar:
    r"""HAcc-W: HAcc with the item weights of Acc-W.

        HAcc-W = sum_i w_i 1[ r_P(chosen_i) > r_P(rejected_i)  or  r_P(rejected_i) < V_P(x_i) ]

    Args:
        chosen: as for `accuracy`.
        rejected: as for `accuracy`.
        logp_chosen: as for `weighted_accuracy`.
        logp_rejected: as for `weighted_accuracy`.
        mean_reward: as for `harm_aware_accuracy`.
        one_vs_many: as for `accuracy`.

    Returns:
        A scalar.

    Raises:
        ValueError: as for `weighted_accuracy` and `harm_aware_accuracy`.

    Example:
        >>> best, second, bad = np.log(0.05), np.log(0.5), np.log(0.15)
        >>> chosen = [[1, 1, 1, 1, -0.95, -0.95, -0.95]]
        >>> rejected = [[-0.95, -0.9, -0.8, -1, -0.9, -0.8, -1]]
        >>> high = [[best, best, best, best, second, second, second]]
        >>> low = [[second, bad, bad, bad, bad, bad, bad]]
        >>> mean = 0.05 * 1 + 0.5 * -0.95 + 0.15 * (-0.9 - 0.8 - 1)
        >>> round(float(weighted_harm_aware_accuracy(chosen, rejected, high, low, [mean])), 4)
        0.7248
    """
    scores = _scores(chosen, rejected, one_vs_many)
    weights = _weights(logp_chosen, logp_rejected, scores, one_vs_many)
    return _mean(_correct(*scores, _mean_reward(mean_reward, scores[1]), one_vs_many), weights)


def _arrays(*values: Any) -> Any:
    """jax.numpy where a value is being traced, else NumPy."""
    return jnp if any(map(validate.is_traced, values)) else np


def _mean(right: Any, weights: Any) -> Any:
    xp = _arrays(right, weights)
    return xp.asarray(xp.mean(right) if weights is None else xp.sum(weights * right))


def _correct(chosen: Any, rejected: Any, mean_reward: Any, one: bool) -> Any:
    """1 for each item that is right, else 0: [prompts, pairs], or [prompts] in one-vs-many."""
    xp = _arrays(chosen, rejected, mean_reward)
    bar = chosen
    if mean_reward is not None:
        bar = xp.maximum(chosen, mean_reward if one else mean_reward[:, None])
    below = rejected < (bar[:, None] if one else bar)
    return (xp.all(below, axis=-1) if one else below).astype(rejected.dtype)


def _scores(chosen: Any, rejected: Any, one_vs_many: Any) -> tuple[Any, Any]:
    validate.choice("one_vs_many", one_vs_many, (False, True))
    high, low = validate.as_floats("chosen", chosen), validate.as_floats("rejected", rejected)
    if one_vs_many:
        if high.ndim != 1 or low.ndim != 2 or high.shape[0] != low.shape[0]:
            raise ValueError(
                f"chosen has shape {high.shape} and rejected {low.shape}; with one_vs_many they must be [prompts] and "
                "[prompts, M]"
            )
    elif high.ndim != 2 or high.shape != low.shape:
        raise ValueError(f"chosen has shape {high.shape} and rejected {low.shape}; both must be [prompts, pairs]")
    validate.require_finite("chosen", high)
    validate.require_finite("rejected", low)
    return high, low


def _mean_reward(value: Any, rejected: Any) -> Any:
    mean = validate.as_floats("mean_reward", value)
    if mean.shape != rejected.shape[:1]:
        raise ValueError(f"mean_reward has shape {mean.shape} but there are {rejected.shape[0]} prompts")
    validate.require_finite("mean_reward", mean)
    return mean


def _weights(logp_chosen: Any, logp_rejected: Any, scores: tuple[Any, Any], one: bool) -> Any:
    """One softmax over all items: [prompts, pairs], or [prompts] in one-vs-many."""
    logps = []
    for name, value, score in zip(("chosen", "rejected"), (logp_chosen, logp_rejected), scores, strict=True):
        logp = validate.as_floats(f"logp_{name}", value)
        if logp.shape != score.shape:
            raise ValueError(f"logp_{name} has shape {logp.shape} but {name} has {score.shape}")
        if not validate.is_traced(logp):
            validate.require(f"logp_{name}", logp, logp <= 0, "a log-probability must be at most 0")
        logps.append(logp)
    high, low = logps
    item = high + (_arrays(low).sum(low, axis=-1) if one else low)
    if validate.is_traced(item):
        return jax.nn.softmax(item, axis=None)
    if not np.any(item > -np.inf):
        raise ValueError("no item has any weight: each has an output of log-probability -inf")
    weights = np.exp(item - np.max(item))
    return weights / weights.sum()
