r"""The metrics of a `Problem`: without sampling error, and drawn with it.

A benchmark has a few pairs and a few responses of each prompt. `exact` takes every pair that the truth orders strictly
and V_P = <pi_0, r_P>; `sampled` draws pairs and responses as a benchmark does. The difference of the two is sampling
error; what `exact` still gets wrong about training is the metric's own.
"""

from __future__ import annotations

import numpy as np

from pgdyn import validate
from pgdyn.metrics.items import Items, ordered_pairs
from pgdyn.metrics.ranking import pairwise_accuracy
from pgdyn.metrics.teacher import probabilities, reward_variance
from pgdyn.problem import Problem, require_single
from pgdyn.validate import Numbers

ONE = "one_vs_many_"


def exact(problem: Problem) -> dict[str, float]:
    """Every metric of a problem's proxy against its true reward, under its initial policy.

    Args:
        problem: one problem. All strictly ordered pairs of a prompt are items; one-vs-many, each best output against
            all that are worse. Prompts count by their items, whatever their weights. Of a sequence the outputs are
            whole outputs, with their returns, and the prompts are the places where episodes begin.

    Returns:
        accuracy, weighted_accuracy, harm_aware_accuracy, weighted_harm_aware_accuracy, these with one_vs_many_ before
        them, mean_reciprocal_rank, pairwise_accuracy (all pairs, ties included) and reward_variance.

    Raises:
        ValueError: on a batch, where the truth orders no two outputs, or on a sequence in which chance decides too.

    Example:
        >>> from pgdyn import Problem
        >>> problem = Problem.tabular([0.05, 0.5, 0.15, 0.15, 0.15], [1, 0.8, -1, -1, -1], [1, -0.95, -0.9, -0.8, -1])
        >>> {name: round(value, 4) for name, value in exact(problem).items() if name.endswith("aware_accuracy")}
        ... # doctest: +ELLIPSIS
        {'harm_aware_accuracy': 0.8571, 'weighted_harm_aware_accuracy': 0.7248, ...}
    """
    require_single(problem, "metrics.exact")
    prompt, truth, flat, logp = _outputs(problem)
    prompts = int(prompt[-1]) + 1
    chance = np.exp(logp)
    mean = np.bincount(prompt, chance * flat, prompts)
    high, low = ordered_pairs(prompt, truth)
    if not len(high):
        raise ValueError("the true reward orders no two outputs of any prompt, so there are no pairs")
    pairs = Items(prompt[high], flat[high], flat[low], logp[high] + logp[low], mean[prompt[high]], prompts)
    many = one_vs_many(prompt, truth, flat, logp, mean, prompts)
    assert many.rank is not None
    whole = [np.flatnonzero(prompt == i) for i in range(prompts)]
    alike = [float(pairwise_accuracy(truth[rows], flat[rows])) for rows in whole if len(rows) > 1]
    return {
        **_ratios(pairs),
        **{ONE + name: value for name, value in _ratios(many).items()},
        "mean_reciprocal_rank": float(np.mean(1 / many.rank)),
        "pairwise_accuracy": float(np.mean(alike)),
        "reward_variance": float(np.sum(chance * (flat - mean[prompt]) ** 2) / prompts),
    }


def one_vs_many(
    prompt: np.ndarray,
    truth: np.ndarray,
    scores: np.ndarray,
    logp: np.ndarray | None,
    mean_reward: np.ndarray | None,
    prompts: int,
) -> Items:
    """Each best row of a prompt against all rows of it that are worse. A prompt whose rows are all equal has no item.

    Args:
        prompt: [N], sorted prompt indices of the rows.
        truth: [N].
        scores: [N].
        logp: [N] log-probabilities, or None.
        mean_reward: [prompts], or None.
        prompts: their number.

    Example:
        >>> rows = one_vs_many(np.zeros(3, int), np.array([1.0, 0.0, -1.0]), np.array([0.5, 0.2, 0.7]), None, None, 1)
        >>> rows.chosen.tolist(), rows.rejected.tolist(), rows.rank.tolist()
        ([0.5], [0.7], [2.0])
    """
    best = np.full(prompts, -np.inf)
    np.maximum.at(best, prompt, truth)
    top = truth == best[prompt]
    rest = np.full(prompts, -np.inf)
    np.maximum.at(rest, prompt[~top], scores[~top])
    chosen = np.flatnonzero(top & (np.bincount(prompt[~top], minlength=prompts) > 0)[prompt])
    # The rank counts rejected rows that score at least as high: rows sorted by score within each prompt.
    order = np.lexsort((scores, prompt))
    worse = np.cumsum(~top[order])
    ends = worse[np.searchsorted(prompt[order], np.arange(prompts), side="right") - 1]
    key = np.empty(len(scores))
    first = np.r_[True, (prompt[order][1:] != prompt[order][:-1]) | (scores[order][1:] != scores[order][:-1])]
    before = (worse - ~top[order])[np.maximum.accumulate(np.where(first, np.arange(len(order)), 0))]
    key[order] = ends[prompt[order]] - before
    weight = None
    if logp is not None:
        low = np.bincount(prompt[~top], logp[~top], prompts)
        weight = logp[chosen] + low[prompt[chosen]]
    return Items(
        prompt=prompt[chosen],
        chosen=scores[chosen],
        rejected=rest[prompt[chosen]],
        log_weight=weight,
        mean_reward=None if mean_reward is None else mean_reward[prompt[chosen]],
        prompts=prompts,
        rank=1 + key[chosen],
    )


