"""How calls of `flow_many` behave: lanes that do not touch one another, cores, devices, failures, refusals."""

import dataclasses
import os
import pathlib
import pickle
import subprocess
import sys
import threading

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compilations import Compilations
from hypothesis import example, given, settings
from hypothesis import strategies as st

import pgdyn
from pgdyn.dynamics.ensemble import block, lanes, launch, program, schedule, table

ONE = jax.local_devices()[:1]
MARK = 10_000  # more steps than any lane here takes
FIELDS = ("params", "log_policy", "true_value", "proxy_value", "hitting_time", "steps", "result")
TESTS = str(pathlib.Path(__file__).parent.parent)
T1, TARGET = 500.0, 0.5
COUNT = 900  # far more than are stepped at once


def tabular(count=COUNT, seed=0):
    rng = np.random.default_rng(seed)
    policy = rng.dirichlet(np.ones(5), (count, 1)) * 0.99 + 0.002
    reward = rng.uniform(-1, 1, (count, 1, 5))
    return pgdyn.Problem.tabular(policy, reward, reward + 0.3 * rng.normal(size=reward.shape))


def run(problems, **options):
    return pgdyn.flow_many(problems, T1, **{"target": TARGET, "devices": ONE, **options})


def assert_same_bits(found, expected, where=slice(None), among=slice(None)):
    """Every field of `found[where]` equals `expected[among]` to the last bit."""
    for name in FIELDS:
        np.testing.assert_array_equal(getattr(found, name)[where], getattr(expected, name)[among], err_msg=name)


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


@pytest.mark.parametrize("many", [False, True])
@pytest.mark.parametrize("streams", [True, False])
@pytest.mark.parametrize("count", [1, 3])
def test_any_number_of_cores(problems, whole, count, streams, many, monkeypatch):
    """With one hand or many each, begun as calls of streams of their own or in threads where XLA has no streams."""
    monkeypatch.setattr(schedule.cores, "count", lambda: count)
    begun, at_ends = [], []
    begin, end = schedule._begin, schedule._end
    monkeypatch.setattr(schedule, "_begin", lambda *given: begun.append(given[-2]) or begin(*given))
    monkeypatch.setattr(schedule, "_end", lambda *given: at_ends.append(len(begun)) or end(*given))
    if not streams:
        monkeypatch.setattr(launch, "_stream", None)
    if many:
        monkeypatch.setattr(schedule, "_BLOCK", 2)
    assert_same_bits(run(problems), whole)
    assert set(begun) == set(range(count))
    assert at_ends[0] == count * (2 if many else 1)  # begun before any was waited for
    assert (len(begun) > 2 * count) == many


def test_where_calls_wait_to_begin_another(problems, whole):
    """Where JAX was told to run calls in the thread that makes them."""
    code = """
import sys, jax
jax.config.update("jax_cpu_enable_async_dispatch", False)
from dynamics.test_ensemble_runs import COUNT, FIELDS, run, tabular
from pgdyn.dynamics.ensemble import launch
assert not launch._begins_without_waiting()
found = run(tabular())
sys.stdout.buffer.write(b"".join(getattr(found, name).tobytes() for name in FIELDS))
"""
    environment = {**os.environ, "PYTHONPATH": TESTS}
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, env=environment, timeout=200)
    assert ran.stdout == b"".join(getattr(whole, name).tobytes() for name in FIELDS), ran.stderr.decode()


