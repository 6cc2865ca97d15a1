r"""Potential-based shaping under exact gradients and under sampled ones.

A chain of H tokens, each right with probability s at first, with a reward of 1 for all right, and the same with the
shaping reward of a potential Phi: that of the best policy V*, none, -V*, and random ones. Exact gradients do not feel a
potential. REINFORCE on the reward-to-go sees the return less Phi(s), so that Phi is a baseline.
"""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
import xarray

import pgdyn
from experiments.controlled_problems import labels as words
from experiments.dense_reward import chains
from experiments.made_by import recorded
from pgdyn import Ascend, Batch, Problem, mdp, validate

POTENTIALS = ("V*", "none", "-V*", "random")


@recorded
def run(
    length: int = 4,
    initial_probability: float = 0.3,
    *,
    learning_rate: float = 0.3,
    updates: int = 2000,
    save_every: int = 40,
    seeds: int = 200,
    target: float = 0.9,
    root_seed: int = 0,
) -> xarray.Dataset:
    """Runs gradient ascent and REINFORCE with one episode an update.

    Args:
        length: H.
        initial_probability: s.
        learning_rate: of both.
        updates: of both.
        save_every: updates between two that are recorded.
        seeds: runs of REINFORCE with each potential, each with a random potential of its own (standard normal).
        target: true value from which on a run has succeeded.
        root_seed: of all that is drawn.

    Returns:
        Along "potential" and "update": `exact_value`, of gradient ascent on the shaped reward; `success`, the share of
        REINFORCE runs at or above the target; `variance`, the trace of the covariance of REINFORCE's gradient at the
        exact path's parameters, by listing all episodes (of random potentials the mean); `bias`, the largest difference
        of its mean from the exact gradient.

    Raises:
        ValueError: on counts below 1.
    """
    validate.count("seeds", seeds, minimum=1)
    rng = np.random.default_rng(root_seed)
    problem = chains(length, [length], [initial_probability], dense=[False])[0]
    best = np.asarray(mdp.rewards.values(problem, optimal=True))
    heights = np.stack([np.tile(height, (seeds, 1)) for height in (best, 0 * best, -best)])
    heights = np.concatenate([heights, rng.normal(size=(1, seeds, length))])
    shaped = np.stack([_shaped(problem, height) for height in heights[:, 0]])
    dynamics = Ascend(updates, learning_rate=learning_rate, save_every=save_every)
    exact = Batch.sharing(problem, proxy_reward=shaped).map(
        lambda one: dataclasses.replace(pgdyn.solve(one, dynamics), problem=None)
    )
    path = np.asarray(exact.params)[1]
    few = heights[:, :20]
    spread, bias = np.zeros((2, len(POTENTIALS), len(path)))
    for i, potentials in enumerate(few):
        own = potentials if POTENTIALS[i] == "random" else potentials[:1]
        paid = np.stack([_shaped(problem, height) for height in own])
        spread[i], bias[i] = gradient_moments(problem, paid, path)
    success = reinforce(heights, initial_probability, learning_rate, updates, save_every, target, rng)
    axes = ("potential", "update")
    one = {"units": "1"}
    return xarray.Dataset(
        {
            "exact_value": (axes, np.asarray(exact.true_value), {**one, "long_name": "true value, exact gradients"}),
            "success": (axes, success, {**one, "long_name": "share of runs at the target"}),
            "variance": (axes, spread, {**one, "long_name": "variance of the sampled gradient"}),
            "bias": (axes, bias, {**one, "long_name": "error of its mean"}),
        },
        coords={
            "potential": ("potential", words(POTENTIALS)),
            "update": ("update", np.asarray(exact.t)[0], {"units": "update", "long_name": "updates"}),
        },
        attrs={"dynamics": "ascend, ascend_sampled"},
    )


def _shaped(problem: Problem, potential: np.ndarray) -> np.ndarray:
    return np.asarray(problem.true_reward + mdp.rewards.potential_shaping(problem, potential))


