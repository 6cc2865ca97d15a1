"""Noisy labels, cleaning and the accuracy paradox: what better reward models are worth after training.

All runs: P prompts of K outputs with linear rewards, a tabular policy unless said, flows to one time, raw and with
rewards divided by their standard deviation under the initial policy.

(a) Accuracy paradox: Bradley-Terry reward models after t steps of gradient descent on labels; accuracy, reward variance
    and the true value after training, of a tabular policy and of small ones with few shared features.
(b) Clean and noisy benchmarks: reward models of many sizes of error are ranked by their accuracy on noisy and on clean
    pairs of few prompts, and both rankings are held against the true value after training (CHH-RLHF).
(c) Cleaning (Secrets II): a quarter of the labels flipped; plain, flipped back by strength, with adaptive margins,
    both, and the clean labels; and fits to each fifth of the labels by strength alone.
(d) Fusion over contexts on a circle: noise against smoothing, by the width of the kernel.
"""

from __future__ import annotations

import numpy as np
import xarray

from experiments.controlled_problems import labels as words
from experiments.made_by import recorded
from experiments.metric_study import standardised
from pgdyn import Problem, flow_many, labels
from pgdyn.metrics import best_of_n_value, spearman
from pgdyn.metrics.exact import one_vs_many

WAYS = ("plain", "flip", "margin", "flip and margin", "clean labels")
FIFTHS = 5
SIZES = (4, 32)  # features of small policies
FITS = (0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


@recorded
def run(
    seeds: int = 20,
    *,
    prompts: int = 24,
    outputs: int = 8,
    models: int = 200,
    pairs: int = 2000,
    benchmark: int = 200,
    flip: float = 0.25,
    tau: float = 30.0,
    widths: int = 9,
    seed: int = 0,
) -> xarray.Dataset:
    """Measures all four parts.

    Args:
        seeds: repetitions of (a), (c) and (d).
        prompts: P.
        outputs: K.
        models: reward models of (b).
        pairs: labels of (a) and (c).
        benchmark: pairs of the benchmarks in (b).
        flip: fraction of flipped labels in (b) and (c).
        tau: time of training for each prompt.
        widths: kernels of (d).
        seed: of everything.

    Returns:
        (a) `accuracy`, `variance`, `value` [scaling, step, seed], and `small_value` [size, scaling, step, seed] of
        policies with few shared features; (b) `clean_accuracy`, `noisy_accuracy`, `model_value`
        [model], `rank_correlation` [benchmark], and for the same models the best-of-64 value with `pairwise` and
        `reciprocal_rank`; (c) `auc`, `low_fifth` (its flipped part) and `negative` (the part of labels of negative
        strength) [seed], `test_accuracy` and `cleaned_value` [way, seed], `fifth_accuracy` and `fifth_value` [fifth,
        seed], the lowest first; (d)
        `fused_value` [width, seed], `noise_left` [width].
    """
    rng = np.random.default_rng(seed)
    paradox = [_paradox(prompts, outputs, pairs, tau, rng) for _ in range(seeds)]
    made = [_cleaning(prompts, outputs, pairs, flip, tau, rng) for _ in range(seeds)]
    signs, ways, fifths = (np.stack([one[i] for one in made], axis=-1) for i in range(3))
    bench = _benchmarks(models, prompts, outputs, benchmark, flip, tau, rng)
    kernels = np.geomspace(0.02, 2.0, widths)
    fused = [_fusion(kernels, rng) for _ in range(seeds)]
    stack = [np.stack([one[i] for one in paradox], axis=-1) for i in range(4)]
    return xarray.Dataset(
        {
            "accuracy": (("step", "seed"), stack[0]),
            "variance": (("step", "seed"), stack[1]),
            "value": (("scaling", "step", "seed"), stack[2]),
            "small_value": (("size", "scaling", "step", "seed"), stack[3]),
            **{name: ("seed", column) for name, column in zip(("auc", "low_fifth", "negative"), signs, strict=True)},
            "test_accuracy": (("way", "seed"), ways[0]),
            "cleaned_value": (("way", "seed"), ways[1]),
            "fifth_accuracy": (("fifth", "seed"), fifths[0]),
            "fifth_value": (("fifth", "seed"), fifths[1]),
            "fused_value": (("width", "seed"), np.stack([one[0] for one in fused], axis=1)),
            "noise_left": ("width", fused[0][1]),
            **{name: ("model", column) for name, column in bench.items()},
            "rank_correlation": (
                "benchmark",
                [
                    float(spearman(bench["noisy_accuracy"], bench["model_value"])),
                    float(spearman(bench["clean_accuracy"], bench["model_value"])),
                ],
            ),
            "best_of_n_correlation": (
                "ranking",
                [float(spearman(bench[name], bench["best_of_64"])) for name in ("pairwise", "reciprocal_rank")],
            ),
        },
        {
            "step": list(FITS),
            "size": list(SIZES),
            "scaling": words(["raw", "normalised"]),
            "way": words(WAYS),
            "fifth": list(range(1, FIFTHS + 1)),
            "width": kernels,
            "benchmark": words(["noisy", "clean"]),
            "ranking": words(["pairwise", "reciprocal rank"]),
        },
    )


def _problem(
    prompts: int, outputs: int, rng: np.random.Generator, width: int = 8
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features, linear true rewards of unit variance, and an initial policy that prefers worse outputs a little."""
    features = rng.normal(size=(prompts, outputs, width))
    truth = features @ rng.normal(size=width)
    truth = (truth - truth.mean()) / truth.std()
    policy = np.exp(1.2 * rng.normal(size=truth.shape) - 0.5 * truth)
    return features, truth, policy / policy.sum(axis=1, keepdims=True)


def gains(truth: np.ndarray, policy: np.ndarray, scores: np.ndarray, tau: float) -> np.ndarray:
    """[M], the true value gained by tabular flows on scores [M, P, K] to time `tau` of each prompt, over the best gain.

    Example:
        >>> truth = np.eye(2)
        >>> gains(truth, np.full((2, 2), 0.5), np.stack([truth, -truth]), 1e4).round(2).tolist()
        [1.0, -1.0]
    """
    return _climbed(Problem.tabular(policy, truth), policy, truth, scores, tau)


def _climbed(problem: Problem, policy: np.ndarray, truth: np.ndarray, scores: np.ndarray, tau: float) -> np.ndarray:
    ends = flow_many(problem.with_proxy(scores), tau * len(truth), rtol=1e-5, atol=1e-7)
    first = np.mean(np.sum(policy * truth, axis=1))
    return (np.asarray(ends.true_value) - first) / (np.mean(truth.max(axis=1)) - first)


def _accuracy(pairs: labels.Preferences, scores: np.ndarray) -> np.ndarray:
    """[M], over pairs."""
    gap = scores[:, pairs.prompt, pairs.chosen] - scores[:, pairs.prompt, pairs.rejected]
    return np.mean(gap > 0, axis=1)


def _paradox(prompts: int, outputs: int, pairs: int, tau: float, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    features, truth, policy = _problem(prompts, outputs, rng)
    # Some features that the labels are about are not seen, so that no fit is perfect.
    seen = np.concatenate([features[..., :6], rng.normal(size=(prompts, outputs, 10))], axis=2)
    given = labels.preferences(3 * truth, pairs, rng)
    test = labels.preferences(truth, 2000, rng, sharpness=np.inf)
    theta, kept = np.zeros(16), []
    rows = seen[given.prompt, given.chosen] - seen[given.prompt, given.rejected]
    for step in range(FITS[-1] + 1):
        if step in FITS:
            kept.append(seen @ theta)
        theta = theta + 0.03 * (1 / (1 + np.exp(rows @ theta))) @ rows / len(rows)
    scores = np.stack(kept)
    # The untrained model says nothing; its normalised rewards stay at zero.
    both = np.stack([gains(truth, policy, one, tau) for one in (scores, standardised(scores, policy))])
    small = []
    basis = rng.normal(size=(prompts, outputs, max(SIZES))) / np.sqrt(max(SIZES))
    for size in SIZES:
        # Features beyond the size are nothing, so that one program runs policies of all sizes.
        own = basis * (np.arange(max(SIZES)) < size) * np.sqrt(max(SIZES) / size)
        problem = Problem.linear(own, truth, initial_policy=policy)
        logits = own @ np.asarray(problem.initial_params)
        start = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        pair = (scores, standardised(scores, start))
        small.append([_climbed(problem, start, truth, one, tau) for one in pair])
    mean = np.sum(policy * scores, axis=2, keepdims=True)
    variance = np.mean(np.sum(policy * (scores - mean) ** 2, axis=2), axis=1)
    return _accuracy(test, scores), variance, both, np.array(small)


def _benchmarks(
    models: int, prompts: int, outputs: int, size: int, flip: float, tau: float, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    _, truth, policy = _problem(prompts, outputs, rng)
    spread = 0.2 + 2.0 * rng.random((models, 1, 1))
    scores = truth + spread * rng.normal(size=(models, prompts, outputs))
    clean = labels.preferences(truth, size, rng, sharpness=np.inf)
    noisy = clean.swapped(rng.random(size) < flip)
    prompt = np.repeat(np.arange(prompts), outputs)
    rank = [one_vs_many(prompt, truth.ravel(), one.ravel(), None, None, prompts).rank for one in scores]
    everything = labels.preferences(truth, 20_000, rng, sharpness=np.inf)
    return {
        "clean_accuracy": _accuracy(clean, scores),
        "noisy_accuracy": _accuracy(noisy, scores),
        "model_value": gains(truth, policy, standardised(scores, policy), tau),
        "pairwise": _accuracy(everything, scores),
        "reciprocal_rank": np.array([np.mean(1 / np.asarray(one)) for one in rank]),
        "best_of_64": np.array([float(best_of_n_value(truth, one, policy, 64)) for one in scores]),
    }


def _cleaning(
    prompts: int, outputs: int, pairs: int, flip: float, tau: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """AUC, flipped part of the lowest fifth and part of negative strength; accuracy and gain by way; and by fifth."""
    features, truth, policy = _problem(prompts, outputs, rng)
    given = labels.preferences(truth, pairs, rng, sharpness=np.inf, flip=flip)
    assert given.wrong is not None
    strength, _ = labels.preference_strength(given, features=features, seed=rng, ridge=1e-4)
    order = np.argsort(np.argsort(strength))
    wrong = given.wrong
    auc = 1 - (order[wrong].mean() - (wrong.sum() - 1) / 2) / max(int((~wrong).sum()), 1)
    lowest = wrong[np.argsort(strength)[: pairs // 5]].mean()
    ways = (
        given,
        labels.clean(given, strength, flip=0.2),
        labels.clean(given, strength, margin=True),
        labels.clean(given, strength, flip=0.2, margin=True),
        given.swapped(wrong),
    )
    scores = np.stack([labels.fit(one, features=features, ridge=1e-4).reward for one in ways])
    test = labels.preferences(truth, 4000, rng, sharpness=np.inf)
    value = gains(truth, policy, standardised(scores, policy), tau)
    fifths = np.array_split(np.argsort(strength), FIFTHS)
    alone = np.stack([labels.fit(given.take(rows), features=features, ridge=1e-4).reward for rows in fifths])
    return (
        np.array([auc, lowest, np.mean(strength < 0)]),
        np.stack([_accuracy(test, scores), value]),
        np.stack([_accuracy(test, alone), gains(truth, policy, standardised(alone, policy), tau)]),
    )


def _fusion(
    widths: np.ndarray, rng: np.random.Generator, contexts: int = 24, outputs: int = 8
) -> tuple[np.ndarray, np.ndarray]:
    """The true value after training on fused rewards, and the noise that is left, by kernel width (radians)."""
    angle = np.linspace(0, 2 * np.pi, contexts, endpoint=False)
    phase = 2 * np.pi * rng.random(outputs)
    truth = np.cos(angle[:, None] - phase) + 0.5 * np.cos(2 * (angle[:, None] + phase))
    scores = truth + 1.2 * rng.normal(size=truth.shape)
    gap = np.abs(angle[:, None] - angle[None, :])
    gap = np.minimum(gap, 2 * np.pi - gap)
    weights = [
        labels.fusion_weights(np.exp(-0.5 * (gap / width) ** 2), neighbours=contexts, threshold=1e-3)
        for width in widths
    ]
    policy = np.full(truth.shape, 1 / outputs)
    fused = np.stack([weight @ scores for weight in weights])
    return gains(truth, policy, fused, 30.0), np.array([np.mean(np.sum(weight**2, axis=1)) for weight in weights])
