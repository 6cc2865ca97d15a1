"""Problems that just miss one premise of a theorem: `NEAR_MISSES[name][what is missed](problem, parameters)`.

Each takes a problem that satisfies every assumption and gives one that breaks a single one, by little where it can be.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from pgdyn.policy import kernel, log_policy
from pgdyn.theory import trap_features
from pgdyn.theory.mediocre_trap import pulls

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


NEAR_MISSES = {
    **dict.fromkeys(
        (
            "attraction_orthonormal",
            "positive_advantage_attracts",
            "log_ratio",
            "ratio_turning_point",
            "unimodal_escape",
            "any_ratio_unimodal",
        ),
        ORTHONORMAL,
    ),
    **dict.fromkeys(("conserved_sum", "natural_gradient_closed_form", "kl_optimum"), TABULAR),
    "two_outputs_closed_form": ONE_PROMPT
    | {"no features": only(tabular_again), "not orthogonal": only(tilted), "three outputs": only(third_output)},
    "two_level_closed_form": LEVELS,
    "perturbation_linearity": {"scale of 0": with_(scale=0.0)},
    **dict.fromkeys(("benign_never_attracts", "benign_probability_bound", "benign_probability_never_rises"), BENIGN),
    "benign_negligible": ORTHONORMAL | SMALL | {"large other proxy": large_other, "no time": with_(t=0.0)},
    "no_mediocre_upper": ONE_GOOD | ONE_PROMPT | TEMPERATURE | {"no features": only(tabular_again)},
    "no_mediocre_orthonormal": ONE_GOOD | ORTHONORMAL,
    "no_mediocre_exponent": ONE_GOOD | ORTHONORMAL | {"not rare": starting_at(0.1001), "too near": with_(rho=0.4999)},
    **dict.fromkeys(("mediocre_lower_simple", "mediocre_lower"), STALLED),
    "escape_exponent": STALLED | {"y* not rare": stall(not_rare), "target near r*": with_(v=near_best)},
    "corner_path": CORNER | {"before the start": with_(stage=-LITTLE), "too late": with_(stage=0.9 + LITTLE)},
    "corner_escape_time": CORNER | {"too late": rarer(1e-20), "another target": with_(fraction=0.5 + LITTLE)},
    "corner_minimum": CORNER | {"unequal pulls": only(unequal_pulls)},
    "corner_law": ORTHONORMAL | ORDERED | rare_trap(1e-3) | {"too late": rarer(1e-9)},
    "feature_geometry_gain": GEOMETRY,
    "feature_geometry_law": GEOMETRY
    | rare_trap(0.02)
    | {
        "kappa too near -H": hardly_aligned,
        "too early": only(early),
        "too late": rarer(1e-9),
    },
    "feature_geometry_time": GEOMETRY
    | {
        "kappa of -H": inner_product(lambda h, _: -h),
        "kappa of a*": inner_product(lambda _, best: best),
        "unbalanced": only(unbalanced),
        "too late": rarer(1e-30),
        "too much mass elsewhere": with_mass_off(1.01e-5),
        "another target": with_(fraction=0.5 + LITTLE),
    },
    "permanent_stall": GEOMETRY
    | {
        "kappa too near -H": hardly_opposed,
        "above the threshold": only(over_threshold),
        "too much mass elsewhere": with_mass_off(1.01e-2),
    },
    "partial_credit_rise": CREDIT,
    "partial_credit_exponent": CREDIT
    | {"not rare": only(credit_not_rare), "a bad output leads": only(bad_output_leads), "too late": rarer(1e-20)},
    "binary_credit_exponent": CREDIT | {"not rare": credit_likelier(1.01e-4)},
    **dict.fromkeys(("compositional_partial_time", "compositional_binary_curve"), CONSTRAINTS),
    "compositional_easy_rare": CONSTRAINTS
    | {"hard": constraints(0.199, None), "sure": constraints(0.951, None), "not rare": constraints(None, 1.01e-5)},
    "compositional_both_rare": CONSTRAINTS
    | {
        "unequal": only(lambda p: put(p, initial_params=raised(p.initial_params, 0, 1e-8))),
        "not rare": constraints(1.01e-5, 1.01e-5),
    },
    "monotone_in_mediocre": TRAP
    | {
        "not higher": with_(higher=lambda p, _: np.asarray(p.proxy_reward)[0, 1]),
        "too high": with_(higher=0.9 + LITTLE),
        "too low": reproxied(1, lambda p: rewards(p)[2:].max() - LITTLE),
        "best reward not 1": true_only(0, lambda true: 1 - LITTLE),
    },
    "advantage_sign": ONE_PROMPT,
    "instantaneous_versus_long_run": ORTHONORMAL | {"faster at first": faster_at_first},
    "single_error_table": CONTROLLED,
    "worse_bad_output_helps": TRAP | {"rated higher": reproxied(2, lambda p: rewards(p)[2] + LITTLE)},
    "mediocre_rating_stalls": TRAP
    | {
        "rated lower": reproxied(2, lambda p: rewards(p)[2] - LITTLE),
        "rated as the best": reproxied(2, lambda p: rewards(p)[0]),
    },
    "variance_gradient": TABULAR | TEMPERATURE,
    "variance_time_general": SMALL,
    "variance_time_tabular": TABULAR | TEMPERATURE | SMALL | UNEVEN,
    "accurate_but_slow": TABULAR
    | TEMPERATURE
    | UNEVEN
    | {
        "large truth": largest("true_reward"),
        "two rated alike": only(misordered),
        "above 1/T": proxy_at(np.argmax, lambda _, parameters: 1 / parameters["slowness"]),
        "at 0": proxy_at(np.argmin, lambda *_: 0.0),
        "T below 1": with_(slowness=1 - LITTLE),
    },
    "inaccurate_but_fast": TABULAR
    | TEMPERATURE
    | UNEVEN
    | {
        "large truth": largest("true_reward"),
        "not 1": proxy_at(np.argmax, lambda *_: 1 - LITTLE),
        "another above pi_0": proxy_at(second, lambda problem, _: best_mass(problem)),
        "another at 0": proxy_at(np.argmin, lambda *_: 0.0),
        "out of reach": with_(gamma=out_of_reach),
    },
    "policy_dependent_teacher": ORTHONORMAL
    | {
        "large truth": largest("true_reward"),
        "unlike pupils": unlike,
        "out of reach": with_(gamma=good_enough),
        "no rise": with_(gamma=0.0),
        "another proxy": proxy_bumped(),
        "not rare": pupils(too_likely),
    },
    "best_of_n_accuracy": ONE_PROMPT
    | {"none": with_(count=0), "a half sample": with_(count=2.5), "two rated alike": only(tie_of_proxy)},
    **dict.fromkeys(("lojasiewicz", "global_rate", "global_rate_sum"), BANDIT),
    "uniform_rate": BANDIT
    | {"another start": only(lambda p: put(p, initial_params=raised(p.initial_params, (0, 0), 1e-9)))},
    "rate_lower": BANDIT | {"two best outputs": only(lambda p: rated(p, np.full(p.num_outputs, rewards(p).max())))},
    "gravitational_pull": BANDIT
    | {
        "best too rare": moved(0, 0.00849),
        "best too likely": moved(0, 0.01251),
        "second too rare": moved(1, 0.0399),
        "second too likely": moved(1, 0.0601),
        "best below 1": paid(0, 1 - LITTLE),
        "second too low": paid(1, 0.8699),
        "second too high": paid(1, 0.9001),
        "third too high": paid(2, 0.2001),
    },
    **dict.fromkeys(("noisy_verifier", "verifier_phase"), VERIFIER),
    "gradient_gap": ONE_PROMPT | {"not binary": proxy_bumped()},
    "vanishing_gradient": {"large proxy": largest("proxy_reward")},
}


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

NEAR_MISSES |= {
    "exact_solution": TABULAR,
    "exact_features": ONE_PROMPT | {"a pair": only(lambda p: put(p, features=raised(p.features, (0, 0, 0), 1e-3)))},
    "staircase": TABULAR
    | ONE_PROMPT
    | {"equal rewards": only(lambda p: put(p, proxy_reward=np.zeros_like(p.proxy_reward)))},
    "corner_elasticities": CORNER | {"y* not rare": best_at(0.01)},
    "mediocre_lower_sharp": {missed: miss for missed, miss in STALLED.items() if missed != "target of r*"},
    "general_feature_escape": FEATURES,
    "general_feature_stall": FEATURES,
    "reinforce_escape": LEVEL
    | {
        "y* not rare": best_at(3.01e-3),
        "two levels": only(lambda p: rated(p, raised(rewards(p), -1, LITTLE))),
        "far baseline": with_(baseline=lambda problem, _: rewards(problem)[0] - 3.3),
    },
    "learning_rate_shift": LEVEL
    | {
        "another proxy": proxy_bumped(),
        "wide rewards": stretched(4 + LITTLE),
        "equal rewards": only(lambda p: rated(p, np.zeros(p.num_outputs))),
    },
    "kl_shortens_stall": LEVEL
    | {
        "strong penalty": with_(weight=lambda problem, _: 0.05001 * (rewards(problem)[0] - rewards(problem)[1])),
        "late target": with_(fraction=0.3 + LITTLE),
        "y* not rare": best_at(0.051),
    },
    "variance_time_sharp": {"large truth": largest("true_reward")},
}


def near_misses(theorem, key, size):
    """(what is missed, problem, parameters) of every near miss of one drawn problem."""
    batch, parameters = theorem.sample_batch(key, 1, size)
    problem = jax.tree.map(jnp.asarray, batch[0])
    parameters = {name: np.asarray(value)[0] for name, value in parameters.items()}
    for missed, miss in NEAR_MISSES.get(theorem.name, {}).items():
        yield missed, *miss(problem, parameters)
