r"""Rankings: of outputs by a reward model, of policies by their outputs, and of reward models by a metric.

MRR      = mean_x 1 / (1 + #{ rejected that score at least as high as the chosen output })
accuracy of all pairs (arXiv 2503.15477, definition 1): the probability that proxy and truth order two outputs alike
win rate = sum_{y, y'} pi(y) pi_0(y') ( 1[r(y) > r(y')] + 1[r(y) = r(y')] / 2 )
best of n: sum_y r_G(y) P(y scores best of n draws from pi_0)
"""

from __future__ import annotations

import numpy as np

from pgdyn import validate
from pgdyn.metrics.teacher import probabilities, table
from pgdyn.validate import Numbers


def mean_reciprocal_rank(chosen: Numbers, rejected: Numbers) -> np.ndarray:
    """MRR: the mean of 1 over the rank of the chosen output among all; ties rank it last.

    Args:
        chosen: [prompts] scores.
        rejected: [prompts, M] scores.

    Raises:
        ValueError: on shapes that do not fit or entries that are not finite.

    Example:
        >>> float(mean_reciprocal_rank([3.0, 1.0], [[2.0, 1.0], [1.0, 0.0]]))
        0.75
    """
    high, low = (np.asarray(validate.as_floats(*pair)) for pair in (("chosen", chosen), ("rejected", rejected)))
    if high.ndim != 1 or low.ndim != 2 or len(high) != len(low):
        raise ValueError(
            f"chosen has shape {high.shape} and rejected {low.shape}; they must be [prompts], [prompts, M]"
        )
    validate.require_finite("chosen", high)
    validate.require_finite("rejected", low)
    return np.asarray(np.mean(1 / (1 + np.sum(low >= high[:, None], axis=1))))


def pairwise_accuracy(true_reward: Numbers, proxy_reward: Numbers, policy: Numbers | None = None) -> np.ndarray:
    """The probability that the proxy orders two different outputs as the truth does, averaged over prompts.

    A pair that both tie is ordered alike, a pair that one of them ties is not. So the program of arXiv 2503.15477 has
    it.

    Args:
        true_reward: [K] or [prompts, K].
        proxy_reward: like `true_reward`.
        policy: [prompts, K], by which the two are drawn; None for all pairs alike.

    Raises:
        ValueError: on shapes that do not fit, entries that are not finite, or fewer than two outputs with weight.

    Example:
        >>> float(pairwise_accuracy([3.0, 2.0, 1.0], [3.0, 1.0, 2.0]).round(4))
        0.6667
    """
    truth, proxy = table("true_reward", true_reward), table("proxy_reward", proxy_reward)
    if truth.shape != proxy.shape:
        raise ValueError(f"proxy_reward has shape {proxy.shape} but true_reward {truth.shape}")
    weights = np.ones_like(truth) if policy is None else probabilities("policy", policy, truth.shape)
    one, other = np.triu_indices(truth.shape[1], 1)
    alike = np.sign(truth[:, one] - truth[:, other]) == np.sign(proxy[:, one] - proxy[:, other])
    pair = weights[:, one] * weights[:, other]
    if not np.all(pair.sum(axis=1) > 0):
        raise ValueError("a prompt has fewer than two outputs with weight, so there are no pairs")
    return np.asarray(np.mean(np.sum(pair * alike, axis=1) / pair.sum(axis=1)))


def win_rate(policy: Numbers, initial_policy: Numbers, reward: Numbers) -> np.ndarray:
    """The probability that an output of the policy beats one of the initial policy; a tie counts half.

    Args:
        policy: [K] or [prompts, K] probabilities.
        initial_policy: like `policy`.
        reward: what decides, like `policy`; or P(y beats y') itself, [prompts, K, K].

    Raises:
        ValueError: on shapes that do not fit or entries that are not probabilities.

    Example:
        >>> float(win_rate([1.0, 0.0], [0.5, 0.5], [1.0, 0.0]))
        0.75
    """
    shape = table("policy", policy).shape
    pi, start = probabilities("policy", policy, shape), probabilities("initial_policy", initial_policy, shape)
    given = np.asarray(validate.as_floats("reward", reward))
    if given.ndim == 3:
        beats = given
        if beats.shape != (*shape, shape[1]):
            raise ValueError(f"reward has shape {beats.shape}; it must be {shape} or {(*shape, shape[1])}")
    else:
        scores = table("reward", given)
        if scores.shape != shape:
            raise ValueError(f"reward has shape {scores.shape}; it must be {shape}")
        beats = 0.5 + 0.5 * np.sign(scores[:, :, None] - scores[:, None, :])
    return np.asarray(np.mean(np.einsum("pk,pl,pkl->p", pi, start, beats)))


