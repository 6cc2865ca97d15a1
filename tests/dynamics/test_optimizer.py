"""optax optimisers as values: each updates as optax does, another number in one compiles nothing, none is confused.

Oracle: optax itself, called in a Python loop on pgdyn's gradient, which `test_objective` holds to complex steps.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from compilations import Compilations
from strategies import make_setting

import pgdyn
from pgdyn.dynamics.optimizer import check_optimizer, trace

STEPS = 9
PROBLEM = make_setting(3, (1, 5, None)).problem()
OBJECTIVE = pgdyn.Objective()
GRADIENT = jax.jit(OBJECTIVE.gradient)

RATES = (0.3, 0.05, 0.11, 0.2, 0.7)
# One number of each optimiser varies: rates, momenta, thresholds, starts of schedules and entries of their tables.
FAMILIES = {
    "sgd": lambda x: optax.sgd(x),
    "momentum": lambda x: optax.sgd(0.1, momentum=x),
    "nesterov": lambda x: optax.sgd(x, momentum=0.9, nesterov=True),
    "adam": lambda x: optax.adam(x),
    "adam, b1": lambda x: optax.adam(0.1, b1=x),
    "adam, eps": lambda x: optax.adam(0.1, eps=x),
    "adamw": lambda x: optax.adamw(0.1, weight_decay=x),
    "rmsprop": lambda x: optax.rmsprop(x),
    "lion": lambda x: optax.lion(x),
    "clip": lambda x: optax.chain(optax.clip(0.1 * x), optax.sgd(0.5)),
    "clip by norm": lambda x: optax.chain(optax.clip_by_global_norm(0.1 * x), optax.adam(0.5)),
    "linear schedule": lambda x: optax.sgd(optax.linear_schedule(x, 0.0, 5)),
    "exponential decay": lambda x: optax.sgd(optax.exponential_decay(x, 5, 0.9)),
    "piecewise": lambda x: optax.sgd(optax.piecewise_constant_schedule(0.1, {3: x, 6: x})),
    "warmup and cosine": lambda x: optax.adam(optax.warmup_cosine_decay_schedule(0.0, x, 3, 8)),
    "table": lambda x: optax.sgd(tabulated(np.linspace(x, 0.1, STEPS), jitted=False)),
    "closure": lambda x: optax.sgd(lambda count: x),
}
# Where the number stands inside a program of its own it is part of what is compiled.
NESTED = {
    "inject": lambda x: optax.inject_hyperparams(optax.adam)(learning_rate=x),
    "apply if finite": lambda x: optax.apply_if_finite(optax.sgd(x), 3),
    "every second": lambda x: optax.MultiSteps(optax.sgd(x), 2).gradient_transformation(),
    "jitted table": lambda x: optax.sgd(tabulated(np.linspace(x, 0.1, STEPS), jitted=True)),
}


SCHEDULES = ("linear schedule", "exponential decay", "piecewise", "warmup and cosine")  # in float32, says optax
EVERY = {**FAMILIES, **NESTED}


def tabulated(rates, jitted):
    """A schedule that reads a table it closes over; a jitted one hides the table inside the jaxpr."""

    def schedule(count):
        return jnp.asarray(rates)[count]

    return jax.jit(schedule) if jitted else schedule


def plain_loop(optimizer):
    """The path under optax alone."""
    params = PROBLEM.initial_params
    path = [params]
    with jax.numpy_dtype_promotion("standard"):
        state = optimizer.init(params)
        for _ in range(STEPS):
            updates, state = optimizer.update(-GRADIENT(PROBLEM, params), state, params)
            params = optax.apply_updates(params, updates)
            path.append(params)
    return np.stack(path)


def run(optimizer):
    return np.asarray(pgdyn.ascend(PROBLEM, STEPS, optimizer=optimizer).params)


@pytest.mark.parametrize("name", EVERY)
def test_a_run_is_that_of_plain_optax(name):
    make, ends = EVERY[name], []
    for rate in RATES[:2]:
        path = run(make(rate))
        precision = 1e-7 if name in SCHEDULES else 1e-12
        np.testing.assert_allclose(path, plain_loop(make(rate)), rtol=precision, atol=precision)
        ends.append(path[-1])
    assert np.abs(ends[0] - ends[1]).max() > 1e-9  # the number matters


@pytest.mark.parametrize("make", FAMILIES.values(), ids=FAMILIES)
def test_another_number_compiles_nothing(make):
    run(make(RATES[0]))
    optimizers = [make(rate) for rate in RATES]
    with Compilations() as made:
        for optimizer in optimizers:
            run(optimizer)
    assert made.count == 0


@pytest.mark.parametrize("make", NESTED.values(), ids=NESTED)
def test_the_same_optimiser_made_twice_compiles_nothing(make):
    run(make(RATES[0]))
    optimizer = make(RATES[0])
    with Compilations() as made:
        run(optimizer)
    assert made.count == 0


@pytest.mark.parametrize("name", ["sgd", "adam"])
def test_names_are_optax_at_the_learning_rate(name):
    """And another learning rate, also of a batch, compiles nothing."""

    def named(rate):
        return np.asarray(pgdyn.ascend(PROBLEM, STEPS, optimizer=name, learning_rate=rate).params)

    for rate in RATES[:2]:
        np.testing.assert_array_equal(named(rate), run(getattr(optax, name)(rate)))
    batch = PROBLEM.with_proxy(np.stack([PROBLEM.proxy_reward] * 3))

    def many(rates):
        return pgdyn.ascend_many(batch, STEPS, optimizer=name, learning_rate=rates)

    many(0.5)
    with Compilations() as made:
        named(0.123)
        found = many(RATES[:3])
    assert made.count == 0
    for i, rate in enumerate(RATES[:3]):
        np.testing.assert_allclose(found.params[i], named(rate)[-1], rtol=1e-12, atol=1e-14)


def test_the_default_is_sgd():
    np.testing.assert_array_equal(run(None), run(optax.sgd(0.1)))


@pytest.mark.parametrize("name", ["sgd", "clip by norm", "exponential decay"])
def test_rates_may_be_mapped_over(name):
    """Oracle: the runs one by one."""
    make = FAMILIES[name]
    paths = jax.vmap(lambda x: pgdyn.ascend(PROBLEM, STEPS, optimizer=make(x)).params)(jnp.asarray(RATES))
    for rate, path in zip(RATES, paths, strict=True):
        precision = 1e-7 if name in SCHEDULES else 1e-12
        np.testing.assert_allclose(path, run(make(rate)), rtol=precision, atol=precision)


# ---------------------------------------------------------------- never confused


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (lambda: optax.sgd(0.1), lambda: optax.sgd(0.1 + 1e-15)),
        (lambda: optax.sgd(0.1), lambda: optax.sgd(0.1, momentum=0.5)),
        (lambda: optax.adam(0.1), lambda: optax.adam(0.1, b2=0.5)),
        (lambda: optax.adam(0.1), lambda: optax.adamw(0.1)),
        (lambda: optax.adam(0.1), lambda: optax.nadam(0.1)),
    ],
)
def test_different_rules_are_different(first, second):
    """To the last bit, and in either order."""
    ends = [run(make())[-1] for make in (first, second, first)]
    assert (ends[0] != ends[1]).any()
    np.testing.assert_array_equal(ends[0], ends[2])


@pytest.mark.parametrize("jitted", [False, True])
def test_tables_inside_a_schedule_are_not_confused(jitted):
    """A jaxpr prints arrays as "[...]": runs whose tables differ in one entry must still differ."""
    table = np.full(50, 0.1)
    other = table.copy()
    other[5] = 0.9
    ends = [run(optax.sgd(tabulated(rates, jitted)))[-1] for rates in (table, other, table)]
    assert np.abs(ends[0] - ends[1]).max() > 1e-3
    np.testing.assert_array_equal(ends[0], ends[2])


def test_equal_programs_with_unequal_numbers_keep_their_own():
    """Two traced optimisers side by side: the first is not given the numbers of the second."""
    traced = [trace(FAMILIES["clip by norm"](rate), 0.1, PROBLEM.initial_params) for rate in RATES]
    assert len({jax.tree.structure(optimizer) for optimizer in traced}) == 1
    rng = np.random.default_rng(0)
    direct = [FAMILIES["clip by norm"](rate) for rate in RATES]
    start = PROBLEM.initial_params
    states = [[optimizer.init(start) for optimizer in kind] for kind in (traced, direct)]
    for _ in range(3):
        gradient = jnp.asarray(rng.normal(size=start.shape))
        for i, (ours, theirs) in enumerate(zip(traced, direct, strict=True)):
            moved, states[0][i] = ours.ascend(gradient, states[0][i], start)
            with jax.numpy_dtype_promotion("standard"):
                updates, states[1][i] = theirs.update(-gradient, states[1][i], start)
            np.testing.assert_allclose(moved - start, updates, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("bad", [0.1, "Adam", "", optax.sgd, object(), (), {}], ids=lambda wrong: type(wrong).__name__)
def test_what_is_no_optimiser_is_refused(bad):
    with pytest.raises(ValueError, match="optimizer must be an optax gradient transformation, or one of 'sgd', 'adam'"):
        check_optimizer(bad)
    with pytest.raises(ValueError, match="optimizer must be an optax gradient transformation, or one of 'sgd', 'adam'"):
        pgdyn.ascend(PROBLEM, 5, optimizer=bad)
