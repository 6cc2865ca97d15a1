r"""How much to trust an auxiliary reward on a gridworld: a good one, its negative, and noise (after BARFI).

A walk from one corner of a square grid is paid 1 on arrival in the opposite one, within a number of moves. The
auxiliary reward is paid by the cell that a move leads to: how near it is to the goal ("good"), the negative ("bad"), or
a fixed random number ("noisy"). The policy is the optimum under a KL penalty to the uniform one, of

    alone     the primary reward
    sum       the primary plus the auxiliary reward
    shaping   the primary plus the shaping reward of the auxiliary as a potential
    bilevel   the primary plus phi times the auxiliary reward, phi learned by `pgdyn.mdp.bilevel.align`

The return under the good and the bad one still rises slowly with |phi| when the outer loop ends; that under noise has
a maximum, which it finds.
"""

from __future__ import annotations

from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import xarray
from jaxtyping import ArrayLike

from experiments.controlled_problems import labels as words
from experiments.made_by import recorded
from pgdyn import Problem, mdp, policy
from pgdyn.mdp import bilevel

AUXILIARIES = ("good", "bad", "noisy")
REWARDS = ("alone", "sum", "shaping", "bilevel")


@recorded
def run(
    size: int = 4,
    horizon: int = 8,
    penalties: Sequence[float] = tuple(float(kl) for kl in np.geomspace(0.08, 0.8, 9)),
    trust: Sequence[float] = tuple(float(phi) for phi in np.linspace(-16, 16, 129)),
    *,
    scanned: int = 4,
    steps: int = 400,
    learning_rate: float = 0.1,
    root_seed: int = 0,
) -> xarray.Dataset:
    """Finds the policies.

    Args:
        size: rows and columns of the grid.
        horizon: moves of an episode.
        penalties: weights of the KL.
        trust: weights phi at which the primary return is scanned.
        scanned: place among `penalties` of the one that is scanned.
        steps: of the outer loop, Adam.
        learning_rate: of the outer loop.
        root_seed: of the noisy reward.

    Returns:
        Along "auxiliary", "reward" and "penalty": `primary`, the mean primary return. Along "auxiliary" and "penalty":
        `learned`, phi. Along "auxiliary" and "trust": `scan`, the primary return at phi. Along "auxiliary" and "step":
        `weight`, phi while it is learned, both at the penalty `scanned`.
    """
    problem, cells = grid(size, horizon)
    primary = problem.true_reward
    heights = cell_rewards(size, horizon, np.random.default_rng(root_seed))
    levels, phis = np.asarray(penalties, float), np.asarray(trust, float)
    # Adam that leaves the primary reward's weight at 1.
    held = optax.stateless(lambda updates, _: jax.tree.map(lambda one: one * jnp.array([0.0, 1.0]), updates))
    outer = optax.chain(optax.adam(learning_rate), held)
    found = np.zeros((len(AUXILIARIES), len(REWARDS), len(levels)))
    learned, scan = np.zeros((len(AUXILIARIES), len(levels))), np.zeros((len(AUXILIARIES), len(phis)))
    weight = np.zeros((len(AUXILIARIES), steps + 1))
    for i, name in enumerate(AUXILIARIES):
        auxiliary = arrivals(size, horizon, heights[name])
        shaping = mdp.rewards.potential_shaping(problem, heights[name][cells])
        found[i, 0] = _returns(problem, auxiliary, np.zeros(len(levels)), levels)
        found[i, 1] = _returns(problem, auxiliary, np.ones(len(levels)), levels)
        found[i, 2] = _returns(problem, shaping, np.ones(len(levels)), levels)
        scan[i] = _returns(problem, auxiliary, phis, np.full(len(phis), levels[scanned]))
        for j, kl in enumerate(levels):
            aligned = bilevel.align(
                problem, primary, auxiliary, kl=float(kl), start=(1.0, 1.0), outer=outer, steps=steps
            )
            found[i, 3, j], learned[i, j] = aligned.value[-1], aligned.weights[-1, 1]
            if j == scanned:
                weight[i] = aligned.weights[:, 1]
    one = {"units": "1"}
    value = {**one, "long_name": "mean primary return"}
    return xarray.Dataset(
        {
            "primary": (("auxiliary", "reward", "penalty"), found, value),
            "learned": (("auxiliary", "penalty"), learned, {**one, "long_name": "learned weight of the auxiliary"}),
            "scan": (("auxiliary", "trust"), scan, value),
            "weight": (("auxiliary", "step"), weight, {**one, "long_name": "weight of the auxiliary"}),
        },
        coords={
            "auxiliary": ("auxiliary", words(AUXILIARIES)),
            "reward": ("reward", words(REWARDS)),
            "penalty": ("penalty", levels, {**one, "long_name": "weight of the KL penalty"}),
            "trust": ("trust", phis, {**one, "long_name": "weight of the auxiliary"}),
        },
    )


def grid(size: int, horizon: int) -> tuple[Problem, np.ndarray]:
    """The gridworld with its sparse goal, and the cell of each decision point.

    Example:
        >>> problem, cells = grid(2, 2)
        >>> cells.tolist()
        [0, 0, 1, 2]
    """
    goal = np.zeros((size, size))
    goal[-1, -1] = 1.0
    problem = mdp.gridworld(goal, horizon=horizon, terminal=goal > 0)
    assert problem.transitions is not None and problem.transitions.successors is not None
    successors = problem.transitions.successors
    led_to = arrivals(size, horizon, np.arange(size**2)).astype(int)
    cells = np.zeros(problem.num_prompts, int)
    cells[successors[successors >= 0]] = led_to[successors >= 0]
    return problem, cells


def arrivals(size: int, horizon: int, cells: np.ndarray) -> np.ndarray:
    """The reward [P, 4] that pays `cells` [size^2] on arrival."""
    goal = np.zeros((size, size), bool)
    goal[-1, -1] = True
    table = np.asarray(cells, float).reshape(size, size)
    return np.asarray(mdp.gridworld(table, horizon=horizon, terminal=goal).true_reward)


def cell_rewards(size: int, horizon: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """What each auxiliary reward pays for a cell, [size^2], at most about 1 in an episode."""
    rows, columns = np.divmod(np.arange(size**2), size)
    near = (rows + columns) / (2 * size - 2) / horizon
    return {"good": near, "bad": -near, "noisy": rng.normal(size=size**2) * near.std()}


@eqx.filter_jit
def _returns(problem: Problem, auxiliary: ArrayLike, phis: ArrayLike, penalties: ArrayLike) -> jax.Array:
    """Mean primary returns of the optima, [N]."""
    reference = policy.log_policy(problem, problem.initial_params)

    def one(phi: jax.Array, kl: jax.Array) -> jax.Array:
        value, worth = mdp.rewards.soft_values(
            problem, problem.true_reward + phi * jnp.asarray(auxiliary), reference, kl
        )
        return policy.value(problem, reference + (worth - value[:, None]) / kl, problem.true_reward)

    return jax.vmap(one)(jnp.asarray(phis), jnp.asarray(penalties))
