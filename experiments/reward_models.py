"""A population of reward models on one truth: families of errors, and models fitted to labels.

Truths and scores are [P, K]. The families are fixed before any outcome is looked at, and none is tuned: what varies
within one is how large its errors are.
"""

from __future__ import annotations

import numpy as np

from pgdyn import labels

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
POLICIES = ("heavy-tailed", "flat", "shared features", "tokens")


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


def start_of(
    kind: str, prompts: int, outputs: int, rng: np.random.Generator
) -> tuple[np.ndarray | None, np.ndarray, np.ndarray]:
    """Features [P, K, D] or None, parameters at the start, and the initial policy [P, K].

    "tokens" are outputs of three binary tokens with logits that add up over tokens, in four latent features of the
    prompt; it needs eight outputs.

    Example:
        >>> features, params, policy = start_of("flat", 2, 8, np.random.default_rng(0))
        >>> features is None, policy.shape
        (True, (2, 8))
    """
    features = None
    if kind in ("heavy-tailed", "flat"):
        params = (2.0 if kind == "heavy-tailed" else 0.5) * rng.normal(size=(prompts, outputs))
        scores = params
    else:
        if kind == "shared features":
            features = rng.normal(size=(prompts, outputs, 12)) / np.sqrt(12)
        else:
            assert outputs == 8
            tokens = 2.0 * ((np.arange(8)[:, None] >> np.arange(3)) & 1) - 1
            latent = rng.normal(size=(prompts, 4)) / 2
            features = np.einsum("pl,kt->pklt", latent, tokens).reshape(prompts, 8, 12) / np.sqrt(3)
        params = 1.5 * rng.normal(size=12)
        scores = features @ params
    policy = np.exp(scores - scores.max(axis=1, keepdims=True))
    return features, params, policy / policy.sum(axis=1, keepdims=True)


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
