"""The tail-extrapolated estimator (TEA) of the gradient of the best of N: bias, variance, and where its tail is wrong.

Normal rewards, whose location and scale the policy moves: the best of N gains 1 per unit of location and c_N per unit
of scale. Then the gradient of a tabular policy, on quantiles of four distributions; and training.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray

from experiments import controlled_problems as paper
from experiments.made_by import recorded
from pgdyn import Batch, ascend_sampled_many, validate
from pgdyn.estimators import GRPO, Estimator, MaxAtK, Sample, TailExtrapolated, best_of_n_value

BEST_OF = 64
SIZES = (16, 32, 64, 128, 256)
ORDERS = (1, 2)
SMALLEST = 16  # samples of the smallest prefix: four in its tail
OUTPUTS = 200
RATES = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)


@recorded
def run(
    sizes: Sequence[int] = SIZES,
    *,
    draws: int = 500_000,
    group_size: int = 32,
    updates: int = 300,
    seeds: int = 10,
    seed: int = 0,
) -> xarray.Dataset:
    """Measures the estimates.

    Args:
        sizes: samples m of an estimate.
        draws: rewards that are drawn for each m.
        group_size: m of the tabular gradients and of training.
        updates: of each training run.
        seeds: training runs of each estimator and step size.
        seed: of all draws.

    Returns:
        Along "order", "size" and "direction" (location, scale): `slope`, the mean estimate, `slope_error`, its
        standard error, and `slope_spread`, the standard deviation of one estimate; nan where a prefix has fewer than 16
        samples. Along "small": `reversed`, the share of estimates of TEA in which the best sample has a negative
        advantage. Along "tail" and "estimator": `cosine` to the exact gradient, `length` over that of the exact one,
        and `spread`, the root of the trace of the covariance over it. Along "trained" and "rate": `best`, the best of
        64 after training, and `best_error`.

    Raises:
        ValueError: on counts below 1.
    """
    validate.count("draws", draws, minimum=1)
    rng = np.random.default_rng(seed)
    slopes = np.full((3, len(ORDERS), len(sizes), 2), np.nan)
    for j, m in enumerate(sizes):
        rewards = rng.normal(size=(draws // m, m))
        for i, order in enumerate(ORDERS):
            if m >= SMALLEST * 2 ** (order - 1):
                slopes[:, i, j] = _slopes(TailExtrapolated(BEST_OF, m, prefix_orders=order), rewards)
    small = (8, 16)
    reversed_ = np.array([_reversed(rng, m, draws // 25) for m in small])
    tails = _tails()
    kinds = _estimators(group_size)
    found = np.array([[_gradient(rng, one, r, draws // group_size) for one in kinds.values()] for r in tails.values()])
    trained = {name: one for name, one in kinds.items() if name != "Prefix-TEA"}
    best, error = _train(tails["normal"], trained, updates, seeds, seed)
    axes = ("order", "size", "direction")
    return xarray.Dataset(
        {
            "slope": (axes, slopes[0], _described("mean estimate")),
            "slope_error": (axes, slopes[1], _described("its standard error")),
            "slope_spread": (axes, slopes[2], _described("standard deviation of one estimate")),
            "reversed": ("small", reversed_, _described("best sample has a negative advantage")),
            "cosine": (("tail", "estimator"), found[:, :, 0], _described("cosine to the exact gradient")),
            "length": (("tail", "estimator"), found[:, :, 1], _described("length over that of the exact gradient")),
            "spread": (("tail", "estimator"), found[:, :, 2], _described("standard deviation over that length")),
            "best": (("trained", "rate"), best, _described("expected best of 64 after training")),
            "best_error": (("trained", "rate"), error, _described("its standard error over seeds")),
        },
        coords={
            "order": ("order", list(ORDERS), {"units": "1", "long_name": "orders of the prefixes"}),
            "size": ("size", list(sizes), {"units": "1", "long_name": "samples m"}),
            "direction": ("direction", paper.labels(["location", "scale"])),
            "small": ("small", list(small), {"units": "1", "long_name": "samples m"}),
            "tail": ("tail", paper.labels(list(tails))),
            "estimator": ("estimator", paper.labels(list(kinds))),
            "trained": ("trained", paper.labels(list(trained))),
            "rate": ("rate", list(RATES), {"units": "1", "long_name": "learning rate"}),
        },
        attrs={"dynamics": "ascend_sampled", "best_of": BEST_OF},
    )


def _described(words: str) -> dict[str, str]:
    return {"units": "1", "long_name": words}


def _estimators(m: int) -> dict[str, Estimator]:
    return {
        "GRPO": GRPO(m),
        f"max@{m}": MaxAtK(m, m, "subset"),
        "TEA": TailExtrapolated(BEST_OF, m),
        "Prefix-TEA": TailExtrapolated(BEST_OF, m, prefix_orders=2),
    }


def _tails() -> dict[str, np.ndarray]:
    """Gives rewards at the middle quantiles: normal, uniform, Student's t with two degrees, and 1 % right."""
    u = (np.arange(OUTPUTS) + 0.5) / OUTPUTS
    return {
        "normal": np.array([NormalDist().inv_cdf(one) for one in u]),
        "uniform": math.sqrt(12) * (u - 0.5),
        "t, 2 degrees": (2 * u - 1) * np.sqrt(2 / (4 * u * (1 - u))),
        "binary": (u > 0.99).astype(float),
    }


