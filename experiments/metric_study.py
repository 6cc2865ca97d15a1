"""Which metric of a reward model tells how well it will teach? Thousands of simulated reward models, by family.

As in arXiv 2604.25872, section 4, metrics of reward models are correlated with the true value after training. Every
reward model is standardised under the initial policy, as whitening does, and climbed with a KL penalty of .01 by
gradient flow, to the time at which the truth itself would have won a fraction of what can be won; a part of them also
by RLOO as the paper runs it (k = 4, rewards whitened over the batch). Metrics are measured with full coverage (every
ordered pair, V_P exact), and as the paper does: one offline pair a prompt, pairs tied in truth dropped, V_P from 10
responses.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jax
import numpy as np
import xarray

from experiments import reward_models
from experiments.controlled_problems import labels as words
from experiments.made_by import recorded
from pgdyn import Objective, ascend_sampled_many, flow_many
from pgdyn.estimators import RLOO, KLPenalty, Whiten, compose
from pgdyn.metrics import forecast, spearman
from pgdyn.metrics.exact import draw
from pgdyn.metrics.items import ordered_pairs
from pgdyn.metrics.ranking import ranks

FULL = ("Acc", "HAcc", "Acc-W", "HAcc-W", "EPIC", "EPIC, pi_0", "variance")
SPARSE = ("Acc, 1 pair", "HAcc, 1 pair", "Acc-W, 1 pair", "HAcc-W, 1 pair")
METRICS = (*FULL, *SPARSE)
FORECASTS = ("forecast", "forecast, held out")
KL = 0.01
SUBSAMPLE = 13


@recorded
def run(
    models: int = 130,
    *,
    prompts: int = 24,
    outputs: int = 8,
    policies: Sequence[str] = reward_models.POLICIES,
    truths: Sequence[str] = reward_models.TRUTHS,
    families: Sequence[str] = reward_models.FAMILIES,
    gain: float = 0.7,
    sampled: int = 8,
    steps: int = 400,
    resamples: int = 200,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> xarray.Dataset:
    """Trains on every reward model under every initial policy, and correlates.

    Args:
        models: of each family, for each truth; all initial policies share them.
        prompts: P.
        outputs: K; a power of two where "sequences" are among the policies.
        policies: initial policies, of `reward_models.POLICIES`.
        truths: of `reward_models.TRUTHS`.
        families: of `reward_models.FAMILIES`.
        gain: fraction of the best possible gain that the flow on the truth has made when all flows stop.
        sampled: models of each family that are also trained by RLOO and forecast.
        steps: updates of RLOO.
        resamples: bootstrap resamples of the reward models.
        seed: of everything.
        progress: called with (settings done, settings).

    Returns:
        Over ("policy", "truth", "family", "model"): `outcome` (the true value gained, as a fraction of the best
        possible), `metric` with "metric" last. Over the first `sampled` models: `rloo`, `forecast` and
        `held_out_forecast`. Spearman
        correlations with the outcome `spearman` [policy, truth, family, metric], averaged over policies and truths
        `mean_spearman` [family, metric] with `low` and `high`; the difference HAcc - Acc with its interval,
        `advantage`; of 13 models from all families, `subsample` [policy, truth, draw, metric].
    """
    rng = np.random.default_rng(seed)
    shape = (len(policies), len(truths), len(families), models)
    outcome, values = np.empty(shape), np.empty((*shape, len(METRICS)))
    rloo, ahead, held = np.empty((3, *shape[:3], sampled))
    done = 0
    for j, kind in enumerate(truths):
        truth = reward_models.truth_of(kind, prompts, outputs, rng)
        scores = np.concatenate([reward_models.population(family, truth, models, rng) for family in families])
        for i, name in enumerate(policies):
            start = reward_models.start_of(name, prompts, outputs, rng)
            policy = start.policy
            unit = standardised(scores, policy)
            time, found = trained(start, truth, unit, gain)
            outcome[i, j] = found.reshape(shape[2:])
            measured = full_metrics(truth, scores, policy), sparse_metrics(truth, scores, policy, rng)
            values[i, j] = np.concatenate(measured, axis=1).reshape(*shape[2:], -1)
            part = unit.reshape(*shape[2:], prompts, outputs)[:, :sampled].reshape(-1, prompts, outputs)
            rloo[i, j] = by_rloo(start, truth, part, steps, time, int(rng.integers(2**31))).reshape(len(families), -1)
            for found, judged in zip((ahead, held), forecasts(truth, part, policy, rng), strict=True):
                found[i, j] = judged.reshape(len(families), sampled)
            done += 1
            if progress is not None:
                progress(done, len(policies) * len(truths))
    axes = ("policy", "truth", "family")
    rows = np.moveaxis(values, -1, 3)
    each = correlations(rows, outcome[..., None, :])
    low, high, mean, advantage, by_truth = intervals(rows, outcome, resamples, rng)
    pooled = rows.transpose(0, 1, 3, 2, 4).reshape(*shape[:2], len(METRICS), -1)
    some = subsampled(pooled, outcome.reshape(*shape[:2], -1), resamples, rng)
    short = outcome[..., :sampled]
    # Held against RLOO all metrics have the same models, of all families together.
    predictors = [rows[..., :sampled], ahead[:, :, :, None], held[:, :, :, None]]
    both = np.concatenate(predictors, axis=3).transpose(0, 1, 3, 2, 4)
    against = correlations(both.reshape(*both.shape[:3], -1), rloo.reshape(*shape[:2], 1, -1))
    exact = correlations(both.reshape(*both.shape[:3], -1), short.reshape(*shape[:2], 1, -1))
    return xarray.Dataset(
        {
            "outcome": ((*axes, "model"), outcome, {"long_name": "true value gained / best possible gain"}),
            "metric_value": ((*axes, "model", "metric"), values),
            "rloo": ((*axes, "sampled_model"), rloo, {"long_name": "the same, after RLOO"}),
            "forecast": ((*axes, "sampled_model"), ahead, {"long_name": "forecast gain of the true reward"}),
            "held_out_forecast": ((*axes, "sampled_model"), held, {"long_name": "the same, on held-out responses"}),
            "spearman": ((*axes, "metric"), each),
            "mean_spearman": (("family", "metric"), mean),
            "low": (("family", "metric"), low),
            "high": (("family", "metric"), high),
            "advantage": (("family", "end"), advantage, {"long_name": "Spearman of HAcc minus that of Acc"}),
            "advantage_by_truth": (("truth", "end"), by_truth, {"long_name": "the same, over policies and families"}),
            "subsample": (("policy", "truth", "draw", "metric"), some),
            "spearman_rloo": (("policy", "truth", "predictor"), against),
            "spearman_flow": (("policy", "truth", "predictor"), exact),
            "pooled": (("policy", "truth", "metric"), correlations(pooled, outcome.reshape(*shape[:2], 1, -1))),
            "regret": (("policy", "truth", "metric"), regrets(pooled, outcome.reshape(*shape[:2], -1), rng)),
        },
        {
            "policy": words(policies),
            "truth": words(truths),
            "family": words(families),
            "metric": words(METRICS),
            "predictor": words([*METRICS, *FORECASTS]),
            "end": words(["low", "mean", "high"]),
        },
    )


def standardised(scores: np.ndarray, policy: np.ndarray) -> np.ndarray:
    """[M, P, K], centred on each prompt and divided by the standard deviation under the policy, as whitening does.

    Example:
        >>> standardised(np.array([[[2.0, 0.0]]]), np.array([[0.5, 0.5]])).tolist()
        [[[1.0, -1.0]]]
    """
    centred = scores - np.sum(policy * scores, axis=2, keepdims=True)
    size = np.sqrt(np.mean(np.sum(policy * centred**2, axis=2), axis=1))
    return centred / np.where(size > 0, size, 1.0)[:, None, None]


def trained(start: reward_models.Start, truth: np.ndarray, scores: np.ndarray, gain: float) -> tuple[float, np.ndarray]:
    """The time at which the flow on the truth has made its gain, and the gain [M] of every reward model by then."""
    own = standardised(truth[None], start.policy)
    problem = start.problem(truth, own[0])
    settings = {"objective": Objective(kl=KL), "rtol": 1e-4, "atol": 1e-6}
    first = float(np.mean(np.sum(start.policy * truth, axis=1)))
    # The flow on the truth to many end times: the program that runs all reward models runs them too.
    times = np.geomspace(1.0, 2000.0 * len(truth), 128)
    many = problem.with_proxy(start.rewards(np.repeat(own, 128, axis=0)))
    path = np.asarray(flow_many(many, times, **settings).true_value)
    best = max(float(path.max()), first + 1e-9)
    time = float(times[np.argmax(path >= first + gain * (best - first))])
    ends = flow_many(problem.with_proxy(start.rewards(scores)), time, **settings)
    return time, (np.asarray(ends.true_value) - first) / (best - first)


def full_metrics(truth: np.ndarray, scores: np.ndarray, policy: np.ndarray) -> np.ndarray:
    """[M, 7] of `FULL`: every pair that the truth orders, V_P exact. Distances count negatively: larger is better.

    Example:
        >>> truth, policy = np.array([[1.0, 0.8, -1, -1, -1]]), np.array([[0.05, 0.5, 0.15, 0.15, 0.15]])
        >>> full_metrics(truth, np.array([[[1.0, -0.95, -0.9, -0.8, -1]]]), policy)[0, :4].round(4).tolist()
        [0.7143, 0.8571, 0.4495, 0.7248]
    """
    prompts, outputs = truth.shape
    prompt = np.repeat(np.arange(prompts), outputs)
    high, low = ordered_pairs(prompt, truth.ravel())
    flat, logp = scores.reshape(len(scores), -1), np.log(policy).ravel()
    mean = np.sum(policy * scores, axis=2)
    found = _accuracies(flat[:, high], flat[:, low], mean[:, prompt[high]], logp[high] + logp[low])
    variance = np.mean(np.sum(policy * (scores - mean[..., None]) ** 2, axis=2), axis=1)
    uniform = np.full_like(policy, 1 / outputs)
    # Whitening takes the scale away before training, so that variance counts relative to the spread of all scores.
    spread = np.var(scores.reshape(len(scores), -1), axis=1)
    columns = [*found, -_epic(truth, scores, uniform), -_epic(truth, scores, policy), variance / spread]
    return np.stack(columns, axis=1)


def sparse_metrics(truth: np.ndarray, scores: np.ndarray, policy: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """[M, 4] of `SPARSE`: one offline pair a prompt, V_P from 10 responses, the same for all models."""
    prompts, outputs = truth.shape
    rows = np.arange(prompts)
    one, other = draw(np.full(truth.shape, 1 / outputs), 2, rng).T
    swap = truth[rows, one] < truth[rows, other]
    high, low = np.where(swap, other, one), np.where(swap, one, other)
    kept = np.flatnonzero(truth[rows, high] > truth[rows, low])
    seen = draw(policy, 10, rng)
    mean = np.take_along_axis(scores, np.broadcast_to(seen, (len(scores), *seen.shape)), axis=2).mean(axis=2)
    logp = np.log(policy)
    weight = logp[kept, high[kept]] + logp[kept, low[kept]]
    both = scores[:, kept, high[kept]], scores[:, kept, low[kept]]
    return np.stack(_accuracies(*both, mean[:, kept], weight), axis=1)


def _accuracies(high: np.ndarray, low: np.ndarray, mean: np.ndarray, log_weight: np.ndarray) -> list[np.ndarray]:
    right, harmless = high > low, (high > low) | (low < mean)
    weight = np.exp(log_weight - log_weight.max())
    weight /= weight.sum()
    return [right.mean(axis=1), harmless.mean(axis=1), right @ weight, harmless @ weight]


def _epic(truth: np.ndarray, scores: np.ndarray, cover: np.ndarray) -> np.ndarray:
    def unit(table: np.ndarray) -> np.ndarray:
        centred = table - np.sum(cover * table, axis=-1, keepdims=True)
        size = np.sqrt(np.sum(cover * centred**2, axis=(-2, -1), keepdims=True))
        return centred / np.where(size > 0, size, 1.0)

    rho = np.sum(cover * unit(truth) * unit(scores), axis=(1, 2))
    return np.sqrt(np.maximum(0.5 * (1 - rho), 0))


def by_rloo(
    start: reward_models.Start, truth: np.ndarray, scores: np.ndarray, steps: int, time: float, seed: int
) -> np.ndarray:
    """The gain [M] by RLOO as the paper runs it: k = 4, rewards whitened over the batch with their mean put back, and
    the KL taken off them as the log-ratio.

    The learning rate makes `steps` updates as long as the flow. Every model has random numbers of its own.
    """
    problem = start.problem(truth, scores[0])
    ends = ascend_sampled_many(
        problem.with_proxy(start.rewards(scores)),
        steps,
        jax.random.split(jax.random.key(seed), (len(scores), 1)),
        estimator=compose(RLOO(4), Whiten(keep_mean=True), KLPenalty("k1", weight=KL)),
        learning_rate=time / steps,
    )
    first = np.mean(np.sum(start.policy * truth, axis=1))
    return (np.asarray(ends.true_value)[:, 0] - first) / (np.mean(truth.max(axis=1)) - first)


def forecasts(
    truth: np.ndarray, scores: np.ndarray, policy: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """The forecast gain of the true reward [M], from 8 sampled responses a prompt, at a mean KL of half a nat.

    Once judged by the responses that are trained on, and once by held-out ones.
    """
    seen = draw(policy, 8, rng)
    prompt = np.repeat(np.arange(len(truth)), seen.shape[1])
    known = np.take_along_axis(truth, seen, axis=1).ravel()
    own = [np.take_along_axis(one, seen, axis=1).ravel() for one in scores]
    inside, outside = (
        np.array([forecast(prompt, one, known, kl=0.5, held_out=way).true_gain.mean() for one in own])
        for way in (False, True)
    )
    return inside, outside


def correlations(metric: np.ndarray, outcome: np.ndarray) -> np.ndarray:
    """Spearman along the last axis; 0 where a metric tells no models apart."""
    return np.nan_to_num(spearman(metric, outcome))


def intervals(
    rows: np.ndarray, outcome: np.ndarray, resamples: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """95 % intervals over models: of the mean Spearman [family, metric], and of HAcc - Acc by family and by truth."""
    models = outcome.shape[-1]
    draws, truths = [], []
    for _ in range(resamples):
        picked = rng.integers(models, size=models)
        found = correlations(rows[..., picked], outcome[..., None, picked])
        draws.append(found.mean(axis=(0, 1)))
        truths.append((found[..., 1] - found[..., 0]).mean(axis=(0, 2)))
    table = np.array(draws)
    each = correlations(rows, outcome[..., None, :])
    mean = each.mean(axis=(0, 1))
    low, high = np.quantile(table, [0.025, 0.975], axis=0)
    advantages = []
    for drawn, own in (
        (table[..., 1] - table[..., 0], mean[:, 1] - mean[:, 0]),
        (np.array(truths), (each[..., 1] - each[..., 0]).mean(axis=(0, 2))),
    ):
        ends = np.quantile(drawn, [0.025, 0.975], axis=0)
        advantages.append(np.stack([ends[0], own, ends[1]], axis=1))
    return low, high, mean, *advantages


def subsampled(pooled: np.ndarray, outcome: np.ndarray, draws: int, rng: np.random.Generator) -> np.ndarray:
    """[policy, truth, draw, metric], Spearman over 13 reward models of all families, as many as the paper has."""
    found = []
    for _ in range(draws):
        picked = rng.choice(outcome.shape[-1], SUBSAMPLE, replace=False)
        found.append(correlations(pooled[..., picked], outcome[..., None, picked]))
    return np.stack(found, axis=2)


def regrets(pooled: np.ndarray, outcome: np.ndarray, rng: np.random.Generator, draws: int = 400) -> np.ndarray:
    """[policy, truth, metric], what picking the best of 13 by the metric loses, in units of the best possible gain."""
    total = np.zeros(pooled.shape[:3])
    for _ in range(draws):
        picked = rng.choice(outcome.shape[-1], SUBSAMPLE, replace=False)
        own, metric = outcome[..., picked], ranks(pooled[..., picked])
        best = metric == metric.max(axis=-1, keepdims=True)
        total += own.max(axis=-1)[..., None] - np.sum(best * own[..., None, :], axis=-1) / best.sum(axis=-1)
    return total / draws
