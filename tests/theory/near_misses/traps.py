"""What just misses a premise about escape, stall and traps, and about correlated features of a trap."""

import numpy as np

from near_misses.changes import (
    LITTLE,
    ORTHONORMAL,
    doubled,
    only,
    proxy_bumped,
    put,
    raised,
    rated,
    rewards,
    start,
    starting,
    true_bumped,
    with_,
)
from pgdyn.policy import kernel
from pgdyn.theory import trap_features
from pgdyn.theory.mediocre_trap import pulls

# -- escape where nothing is mediocre


def best_probability(problem):
    return start(problem)[int(np.argmax(problem.proxy_reward[0]))]


ONE_GOOD = {
    "unequal others": only(lambda p: put(p, proxy_reward=raised(p.proxy_reward, (0, -1), -1e-9))),
    "no gap": only(lambda p: put(p, proxy_reward=np.full(p.proxy_reward.shape, 0.3))),
    "there at once": with_(rho=lambda p, _: best_probability(p) * (1 - 1e-9)),
    "never there": with_(rho=1.0),
}


def starting_at(probability):
    """The proxy's best output at this probability, the others in proportion."""

    def change(problem):
        policy, best = start(problem), int(np.argmax(problem.proxy_reward[0]))
        policy = policy / (1 - policy[best]) * (1 - probability)
        policy[best] = probability
        return starting(problem, policy)

    return only(change)


# -- the stall of mediocre_lower; any order of outputs


def by_rank(problem):
    return np.argsort(-rewards(problem))


def stall(change):
    """A miss by `change(policy, reward, order)` in place, order from the best output down."""

    def miss(problem):
        policy, reward, order = start(problem), rewards(problem), by_rank(problem)
        change(policy, reward, order)
        return starting(put(problem, true_reward=reward[None]), policy)

    return only(miss)


def value_over_mediocre(policy, reward, order):
    """V_0 just above r_med, by mass of the bad outputs that goes to the mediocre one."""
    bad = order[2:]
    loss = (reward[order[1]] - reward[bad]) @ policy[bad]
    gain = policy[order[0]] * (reward[order[0]] - reward[order[1]])
    kept = gain / loss * (1 - LITTLE)
    policy[order[1]] += policy[bad].sum() * (1 - kept)
    policy[bad] *= kept


def value_under_bad(policy, reward, order):
    """V_0 just below the best bad output, by the reward of the worst."""
    reward[order[-1]] -= (policy @ reward - reward[order[2]]) / policy[order[-1]] * (1 + LITTLE)


def bad_leads(policy, reward, order):
    """A bad output just likelier than the mediocre one; its reward keeps V_0 between."""
    both = policy[order[1]] + policy[order[2]]
    policy[order[1]], policy[order[2]] = both / 2 * (1 - LITTLE), both / 2 * (1 + LITTLE)


def tied(policy, reward, order):
    reward[order[0]] = reward[order[1]]


STALLED = ORTHONORMAL | {
    "V_0 above r_med": stall(value_over_mediocre),
    "V_0 below a bad reward": stall(value_under_bad),
    "a bad output leads": stall(bad_leads),
    "two best outputs": stall(tied),
    "target of r_med": with_(v=lambda p, _: rewards(p)[by_rank(p)[1]]),
    "target of r*": with_(v=lambda p, _: rewards(p)[by_rank(p)[0]]),
}


def not_rare(policy, reward, order):
    """D* p_0 just above half of sum D_b q_b, by the best reward."""
    loss = (reward[order[1]] - reward[order[2:]]) @ policy[order[2:]]
    reward[order[0]] = reward[order[1]] + 0.5 * (1 + 1e-3) * loss / policy[order[0]]


def near_best(problem, _):
    best, middle = rewards(problem)[by_rank(problem)[:2]]
    return middle + 0.751 * (best - middle)


# -- traps: best output, mediocre one, bad ones, in this order


def swapped_first(problem):
    true = rewards(problem)
    true[[0, 1]] = true[[1, 0]]
    return rated(problem, true)