def best_of_n_value(true_reward: Numbers, proxy_reward: Numbers, initial_policy: Numbers, draws: int) -> np.ndarray:
    r"""The true value of best-of-n sampling by the proxy, averaged over prompts: exact, and a tie is decided by lot.

        P(best proxy level <= v) = F(v)^n,    F(v) = pi_0( r_P <= v )

    Within a level outputs share in proportion to pi_0.

    Args:
        true_reward: [K] or [prompts, K].
        proxy_reward: like `true_reward`.
        initial_policy: like `true_reward`.
        draws: n.

    Raises:
        ValueError: on shapes that do not fit, or n below 1.

    Example:
        >>> float(best_of_n_value([1.0, 0.0], [1.0, 0.0], [0.5, 0.5], 2))
        0.75
    """
    count = validate.count("draws", draws, minimum=1)
    truth, proxy = table("true_reward", true_reward), table("proxy_reward", proxy_reward)
    start = probabilities("initial_policy", initial_policy, truth.shape)
    up_to = np.sum(start[:, None, :] * (proxy[:, None, :] <= proxy[:, :, None]), axis=2)
    level = np.sum(start[:, None, :] * (proxy[:, None, :] == proxy[:, :, None]), axis=2)
    mass = up_to**count - np.maximum(up_to - level, 0.0) ** count
    share = np.where(level > 0, start / np.where(level > 0, level, 1.0), 0.0)
    return np.asarray(np.mean(np.sum(mass * share * truth, axis=1)))


def ranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 1 along the last axis; equal values share the mean of their ranks.

    Example:
        >>> ranks(np.array([3.0, 1.0, 3.0])).tolist()
        [2.5, 1.0, 2.5]
    """
    flat = np.reshape(values, (-1, values.shape[-1]))
    order = np.argsort(flat, axis=1, kind="stable")
    ordered = np.take_along_axis(flat, order, axis=1)
    width = flat.shape[1]
    new = np.concatenate([np.ones((len(flat), 1), bool), ordered[:, 1:] != ordered[:, :-1]], axis=1)
    place = np.arange(width)
    first = np.maximum.accumulate(np.where(new, place, 0), axis=1)
    end = np.concatenate([new[:, 1:], np.ones((len(flat), 1), bool)], axis=1)
    last = np.minimum.accumulate(np.where(end, place, width)[:, ::-1], axis=1)[:, ::-1]
    found = np.empty(flat.shape)
    np.put_along_axis(found, order, (first + last) / 2 + 1, axis=1)
    return found.reshape(values.shape)


def spearman(metric: Numbers, outcome: Numbers) -> np.ndarray:
    """Spearman's rank correlation along the last axis; nan where one of the two is constant.

    Args:
        metric: [..., models].
        outcome: like `metric`, or broadcasting with it.

    Raises:
        ValueError: on entries that are not finite, or fewer than two models.

    Example:
        >>> float(spearman([1.0, 2.0, 3.0], [1.0, 3.0, 2.0]))
        0.5
    """
    one, other = (np.asarray(validate.as_floats(*pair)) for pair in (("metric", metric), ("outcome", outcome)))
    validate.require_finite("metric", one)
    validate.require_finite("outcome", other)
    if one.ndim == 0 or one.shape[-1] < 2 or one.shape[-1] != other.shape[-1:][0]:
        raise ValueError(
            f"metric has shape {one.shape} and outcome {other.shape}; both must be [..., models], two or more"
        )
    one, other = np.broadcast_arrays(ranks(one), ranks(other))
    one, other = (values - values.mean(axis=-1, keepdims=True) for values in (one, other))
    size = np.sqrt(np.sum(one**2, axis=-1) * np.sum(other**2, axis=-1))
    return np.asarray(np.where(size > 0, np.sum(one * other, axis=-1) / np.where(size > 0, size, 1.0), np.nan))


def selection_regret(metric: Numbers, outcome: Numbers) -> np.ndarray:
    """What is lost by taking the reward model with the best metric: the best outcome minus its own, ties averaged.

    Args:
        metric: [..., models], larger is better.
        outcome: like `metric`.

    Raises:
        ValueError: on shapes that do not fit or entries that are not finite.

    Example:
        >>> float(selection_regret([0.9, 0.9, 0.1], [1.0, 0.0, 2.0]))
        1.5
    """
    one, other = (np.asarray(validate.as_floats(*pair)) for pair in (("metric", metric), ("outcome", outcome)))
    validate.require_finite("metric", one)
    validate.require_finite("outcome", other)
    if one.ndim == 0 or one.shape[-1:] != other.shape[-1:]:
        raise ValueError(f"metric has shape {one.shape} and outcome {other.shape}; both must be [..., models]")
    one, other = np.broadcast_arrays(one, other)
    best = one == one.max(axis=-1, keepdims=True)
    return np.asarray(other.max(axis=-1) - np.sum(best * other, axis=-1) / best.sum(axis=-1))
