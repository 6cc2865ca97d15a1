"""A little of the soak: the library and its numbers."""

import jax
import numpy as np
import pytest

import pgdyn

from . import library, numbers
from .tally import Effort, Tally, complaint


def test_wrong_arguments_are_one_sentence(monkeypatch):
    tally = Tally()
    made = {
        name: call
        for name, call in library.calls().items()
        if name.startswith(("Problem", "with", "stack", "Batch", "kernel"))
    }
    monkeypatch.setattr(library, "calls", lambda: made)
    library.wrong_arguments(Effort(seed=1, share=0.2), tally)
    assert tally.failures == []


def test_copies_are_what_they_were_made_of():
    tally = Tally()
    library.copies(Effort(), tally)
    assert tally.failures == []


WRONG = {
    "a key": lambda: pgdyn.Problem.tabular(jax.random.key(0), [1.0, 0.0]),
    "a mask of ragged rows": lambda: pgdyn.Problem.tabular([0.5, 0.5], [1.0, 0.0], mask=[[1], [1, 0]]),
    "no list": lambda: pgdyn.stack(3),
    "one problem": lambda: pgdyn.stack(pgdyn.Problem.tabular([0.5, 0.5], [1.0, 0.0])),
    "no file": lambda: pgdyn.load_problem(3),
    "no problem": lambda: pgdyn.kernel([1.0]),
    "no seeds": lambda: pgdyn.sweep.Axis.listed("seed", [1, [2]]),
    "an empty axis": lambda: pgdyn.sweep.Axis.listed("seed", []),
    "saved while traced": lambda: jax.jit(_traced(lambda problem: pgdyn.save_problem(problem, "never.toml")))(
        np.ones(3)
    ),
    "stored while traced": lambda: jax.jit(_traced(lambda problem: pgdyn.ascend(problem, 2).to_dataset()))(np.ones(3)),
    "drawn while traced": lambda: jax.jit(_traced(lambda problem: pgdyn.ascend(problem, 2).plot()))(np.ones(3)),
}


def _traced(use):
    problem = pgdyn.Problem.tabular([0.2, 0.5, 0.3], [1.0, 0.0, 0.5])

    def function(reward):
        use(problem.with_proxy(reward))
        return 0

    return function


@pytest.mark.parametrize("case", WRONG)
def test_what_was_an_error_of_some_library_is_a_sentence(case):
    with pytest.raises(ValueError) as caught:
        WRONG[case]()
    assert complaint(caught.value) == ""


def test_a_clock_that_stands_still_is_no_warning():
    """The least of rewards at the highest of temperatures: T^2 / reward is beyond all numbers, and nothing moves."""
    problem = pgdyn.Problem.tabular([0.2, 0.3, 0.5], [1e-300, 0.0, -1e-300], temperature=1e6)
    run = pgdyn.flow_many(problem, 1.0, target=5e-301)
    assert run.result == pgdyn.Result.completed and np.isinf(run.hitting_time)
    np.testing.assert_allclose(np.exp(run.log_policy[0]), [[0.2, 0.3, 0.5]], rtol=1e-14)


def test_flows_at_the_ends_of_numbers():
    tally = Tally()
    numbers.one_round(np.random.default_rng([0, 0, 3]), tally, 3, single=False)
    assert tally.failures == []
