"""How calls of `flow_many` behave: lanes that do not touch one another, failures, refusals."""

import dataclasses
import pickle

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from batches import COUNT, FIELDS, ONE, TARGET, assert_same_bits, run, tabular
from compilations import Compilations

import pgdyn
from pgdyn.dynamics.ensemble import lanes, program, schedule


@pytest.fixture(scope="module")
def problems():
    return tabular()


@pytest.fixture(scope="module")
def whole(problems):
    return run(problems)


# ---------------------------------------------------------------- lanes are alone


def test_a_lane_does_not_depend_on_order_neighbours_or_count(problems, whole):
    """Oracle: the same problem elsewhere, bit for bit."""
    order = np.random.default_rng(1).permutation(COUNT)
    assert_same_bits(run(problems[order]), whole, among=order)
    for chosen in ([17], [17, 899, 17, 3, 17], list(range(401))):
        assert_same_bits(run(problems[np.array(chosen)]), whole, among=np.array(chosen))


@pytest.mark.parametrize("shared", [True, False])
def test_lanes_with_features_do_not_depend_on_neighbours(shared):
    """Oracle: the same problem elsewhere, bit for bit; matrix products could mix lanes up, or round by position."""
    rng = np.random.default_rng(2)
    shape = (3, 5, 4) if shared else (40, 2, 3, 7)
    reward = rng.uniform(-1, 1, (40, *shape[-3:-1]))
    batch = pgdyn.Problem.linear(rng.normal(size=shape), reward, initial_params=rng.normal(size=(40, shape[-1])))
    expected = run(batch)
    order = rng.permutation(40)
    assert_same_bits(run(batch[order]), expected, among=order)
    assert_same_bits(run(batch[np.arange(5, 6)]), expected, among=slice(5, 6))


def test_nothing_is_compiled_for_new_values_or_counts(whole):
    def weighted(count):
        return jax.vmap(lambda kl: pgdyn.Objective(kl=kl))(jnp.linspace(0.1, 0.2, count))

    run(tabular(2), objective=weighted(2))
    batches = [(tabular(count, seed), weighted(count)) for seed, count in enumerate((1, 5, 401, 900))]
    with Compilations() as made:
        for batch, _ in batches:
            run(batch, target=0.1 + 0.01 * len(batch) / COUNT, rtol=1e-5, max_steps=1000)
    assert made.count == 0
    with Compilations() as made:
        for batch, objective in batches:
            run(batch, objective=objective)
    assert made.count == 0


# ---------------------------------------------------------------- failures are values


def test_an_impossible_lane_leaves_the_others_alone(problems, whole):
    """A reward that overflows and a start that is nan: those lanes say so, the others do not move a bit."""
    reward = np.array(problems.proxy_reward)
    reward[3, 0, :2] = 1e308, -1e308
    start = np.array(problems.initial_params)
    start[450, 0, 1] = np.nan
    where = lambda p: (p.proxy_reward, p.initial_params)  # noqa: E731
    broken = eqx.tree_at(where, problems, (jnp.asarray(reward), jnp.asarray(start)))
    found = run(broken)
    assert found.result[3] == found.result[450] == pgdyn.Result.not_finite
    others = np.delete(np.arange(COUNT), [3, 450])
    assert_same_bits(found, whole, where=others, among=others)
    assert found.message == f"{COUNT - 2} ran to the end; 2 stopped early: the state was no longer finite"


