"""Flows of arrays that oracles know, and calls that share compiled programs."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import oracles
from oracles import Setting
from strategies import make_setting

import pgdyn

SAVES = 12  # one value everywhere, so that tests share compiled programs
TABULAR = (1, 5, None)


def as_batch(settings):
    """One batch of plain arrays, a start for each."""
    return pgdyn.stack([setting.problem() for setting in settings])


def flow_batch(settings, t1, targets):
    batch = as_batch(settings)

    def one(problem, target):
        return pgdyn.flow(problem, t1, target=target, saves=SAVES)

    return jax.jit(lambda batch, targets: batch.map(one, targets))(batch, jnp.asarray(targets))


def plain(setting):
    return lambda x: oracles.value_gradient(setting, x, setting.proxy_reward)


def tabular(policy, true_reward, proxy_reward=None, temperature=1.0):
    policy, true_reward = np.atleast_2d(policy).astype(float), np.atleast_2d(true_reward).astype(float)
    proxy = true_reward if proxy_reward is None else np.atleast_2d(proxy_reward).astype(float)
    return Setting(None, true_reward, proxy, temperature * np.log(policy), temperature)


def simple_flow(setting, t1, target=100.0, **options):
    """`flow` with a target, so that calls of one shape are one program. Without one it is compiled in half the time."""
    return pgdyn.flow(setting.problem(), t1, target=target, saves=SAVES, **options)


def random_settings(shape, seeds):
    for seed in seeds:
        rng = np.random.default_rng(seed)
        temperature = (1.0, 0.5, 2.5)[seed % 3]
        setting = make_setting(seed, shape, start=("flat", "peaked")[seed % 4 == 0], temperature=temperature)
        proxy = setting.true_reward + 0.5 * rng.normal(size=shape[:2])
        weights = rng.dirichlet(np.ones(shape[0])) if seed % 2 else None
        yield dataclasses.replace(setting, proxy_reward=proxy, weights=weights)
