"""Ways to change a problem that a theorem speaks about, mostly by a little, and premises that many of them share."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from pgdyn.policy import log_policy

LITTLE = 1e-6


def put(problem, **new):
    """The problem with other arrays."""
    new = {name: jnp.asarray(value) for name, value in new.items()}
    return eqx.tree_at(
        lambda p: [getattr(p, name) for name in new], problem, [*new.values()], is_leaf=lambda leaf: leaf is None
    )


def start(problem):
    return np.exp(np.asarray(log_policy(problem, problem.initial_params)))[0]


def starting(problem, policy):
    """The problem started from another policy; features, where there are any, are square."""
    logits = np.log(np.asarray(policy) / np.sum(policy))
    if problem.is_tabular:
        return put(problem, initial_params=logits[None])
    return put(problem, initial_params=np.linalg.solve(np.asarray(problem.features)[0], logits))


def rewards(problem):
    return np.array(problem.true_reward[0])


def rated(problem, true, proxy=None):
    """The problem with another true reward, and another proxy unless the two are one."""
    return put(problem, true_reward=true[None], proxy_reward=(true if proxy is None else proxy)[None])


def raised(array, index, by):
    array = np.array(array)
    array[index] += by
    return array


def only(change):
    """A miss of the problem alone."""
    return lambda problem, parameters: (change(problem), parameters)


def with_(**change):
    """A miss of parameters alone, each a number or a function of (problem, parameters)."""

    def miss(problem, parameters):
        new = {name: value(problem, parameters) if callable(value) else value for name, value in change.items()}
        return problem, {**parameters, **{name: np.asarray(value) for name, value in new.items()}}

    return miss


def warm(problem):
    heat = 1 + LITTLE
    return put(problem, temperature=problem.temperature * heat, initial_params=problem.initial_params * heat)


def doubled(problem):
    names = ["true_reward", "proxy_reward", "initial_params" if problem.is_tabular else "features"]
    twice = {name: jnp.concatenate([getattr(problem, name)] * 2) for name in names}
    return put(problem, prompt_weights=np.full(2, 0.5), **twice)


def featured(problem):
    """The same policy by features of the identity."""
    return put(problem, features=np.eye(problem.num_outputs)[None], initial_params=problem.initial_params[0])


def doubled_parameters(problem, parameters):
    """`doubled`, and parameters of one row a prompt with it."""
    twice = {name: np.concatenate([value] * 2) if np.ndim(value) == 2 else value for name, value in parameters.items()}
    return doubled(problem), twice


def proxy_bumped(by=LITTLE, index=-1):
    return only(lambda p: put(p, proxy_reward=raised(p.proxy_reward, (0, index), by)))


def true_bumped(by=LITTLE, index=-1):
    return only(lambda p: put(p, true_reward=raised(p.true_reward, (0, index), by)))


def largest(name, size=1 + LITTLE):
    """One reward of `name` just beyond 1 in size, of the output that has the largest one."""

    def change(problem):
        reward = np.array(getattr(problem, name))
        place = np.unravel_index(np.argmax(np.abs(reward)), reward.shape)
        reward[place] = size if reward[place] > 0 else -size
        return put(problem, **{name: reward})

    return only(change)


TABULAR = {"features": only(featured)}
ONE_PROMPT = {"two prompts": doubled_parameters}
TEMPERATURE = {"temperature": only(warm)}
ORTHONORMAL = TABULAR | ONE_PROMPT | TEMPERATURE
SMALL = {"large truth": largest("true_reward"), "large proxy": largest("proxy_reward")}
UNEVEN = {
    "uneven weights": lambda problem, parameters: (
        put(doubled_parameters(problem, parameters)[0], prompt_weights=[0.5 + LITTLE, 0.5 - LITTLE]),
        doubled_parameters(problem, parameters)[1],
    )
}
