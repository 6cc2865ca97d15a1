"""How calls of `flow_many` behave: lanes that do not touch one another, failures, targets, refusals, tracing.

Oracles: the same problem elsewhere, bit for bit; a run to the hitting time; the problem run alone.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from batches import COUNT, FIELDS, ONE, TARGET, assert_same_bits, run, tabular
from compilations import Compilations

import pgdyn
from pgdyn.ensemble import executor


@pytest.fixture(scope="module")
def problems():
    return tabular()


@pytest.fixture(scope="module")
def whole(problems):
    return run(problems)


# ---------------------------------------------------------------- lanes are alone


def test_a_lane_does_not_depend_on_order_neighbours_or_count(problems, whole):
    order = np.random.default_rng(1).permutation(COUNT)
    assert_same_bits(run(problems[order]), whole, among=order)
    for chosen in ([17], [17, 899, 17, 3, 17], list(range(401))):
        assert_same_bits(run(problems[np.array(chosen)]), whole, among=np.array(chosen))


@pytest.mark.parametrize("shared", [True, False])
def test_lanes_with_features_do_not_depend_on_neighbours(shared):
    """Matrix products could mix lanes up, or round by position."""
    rng = np.random.default_rng(2)
    shape = (3, 5, 4) if shared else (40, 2, 3, 7)
    reward = rng.uniform(-1, 1, (40, 3, 5) if shared else (40, 2, 3))
    batch = pgdyn.Batch.linear(rng.normal(size=shape), reward, initial_params=rng.normal(size=(40, shape[-1])))
    expected = run(batch)
    order = rng.permutation(40)
    assert_same_bits(run(batch[order]), expected, among=order)
    assert_same_bits(run(batch[5:6]), expected, among=slice(5, 6))


def test_nothing_is_compiled_for_new_values_or_counts(whole):
    def weighted(count):
        return pgdyn.Objective(kl=np.linspace(0.1, 0.2, count))

    run(tabular(2), objective=weighted(2))
    counts = (1, 5, 401, 900)
    with Compilations() as made:
        for seed, count in enumerate(counts):
            run(tabular(count, seed), target=0.1 + 0.01 * count / COUNT, rtol=1e-5, max_steps=1000)
            run(tabular(count, seed), objective=weighted(count))
            run(tabular(count, seed), objective=pgdyn.Objective(kl=0.1 + count / COUNT))
    assert made.count == 0


def test_one_problem_is_a_batch_of_one(problems, whole):
    assert_same_bits(run(problems[4]), whole, among=slice(4, 5))


# ---------------------------------------------------------------- failures are values


def test_an_impossible_lane_leaves_the_others_alone(problems, whole):
    """A reward and a start that are nan: those lanes say so, the others do not move a bit."""
    reward, start = np.array(problems.proxy_reward), np.array(problems.initial_params)
    reward[3, 0, 1] = start[450, 0, 1] = np.nan
    found = run(problems.replace(proxy_reward=reward, initial_params=start))
    assert found.result[3] == found.result[450] == pgdyn.Result.not_finite
    others = np.delete(np.arange(COUNT), [3, 450])
    assert_same_bits(found, whole, where=others, among=others)
    assert found.message == f"{COUNT - 2} ran to the end; 2 stopped early: the state was no longer finite"


def test_the_largest_rewards_are_run_beside_others(problems, whole):
    """Oracle: the limit of the flow, all mass on the output of reward 1e308; its neighbours do not move a bit."""
    reward = np.array(problems.proxy_reward)
    reward[3, 0] = [1e308, -1e308, 0, 0, 0]
    found = run(problems.replace(proxy_reward=reward))
    assert found.result[3] == pgdyn.Result.completed
    np.testing.assert_allclose(np.exp(found.log_policy[3, 0]), [1, 0, 0, 0, 0], atol=1e-12)
    np.testing.assert_allclose(found.proxy_value[3], 1e308)
    assert found.reward_variance[3] >= 0
    others = np.delete(np.arange(COUNT), [3])
    assert_same_bits(found, whole, where=others, among=others)


@pytest.mark.parametrize("backend", ["engine", "diffrax"])
def test_a_spent_budget_stops_only_its_lane(backend):
    """A plateau of theory C1 beside easy problems, with too few steps for it."""
    easy, hard = [0.4, 0.15, 0.15, 0.15, 0.15], [1e-4, 0.5, *[(0.5 - 1e-4) / 3] * 3]
    policy = np.array([easy, hard, easy])[:, None]
    batch = pgdyn.Batch.tabular(policy, [1.0, 0.8, -1.0, -1.0, -1.0])
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


def test_the_largest_budget(problems, whole):
    """As a 32-bit integer, and as a float64 on its way to compiled code."""
    assert_same_bits(run(problems, max_steps=2**31 - 1), whole)


# ---------------------------------------------------------------- targets


def test_hitting_times_at_the_edges():
    """0 where the start is at the target or above, inf where it is never met, nan where none is given."""
    batch = pgdyn.Batch.tabular(None, np.array([[1.0, -1.0, 0.0, 0.5, -0.5]] * 3)[:, None])
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
    np.testing.assert_array_equal(found.params[at_start], problems.initial_params[few[at_start]])


# ---------------------------------------------------------------- solutions and refusals


@pytest.mark.parametrize("backend", ["engine", "diffrax"])
def test_shapes_and_dtypes(problems, backend):
    few = problems[:3]
    found = pgdyn.flow_many(few, np.array([3.0, 1.0, 2.0]), target=0.9, backend=backend, devices=ONE)
    shapes = {"params": (3, 1, 5), "log_policy": (3, 1, 5)}
    for name in FIELDS:
        array = getattr(found, name)
        assert isinstance(array, np.ndarray) and array.shape == shapes.get(name, (3,))
        assert array.dtype == (np.int32 if name in ("steps", "result") else np.float64) or name == "steps"
    assert found.t is None and found.problem is few and found.dynamics == "flow"
    assert found.settings.target == 0.9 and found.settings.rtol is None


def test_solutions_are_values(problems, whole):
    """The same call gives an equal solution, another one does not."""
    assert run(problems) == whole and run(problems, rtol=1e-5) != whole
    assert f"log_policy=f64[{COUNT},1,5](numpy)" in repr(whole)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"t1": 0.0}, "t1 is 0"),
        ({"t1": np.array([1.0, -1.0, 2.0])}, r"t1\[1\] is -1"),
        ({"t1": np.ones(4)}, r"t1 has shape \(4,\); it must be one number or one for each of 3 problems"),
        ({"t1": np.inf}, "t1 is inf"),
        ({"target": np.nan}, "target is nan"),
        ({"target": np.ones((3, 1))}, r"target has shape \(3, 1\)"),
        ({"rtol": 0.0}, "rtol is 0"),
        ({"atol": -1.0}, "atol is -1"),
        ({"rtol": np.full(3, 1e-6)}, "rtol and atol must be single numbers, the same for every problem of a batch"),
        ({"max_steps": 0}, "max_steps is 0; it must be at least 1"),
        ({"max_steps": 2**31}, "max_steps is 2147483648"),
        ({"backend": "scipy"}, "backend is 'scipy'; it must be one of 'engine', 'diffrax'"),
        ({"geometry": "flat"}, "geometry is 'flat'; it must be one of"),
        ({"stop_at_target": True}, "stop_at_target needs a target"),
        ({"devices": []}, "devices is empty"),
        ({"objective": "value"}, "objective is 'value'"),
        (
            {"objective": pgdyn.Objective(kl=np.full(7, 0.1))},
            r"kl has shape \(7,\); it must be one number or one for each of 3 problems",
        ),
        ({"objective": pgdyn.Objective(entropy=np.full(2, 0.1))}, r"entropy has shape \(2,\)"),
    ],
)
def test_refusals(problems, options, sentence):
    with pytest.raises(ValueError, match=f"^{sentence}") as caught:
        pgdyn.flow_many(problems[:3], **{"t1": 1.0, **options})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("weight", "sentence"), [(np.nan, r"kl\[1\] is nan"), (-1.0, r"kl\[1\] is -1")])
def test_refused_weights(weight, sentence):
    with pytest.raises(ValueError, match=f"^{sentence}"):
        pgdyn.Objective(kl=np.array([0.1, weight, 0.1]))


def test_a_solver_of_single_runs_is_refused(problems):
    import diffrax

    with pytest.raises(ValueError, match="solver and adjoint are those of one run"):
        pgdyn.flow_many(problems[:2], 1.0, solver=diffrax.Tsit5())


def test_single_precision_is_refused(problems):
    single = jax.tree.map(lambda leaf: leaf.astype(np.float32), problems[:2])
    with pytest.raises(ValueError, match="flow_many needs float64 and this problem is float32"):
        pgdyn.flow_many(single, 1.0)


# ---------------------------------------------------------------- inside transformations


@pytest.mark.parametrize("cores", [1, 3])
def test_known_values_while_a_function_is_traced(problems, whole, cores, monkeypatch):
    """They are computed at once, as constants of the function."""
    monkeypatch.setattr(executor, "cores", lambda: cores)
    found = []

    @jax.jit
    def with_flows(x):
        found.append(run(problems))
        return x + found[0].true_value.sum()

    assert with_flows(1.0) == 1 + whole.true_value.sum()
    assert_same_bits(found[0], whole)


def test_without_jit(problems, whole):
    """`jax.disable_jit` is for looking into functions; the engine computes by compiled code in any case."""
    with jax.disable_jit():
        found = run(problems[:20])
    assert_same_bits(found, whole, among=slice(20))


def test_solutions_come_out_of_vmap():
    batch = tabular(3)
    found = jax.vmap(lambda t1: pgdyn.flow_many(batch, t1, backend="diffrax").log_policy)(jnp.array([1.0, 2.0]))
    again = pgdyn.flow_many(batch, 2.0, backend="diffrax")
    assert found.shape == (2, 3, 1, 5)
    np.testing.assert_allclose(found[1], again.log_policy, rtol=1e-9)


@pytest.mark.parametrize("traced", ["proxy", "t1", "rtol", "kl"])
def test_the_engine_refuses_traced_values_and_names_the_backend(problems, traced):
    few = problems[:2]

    def call(x):
        batch = few.replace(proxy_reward=few.proxy_reward * x) if traced == "proxy" else few
        objective = pgdyn.Objective(kl=x) if traced == "kl" else None
        numbers = {name: x if traced == name else 1.0 for name in ("t1", "rtol")}
        return pgdyn.flow_many(batch, **numbers, objective=objective).true_value.sum()

    with pytest.raises(ValueError, match='use backend="diffrax"'):
        jax.grad(call)(1.0)


@pytest.mark.parametrize("where", [None, "cpu"])
def test_where_jax_computes(problems, whole, where):
    """A default device or platform changes no bit."""
    with jax.default_device(jax.local_devices()[1] if where is None else where):
        assert_same_bits(pgdyn.flow_many(problems[:70], 500.0, target=TARGET), whole, among=slice(70))
