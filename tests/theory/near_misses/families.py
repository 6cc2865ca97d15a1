"""What just misses a premise of other families: closed forms, partial credit, teachers, bandits, the exact solution."""

import equinox as eqx
import numpy as np

from near_misses.changes import (
    LITTLE,
    ONE_PROMPT,
    ORTHONORMAL,
    TABULAR,
    TEMPERATURE,
    doubled,
    doubled_parameters,
    featured,
    only,
    proxy_bumped,
    put,
    raised,
    rated,
    rewards,
    start,
    starting,
    true_bumped,
    warm,
)
from pgdyn.policy import log_policy

# -- benign errors


def just_above_value(problem, parameters):
    output = int(parameters["output"])
    policy, proxy = start(problem), np.array(problem.proxy_reward[0])
    others = np.arange(len(policy)) != output
    # r(y) <= V iff r(y) is at most the mean over the others.
    proxy[output] = policy[others] @ proxy[others] / policy[others].sum() + 1e-4
    return put(problem, proxy_reward=proxy[None]), parameters


BENIGN = ORTHONORMAL | {"above the value": just_above_value}


def large_other(problem, parameters):
    other = np.array(parameters["other_proxy"])
    place = np.unravel_index(np.argmax(np.abs(other)), other.shape)
    other[place] = 1 + LITTLE
    return problem, {**parameters, "other_proxy": other}


# -- closed forms


def tilted(problem):
    features = np.array(problem.features)
    features[0, 1] += 1e-9 * features[0, 0]
    return put(problem, features=features)


def third_output(problem):
    features = np.concatenate([np.asarray(problem.features), np.zeros((1, 1, problem.params_shape[0]))], axis=1)
    three = {name: np.pad(getattr(problem, name), ((0, 0), (0, 1))) for name in ("true_reward", "proxy_reward")}
    return put(problem, features=features, **three)


def tabular_again(problem):
    """The same policy without features."""
    return eqx.tree_at(
        lambda p: (p.features, p.initial_params), problem, (None, log_policy(problem, problem.initial_params))
    )


LEVELS = (
    TABULAR
    | ONE_PROMPT
    | {
        "unequal rewards": only(lambda p: put(p, proxy_reward=raised(p.proxy_reward, (0, -1), -1e-9))),
        "unequal start": only(lambda p: put(p, initial_params=raised(p.initial_params, (0, -1), 1e-9))),
        "no gap": only(lambda p: put(p, proxy_reward=np.full(p.proxy_reward.shape, 0.3))),
    }
)

# -- partial credit

CREDIT = ORTHONORMAL | {
    "another truth": true_bumped(),
    "another proxy": proxy_bumped(),
    "another half": proxy_bumped(index=1),
}


def credit_not_rare(problem):
    policy = start(problem)
    total = np.sum(1 / policy[2:])
    policy[0] = 1.02e-3 / total
    return starting(problem, policy)


def credit_likelier(mass):
    def change(problem):
        policy = start(problem)
        policy[0] = mass * (1 - policy[0]) / (1 - mass)
        return starting(problem, policy)

    return only(change)


def constraints(first, second):
    """Two constraints met with these probabilities; None for as they are."""

    def change(problem):
        logits = np.array(problem.initial_params)
        for i, met in enumerate((first, second)):
            if met is not None:
                logits[i] = np.log(met) - np.log1p(-met)
        return put(problem, initial_params=logits)

    return only(change)


def other_features(problem):
    features = np.array(problem.features)
    features[0, 3, 0] += 1e-9
    return put(problem, features=features)


CONSTRAINTS = TEMPERATURE | {
    "other features": only(other_features),
    "two prompts": only(doubled),
    "no features": only(tabular_again),
    "another truth": true_bumped(),
    "another proxy": proxy_bumped(),
}

# -- teachers


def misordered(problem):
    """The two lowest proxy rewards tied."""
    proxy = np.array(problem.proxy_reward)
    order = np.argsort(proxy[0])
    proxy[0, order[0]] = proxy[0, order[1]]
    return put(problem, proxy_reward=proxy)


def proxy_at(place, value):
    """The proxy's largest or smallest reward at `value(problem, parameters)`, in the same order as before."""

    def miss(problem, parameters):
        proxy = np.array(problem.proxy_reward)
        proxy[0, place(proxy[0])] = value(problem, parameters)
        return put(problem, proxy_reward=proxy), parameters

    return miss


def best_mass(problem):
    return start(problem)[int(np.argmax(problem.proxy_reward[0]))]


def second(proxy):
    return np.argsort(proxy)[-2]


def out_of_reach(problem, parameters):
    """A rise that the singled-out output's reward just allows no more."""
    best = int(np.argmax(problem.proxy_reward[0]))
    return rewards(problem)[best] - start(problem) @ rewards(problem)