@pytest.mark.parametrize("backend", ["engine", "diffrax"])
def test_a_spent_budget_stops_only_its_lane(backend):
    """A plateau of theory C1 beside easy problems, with too few steps for it."""
    easy, hard = [0.4, 0.15, 0.15, 0.15, 0.15], [1e-4, 0.5, *[(0.5 - 1e-4) / 3] * 3]
    policy = np.array([easy, hard, easy])[:, None]
    batch = pgdyn.Problem.tabular(policy, [1.0, 0.8, -1.0, -1.0, -1.0])
    t1 = np.array([3.0, 1e15, 3.0])
    free = pgdyn.flow_many(batch, t1, target=0.9, devices=ONE)
    budget = int(free.steps[0]) + 20
    assert free.steps[1] > budget
    found = pgdyn.flow_many(batch, t1, target=0.9, max_steps=budget, backend=backend, devices=ONE)
    spent, completed = pgdyn.Result.step_budget_spent, pgdyn.Result.completed
    np.testing.assert_array_equal(found.result, [completed, spent, completed])
    np.testing.assert_allclose(found.log_policy[::2], free.log_policy[::2], rtol=1e-5)
    np.testing.assert_allclose(found.hitting_time[::2], free.hitting_time[::2], rtol=1e-5)
    if backend == "engine":
        assert found.steps[1] == budget and np.isfinite(found.params[1]).all()


def test_a_budget_beyond_32_bits(problems, whole):
    assert_same_bits(run(problems, max_steps=2**40), whole)


# ---------------------------------------------------------------- targets


def test_hitting_times_at_the_edges():
    """0 where the start is at the target or above, inf where it is never met, nan where none is given."""
    batch = pgdyn.Problem.tabular(None, np.array([[1.0, -1.0, 0.0, 0.5, -0.5]] * 3)[:, None])
    found = pgdyn.flow_many(batch, 10.0, target=np.array([0.0, -0.5, 2.0]), devices=ONE)
    np.testing.assert_array_equal(found.hitting_time, [0, 0, np.inf])
    assert np.isnan(pgdyn.flow_many(batch, 10.0, devices=ONE).hitting_time).all()


def test_stop_at_target(problems, whole):
    """Oracle: a run to the hitting time, and the target itself."""
    few = np.arange(60)
    found = run(problems[few], stop_at_target=True)
    hit = whole.hitting_time[few]
    reached = np.isfinite(hit)
    assert 10 < reached.sum() < 60 and (hit[reached] > 0).any()
    np.testing.assert_array_equal(found.hitting_time, hit)
    expected = np.where(reached, pgdyn.Result.reached_target, pgdyn.Result.completed)
    np.testing.assert_array_equal(found.result, expected)
    moved = reached & (hit > 0)
    np.testing.assert_allclose(found.true_value[moved], TARGET, rtol=1e-9)
    assert_same_bits(found, whole, where=~reached, among=few[~reached])
    again = pgdyn.flow_many(problems[few[moved]], hit[moved], target=TARGET, devices=ONE)
    np.testing.assert_allclose(found.log_policy[moved], again.log_policy, rtol=1e-5, atol=1e-5)
    at_start = reached & (hit == 0)
    np.testing.assert_array_equal(found.params[at_start], np.asarray(problems.initial_params)[few[at_start]])


# ---------------------------------------------------------------- outcomes and refusals


@pytest.mark.parametrize("backend", ["engine", "diffrax"])
def test_outcome_shapes_and_dtypes(problems, backend):
    found = pgdyn.flow_many(problems[np.arange(3)], np.array([3.0, 1.0, 2.0]), target=0.9, backend=backend, devices=ONE)
    shapes = {"params": (3, 1, 5), "log_policy": (3, 1, 5)}
    for name in FIELDS:
        array = getattr(found, name)
        assert isinstance(array, np.ndarray) and array.shape == shapes.get(name, (3,))
        assert array.dtype == (np.int32 if name in ("steps", "result") else np.float64) or name == "steps"
    assert dict(found.settings) == {
        "geometry": "euclidean",
        "backend": backend,
        "rtol": 1e-6,
        "atol": 1e-9,
        "stop_at_target": False,
    }
    hash(found.settings)