def gradient_moments(problem: Problem, paid: np.ndarray, path: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of REINFORCE's gradient on the reward-to-go of one episode, by listing the episodes.

    Args:
        problem: one with a tabular policy and no chance.
        paid: [R, P, K], rewards to train on.
        path: [S, P, K], parameters.

    Returns:
        [S], the trace of its covariance, the mean over rewards; [S], the largest error of its mean, over rewards.

    Example:
        >>> problem = Problem.tabular([0.5, 0.5], [1.0, 0.0])
        >>> gradient_moments(problem, np.asarray(problem.true_reward)[None], np.zeros((1, 1, 2)))[0]
        array([0.125])
    """
    ways = mdp.paths(problem)
    there = ways.points >= 0
    points, actions = np.where(there, ways.points, 0), ways.actions
    # [R, M, H], what follows from each decision on.
    togo = np.where(there, paid[:, points, actions], 0.0)[:, :, ::-1].cumsum(axis=2)[:, :, ::-1]
    spread, bias = np.zeros((2, len(path)))
    gradient_at = jax.jit(lambda params: pgdyn.Objective(reward="true").gradient(problem, params))
    for i, params in enumerate(path):
        log = params - np.log(np.exp(params).sum(axis=1, keepdims=True))
        chance = np.exp(ways.total(log))
        gradient = np.zeros((*togo.shape[:2], *params.shape))
        episode = np.arange(len(points))
        for t in range(points.shape[1]):
            s, weight = points[:, t], togo[:, :, t] * there[:, t]
            score = (np.arange(params.shape[1]) == actions[:, t, None]) - np.exp(log)[s]
            gradient[:, episode, s] += weight[:, :, None] * score
        mean = np.einsum("m,rmpk->rpk", chance, gradient)
        square = np.einsum("m,rmpk->r", chance, gradient**2)
        spread[i] = (square - (mean**2).sum(axis=(1, 2))).mean()
        bias[i] = np.abs(mean - np.asarray(gradient_at(params))).max()
    return spread, bias


def reinforce(
    heights: np.ndarray,
    initial_probability: float,
    learning_rate: float,
    updates: int,
    save_every: int,
    target: float,
    rng: np.random.Generator,
) -> np.ndarray:
    """Shares of runs of REINFORCE that are at the target, [N, S], with one episode an update and the reward-to-go.

    Of a chain with two actions the log-odds of the right one are all that moves: u += 2 eta (r - Phi) (right - p) at
    every decision that the episode comes to.

    Args:
        heights: [N, seeds, H], potentials of the decision points.
        initial_probability: s.
        learning_rate: eta.
        updates: of each run.
        save_every: updates between two that are looked at.
        target: probability that all are right.
        rng: draws the episodes; runs of one seed share their uniform numbers.
    """
    odds = np.full(heights.shape, np.log(initial_probability / (1 - initial_probability)))
    found = []
    for i in range(updates + 1):
        if i % save_every == 0 or i == updates:
            found.append(((1 / (1 + np.exp(-odds))).prod(axis=2) >= target).mean(axis=1))
        odds = odds + 2 * learning_rate * sampled_gradient(odds, heights, rng.random(heights.shape[1:]))
    return np.stack(found, axis=1)


def sampled_gradient(odds: np.ndarray, heights: np.ndarray, uniforms: np.ndarray) -> np.ndarray:
    """REINFORCE's gradient in the logit of the right action at each decision, that of the other being its negative.

    Args:
        odds: [..., H], log-odds.
        heights: [..., H], potentials.
        uniforms: [..., H], the draws.
    """
    p = 1 / (1 + np.exp(-odds))
    right = uniforms < p
    came = np.ones(odds.shape, bool)
    came[..., 1:] = np.logical_and.accumulate(right, axis=-1)[..., :-1]
    return came * (right.all(axis=-1, keepdims=True) - heights) * (right - p)
