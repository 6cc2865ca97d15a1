"""Is a judge that averages more opinions a better teacher? Accuracy, reward variance and the true value after training.

Scores are the truth (of unit variance), a bias that every opinion shares, and the mean of k noisy opinions
(`labels.NoisyJudge`). Averaging raises the accuracy and lowers the reward variance, and the two make opposite
predictions for training (arXiv 2503.15477 on variance). Every judge is climbed by gradient flow, with its scores as
they are and divided by their standard deviation under the initial policy.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray

from experiments.controlled_problems import labels as words
from experiments.label_noise import gains
from experiments.made_by import recorded
from experiments.metric_study import standardised
from pgdyn import labels

SAMPLES = (1, 2, 3, 4, 16, 64)


@recorded
def run(
    seeds: int = 60,
    *,
    samples: Sequence[int] = SAMPLES,
    noise: float = 2.0,
    floor: float = 0.5,
    times: Sequence[float] = (0.3, 30.0),
    prompts: int = 24,
    outputs: int = 8,
    seed: int = 0,
) -> xarray.Dataset:
    """Measures every judge on every problem.

    Args:
        seeds: problems.
        samples: k, opinions that are averaged.
        noise: s of one opinion.
        floor: f, of what averaging does not remove.
        times: of training, for each prompt: early and late.
        prompts: P.
        outputs: K.
        seed: of everything.

    Returns:
        Over "samples" and "seed": `accuracy` over all pairs, `expected_accuracy` by the law of `NoisyJudge.accuracy`
        for the gap of each pair, `variance` of the scores under the initial policy, and with "scaling" and "time"
        `true_gain`, as a fraction of the best possible. Along "samples" `law`, the accuracy at a gap of 1.
    """
    rng = np.random.default_rng(seed)
    shape = (len(samples), seeds)
    accuracy, expected, variance = (np.empty(shape) for _ in range(3))
    gain = np.empty((2, len(times), *shape))
    high, low = np.triu_indices(outputs, 1)
    judges = [labels.NoisyJudge(noise, floor, k) for k in samples]
    for i in range(seeds):
        truth = rng.normal(size=(prompts, outputs))
        truth = (truth - truth.mean()) / truth.std()
        policy = rng.dirichlet(np.ones(outputs), prompts)
        policy = np.maximum(policy, 1e-4) / np.maximum(policy, 1e-4).sum(axis=1, keepdims=True)
        # The judges of one problem share their bias and the direction of their noise.
        one = int(rng.integers(2**31))
        scores = np.stack([judge.scores(truth, one) for judge in judges])
        gaps = truth[:, high] - truth[:, low]
        accuracy[:, i] = np.mean((scores[:, :, high] - scores[:, :, low]) * gaps > 0, axis=(1, 2))
        expected[:, i] = [np.mean([judge.accuracy(gap) for gap in np.abs(gaps).ravel()]) for judge in judges]
        mean = np.sum(policy * scores, axis=2, keepdims=True)
        variance[:, i] = np.mean(np.sum(policy * (scores - mean) ** 2, axis=2), axis=1)
        both = np.concatenate([scores, standardised(scores, policy)])
        for j, time in enumerate(times):
            gain[:, j, :, i] = gains(truth, policy, both, time).reshape(2, -1)
    axes = ("samples", "seed")
    return xarray.Dataset(
        {
            "accuracy": (axes, accuracy),
            "expected_accuracy": (axes, expected),
            "variance": (axes, variance),
            "true_gain": (("scaling", "time", *axes), gain),
            "law": ("samples", np.array([judge.accuracy(1.0) for judge in judges])),
        },
        {"samples": list(samples), "scaling": words(["raw", "normalised"]), "time": list(times)},
        {"ceiling": labels.NoisyJudge(0.0, floor).accuracy(1.0)},
    )
