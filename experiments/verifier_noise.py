"""A verifier that errs: right answers win or die out by the sign of J = TPR - FPR (arXiv 2601.04411).

GRPO on rewards that the verifier draws for every sample, over many seeds, beside the mean-field equations of the paper.
"""

from __future__ import annotations

import jax
import numpy as np
import xarray

from experiments.made_by import recorded
from pgdyn import Problem, ascend_sampled_many, validate
from pgdyn.estimators import GRPO, NoisyVerifier, compose
from pgdyn.validate import Numbers

POLICY = (0.1, 0.1, 0.5, 0.3)  # two right answers, two wrong ones
RIGHT = 2
POWER = tuple(np.linspace(-0.6, 0.6, 13))


@recorded
def run(
    power: Numbers = POWER,
    *,
    center: float = 0.5,
    group_size: int = 32,
    updates: int = 400,
    seeds: int = 200,
    learning_rate: float = 0.2,
    seed: int = 0,
) -> xarray.Dataset:
    """Trains under verifiers of every power.

    Args:
        power: J = TPR - FPR.
        center: (TPR + FPR)/2.
        group_size: samples an update.
        updates: of each run.
        seeds: runs of each verifier.
        learning_rate: of GRPO.
        seed: of all keys.

    Returns:
        Along "power": `mean_field`, the mass on wrong answers by the paper's equations at the time of the last update.
        Along "power" and "seed": `wrong`, that of the runs.

    Raises:
        ValueError: on rates that are no probabilities.
    """
    j = validate.as_floats("power", power)
    rates = np.stack([center + j / 2, center - j / 2])
    validate.require("power", j, ((rates >= 0) & (rates <= 1)).all(axis=0), "TPR and FPR must lie between 0 and 1")
    reward = np.where(np.arange(len(POLICY)) < RIGHT, 1.0, 0.0)
    problem = Problem.tabular(POLICY, reward)
    keys = jax.random.split(jax.random.key(seed), (len(j), seeds))
    wrong = []
    for row, (true_positive, false_positive) in zip(keys, rates.T, strict=True):
        estimator = compose(GRPO(group_size), NoisyVerifier(true_positive, false_positive))
        settings = {"estimator": estimator, "learning_rate": learning_rate}
        end = ascend_sampled_many(problem, updates, row, **settings)
        wrong.append(1 - np.asarray(end.true_value)[0])
    field = [mean_field(np.array(POLICY), high, low, updates * learning_rate) for high, low in rates.T]
    words = {"units": "1", "long_name": "mass on wrong answers"}
    return xarray.Dataset(
        {"wrong": (("power", "seed"), np.array(wrong), words), "mean_field": ("power", field, words)},
        coords={"power": ("power", j, {"units": "1", "long_name": "J = TPR - FPR"})},
        attrs={"dynamics": "ascend_sampled", "start": float(sum(POLICY[RIGHT:]))},
    )


def mean_field(
    policy: np.ndarray, true_positive: float, false_positive: float, time: float, steps: int = 4000
) -> float:
    """Gives the wrong mass after `time`, by the equations of theory E5 and classical Runge-Kutta steps."""
    power = true_positive - false_positive
    p = policy[RIGHT:].sum()
    state = np.concatenate([[p], policy[:RIGHT] / (1 - p), policy[RIGHT:] / p])

    def slope(state: np.ndarray) -> np.ndarray:
        p, y, z = state[0], state[1 : RIGHT + 1], state[RIGHT + 1 :]
        q = true_positive - power * p
        s = np.sqrt(q * (1 - q))
        squares = (y**2).sum(), (z**2).sum()
        k = power * p * (1 - p) / s
        mass = -(power / s) * (p * (1 - p)) ** 2 * sum(squares)
        return np.concatenate([[mass], k * y * (y - squares[0]), -k * z * (z - squares[1])])

    h = time / 4000
    for _ in range(4000):
        a = slope(state)
        b = slope(state + h / 2 * a)
        c = slope(state + h / 2 * b)
        state = state + h / 6 * (a + 2 * b + 2 * c + slope(state + h * c))
    return float(state[0])