def _advantages(estimator: Estimator, rewards: np.ndarray) -> np.ndarray:
    nothing = np.zeros(rewards.shape)
    sample = Sample(jnp.asarray(nothing, int), jnp.asarray(rewards), jnp.asarray(nothing), jnp.asarray(nothing[:, 0]))
    return np.asarray(eqx.filter_jit(estimator.advantages)(sample))


def _slopes(estimator: Estimator, rewards: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean, standard error and spread of the estimates for location and scale, whose scores are r and r^2 - 1."""
    found = _advantages(estimator, rewards)
    both = np.stack([(found * rewards).mean(axis=1), (found * (rewards**2 - 1)).mean(axis=1)], axis=1)
    spread = both.std(axis=0, ddof=1)
    return both.mean(axis=0), spread / math.sqrt(len(both)), spread


def _reversed(rng: np.random.Generator, m: int, count: int) -> float:
    rewards = rng.normal(size=(count, m))
    found = _advantages(TailExtrapolated(BEST_OF, m), rewards)
    return float((found[np.arange(count), rewards.argmax(axis=1)] < 0).mean())


def _gradient(rng: np.random.Generator, estimator: Estimator, rewards: np.ndarray, count: int) -> list[float]:
    """Cosine, length and spread of the estimate at the uniform policy, against the exact gradient of the best of N."""
    pi = np.full(OUTPUTS, 1 / OUTPUTS)
    exact = best_of_n_gradient(rewards, pi, BEST_OF)
    drawn = rng.integers(0, OUTPUTS, (count, estimator.group_size))
    found = _advantages(estimator, rewards[drawn]) / estimator.group_size
    places = OUTPUTS * np.arange(count)[:, None] + drawn
    groups = np.bincount(places.ravel(), found.ravel(), count * OUTPUTS).reshape(count, OUTPUTS)
    groups -= found.sum(axis=1, keepdims=True) * pi
    mean, total = groups.mean(axis=0), float((groups**2).sum(axis=1).mean())
    noise = (total - mean @ mean) / (count - 1)
    length = math.sqrt(max(mean @ mean - noise, 1e-300))
    size = math.sqrt(exact @ exact)
    return [float(mean @ exact) / length / size, length / size, math.sqrt(total - mean @ mean) / size]


def best_of_n_gradient(rewards: np.ndarray, pi: np.ndarray, count: int) -> np.ndarray:
    """Gives the gradient in the logits of the expected best of `count` samples: weights N E[max(r(y), M_{N-1})].

    Example:
        >>> best_of_n_gradient(np.array([1.0, 0.0]), np.array([0.5, 0.5]), 2).tolist()
        [0.25, -0.25]
    """
    levels, level = np.unique(rewards, return_inverse=True)
    reached = np.cumsum(np.bincount(level, weights=pi)) ** (count - 1)
    chance = np.diff(np.concatenate([[0.0], reached]))
    worth = count * (np.maximum(levels[:, None], levels[None]) * chance).sum(axis=1)[level]
    return pi * (worth - pi @ worth)


def _train(
    rewards: np.ndarray, kinds: dict[str, Estimator], updates: int, seeds: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    batch = Batch.tabular(np.full((len(RATES), 1, OUTPUTS), 1 / OUTPUTS), rewards)
    keys = jax.random.split(jax.random.key(seed), seeds)
    best = []
    for estimator in kinds.values():
        settings: dict[str, Any] = {"estimator": estimator, "learning_rate": np.array(RATES)}
        end = ascend_sampled_many(batch, updates, keys, **settings)
        chances = jnp.exp(jnp.asarray(end.log_policy)).reshape(-1, OUTPUTS)
        table = jnp.broadcast_to(jnp.asarray(rewards)[None], chances.shape)
        best.append(np.asarray(best_of_n_value(table, chances, BEST_OF)).reshape(len(RATES), seeds))
    found = np.array(best)
    return found.mean(axis=2), found.std(axis=2) / math.sqrt(seeds)
