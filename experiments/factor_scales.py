"""Preferences by factors in order, against a weighted sum of the factors, where one factor changes its units (HERON).

The truth is a weighted sum of three factors, the first the most important. Linear reward engineering knows the weights
and adds the factors up as they come; the hierarchy compares outputs by the first factor, and where that differs by less
than a threshold by the next, and a Bradley-Terry reward is fitted to its labels. Then the second factor is scaled by s.
The hierarchy's labels do not change, by construction; the weighted sum leans to what has large numbers. Both rewards
are standardised under the initial policy and climbed by gradient flow.
"""

from __future__ import annotations

import numpy as np
import xarray

from experiments.controlled_problems import labels as words
from experiments.label_noise import gains
from experiments.made_by import recorded
from experiments.metric_study import standardised
from pgdyn import labels

WEIGHTS = np.array([1.0, 0.5, 0.2])


@recorded
def run(
    seeds: int = 20,
    *,
    scales: int = 17,
    widest: float = 100.0,
    threshold: float = 0.5,
    tau: float = 30.0,
    prompts: int = 24,
    outputs: int = 8,
    seed: int = 0,
) -> xarray.Dataset:
    """Trains on both rewards at every scale.

    Args:
        seeds: problems.
        scales: of the second factor, evenly spaced in their logs around 1.
        widest: the largest; the smallest is its inverse.
        threshold: of the hierarchy, in standard deviations of each factor.
        tau: time of training for each prompt.
        prompts: P.
        outputs: K.
        seed: of everything.

    Returns:
        Over "way" ("hierarchy", "weighted sum"), "scale" and "seed": `true_gain`, as a fraction of the best possible.
        Over "seed": `changed`, labels that any scale changes, and `decided`, the part of pairs with a label. Over
        "scale": `best_weight`, the weight of the scaled factor that gives the truth.
    """
    rng = np.random.default_rng(seed)
    factor = np.geomspace(1 / widest, widest, scales)
    gain, changed, decided = np.empty((2, scales, seeds)), np.zeros(seeds), np.empty(seeds)
    for i in range(seeds):
        # Outputs that are good by the first factor tend to be bad by the second: length against correctness, say.
        table = rng.normal(size=(prompts, outputs, 3))
        table[..., 1] -= 0.5 * table[..., 0]
        truth = table @ WEIGHTS
        policy = rng.dirichlet(np.ones(outputs), prompts)
        policy = np.maximum(policy, 1e-4) / np.maximum(policy, 1e-4).sum(axis=1, keepdims=True)
        moved = [table * [1.0, s, 1.0] for s in factor]
        pairs = [labels.hierarchical_preferences(one, thresholds=threshold) for one in moved]
        base = pairs[scales // 2]
        changed[i] = sum(_differences(base, other) for other in pairs)
        decided[i] = len(base) / (prompts * outputs * (outputs - 1) / 2)
        fitted = labels.fit(base, (prompts, outputs), ridge=0.01 / prompts).reward
        scores = np.stack([fitted, *(one @ WEIGHTS for one in moved)])
        found = gains(truth, policy, standardised(scores, policy), tau)
        gain[0, :, i], gain[1, :, i] = found[0], found[1:]
    return xarray.Dataset(
        {
            "true_gain": (("way", "scale", "seed"), gain, {"long_name": "true value gained / best possible gain"}),
            "changed": ("seed", changed),
            "decided": ("seed", decided),
            "best_weight": ("scale", WEIGHTS[1] / factor),
        },
        {"way": words(["hierarchy", "weighted sum"]), "scale": factor},
    )


def _differences(one: labels.Preferences, other: labels.Preferences) -> int:
    """Labels of the one that the other lacks, and the other way round."""
    rows = [{*zip(p.prompt.tolist(), p.chosen.tolist(), p.rejected.tolist(), strict=True)} for p in (one, other)]
    return len(rows[0] ^ rows[1])
