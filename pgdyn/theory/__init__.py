r"""Theorems as objects: state a claim once, then search for counterexamples and see how tight it is.

`THEOREMS` maps names to theorems, which docs/theory.md lists by number; `pgdyn verify` runs them.
`verify(theorem, 1000)` checks one on random problems that satisfy its assumptions, `find_counterexample(theorem)`
searches for one that breaks it. A conjecture of your own is the same object in a few lines. Here is one that sounds
right: with a perfect reward, the best output never loses.

    import jax
    import jax.numpy as jnp
    import pgdyn
    from pgdyn.theory import Check, Theorem, find_counterexample

    def draw(key, outputs):  # a random problem
        start, reward = jax.random.split(key)
        policy = jax.nn.softmax(2 * jax.random.normal(start, (outputs,)))
        return pgdyn.Problem.tabular(policy, jax.random.uniform(reward, (outputs,))), {}

    def claim(problem, t1):  # what is measured on one problem, and what it must be at least
        run = pgdyn.flow(problem, t1, saves=16)
        best = run.log_policy[:, 0, jnp.argmax(problem.true_reward[0])]
        return Check.at_least(best, best[0], rounding=1e-6).worst()

    conjecture = Theorem(
        name="best_output_never_loses",
        statement="Gradient flow of the true value: the probability of the best output is never below its start.",
        source="a guess",
        kind="bound",
        draw=draw,
        claim=claim,
        defaults={"t1": 10.0},
    )
    found = find_counterexample(conjecture)
    found.problem, found.check.slack

It is false, and found so at once: while a likely mediocre output gains, the best one pays for it
(`attraction_orthonormal` says when). `draw` and `claim` are plain JAX for one problem; a thousand are checked by
`jax.vmap` in one compiled program. Assumptions beyond what `draw` ensures go into `premise`, which also keeps the
search inside them.
"""

from __future__ import annotations

from pgdyn.theory import (
    attraction,
    benign_errors,
    best_of_n,
    closed_forms,
    compositional_credit,
    convergence_rates,
    corner_elasticities,
    corner_laws,
    exact_solution,
    feature_escape,
    feature_geometry,
    gradient_bounds,
    invariances,
    kl_stall,
    learning_rate_shift,
    mediocre_lower_bounds,
    mediocre_sharp,
    natural_gradient,
    no_mediocre_output,
    noisy_verifier,
    partial_credit,
    permanent_stall,
    reinforce_escape,
    reward_errors,
    reward_variance,
    teachers,
    unimodal_escape,
    variance_sharp,
)
from pgdyn.theory.check import Check
from pgdyn.theory.theorem import Theorem
from pgdyn.theory.verify import Instance, Verification, find_counterexample, verify

_FAMILIES = (
    attraction,
    invariances,
    closed_forms,
    natural_gradient,
    benign_errors,
    no_mediocre_output,
    mediocre_lower_bounds,
    unimodal_escape,
    corner_laws,
    feature_geometry,
    permanent_stall,
    partial_credit,
    compositional_credit,
    reward_errors,
    reward_variance,
    teachers,
    best_of_n,
    convergence_rates,
    noisy_verifier,
    gradient_bounds,
    exact_solution,
    corner_elasticities,
    mediocre_sharp,
    feature_escape,
    reinforce_escape,
    learning_rate_shift,
    kl_stall,
    variance_sharp,
)

THEOREMS: dict[str, Theorem] = {theorem.name: theorem for family in _FAMILIES for theorem in family.THEOREMS}

__all__ = ["THEOREMS", "Check", "Instance", "Theorem", "Verification", "find_counterexample", "verify"]