@pytest.mark.parametrize("streams", [True, False])
def test_two_calls_at_once(problems, whole, streams, monkeypatch):
    """From two threads, each of which has streams of its own."""
    if not streams:
        monkeypatch.setattr(launch, "_stream", None)
    monkeypatch.setattr(schedule.cores, "count", lambda: 2)
    found = []
    threads = [threading.Thread(target=lambda: found.append(run(problems))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for each in found:
        assert_same_bits(each, whole)
    assert len(found) == 2


@pytest.mark.parametrize("streams", [True, False])
def test_calls_on_different_cores_run_beside_each_other(streams, monkeypatch):
    """A short call, begun after a long one on another core, ends before it; results are those of the right call."""
    if not streams:
        monkeypatch.setattr(launch, "_stream", None)

    @jax.jit
    def count_to(limit):
        return jax.lax.while_loop(lambda x: x[0] < limit, lambda x: x + jnp.cos(0 * x), jnp.zeros(1000))

    count_to(1.0).block_until_ready()
    long = launch.begin(lambda: count_to(1e5), 0, 2)
    short = launch.begin(lambda: count_to(7.0), 1, 2)
    assert short.result()[0] == 7
    assert not long.is_ready()
    assert long.result()[0] == 1e5 and long.is_ready() and short.is_ready()


def test_what_is_looked_at_together_does_not_matter(problems, whole, monkeypatch):
    """Batches larger than memory are gone through in parts, and large problems go into blocks of few."""
    monkeypatch.setattr(table, "_AT_ONCE", 1)
    monkeypatch.setattr(schedule, "_BLOCK", 2)
    assert_same_bits(run(problems), whole)


@pytest.mark.parametrize(("reference", "target"), [("initial", TARGET), ("uniform", None)])
def test_stragglers_are_followed_up(reference, target, monkeypatch):
    """Lanes that are handed back as soon as any may be, over and over, or never, end alike to the last bit."""
    rng = np.random.default_rng(4)
    own = rng.normal(size=(300, 2, 3, 7))  # more parameters than logits: the state is that of the kernel
    batches = [tabular(300), pgdyn.Problem.linear(own, rng.uniform(-1, 1, own.shape[:-1]), temperature=1.5)]
    monkeypatch.setattr(schedule.cores, "count", lambda: 1)
    monkeypatch.setattr(schedule, "_BLOCK", 2)
    monkeypatch.setattr(schedule, "_LEAST_FUSED", 1)
    for batch in batches:
        options = {"target": target, "objective": pgdyn.Objective(kl=0.01, reference=reference)}
        ends, back = [], []
        for share in (0.0, 0.95):
            monkeypatch.setattr(schedule, "_LEAVE", share)
            end = schedule._end
            handed_back = []

            def counted(job, ended, end=end, handed_back=handed_back):
                waiting = end(job, ended)
                # Steps are the first whole numbers of how a lane stands: a mark that must be there at its end.
                tried = next(start for _, dtype, start, _ in job.program.stands.leaves if dtype == np.int32)
                waiting.stands[:, tried] += MARK
                handed_back.append(len(waiting.numbers))
                return waiting

            with monkeypatch.context() as patch:
                patch.setattr(schedule, "_end", counted)
                ends.append(run(batch, **options))
            back.append(sum(handed_back))
        assert back[0] == 0 < 40 < back[1]
        np.testing.assert_equal(np.sum(ends[1].steps // MARK), back[1])
        assert_same_bits(ends[0], dataclasses.replace(ends[1], steps=ends[1].steps % MARK))


@pytest.mark.parametrize("share", [1 / 64, 1.0])
def test_when_places_are_taken_over_does_not_matter(problems, whole, share, monkeypatch):
    """One by one, or all at once when the last has ended."""
    monkeypatch.setattr(block, "_CHANGED", share)
    monkeypatch.setattr(program, "compiled", program.compiled.__wrapped__)
    assert_same_bits(run(problems), whole)


@settings(deadline=None)
@given(*(st.integers(1, most) for most in (5000, 600, 600, 9, 3)), st.integers(0, 99))
@example(2483, 129, 32, 6, 3, 0)
def test_every_lane_is_dealt_once(lanes, least, more, workers, ahead, leave):
    """Hands have no more lanes than they may, ascending, and are spread evenly over all of them."""
    most = least + more
    dealt = list(schedule.deal(lanes, least, most + leave, leave, workers, ahead))
    for i, (hand, sure) in enumerate(dealt):
        assert 0 < len(hand) <= most + leave * (len(dealt) <= workers) and (np.diff(hand) > 0).all()
        gaps = np.diff([*hand, hand[0] + lanes])
        assert gaps.max() <= 4 * lanes / len(hand) + 1
        assert len(hand) >= least or i == len(dealt) - 1 or len(dealt) <= workers
        if sure:  # all cores take as many as they take ahead, and this one another
            assert len(dealt) - i - 1 >= ahead * workers
    np.testing.assert_array_equal(np.sort(np.concatenate([hand for hand, _ in dealt])), np.arange(lanes))
    assert len(dealt) >= min(lanes, workers)


def test_xla_has_streams():
    """In the versions that are tested; without them threads call, which is slower."""
    assert launch._stream is not None and launch._begins_without_waiting()


def test_the_hardest_lanes_come_first():
    """By how much likelier the likeliest output is than the best one, at the slowest prompt."""
    policy = np.array([[[0.9, 0.1], [0.5, 0.5]], [[0.1, 0.9], [0.7, 0.3]], [[0.2, 0.8], [0.02, 0.98]]])
    batch = jax.tree.map(np.asarray, pgdyn.Problem.tabular(policy, np.broadcast_to([0.0, 1.0], policy.shape)))
    objective = pgdyn.Objective()
    layout = lanes.choose_layout(batch, objective, "euclidean", False, "cpu")
    ordered = table.Table(layout, batch, objective, np.ones(3), None)
    np.testing.assert_array_equal(ordered.order, [0, 1, 2])
    np.testing.assert_allclose(table.difficulty(batch, None, objective), np.log([9, 7 / 3, 1]), atol=1e-12)


def test_devices(problems, whole):
    """Two devices, and the second alone, give what the first gives."""
    assert len(jax.local_devices()) == 2
    assert_same_bits(run(problems, devices=None), whole)
    assert_same_bits(run(problems[np.arange(7)], devices=jax.local_devices()[1:]), whole, among=slice(7))


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


# ---------------------------------------------------------------- progress


def test_progress_counts_to_n_in_the_calling_thread(problems, whole, monkeypatch):
    monkeypatch.setattr(schedule.cores, "count", lambda: 3)
    monkeypatch.setattr(schedule, "_BLOCK", 2)
    seen = []
    found = run(problems, progress=lambda done, total: seen.append((done, total, threading.get_ident())))
    assert_same_bits(found, whole)
    done = [count for count, *_ in seen]
    assert done == sorted(set(done)) and done[-1] == COUNT and len(done) > 3
    assert {(total, thread) for _, total, thread in seen} == {(COUNT, threading.get_ident())}


@pytest.mark.parametrize("streams", [True, False])
@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_error_in_progress_ends_the_call(problems, whole, error, count, streams, monkeypatch):
    """No further call, no block begun that was not begun already; the next call is whole again."""
    monkeypatch.setattr(schedule.cores, "count", lambda: count)
    if not streams:
        monkeypatch.setattr(launch, "_stream", None)
    begun, calls = [], []
    begin = schedule._begin
    monkeypatch.setattr(schedule, "_begin", lambda *given: begun.append(1) or begin(*given))

    def progress(done, total):
        calls.append(done)
        raise error("enough")

    with pytest.raises(error, match="enough"):
        run(problems[np.tile(np.arange(COUNT), 9)], progress=progress)
    assert len(calls) == 1
    assert len(begun) == 2 * count
    assert_same_bits(run(problems), whole)


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