def test_outcomes_are_values(problems, whole):
    again = run(problems)
    assert again == whole and again != run(problems, rtol=1e-5) and whole != "whole"
    assert again != dataclasses.replace(whole, steps=whole.steps + 1)
    assert jax.tree.map(np.copy, whole) == whole
    assert pickle.loads(pickle.dumps(whole)) == whole
    assert f"log_policy=f64[{COUNT},1,5](numpy)" in repr(whole)
    with pytest.raises(AttributeError):
        whole.steps = again.steps
    with pytest.raises(TypeError, match="unhashable"):
        hash(whole)


def test_one_problem_is_a_batch_of_one(problems, whole):
    assert_same_bits(run(problems[4]), whole, among=slice(4, 5))


def weights_of(count, weight=0.1):
    return jax.vmap(lambda kl: pgdyn.Objective(kl=kl))(jnp.full(count, weight))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"t1": 0.0}, r"t1 is 0; the end time must be positive"),
        ({"t1": np.array([1.0, -1.0, 2.0])}, r"t1\[1\] is -1; the end time must be positive"),
        ({"t1": np.ones(4)}, r"t1 has shape \(4,\); it must be one number or one for each of 3 problems"),
        ({"t1": np.inf}, "t1 is inf; every entry of t1 must be finite"),
        ({"target": np.nan}, "target is nan"),
        ({"target": np.ones((3, 1))}, r"target has shape \(3, 1\)"),
        ({"rtol": 0.0}, "rtol is 0; it must be positive"),
        ({"atol": -1.0}, "atol is -1; it must be positive"),
        ({"max_steps": 0}, "max_steps is 0; it must be at least 1"),
        ({"backend": "scipy"}, "backend is 'scipy'; it must be one of 'engine', 'diffrax'"),
        ({"geometry": "flat"}, "geometry is 'flat'; it must be one of"),
        ({"stop_at_target": True}, "stop_at_target needs a target"),
        ({"stop_at_target": True, "target": 0.1, "backend": "diffrax"}, "stop_at_target is the engine's"),
        ({"devices": []}, "devices is empty"),
        ({"objective": "value"}, "objective is 'value'; flow_many takes a pgdyn.Objective"),
        ({"objective": weights_of(7)}, r"kl has shape \(7,\); it must be one number or one for each of 3 problems"),
        ({"objective": weights_of(2)}, r"kl has shape \(2,\)"),
        ({"objective": weights_of(3, np.nan)}, r"kl\[0\] is nan"),
        ({"objective": weights_of(3, -1.0)}, r"kl\[0\] is -1; it must be at least 0"),
    ],
)
def test_refusals(problems, options, sentence):
    with pytest.raises(ValueError, match=sentence) as caught:
        pgdyn.flow_many(problems[np.arange(3)], **{"t1": 1.0, **options})
    assert "\n" not in str(caught.value)


def test_refused_problems(problems):
    with pytest.raises(ValueError, match=r"flow_many takes a pgdyn.Problem, got \[1\]"):
        pgdyn.flow_many([1], 1.0)
    with pytest.raises(ValueError, match="this batch is empty"):
        pgdyn.flow_many(problems[np.arange(0)], 1.0)
    single = jax.tree.map(lambda leaf: leaf.astype(np.float32), problems[np.arange(2)])
    with pytest.raises(ValueError, match="flow_many needs float64 and these problems are float32"):
        pgdyn.flow_many(single, 1.0)


@pytest.mark.parametrize("count", [1, 3])
def test_known_values_while_a_function_is_traced(problems, whole, count, monkeypatch):
    """They are computed at once, as constants of the function."""
    monkeypatch.setattr(schedule.cores, "count", lambda: count)
    found = []

    @jax.jit
    def with_flows(x):
        found.append(run(problems))
        return x + found[0].true_value.sum()

    assert with_flows(1.0) == 1 + whole.true_value.sum()
    assert_same_bits(found[0], whole)