def bad_as_mediocre(problem):
    true = rewards(problem)
    true[-1] = true[1]
    return rated(problem, true)


ORDERED = {
    "another proxy": proxy_bumped(-LITTLE),
    "best and mediocre exchanged": only(swapped_first),
    "a bad output as good as the mediocre one": only(bad_as_mediocre),
}


def with_mass_off(mass):
    """The trap with this mass off the mediocre output."""

    def change(problem):
        policy = start(problem)
        policy = policy * mass / (1 - policy[1])
        policy[1] = 1 - mass
        return starting(problem, policy)

    return only(change)


def two_outputs(problem):
    names = ("true_reward", "proxy_reward", "initial_params")
    return put(problem, **{name: getattr(problem, name)[:, :2] for name in names})


def pulled(problem, w):
    """The trap with other pulls of the bad outputs."""
    policy, gaps = start(problem), rewards(problem)[1] - rewards(problem)[2:]
    policy[2:] = w / gaps
    policy[1] = 1 - policy[0] - policy[2:].sum()
    return starting(problem, policy)


def unequal_pulls(problem):
    _, w = pulls(problem)
    return pulled(problem, raised(w, -1, 1e-6 * w[-1]))


CORNER = ORTHONORMAL | ORDERED | {"too much mass elsewhere": with_mass_off(1.01e-5), "no bad output": only(two_outputs)}


def frequent(share, mass=9e-5):
    """D* p_0 sum 1/(D_b q_b) just above `share` at p_0 = `mass`, by the best reward."""

    def change(problem):
        policy, true = start(problem), rewards(problem)
        policy[1] += policy[0] - mass
        policy[0] = mass
        total = np.sum(1 / ((true[1] - true[2:]) * policy[2:]))
        proxy_is_truth = np.array_equal(true, problem.proxy_reward[0])
        assert proxy_is_truth
        true[0] = true[1] + 1.01 * share / (mass * total)
        return starting(rated(problem, true), policy)

    return only(change)


def likelier(mass, reward=None):
    """p_0 = `mass`, with the best reward so low that nothing else is missed."""

    def change(problem):
        policy, true = start(problem), rewards(problem)
        policy[1] += policy[0] - mass
        policy[0] = mass
        if reward is not None:
            true[0] = true[1] + reward
            problem = rated(problem, true)
        return starting(problem, policy)

    return only(change)


def rarer(factor):
    """The best output less likely by this factor, and with it an escape beyond the clock."""

    def change(problem):
        policy = start(problem)
        policy[1] += policy[0] * (1 - factor)
        policy[0] *= factor
        return starting(problem, policy)

    return only(change)


def bad_output_leads(problem):
    policy = start(problem)
    both = policy[1] + policy[2]
    policy[1], policy[2] = both / 2 * (1 - LITTLE), both / 2 * (1 + LITTLE)
    return starting(problem, policy)


def rare_trap(share):
    return {
        "y* not rare beside the bad ones": frequent(share),
        "y* not rare": likelier(1.01e-4, 1e-3),
        "a bad output leads": only(bad_output_leads),
        "target of r_med": with_(fraction=0.0),
        "target near r*": with_(fraction=0.751),
    }


# -- correlated features of a trap


def with_gram(change):
    """The trap with features of another Gram matrix, `change(gram)` in place, from the same policy."""

    def miss(problem):
        gram = np.array(kernel(problem)[0, :, 0])
        change(gram)
        policy = start(problem)
        return starting(put(problem, features=np.linalg.cholesky(gram)[None]), policy)

    return only(miss)


def correlated_bad(gram):
    gram[2, 0] = gram[0, 2] = 1e-6


def inner_product(choose):
    """<phi*, phi_med> as `choose(H, a*)` says, with room for it in the norms."""

    def change(gram):
        inner = choose(1 / np.sum(1 / np.diag(gram)[2:]), gram[0, 0])
        gram[1, 0] = gram[0, 1] = inner
        gram[1, 1] = max(gram[1, 1], 1.01 * inner**2 / gram[0, 0])

    return with_gram(change)


