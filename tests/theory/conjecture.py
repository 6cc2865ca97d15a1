"""A conjecture of a few lines, for tests of `Theorem`, `verify` and the search."""

import dataclasses

import jax
import jax.numpy as jnp

import pgdyn
from pgdyn.theory import Check, Theorem


def draw(key, outputs):
    start, reward = jax.random.split(key)
    policy = jax.nn.softmax(jax.random.normal(start, (outputs,)))
    return pgdyn.Problem.tabular(policy, jax.random.uniform(reward, (outputs,))), {}


def spread(problem, scale):
    """Claim: the largest reward is at most `scale`."""
    return Check.at_most(jnp.max(problem.true_reward), scale)


CLAIM = Theorem(
    name="small_rewards",
    statement="Rewards are at most 1.",
    source="a test",
    kind="bound",
    draw=draw,
    claim=spread,
    sizes=(3, 4),
    defaults={"scale": 1.0},
)


def changed(**fields):
    return dataclasses.replace(CLAIM, **fields)
