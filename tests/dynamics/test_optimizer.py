"""Optimisers as values: equal when they compute the same, and only then."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from strategies import make_setting

import pgdyn
from pgdyn.dynamics.optimizer import trace

PARAMS = jnp.zeros((1, 5))


def same(first, second):
    return trace(first, PARAMS)._update == trace(second, PARAMS)._update


@pytest.mark.parametrize(
    "make",
    [
        lambda: optax.sgd(0.1),
        lambda: optax.sgd(0.1, momentum=0.9),
        lambda: optax.adam(0.01),
        lambda: optax.adamw(0.01),
        lambda: optax.rmsprop(0.01),
        lambda: optax.lion(0.01),
        lambda: optax.chain(optax.clip_by_global_norm(1.0), optax.sgd(optax.linear_schedule(0.1, 0.0, 10))),
        lambda: optax.inject_hyperparams(optax.sgd)(learning_rate=0.1),
    ],
)
def test_two_equal_optimisers_are_equal_and_update_as_optax_does(make):
    """Oracle: optax itself, called directly."""
    assert same(make(), make())
    rng = np.random.default_rng(0)
    traced, direct = trace(make(), PARAMS), make()
    params, memory, state = PARAMS, traced.init(PARAMS), direct.init(PARAMS)
    expected = PARAMS
    for _ in range(4):
        gradient = jnp.asarray(rng.normal(size=(1, 5)))
        params, memory = traced.ascend(gradient, memory, params)
        with jax.numpy_dtype_promotion("standard"):
            updates, state = direct.update(-gradient, state, expected)
        expected = optax.apply_updates(expected, updates)
        np.testing.assert_allclose(params, expected, rtol=1e-14, atol=1e-16)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (lambda: optax.sgd(0.1), lambda: optax.sgd(0.1 + 1e-15)),
        (lambda: optax.sgd(0.1), lambda: optax.sgd(0.1, momentum=0.0)),
        (lambda: optax.adam(0.1), lambda: optax.adam(0.1, b2=0.99)),
        (lambda: optax.adam(0.1), lambda: optax.adamw(0.1)),
    ],
)
def test_different_rules_are_different(first, second):
    assert not same(first(), second())


def tabulated(rates, jitted):
    """A schedule that reads a table it closes over; a jitted one hides the table inside the jaxpr."""

    def schedule(count):
        return jnp.asarray(rates)[count]

    return optax.sgd(jax.jit(schedule) if jitted else schedule)


@pytest.mark.parametrize("jitted", [False, True])
def test_tables_inside_a_schedule_are_not_confused(jitted):
    """A jaxpr prints arrays as "[...]": runs whose tables differ in one entry must still differ."""
    problem = make_setting(3, (1, 5, None)).problem()
    table = np.full(50, 0.1)
    other = table.copy()
    other[5] = 0.9
    ends = [pgdyn.ascend(problem, 10, optimizer=tabulated(rates, jitted)).params[-1] for rates in (table, other, table)]
    assert np.abs(ends[0] - ends[1]).max() > 1e-3
    np.testing.assert_array_equal(ends[0], ends[2])


def test_two_runs_with_schedules_of_one_form_but_other_numbers():
    problem = make_setting(3, (1, 5, None)).problem()
    ends = [
        pgdyn.ascend(problem, 10, optimizer=optax.sgd(optax.exponential_decay(rate, 5, 0.9))).params[-1]
        for rate in (0.1, 0.2)
    ]
    assert np.abs(ends[0] - ends[1]).max() > 1e-3


def test_a_python_closure_over_a_rate_is_not_confused():
    problem = make_setting(3, (1, 5, None)).problem()
    ends = [pgdyn.ascend(problem, 3, optimizer=optax.sgd(lambda _, rate=rate: rate)).params[-1] for rate in (0.1, 0.5)]
    assert np.abs(ends[0] - ends[1]).max() > 1e-3


@pytest.mark.parametrize("bad", [None, 0.1, "adam", optax.sgd, object()])
def test_what_is_no_optimiser_is_refused(bad):
    with pytest.raises(ValueError, match="optimizer must be an optax gradient transformation, got "):
        trace(bad, PARAMS)
