"""Which right answers GRPO makes likelier: rank bias, the unlikeliness reward, and pass@N (arXiv 2506.02355).

One prompt by enumeration of every group of five, and from sampled groups of five and of 32 that are gone through many
times; and 50 prompts with heavy-tailed answers whose policy shares parameters: one that
sharpens all prompts at once, and some random ones.
"""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import xarray

from experiments import controlled_problems as paper
from experiments.made_by import recorded
from pgdyn import Batch, Problem, ascend_sampled_many, validate
from pgdyn.estimators import GRPO, Surrogate, Unlikeliness, compose, outcomes, pass_at_n, tail_miss, uplift_rate

POLICY = (0.35, 0.2, 0.1, 0.05, 0.3)
EPOCHS = (1, 2, 4)
PARTS: dict[str, tuple[Any, ...]] = {
    "GRPO": (),
    "unlikeliness": (Unlikeliness(0.25, variant="code"),),
    "unlikeliness, all-right groups kept": (Unlikeliness(0.25, variant="code", filter=None),),
}
PASSES = (1, 2, 4, 8, 16, 32)  # epochs of sampled groups
SIZES = (5, 32)  # the paper's groups are of 32
RATE = 0.5
COUNTS = tuple(2**i for i in range(9))
GROUPS = (4, 8, 16, 32, 64)


@recorded
def run(
    prompts: int = 50,
    answers: int = 24,
    *,
    group_size: int = 8,
    updates: int = 300,
    seeds: int = 4,
    samples: int = 4000,
    learning_rate: float = 0.2,
    seed: int = 0,
) -> xarray.Dataset:
    """Enumerates one prompt and trains many.

    Args:
        prompts: of the population.
        answers: of each prompt.
        group_size: samples of each prompt and update.
        updates: of each run, every prompt at each.
        seeds: runs of each variant.
        samples: groups that are drawn for each of many epochs.
        learning_rate: of the runs.
        seed: of prompts and keys.

    Returns:
        Along "variant", "epochs" and "answer": `change`, the expected change of log pi of the four right answers of one
        prompt in one batch of groups of five at learning rate .5, clip .2. Along "variant" and "answer": `uplift`.
        Along "size", "passes" and "answer": `sampled_change`, the same of GRPO from sampled groups, and its standard
        error `sampled_error`.
        Along "variant" and "N": `pass_at_n` of the population after training; `base`, before. Along "group": `missed`.

    Raises:
        ValueError: on counts below 1.
    """
    validate.count("prompts", prompts, minimum=1)
    problem = Problem.tabular(POLICY, [1.0, 1.0, 1.0, 1.0, 0.0])
    change, uplift = np.empty((len(PARTS), len(EPOCHS), 4)), np.empty((len(PARTS), 4))
    for i, parts in enumerate(PARTS.values()):
        for j, epochs in enumerate(EPOCHS):
            estimator = compose(GRPO(5, 1, 1e-6), *parts, Surrogate(epochs=epochs))
            found = outcomes(estimator, problem, learning_rate=RATE)
            change[i, j] = found.mean(found.change)[0, :4]
            if epochs == 1:
                uplift[i] = uplift_rate(found)[0, :4]
    moves = np.array([[_sampled(problem, size, epochs, samples, seed) for epochs in PASSES] for size in SIZES])
    population = make_population(prompts, answers, seed)
    right = np.asarray(population.true_reward)
    keys = jax.random.split(jax.random.key(seed), seeds)
    after, base = [], None
    for parts in PARTS.values():
        end = ascend_sampled_many(
            Batch.sharing(population, true_reward=right[None]),
            updates,
            keys,
            estimator=compose(GRPO(group_size, 1, 1e-6), *parts),
            learning_rate=learning_rate,
            save_every=updates,
        )
        success = np.sum(np.exp(np.asarray(end.log_policy)[0]) * right, axis=-1)  # [seeds, 2, P]
        base = pass_at_n(success[0, 0], COUNTS)
        after.append(pass_at_n(success[:, -1], COUNTS).mean(axis=0))
    names = list(PARTS)
    return xarray.Dataset(
        {
            "change": (
                ("variant", "epochs", "answer"),
                change,
                _described("expected change of log p", "nat"),
            ),
            "sampled_change": (("size", "passes", "answer"), moves[:, :, 0], _described("change of log p", "nat")),
            "sampled_error": (("size", "passes", "answer"), moves[:, :, 1], _described("its standard error", "nat")),
            "uplift": (("variant", "answer"), uplift, _described("raised, given that it was drawn")),
            "pass_at_n": (("variant", "N"), np.array(after), _described("pass@N after training")),
            "base": ("N", np.asarray(base), _described("pass@N before training")),
            "missed": ("group", [float(tail_miss(0.7, 0.05, size)) for size in GROUPS], _described("tail missed")),
        },
        coords={
            "variant": ("variant", paper.labels(names)),
            "epochs": ("epochs", list(EPOCHS), {"units": "1", "long_name": "epochs"}),
            "size": ("size", list(SIZES), {"units": "1", "long_name": "group size"}),
            "passes": ("passes", list(PASSES), {"units": "1", "long_name": "epochs"}),
            "answer": ("answer", list(POLICY[:4]), {"units": "1", "long_name": "initial probability"}),
            "N": ("N", list(COUNTS), {"units": "1", "long_name": "samples N"}),
            "group": ("group", list(GROUPS), {"units": "1", "long_name": "group size"}),
        },
        attrs={"dynamics": "ascend_sampled"},
    )


def _sampled(problem: Problem, size: int, epochs: int, samples: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard error of the change of log pi of the right answers, from one batch of each of many keys."""
    estimator = compose(GRPO(size, 1, 1e-6), Surrogate(epochs=epochs))
    keys = jax.random.split(jax.random.key(seed + size), samples)
    end = ascend_sampled_many(Batch.of(problem), 1, keys, estimator=estimator, learning_rate=RATE)
    change = np.asarray(end.log_policy)[0, :, 0, :4] - np.log(POLICY[:4])
    return change.mean(axis=0), change.std(axis=0, ddof=1) / np.sqrt(samples)


def make_population(prompts: int, answers: int, seed: int) -> Problem:
    """Makes prompts of which each has a few right answers, drawn from a tempered version of the policy itself."""
    rng = np.random.default_rng(seed)
    base = 1.6 * rng.standard_t(4, (prompts, answers))
    base -= np.log(np.exp(base).sum(axis=1, keepdims=True))
    tempered = np.exp(0.35 * base)
    right = np.zeros_like(base)
    for p, chance in enumerate(tempered / tempered.sum(axis=1, keepdims=True)):
        right[p, rng.choice(answers, 3, replace=False, p=chance)] = 1.0
    features = np.concatenate([base[..., None], 0.3 * rng.normal(size=(prompts, answers, 32))], axis=-1)
    return Problem.linear(features, right, initial_params=np.append(1.0, np.zeros(32)))


def _described(words: str, units: str = "1") -> dict[str, str]:
    return {"units": units, "long_name": words}
