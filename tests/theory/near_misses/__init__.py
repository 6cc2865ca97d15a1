"""Problems that just miss one premise of a theorem: `NEAR_MISSES[name][what is missed](problem, parameters)`.

Each takes a problem that satisfies every assumption and gives one that breaks a single one, by little where it can be.
"""

import jax
import jax.numpy as jnp
import numpy as np
from claims import drawn

from near_misses.changes import (
    LITTLE,
    ONE_PROMPT,
    ORTHONORMAL,
    SMALL,
    TABULAR,
    TEMPERATURE,
    UNEVEN,
    largest,
    only,
    proxy_bumped,
    put,
    raised,
    rated,
    rewards,
    with_,
)
from near_misses.families import (
    BANDIT,
    BENIGN,
    CONSTRAINTS,
    CREDIT,
    FEATURES,
    LEVEL,
    LEVELS,
    VERIFIER,
    best_at,
    best_mass,
    constraints,
    credit_likelier,
    credit_not_rare,
    good_enough,
    large_other,
    misordered,
    moved,
    out_of_reach,
    paid,
    proxy_at,
    pupils,
    second,
    stretched,
    tabular_again,
    third_output,
    tie_of_proxy,
    tilted,
    too_likely,
    unlike,
)
from near_misses.traps import (
    CONTROLLED,
    CORNER,
    GEOMETRY,
    ONE_GOOD,
    ORDERED,
    STALLED,
    TRAP,
    bad_output_leads,
    early,
    faster_at_first,
    hardly_aligned,
    hardly_opposed,
    inner_product,
    near_best,
    not_rare,
    over_threshold,
    rare_trap,
    rarer,
    reproxied,
    stall,
    starting_at,
    true_only,
    unbalanced,
    unequal_pulls,
    with_mass_off,
)

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


def near_misses(theorem, seed, size):
    """(what is missed, problem, parameters) of every near miss of one drawn problem."""
    batch, parameters = drawn(theorem, seed, size)
    problem = jax.tree.map(jnp.asarray, batch[0])
    parameters = {name: np.asarray(value)[0] for name, value in parameters.items()}
    for missed, miss in NEAR_MISSES.get(theorem.name, {}).items():
        yield missed, *miss(problem, parameters)
