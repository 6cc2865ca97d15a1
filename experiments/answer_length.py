r"""Rewards that are the likelihood of a reference answer, against the answer's length.

Two thoughts, after which every token of the reference answer has probability .6 or .5 (`pgdyn.mdp.AnswerLikelihood`).
The policy is trained on the answer's probability, its logarithm, or the mean logarithm of a token: with the answers
frozen, where the thoughts are a bandit with fixed rewards, and with the reward's own derivative, which trains them.

The L tokens of an answer begin alike and stay so. They are one decision point here, whose logits are theta / sqrt(L): L
tokens move their sum L times as much, and each on its own moves as one of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray
from jaxtyping import Array, Float
from scipy.interpolate import PchipInterpolator
from scipy.optimize import brentq

import pgdyn
from experiments import grids
from experiments.controlled_problems import labels as words
from experiments.made_by import recorded
from pgdyn import Batch, Problem, flow_many, mdp
from pgdyn.mdp import AnswerLikelihood

TRANSFORMS = ("probability", "log_probability", "mean_log")
LENGTHS = (1, 2, 4, 8, 16, 32, 64)


@recorded
def run(
    lengths: Sequence[int] = LENGTHS,
    per_token: tuple[float, float] = (0.6, 0.5),
    *,
    target: float = 0.9,
    t1: float = 3e13,
    saves: int = 8192,
    rtol: float = 1e-8,
    atol: float = 1e-10,
) -> xarray.Dataset:
    """Runs the flows.

    Args:
        lengths: L.
        per_token: probability of the reference token after the good and after the bad thought, at the start.
        target: probability of the good thought whose first time is wanted.
        t1: latest time with trained answers.
        saves: times at which those flows are recorded.
        rtol: relative tolerance of the flows.
        atol: absolute tolerance of the flows.

    Returns:
        Along "transform" and "length": `gap`, the reward of the good thought less that of the bad one at the start;
        `frozen_time` and `trained_time`, until the good thought has the probability `target`, with frozen answers and
        with trained ones; `answer` and `other_answer`, the probability by then of a token of a trained answer after the
        good and after the bad thought.
    """
    sizes = np.asarray(lengths)
    settings = {"rtol": rtol, "atol": atol}
    lanes = [(float(size), row) for row in np.eye(len(TRANSFORMS)) for size in sizes]
    length, weights = (jnp.asarray(np.array(column)) for column in zip(*lanes, strict=True))
    found = _trained(
        length, weights, per_token, {"t1": t1, "saves": saves, "max_steps": 4096, "solver": diffrax.Tsit5(), **settings}
    )
    rewards, t, log_policy = map(np.asarray, found)
    crossed = [_crossing(*path, target) for path in zip(t, log_policy, strict=True)]
    trained = np.array([time for time, _ in crossed])
    chance = np.stack([policy for _, policy in crossed])
    bandits = Batch.tabular([0.5, 0.5], np.array([1.0, 0.0]), rewards[:, None])
    # Their times are in inverse proportion to the advantage, which may be tiny.
    frozen = np.asarray(flow_many(bandits, 1e6 * t1, target=target, **settings).hitting_time)
    one = {"units": "1"}
    time = {**one, "long_name": "time until the good thought has the target's probability"}
    runs = {
        "gap": (rewards[:, 0] - rewards[:, 1], {**one, "long_name": "advantage of the good thought"}),
        "frozen_time": (frozen, time),
        "trained_time": (trained, time),
        "answer": (chance[:, 1, 0], {**one, "long_name": "probability of a token after the good thought then"}),
        "other_answer": (chance[:, 2, 0], {**one, "long_name": "probability of a token after the bad thought then"}),
    }
    flat = xarray.Dataset({name: ("run", values, attrs) for name, (values, attrs) in runs.items()})
    return grids.unstack(flat, {"transform": len(TRANSFORMS), "length": len(sizes)}).assign_coords(
        transform=("transform", words(TRANSFORMS)),
        length=("length", sizes, {"units": "token", "long_name": "length of the answer"}),
    ).assign_attrs(dynamics="flow")  # fmt: skip


class TiedLikelihood(AnswerLikelihood):
    """`AnswerLikelihood` of answers whose L tokens share a decision point each, with L an array.

    Attributes:
        length: L.
        weights: [3], of the probability, its logarithm and the mean logarithm of a token.
    """

    length: Float[Array, ""]
    weights: Float[Array, "3"]

    def __init__(self, answers: Any, length: Float[Array, ""], weights: Float[Array, "3"]):
        super().__init__(answers)
        self.length, self.weights = length, weights

    def rewards(self, log_policy: Float[Array, "P K *lanes"]) -> Float[Array, "A *lanes"]:
        """R of each thought."""
        points, tokens = np.moveaxis(np.array(self.answers), -1, 0)
        token = log_policy[points[:, 0], tokens[:, 0]]
        paid = (jnp.exp(self.length * token), self.length * token, token)
        return self.weights[0] * paid[0] + self.weights[1] * paid[1] + self.weights[2] * paid[2]


def tied(length: Float[Array, ""], weights: Float[Array, "3"], per_token: tuple[float, float]) -> tuple[Problem, Any]:
    """The problem of three decision points and its objective; the true reward is 1 for the good thought."""
    template = mdp.two_stage([0.5, 0.5], [[right, 1 - right] for right in per_token], [1.0, 0.0])
    scale = jnp.ones((3, 2)).at[1:].set(1 / jnp.sqrt(length))
    features = (scale[:, :, None] * jnp.eye(6).reshape(3, 2, 6)).astype(template.true_reward.dtype)
    params = (template.initial_params / scale).reshape(6)
    problem = eqx.tree_at(
        lambda p: (p.features, p.initial_params), template, (features, params), is_leaf=lambda leaf: leaf is None
    )
    return problem, TiedLikelihood((((1, 0),), ((2, 0),)), length, weights)


@eqx.filter_jit
def _trained(
    length: Array, weights: Array, per_token: tuple[float, float], settings: dict[str, Any]
) -> tuple[Array, Array, Array]:
    """Rewards of the thoughts at the start, saved times and log-policies; one program for all lengths."""

    def one(length: Array, weights: Array) -> tuple[Array, Array, Array]:
        problem, objective = tied(length, weights, per_token)
        found = pgdyn.flow(problem, objective=objective, **settings)
        return objective.rewards(found.log_policy[0]), found.t, found.log_policy

    return jax.vmap(one)(length, weights)


def _crossing(t: np.ndarray, log_policy: np.ndarray, target: float) -> tuple[float, np.ndarray]:
    """When the good thought has the target's probability, and the policy [3, 2] then, by cubics through saved points.

    The flow's own search for a target compiles three times as long; these agree with it to 1e-3, most to 1e-6.
    """
    kept = np.isfinite(log_policy).all(axis=(1, 2))  # a flow that breaks off long after the crossing keeps what it saw
    t, log_policy = t[kept], log_policy[kept]
    odds = log_policy[:, 0, 0] - log_policy[:, 0, 1]
    level = np.log(target / (1 - target))
    path = PchipInterpolator(np.log1p(t), np.column_stack([odds, np.exp(log_policy).reshape(len(t), -1)]))
    after = int((odds >= level).argmax())
    if not after:
        return np.inf, np.full((3, 2), np.nan)
    clock = brentq(lambda s: path(s)[0] - level, *np.log1p(t[after - 1 : after + 1]), xtol=1e-14)
    assert isinstance(clock, float)
    return float(np.expm1(clock)), path(clock)[1:].reshape(3, 2)
