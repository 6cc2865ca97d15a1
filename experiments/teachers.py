"""A good teacher: reward models fitted to on-policy and off-policy pairs, in several proportions.

As in arXiv 2503.15477, section 4.1: reward models of a fraction of on-policy pairs each, climbed from one initial
policy, beside the ground truth itself, by gradient flow and by RLOO with two samples a prompt and a KL penalty of .05
in the reward. Measured are accuracy on on-policy and on off-policy pairs, the reward variance under the initial policy,
and how fast proxy and truth rise. Rewards are standardised over all outputs, as the scores of different reward models
are before they are compared.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import numpy as np
import xarray

from experiments.controlled_problems import labels as words
from experiments.made_by import recorded
from pgdyn import Problem, ascend_sampled_many, flow_many, labels
from pgdyn.estimators import RLOO, KLPenalty, compose
from pgdyn.metrics import spearman

ON_POLICY = (0.0, 0.25, 0.5, 0.75, 1.0)
TIMES = (2.0, 5.0, 10.0, 20.0, 50.0, 100.0)
UPDATES = 200  # of RLOO


@recorded
def run(
    seeds: int = 20,
    *,
    prompts: int = 24,
    outputs: int = 8,
    pairs: int = 400,
    fractions: Sequence[float] = ON_POLICY,
    seed: int = 0,
) -> xarray.Dataset:
    """Fits, trains and measures.

    Args:
        seeds: problems.
        prompts: P.
        outputs: K.
        pairs: labels that each reward model is fitted to.
        fractions: of on-policy pairs.
        seed: of everything.

    Returns:
        Over ("teacher", "seed"), the last teacher being the ground truth: `on_policy_accuracy`, `off_policy_accuracy`,
        `variance`, and with "time" (of each prompt) `true_gain` and `proxy_gain`, the first as a fraction of the best
        possible; `rloo_true_gain` and `rloo_proxy_gain` after updates as long as the second time.
        `variance_correlation` and `accuracy_correlation` [seed]: Spearman with the proxy gain of the flow at the first
        time, over teachers; `rloo_variance_correlation`, `rloo_accuracy_correlation` with that of RLOO.
    """
    rng = np.random.default_rng(seed)
    shape = (len(fractions) + 1, seeds)
    on, off, variance = (np.empty(shape) for _ in range(3))
    true_gain, proxy_gain = (np.empty((*shape, len(TIMES))) for _ in range(2))
    sampled = np.empty((2, *shape))
    for i in range(seeds):
        # The policy likes some features, and outputs that it seldom gives are where off-policy pairs come from.
        features = rng.normal(size=(prompts, outputs, 10))
        truth = features @ rng.normal(size=10) / np.sqrt(10)
        policy = _softmax(1.5 * features @ rng.normal(size=10) / np.sqrt(10) + rng.normal(size=truth.shape))
        other = _softmax(-np.log(policy))
        scores = [*(_fitted(truth, features, policy, other, part, pairs, rng) for part in fractions), truth]
        scores = np.stack([(one - one.mean()) / one.std() for one in scores])
        tests = [
            labels.preferences(truth, 4000, rng, policy=mass, sharpness=np.inf) for mass in (policy, other)
        ]  # fmt: skip
        for column, test in zip((on, off), tests, strict=True):
            gap = scores[:, test.prompt, test.chosen] - scores[:, test.prompt, test.rejected]
            column[:, i] = np.mean(gap > 0, axis=1)
        mean = np.sum(policy * scores, axis=2, keepdims=True)
        variance[:, i] = np.mean(np.sum(policy * (scores - mean) ** 2, axis=2), axis=1)
        first = np.mean(np.sum(policy * truth, axis=1))
        room = np.mean(truth.max(axis=1)) - first
        problem = Problem.tabular(policy, truth)
        batch = problem.with_proxy(np.repeat(scores, len(TIMES), axis=0))
        ends = flow_many(batch, np.tile(TIMES, len(scores)) * prompts, rtol=1e-5, atol=1e-7)
        true_gain[:, i] = ((np.asarray(ends.true_value) - first) / room).reshape(len(scores), -1)
        proxy_gain[:, i] = np.asarray(ends.proxy_value).reshape(len(scores), -1) - mean.mean(axis=(1, 2))[:, None]
        runs = ascend_sampled_many(
            problem.with_proxy(scores),
            UPDATES,
            jax.random.key(int(rng.integers(2**31))),
            estimator=compose(RLOO(2), KLPenalty("k1", weight=0.05)),
            learning_rate=TIMES[1] * prompts / UPDATES,
        )
        sampled[0, :, i] = (np.asarray(runs.true_value) - first) / room
        sampled[1, :, i] = np.asarray(runs.proxy_value) - mean.mean(axis=(1, 2))
    teachers = [*(f"{part:.0%} on-policy" for part in fractions), "ground truth"]
    axes = ("teacher", "seed")
    early, judged = (proxy_gain[:, :, 0].T, sampled[1].T), (variance.T, ((on + off) / 2).T)
    return xarray.Dataset(
        {
            "on_policy_accuracy": (axes, on),
            "off_policy_accuracy": (axes, off),
            "variance": (axes, variance),
            "true_gain": ((*axes, "time"), true_gain),
            "proxy_gain": ((*axes, "time"), proxy_gain),
            "rloo_true_gain": (axes, sampled[0]),
            "rloo_proxy_gain": (axes, sampled[1]),
            **{
                f"{way}{name}_correlation": ("seed", spearman(one, gain))
                for way, gain in zip(("", "rloo_"), early, strict=True)
                for name, one in zip(("variance", "accuracy"), judged, strict=True)
            },
        },
        {"teacher": words(teachers), "time": list(TIMES)},
    )


def _softmax(logits: np.ndarray) -> np.ndarray:
    raised = np.exp(logits - logits.max(axis=1, keepdims=True))
    return raised / raised.sum(axis=1, keepdims=True)


def _fitted(
    truth: np.ndarray,
    features: np.ndarray,
    policy: np.ndarray,
    other: np.ndarray,
    part: float,
    pairs: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """[P, K], a reward model of `pairs` labels, a part of them on-policy; it sees six of the ten features."""
    number = round(part * pairs)
    groups = [
        labels.preferences(3 * truth, count, rng, policy=mass)
        for count, mass in ((number, policy), (pairs - number, other))
        if count
    ]
    columns = ("prompt", "chosen", "rejected")
    both = labels.Preferences.of(*(np.concatenate([getattr(one, name) for one in groups]) for name in columns))
    seen = np.concatenate([features[..., :6], rng.normal(size=(*truth.shape, 6))], axis=2)
    return labels.fit(both, features=seen, ridge=1e-3).reward
