r"""Which labels to doubt, and what to do with them.

M reward models are fitted to resamples of the pairs; the *strength* of pair n is the mean u_n of their r(chosen) -
r(rejected), with standard deviation s_n. Labels of low strength are mostly wrong. What can be done: turn the lowest
round, smooth them, or ask of every pair that it be fitted with its own strength as the margin. u_n shares noise with
fits to pair n itself; held-out strengths use the models whose resample lacks the pair.

A contrastive map of the features makes differences of outputs stand apart whatever their labels; MetaRM moves the
reward model towards telling apart what the current policy says, before each step on the labels.

Source: Secrets of RLHF in large language models, part II.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from pgdyn import validate
from pgdyn.labels.fit import fit
from pgdyn.labels.preferences import Preferences, sigmoid


def preference_strength(
    pairs: Preferences,
    shape: tuple[int, int] | None = None,
    *,
    models: int = 10,
    seed: int | np.random.Generator = 0,
    held_out: bool = False,
    **settings: Any,
) -> tuple[np.ndarray, np.ndarray]:
    """The mean and the standard deviation over an ensemble of each pair's difference of rewards.

    Args:
        pairs: N labels.
        shape: as for `fit`.
        models: M, at least 2.
        seed: a number, or a NumPy generator.
        held_out: count for each pair only the models whose resample lacks it (of about M / e).
        **settings: further arguments of `fit`. Resamples may be separable, so that a little ridge is wise.

    Returns:
        u [N] and s [N]; nan where no model is held out.

    Raises:
        ValueError: as `fit`, and on fewer than two models.

    Example:
        >>> from pgdyn.labels.preferences import preferences
        >>> pairs = preferences([2.0, 0.0], 200, sharpness=np.inf, flip=0.1)
        >>> mean, spread = preference_strength(pairs, (1, 2), ridge=1e-3)
        >>> bool(np.all(mean[pairs.wrong] < 0)), bool(np.all(mean[~pairs.wrong] > 0))
        (True, True)
    """
    count = validate.count("models", models, minimum=2)
    rng = seed if isinstance(seed, np.random.Generator) else np.random.default_rng(seed)
    gaps, lacking = np.empty((count, len(pairs))), np.ones((count, len(pairs)), bool)
    for i in range(count):
        rows = rng.integers(len(pairs), size=len(pairs))
        reward = fit(pairs.take(rows), shape, **settings).reward
        gaps[i] = reward[pairs.prompt, pairs.chosen] - reward[pairs.prompt, pairs.rejected]
        lacking[i, rows] = False
    if not held_out:
        return gaps.mean(axis=0), gaps.std(axis=0)
    number = lacking.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.sum(gaps * lacking, axis=0) / number
        return mean, np.sqrt(np.sum((gaps - mean) ** 2 * lacking, axis=0) / number)


def clean(
    pairs: Preferences, strength: np.ndarray, *, flip: float = 0.0, smooth: float = 0.0, margin: bool = False
) -> Preferences:
    """The pairs, with those of low strength treated.

    Args:
        pairs: N labels.
        strength: [N], as of `preference_strength`.
        flip: the fraction of lowest strength whose labels are turned round; their strengths change sign with them.
        smooth: instead of turning, the probability in [0, 1/2] that a label of the lowest fifth is wrong, as the fit is
            told.
        margin: ask for each pair's own strength as the difference of rewards.

    Raises:
        ValueError: on numbers out of range.

    Example:
        >>> pairs = Preferences.of([0] * 4, [0, 0, 0, 1], [1, 1, 1, 0])
        >>> clean(pairs, np.array([1.0, 1.0, 1.0, -1.0]), flip=0.25, margin=True).margin.tolist()
        [1.0, 1.0, 1.0, 1.0]
    """
    for name, value, most in (("flip", flip, 1.0), ("smooth", smooth, 0.5)):
        if not 0 <= value <= most:
            raise ValueError(validate.refusal(name, (), value, f"it must lie between 0 and {most:g}"))
    order = np.argsort(np.where(np.isnan(strength), np.inf, strength), kind="stable")
    lowest = np.zeros(len(pairs), bool)
    lowest[order[: round(flip * len(pairs))]] = True
    found = pairs.swapped(lowest)
    if smooth:
        doubtful = np.zeros(len(pairs), bool)
        doubtful[order[: round(0.2 * len(pairs))]] = True
        found = dataclasses.replace(found, label=np.where(doubtful & ~lowest, 1 - smooth, found.label))
    if margin:
        found = dataclasses.replace(found, margin=np.nan_to_num(np.where(lowest, -strength, strength)))
    return found


def contrastive_map(pairs: Preferences, features: np.ndarray, *, noise: float = 0.1) -> np.ndarray:
    r"""[D, D], the map of features under which differences of outputs stand apart: features @ map.

    The minimiser of the spectral contrastive loss -2 E[h . h'] + E[(h . h'')^2] over linear h = x W, where x is the
    difference of a pair's features, h and h' are two views of it with Gaussian noise of variance `noise` times the mean
    variance of x, and h'' another pair's: W W^T = (C + v I)^-1 C (C + v I)^-1 (HaoChen et al. 2021), C = E[x x^T].

    Args:
        pairs: N labels; which output is better plays no part.
        features: [P, K, D].
        noise: relative variance of a view.

    Example:
        >>> features = np.array([[[2.0, 0.0], [0.0, 1.0], [0.0, 0.0]]])
        >>> contrastive_map(Preferences.of([0, 0], [0, 1], [2, 2]), features).shape
        (2, 2)
    """
    gap = features[pairs.prompt, pairs.chosen] - features[pairs.prompt, pairs.rejected]
    spread = gap.T @ (pairs.weight[:, None] * gap) / pairs.weight.sum()
    values, vectors = np.linalg.eigh(spread)
    ridge = noise * values.mean()
    return vectors @ np.diag(np.sqrt(np.maximum(values, 0)) / (values + ridge)) @ vectors.T


def meta_step(
    params: np.ndarray,
    pairs: Preferences,
    features: np.ndarray,
    policy: np.ndarray,
    *,
    rate: float = 0.1,
    meta_rate: float = 0.1,
) -> np.ndarray:
    r"""One step of MetaRM on a linear reward: theta' raises J, then theta descends the loss as it is at theta'.

        J(theta) = mean_p sum_{y, y'} pi_p(y) pi_p(y') log(1 + |r_p(y) - r_p(y')|)
        theta'   = theta + meta_rate dJ/dtheta,       theta <- theta - rate dL/dtheta (theta')

    Args:
        params: [D].
        pairs: N labels.
        features: [P, K, D].
        policy: [P, K], the current policy.
        rate: of the step on labels.
        meta_rate: of the step on differences; 0 is plain gradient descent.

    Example:
        >>> features = np.eye(2)[None]
        >>> pairs = Preferences.of([0], [0], [1])
        >>> meta_step(np.zeros(2), pairs, features, np.full((1, 2), 0.5)).tolist()
        [0.05, -0.05]
    """
    gap = features[:, :, None, :] - features[:, None, :, :]
    score = gap @ params
    mass = policy[:, :, None] * policy[:, None, :] / len(policy)
    ahead = params + meta_rate * np.einsum("pkl,pkld->d", mass * np.sign(score) / (1 + np.abs(score)), gap)
    rows = features[pairs.prompt, pairs.chosen] - features[pairs.prompt, pairs.rejected]
    slope = pairs.weight / pairs.weight.sum() * (sigmoid(rows @ ahead - pairs.margin) - pairs.label)
    return params - rate * slope @ rows