def test_outcomes_come_out_of_vmap():
    batch = tabular(3)
    found = jax.vmap(lambda t1: pgdyn.flow_many(batch, t1, backend="diffrax"))(jnp.array([1.0, 2.0]))
    again = pgdyn.flow_many(batch, 2.0, backend="diffrax")
    assert found.log_policy.shape == (2, 3, 1, 5)
    np.testing.assert_allclose(found.log_policy[1], again.log_policy, rtol=1e-9)


@pytest.mark.parametrize("traced", ["proxy", "t1", "rtol", "kl"])
def test_the_engine_refuses_traced_values_and_names_the_backend(problems, traced):
    few = problems[np.arange(2)]

    def call(x):
        batch = few.with_proxy(few.proxy_reward * x) if traced == "proxy" else few
        objective = pgdyn.Objective(kl=x) if traced == "kl" else None
        numbers = {name: x if traced == name else 1.0 for name in ("t1", "rtol")}
        return pgdyn.flow_many(batch, **numbers, objective=objective).true_value.sum()

    with pytest.raises(ValueError, match='use backend="diffrax"'):
        jax.grad(call)(1.0)


# ---------------------------------------------------------------- one kernel


def linear(shared, width, outputs=5):
    rng = np.random.default_rng(6)
    shape = (1, outputs, width) if shared else (80, 1, outputs, width)
    reward = rng.uniform(-1, 1, (80, 1, outputs))
    start = rng.normal(size=(80, width))
    return pgdyn.Problem.linear(rng.normal(size=shape), reward, initial_params=start, temperature=1.5)


@pytest.mark.parametrize(
    ("batch", "options"),
    [
        (tabular(80), {}),
        (tabular(80), {"kl": 0.05, "entropy": 0.02}),
        (linear(True, 3), {"kl": 0.05, "kl_direction": "forward"}),
        (linear(False, 3), {"entropy": 0.05}),
        (linear(True, 9), {"kl": 0.05}),
        (linear(False, 9), {}),
    ],
    ids=["tabular", "penalised", "shared", "own", "shared Gram matrix", "own Gram matrix"],
)
def test_one_kernel_or_many_give_the_same(batch, options, monkeypatch):
    options = {"objective": pgdyn.Objective(**options), "rtol": 1e-9, "atol": 1e-12}
    fused = run(batch, **options)
    monkeypatch.setattr(lanes, "_FUSED", 0)
    apart = run(batch, **options)
    np.testing.assert_allclose(np.exp(fused.log_policy), np.exp(apart.log_policy), rtol=0, atol=1e-8)
    np.testing.assert_allclose(fused.hitting_time, apart.hitting_time, rtol=1e-6)
    np.testing.assert_array_equal(fused.result, apart.result)


def test_a_kernel_that_cannot_be_compiled_is_done_without(monkeypatch):
    """Without the options that keep a library's calls out of it, XLA refuses this one."""
    batch = linear(True, 8, 8)
    expected = run(batch)
    monkeypatch.setattr(program, "compiled", program.compiled.__wrapped__)
    monkeypatch.setattr(program, "_compiler_options", lambda platform, fused: None)
    for _ in range(2):
        found = run(batch)
        np.testing.assert_allclose(np.exp(found.log_policy), np.exp(expected.log_policy), rtol=0, atol=1e-5)


def test_other_errors_are_not_hidden(monkeypatch):
    def fail(*arguments):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: out of memory")

    with pytest.raises(jax.errors.JaxRuntimeError, match="out of memory"):
        program._EitherWay(fail, lambda: 1)()


def test_xla_keeps_one_kernel():
    """As a call that is not dissolved: its loop is not among those that the program runs itself."""

    def double(x):
        return jax.lax.while_loop(lambda x: x[0] < 100, lambda x: jnp.sin(x) + 2 * x, x)

    compiled = jax.jit(lambda x: program._as_one_kernel(double, x) + 1).lower(jnp.ones(64)).compile().as_text()
    entry = compiled[compiled.index("ENTRY") :]
    assert " call(" in entry and " while(" not in entry