def sampled(
    problem: Problem, seed: int | np.random.Generator = 0, *, samples: int = 10, pair_policy: Numbers | None = None
) -> dict[str, float]:
    """The metrics as a benchmark measures them: one offline pair a prompt, and V_P from sampled responses.

    Args:
        problem: one problem.
        seed: a number, or a NumPy generator.
        samples: responses of the initial policy from which each prompt's V_P and variance are estimated; 10 in
            arXiv 2604.25872.
        pair_policy: [P, K], by which the two outputs of a pair are drawn; None for the uniform one. Pairs that the
            truth ties are dropped, as in arXiv 2604.25872.

    Returns:
        accuracy, weighted_accuracy, harm_aware_accuracy, weighted_harm_aware_accuracy and, from two samples on,
        reward_variance.

    Raises:
        ValueError: on a batch, numbers out of range, or if all pairs that were drawn tie.

    Example:
        >>> from pgdyn import Problem
        >>> problem = Problem.tabular([[0.2, 0.8]] * 3, [[1.0, 0.0]] * 3, [[0.0, 1.0]] * 3)
        >>> sampled(problem)["accuracy"]
        0.0
    """
    require_single(problem, "metrics.sampled")
    count = validate.count("samples", samples, minimum=1)
    rng = seed if isinstance(seed, np.random.Generator) else np.random.default_rng(seed)
    policy, truth, proxy = _arrays(problem)
    prompts, outputs = truth.shape
    offline = np.full(truth.shape, 1 / outputs)
    if pair_policy is not None:
        offline = probabilities("pair_policy", pair_policy, truth.shape)
    rows = np.arange(prompts)
    one, other = draw(offline, 2, rng).T
    seen = proxy[rows[:, None], draw(policy, count, rng)]
    with np.errstate(divide="ignore"):
        logp = np.log(policy)
    swap = truth[rows, one] < truth[rows, other]
    high, low = np.where(swap, other, one), np.where(swap, one, other)
    kept = np.flatnonzero(truth[rows, high] > truth[rows, low])
    if not len(kept):
        raise ValueError("the true reward ties every pair that was drawn")
    high, low = high[kept], low[kept]
    pairs = Items(
        np.arange(len(kept)),
        proxy[kept, high],
        proxy[kept, low],
        logp[kept, high] + logp[kept, low],
        seen.mean(axis=1)[kept],
        len(kept),
    )
    found = _ratios(pairs)
    return {**found, "reward_variance": float(reward_variance(seen))} if count > 1 else found


def draw(policy: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """[P, count] outputs drawn from the rows of `policy` [P, K].

    Example:
        >>> draw(np.array([[0.0, 1.0]]), 3, np.random.default_rng(0)).tolist()
        [[1, 1, 1]]
    """
    upto = np.cumsum(policy, axis=1)
    place = rng.random((len(policy), count)) * upto[:, -1:]
    return np.minimum(np.sum(place[:, :, None] >= upto[:, None, :], axis=2), policy.shape[1] - 1)


def _outputs(problem: Problem) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Every output: its prompt's index (in order), its two rewards, its log-probability under the initial policy."""
    if problem.transitions is None:
        policy, truth, proxy = _arrays(problem)
        prompts, outputs = truth.shape
        with np.errstate(divide="ignore"):
            return np.repeat(np.arange(prompts), outputs), truth.ravel(), proxy.ravel(), np.log(policy).ravel()
    if problem.transitions.probabilities is not None:
        raise ValueError("chance decides in this sequence, so that its whole outputs are not the policy's alone")
    from pgdyn.mdp import leaves

    found = leaves(problem)
    _, start = np.unique(found.start, return_inverse=True)
    order = np.argsort(start, kind="stable")
    columns = (start, found.true_return, found.proxy_return, found.log_policy)
    prompt, truth, proxy, logp = (np.asarray(column)[order] for column in columns)
    return prompt, truth, proxy, logp


def _arrays(problem: Problem) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The initial policy and the two rewards, each [P, K], by NumPy, so that nothing is compiled."""
    if problem.transitions is not None:
        raise ValueError("this problem is a sequence; give pgdyn.mdp.leaves(problem).as_problem()")
    if problem.network is not None:
        from pgdyn import policy as policies

        chances = np.exp(np.asarray(policies.log_policy(problem, problem.initial_params)))
        return chances, np.asarray(problem.true_reward), np.asarray(problem.proxy_reward)
    params = np.asarray(problem.initial_params)
    scores = params if problem.features is None else np.asarray(problem.features) @ params
    scores = scores / float(problem.temperature)
    policy = np.exp(scores - scores.max(axis=1, keepdims=True))
    policy /= policy.sum(axis=1, keepdims=True)
    return policy, np.asarray(problem.true_reward), np.asarray(problem.proxy_reward)


def _ratios(items: Items) -> dict[str, float]:
    return {name: float(over.sum() / under.sum()) for name, over, under in items.sums()}
