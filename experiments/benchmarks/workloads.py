"""The batches of problems that the ensemble benchmark solves: P prompts, K outputs, temperature 1, seed 0."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pgdyn import Batch, mdp

STANDARD_TIME = 5000.0
LATE_TIME = 1e15
PLATEAU_TARGET = 0.9
_CLIMB = 0.9  # targets of random problems: this share of the way from the start's value to the best reward
_NO_MASS = 1e-300  # outputs that are there only so that problems with fewer outputs fit the same batch


@dataclass(frozen=True)
class Workload:
    """A batch to solve.

    Attributes:
        name: what it is, in a few words.
        problems: N problems.
        t1: end time.
        target: [N], true values whose first hitting times are wanted, or None.
    """

    name: str
    problems: Batch
    t1: float = STANDARD_TIME
    target: np.ndarray | None = None


def standard(size: int, outputs: int = 5, seed: int = 0) -> Batch:
    """[size] tabular problems: rewards uniform in [-1, 1], start logits standard normal, the proxy is the truth.

    Example:
        >>> standard(4).true_reward.shape
        (4, 1, 5)
    """
    rng = np.random.default_rng(seed)
    logits = rng.standard_normal((size, 1, outputs))
    reward = rng.uniform(-1, 1, (size, 1, outputs))
    weights = np.exp(logits)
    return Batch.tabular(weights / weights.sum(-1, keepdims=True), reward)


def trees(size: int, vocabulary: int = 2, length: int = 5) -> Batch:
    """[size] trees of tokens: one right output of reward 1, proxies of whole outputs uniform in [-1, 1].

    Example:
        >>> trees(3).true_reward.shape
        (3, 31, 2)
    """
    rng = np.random.default_rng(0)
    outputs = vocabulary**length
    problem = mdp.tree(vocabulary, length, np.eye(outputs)[0])
    proxies = np.zeros((size, *problem.true_reward.shape))
    last = outputs // vocabulary
    proxies[:, -last:] = rng.uniform(-1, 1, (size, last, vocabulary))
    return Batch.sharing(problem, proxy_reward=proxies, initial_params=rng.standard_normal(proxies.shape))


def linear(size: int, prompts: int, outputs: int, width: int, *, shared: bool) -> Batch:
    """[size] problems with features N(0, 1/D), start parameters N(0, 1), rewards uniform in [-1, 1].

    Args:
        size: number of problems N.
        prompts: P.
        outputs: K.
        width: D, features an output.
        shared: whether the batch shares one set of features [P, K, D] or each problem has its own.

    Example:
        >>> linear(3, prompts=2, outputs=4, width=2, shared=True).shared >= {"features"}
        True
    """
    rng = np.random.default_rng(0)
    shape = (prompts, outputs, width) if shared else (size, prompts, outputs, width)
    features = rng.standard_normal(shape) / np.sqrt(width)
    params = rng.standard_normal((size, width))
    return Batch.linear(features, rng.uniform(-1, 1, (size, prompts, outputs)), initial_params=params)


def climb_targets(problems: Batch) -> np.ndarray:
    """[N] targets nine tenths of the way from each start's true value to its best reward (tabular, one prompt).

    Example:
        >>> climb_targets(Batch.tabular(None, [[[1.0, 0.0]]])).round(12)
        array([0.95])
    """
    reward = np.asarray(problems.true_reward)[:, 0]
    policy = np.exp(np.asarray(problems.initial_params)[:, 0])
    start = (policy * reward).sum(-1) / policy.sum(-1)
    return start + _CLIMB * (reward.max(-1) - start)


def plateaus(per_kind: int) -> Batch:
    """3 x per_kind problems that stall near a mediocre output, for n = 1, 2, 3 bad ones and pi_0(y*) from .1 to 1e-4.

    Rewards (1, .8, -1 x n), half of the mass on the mediocre output. The escape time goes as pi_0(y*)^-(n + 1), up to
    1e15 and beyond. All have five outputs: where n < 3, the others have a probability of 1e-300.

    Example:
        >>> len(plateaus(2))
        6
    """
    starts, rewards = [], []
    for bad in (1, 2, 3):
        for best in np.geomspace(1e-1, 1e-4, per_kind):
            rest = np.full(3, _NO_MASS)
            rest[:bad] = (0.5 - best) / bad
            starts.append([[best, 0.5, *rest]])
            rewards.append([[1.0, 0.8, -1.0, -1.0, -1.0]])
    return Batch.tabular(np.array(starts), np.array(rewards))


def mixed(easy: Batch, hard: Batch) -> tuple[Batch, np.ndarray]:
    """Both batches in one, in random order, and which of its problems are the hard ones.

    Example:
        >>> both, is_hard = mixed(standard(4), plateaus(1))
        >>> len(both), int(is_hard.sum())
        (7, 3)
    """
    order = np.random.default_rng(0).permutation(len(easy) + len(hard))
    return easy.concatenate(hard)[order], order >= len(easy)
