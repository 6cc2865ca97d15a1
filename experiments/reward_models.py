"""A population of reward models on one truth: families of errors, and models fitted to labels.

Truths and scores are [P, K]. The families are fixed before any outcome is looked at, and none is tuned: what varies
within one is how large its errors are.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from pgdyn import Problem, labels

FAMILIES = (
    "noise",
    "noise, scale by prompt",
    "some re-scored",
    "mediocre shifted",
    "noise on bad",
    "bad kept low",
    "fitted, tabular",
    "fitted, features",
)
TRUTHS = ("normal", "plateau", "rare success", "plateau, graded", "rare success, graded")
GRADES = 0.05  # how far bad outputs lie apart in a graded truth
POLICIES = ("heavy-tailed", "flat", "shared features", "sequences")


def truth_of(kind: str, prompts: int, outputs: int, rng: np.random.Generator) -> np.ndarray:
    """[P, K] true rewards: normal; one best, some mediocre, the rest bad; or one or two successes among failures.

    Bad outputs are equal, so that pairs of them are no pairs; "graded", they differ a little, and most pairs are of two
    bad outputs, whose order matters little for training.

    Example:
        >>> truth_of("plateau", 1, 4, np.random.default_rng(0)).max()
        np.float64(1.0)
    """
    if kind == "normal":
        return rng.normal(size=(prompts, outputs))
    if kind.endswith(", graded"):
        plain = truth_of(kind.removesuffix(", graded"), prompts, outputs, rng)
        return plain + np.where(plain <= plain.min(), GRADES * rng.random(plain.shape), 0.0)
    order = rng.permuted(np.tile(np.arange(outputs), (prompts, 1)), axis=1)
    if kind == "plateau":
        mediocre = (order > 0) & (order <= max(1, outputs // 4))
        return np.where(order == 0, 1.0, np.where(mediocre, 0.7 + 0.2 * rng.random((prompts, outputs)), -1.0))
    assert kind == "rare success"
    return np.where(order < rng.integers(1, 3, (prompts, 1)), 1.0, 0.0)


@dataclasses.dataclass(frozen=True)
class Start:
    """An initial policy over outputs: free logits, logits of shared features, or tokens one after another.

    Attributes:
        params: theta: [P, K], [D], or of sequences [P, K - 1, 2], logits of two tokens at every prefix.
        policy: [P, K], of whole outputs.
        features: [P, K, D], or None.
        sequences: whether outputs are sequences of binary tokens, prefixes in the order of a heap.
    """

    params: np.ndarray
    policy: np.ndarray
    features: np.ndarray | None = None
    sequences: bool = False

    def problem(self, truth: np.ndarray, proxy: np.ndarray) -> Problem:
        """The problem of one truth and one proxy, each [P, K]."""
        if self.features is not None:
            return Problem.linear(self.features, truth, proxy, initial_params=self.params)
        if not self.sequences:
            return Problem.tabular(self.policy, truth, proxy)
        prompts, inner = self.params.shape[:2]
        root = inner * np.arange(prompts)
        following = np.full((prompts, inner, 2), -1)
        parents = np.arange(inner // 2)
        for token in (0, 1):
            following[:, : inner // 2, token] = root[:, None] + 2 * parents + 1 + token
        weights = np.zeros(prompts * inner)
        weights[root] = 1 / prompts
        chance = np.exp(_log_softmax(self.params)).reshape(-1, 2)
        rewards = self.rewards(truth), self.rewards(proxy)
        return Problem.tabular(chance, *rewards, prompt_weights=weights, transitions=following.reshape(-1, 2))

    def rewards(self, scores: np.ndarray) -> np.ndarray:
        """Scores [..., P, K] of whole outputs as rewards of the problem: those of sequences fall on the last token."""
        if not self.sequences:
            return scores
        *lead, prompts, outputs = scores.shape
        made = np.zeros((*lead, prompts, outputs - 1, 2))
        made[..., outputs // 2 - 1 :, :] = scores.reshape(*lead, prompts, outputs // 2, 2)
        return made.reshape(*lead, -1, 2)

    def log_policy(self, theta: np.ndarray) -> np.ndarray:
        """[M, P, K], log-probabilities of whole outputs at M parameters."""
        if self.features is not None:
            return _log_softmax(np.einsum("pkd,md->mpk", self.features, theta))
        if not self.sequences:
            return _log_softmax(theta)
        logs = _log_softmax(theta)
        total = logs[:, :, 0]
        first, width = 1, 2
        while first < logs.shape[2]:
            total = (total[..., None] + logs[:, :, first : first + width]).reshape(*total.shape[:2], -1)
            first, width = first + width, 2 * width
        return total


def start_of(kind: str, prompts: int, outputs: int, rng: np.random.Generator) -> Start:
    """An initial policy of one kind; "sequences" are of binary tokens and need a power of two of outputs.

    Example:
        >>> start_of("sequences", 2, 8, np.random.default_rng(0)).policy.sum(axis=1).round(12).tolist()
        [1.0, 1.0]
    """
    if kind in ("heavy-tailed", "flat"):
        params = (2.0 if kind == "heavy-tailed" else 0.5) * rng.normal(size=(prompts, outputs))
        return Start(params, np.exp(_log_softmax(params)))
    if kind == "shared features":
        features = rng.normal(size=(prompts, outputs, 12)) / np.sqrt(12)
        params = 3.0 * rng.normal(size=12)
        return Start(params, np.exp(_log_softmax(features @ params)), features)
    assert kind == "sequences"
    params = 0.8 * rng.normal(size=(prompts, outputs - 1, 2))
    start = Start(params, np.empty(0), sequences=True)
    return dataclasses.replace(start, policy=np.exp(start.log_policy(params[None])[0]))


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.sum(np.exp(shifted), axis=-1, keepdims=True))


def population(family: str, truth: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """[count, P, K], scores of the reward models of one family.

    Example:
        >>> population("noise", np.eye(3), 5, np.random.default_rng(0)).shape
        (5, 3, 3)
    """
    prompts, outputs = truth.shape
    unit = (truth - truth.mean()) / truth.std()
    noise = rng.normal(size=(count, prompts, outputs))
    size = rng.random((count, 1, 1))
    mean = unit.mean(axis=1, keepdims=True)
    bad, best = unit < mean, unit >= unit.max(axis=1, keepdims=True)
    if family == "noise":
        return unit + 2 * size * noise
    if family == "noise, scale by prompt":
        return np.exp(0.7 * rng.normal(size=(count, prompts, 1))) * (unit + 2 * size * noise)
    if family == "some re-scored":
        return np.where(rng.random(noise.shape) < 0.6 * size, noise, unit)
    if family == "mediocre shifted":
        return unit + 0.3 * noise + np.where(~bad & ~best, 4 * size - 2, 0.0)
    if family == "noise on bad":
        return unit + np.where(bad, 3 * size, 0.3) * noise
    if family == "bad kept low":
        made = unit + np.where(bad, 3 * size, 0.3) * noise
        return np.where(bad, np.minimum(made, mean - 0.05), made)
    found = np.empty((count, prompts, outputs))
    for i in range(count):
        number = int(prompts * np.exp(rng.uniform(np.log(3), np.log(40))))
        pairs = labels.preferences(2 * unit, number, rng, flip=0.3 * rng.random())
        if family == "fitted, tabular":
            found[i] = labels.fit(pairs, (prompts, outputs), ridge=0.2 / prompts, steps=8).reward
        else:
            assert family == "fitted, features"
            width = int(rng.integers(2, 25))
            # Some features know the truth, others are noise.
            features = np.concatenate([rng.normal(size=(prompts, outputs, width)), unit[..., None]], axis=2)
            mixed = features @ rng.normal(size=(width + 1, width))
            found[i] = labels.fit(pairs, features=mixed, ridge=1e-3, steps=8).reward
    return found