GEOMETRY = ORDERED | {"two prompts": only(doubled), "correlated bad feature": with_gram(correlated_bad)}


def unbalanced(problem):
    *_, bad = trap_features.geometry(problem)
    _, w = pulls(problem)
    return pulled(problem, raised(w, -1, 1e-5 * w[-1]))


def early(problem):
    """p_0^g just above 1e-15, by features that make g smaller."""
    gram = np.array(kernel(problem)[0, :, 0])
    harmonic = 1 / np.sum(1 / np.diag(gram)[2:])
    policy = start(problem)
    wanted = 14.9 * np.log(10) / -np.log(policy[0])
    mediocre = wanted * (gram[0, 1] + harmonic) - harmonic
    gram[1, 1] = mediocre
    gram[0, 0] = max(gram[0, 0], 1.05 * gram[0, 1] ** 2 / mediocre)
    return starting(put(problem, features=np.linalg.cholesky(gram)[None]), policy)


def hardly_aligned(problem, parameters):
    """kappa + H just below 1/2, and p_0 such that p_0^g stays between its bounds."""
    close, parameters = inner_product(lambda h, _: 0.499 - h)(problem, parameters)
    gram = np.asarray(kernel(close)[0, :, 0])
    harmonic = 1 / np.sum(1 / np.diag(gram)[2:])
    policy = start(close)
    policy[0] = 10 ** (-20 * (gram[0, 1] + harmonic) / (gram[1, 1] + harmonic))
    return starting(close, policy), parameters


def hardly_opposed(problem, parameters):
    """kappa + H just above -.4, and y* much rarer than the threshold of that."""
    close, parameters = inner_product(lambda h, _: -0.399 - h)(problem, parameters)
    policy = start(close)
    policy[0] *= 1e-6
    return starting(close, policy), parameters


def over_threshold(problem):
    """u just above half of the threshold, by the pulls of the bad outputs."""
    best, _, inner, bad = (np.asarray(each) for each in trap_features.geometry(problem))
    u, w = (np.asarray(each) for each in pulls(problem))
    threshold = -(inner + 1 / np.sum(1 / bad)) / (best - inner)
    return pulled(problem, w * u / (0.501 * threshold * w.sum()))


# -- errors on a trap


def most_on(output):
    def change(problem):
        policy = start(problem)
        both = policy[1] + policy[output]
        policy[1], policy[output] = both / 2 * (1 - LITTLE), both / 2 * (1 + LITTLE)
        return starting(problem, policy)

    return only(change)


def true_only(index, value):
    """Another true reward of one output, and the proxy with it, but for the error's output."""

    def change(problem):
        true, proxy = rewards(problem), np.array(problem.proxy_reward[0])
        if proxy[index] == true[index]:
            proxy[index] = value(true)
        true[index] = value(true)
        return rated(problem, true, proxy)

    return only(change)


TRAP = ORTHONORMAL | {
    "target of r_med": with_(target=lambda p, _: rewards(p)[1]),
    "target of r*": with_(target=lambda p, _: rewards(p)[0]),
    "a bad output as good as the mediocre one": true_only(3, lambda true: true[1]),
    "a bad output leads": most_on(2),
    "another error": proxy_bumped(-LITTLE),
}


def reproxied(index, value):
    return only(lambda p: put(p, proxy_reward=raised(p.proxy_reward, (0, index), value(p) - p.proxy_reward[0, index])))


def faster_at_first(problem, parameters):
    """The error turned round: what hurts at once when lowered helps when raised."""
    true = rewards(problem)
    proxy = true.copy()
    proxy[1] += 1e-3
    return put(problem, proxy_reward=proxy[None]), parameters


CONTROLLED = ORTHONORMAL | {
    "another start": only(lambda p: starting(p, raised(start(p), 0, 1e-6))),
    "another truth": true_bumped(),
    "another error": proxy_bumped(),
    "another time": with_(expected=lambda p, parameters: parameters["expected"] * (1 + 1e-9) + 1e-9),
}
