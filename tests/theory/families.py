"""The identities and the bounds of the paper's family, as lists that tests run through."""

import jax

from pgdyn.theory import closed_forms, dynamics_identities, escape_bounds, paper_bounds

MODULES = (dynamics_identities, closed_forms, paper_bounds, escape_bounds)
THEOREMS = [theorem for module in MODULES for theorem in module.THEOREMS]
BATCH = 64  # one size everywhere, so that a theorem compiles once


def named(*names):
    return [theorem for theorem in THEOREMS if theorem.name in names]


def drawn(theorem, seed, size=None):
    return theorem.sample_batch(jax.random.key(seed), BATCH, size)