def pupils(probabilities):
    """Both pupils from other probabilities of the two good outputs, (likely, rare)."""

    def miss(problem, parameters):
        policy = start(problem)
        likely, rare = probabilities(problem, parameters, policy)
        rest = policy[2:] / policy[2:].sum() * (1 - likely - rare)
        mirrored = np.log(np.concatenate([[rare, likely], rest]))[None]
        return starting(problem, [likely, rare, *rest]), {**parameters, "mirrored": mirrored}

    return miss


def too_likely(problem, parameters, policy):
    gamma, reward = float(parameters["gamma"]), rewards(problem)
    rare = policy[1]
    for _ in range(50):  # the bound depends on the start, which depends on it
        likely = policy[0]
        rest = policy[2:] / policy[2:].sum() * (1 - likely - rare)
        both = [np.dot([*pair, *rest], reward) for pair in ((likely, rare), (rare, likely))]
        rho = (max(both) + gamma + 1) / (reward[:2].min() + 1)
        rare = 1.001 * (-np.expm1(-gamma / 2) * (1 - rho) ** 4 * likely / 2) ** 2
    return policy[0], rare


def unlike(problem, parameters):
    return problem, {**parameters, "mirrored": raised(parameters["mirrored"], (0, 2), 1e-3)}


def good_enough(problem, parameters):
    """A rise beyond what the worse of the two good outputs leaves."""
    reward, policy = rewards(problem), start(problem)
    values = (policy @ reward, policy[[1, 0, *range(2, len(policy))]] @ reward)
    return reward[:2].min() - max(values) + 0.1


# -- bandits

BANDIT = ORTHONORMAL | {
    "reward above 1": only(lambda p: rated(p, np.where(rewards(p) == rewards(p).max(), 1 + LITTLE, rewards(p)))),
    "reward below 0": only(lambda p: rated(p, np.where(rewards(p) == rewards(p).min(), -LITTLE, rewards(p)))),
    "another proxy": proxy_bumped(),
}


def moved(index, value):
    """The three outputs of the pull with another probability of one."""

    def change(problem):
        policy = start(problem)
        policy[2] += policy[index] - value
        policy[index] = value
        return starting(problem, policy)

    return only(change)


def paid(index, value):
    return only(lambda p: rated(p, raised(rewards(p), index, value - rewards(p)[index])))


def nearly_right(problem):
    """A right output of not quite 1, read by the verifier as a wrong one."""
    proxy = raised(problem.proxy_reward, (0, 0), problem.proxy_reward[0, -1] - problem.proxy_reward[0, 0])
    return put(problem, true_reward=raised(problem.true_reward, (0, 0), -LITTLE), proxy_reward=proxy)


VERIFIER = ORTHONORMAL | {
    "a reward between": only(nearly_right),
    "unequal on the right": proxy_bumped(index=0),
    "unequal on the wrong": proxy_bumped(),
    "a rate of 1": only(
        lambda p: put(p, proxy_reward=np.where(np.asarray(p.true_reward) == 1, 1.0, np.asarray(p.proxy_reward)))
    ),
    "a rate of 0": only(
        lambda p: put(p, proxy_reward=np.where(np.asarray(p.true_reward) == 1, np.asarray(p.proxy_reward), 0.0))
    ),
}


def tie_of_proxy(problem):
    """Two outputs of different true reward rated alike."""
    proxy, true = np.array(problem.proxy_reward), rewards(problem)
    low, high = int(np.argmin(true)), int(np.argmax(true))
    proxy[0, low] = proxy[0, high]
    return put(problem, proxy_reward=proxy)


# -- what follows from the exact solution


def best_at(probability):
    """y* at a given probability, the others scaled."""

    def change(problem):
        policy = np.array(start(problem))
        policy[1:] *= (1 - probability) / (1 - policy[0])
        policy[0] = probability
        return starting(problem, policy)

    return only(change)


def stretched(spread):
    """Rewards that span so much."""
    return only(lambda problem: rated(problem, rewards(problem) * spread / np.ptp(rewards(problem))))


def less_on_the_mediocre(problem):
    policy = np.array(start(problem))
    policy[2:] *= (0.101 - policy[0]) / policy[2:].sum()
    policy[1] = 1 - policy[0] - policy[2:].sum()
    return starting(problem, policy)


FEATURES = {
    "temperature": only(warm),
    "y* not rare": best_at(0.02),
    "too much mass elsewhere": only(less_on_the_mediocre),
    "a mediocre output above the best": only(lambda p: rated(p, raised(rewards(p), 1, 3.0))),
}
LEVEL = {"two prompts": doubled_parameters, "temperature": only(warm), "features": only(featured)}
