"""What tests of theorems share: random problems of a draw, and whether what is found is what is claimed."""

import dataclasses

import jax
import numpy as np
from hypothesis import strategies as st

from pgdyn import Batch
from pgdyn.theory import THEOREMS

SEEDS = st.integers(0, 2**32 - 1)
BATCH = 64  # one size everywhere, so that a theorem compiles once


def drawn(theorem, seed, size=None):
    return theorem.sample_batch(jax.random.key(seed), BATCH, size)


def examined(theorem, seed, size=None):
    """The check of a batch, all of which satisfies the assumptions."""
    batch, parameters = drawn(theorem, seed, size)
    check, inside = theorem.examine(batch, **parameters)
    assert inside.all()
    return check


def assert_as_claimed(theorem, seed, size=None):
    """True theorems hold on all of a batch; false ones fail on some, and not by a hair."""
    check = examined(theorem, seed, size)
    if theorem.kind == "known false":
        assert not check.holds.all() and check.slack.min() < -0.01
    else:
        assert check.holds.all(), check.slack.min()


def violations(name, seed=0, size=None):
    """How many of a batch a theorem fails on, by a program made anew: the old one holds what a test has replaced."""
    return int(np.sum(~examined(dataclasses.replace(THEOREMS[name]), seed, size).holds))


def holds_on(name, problem, **parameters):
    """Whether the statement holds on one problem, which satisfies the assumptions, by the batched program."""
    check, inside = THEOREMS[name].examine(Batch.of(problem), **parameters)
    assert inside.all()
    return bool(check.holds[0])


def scaled(factor):
    """Replaces a function by one that gives `factor` times as much."""
    return lambda original: lambda *arguments, **options: factor * original(*arguments, **options)


def mutated(monkeypatch, module, attribute, change):
    monkeypatch.setattr(module, attribute, change(getattr(module, attribute)))


def with_rewards(change):
    """Replaces a run of a batch by one on changed rewards, true and proxy."""

    def spoil(original):
        def run(batch, *arguments, **options):
            rewards = {name: change(getattr(batch, name)) for name in ("true_reward", "proxy_reward")}
            return original(batch.replace(**rewards), *arguments, **options)

        return run

    return spoil
