"""Who runs which lanes when: cores, devices, streams, stragglers, progress; the numbers are always the same."""

import dataclasses
import os
import pathlib
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from batches import COUNT, FIELDS, TARGET, assert_same_bits, run, tabular
from hypothesis import example, given, settings
from hypothesis import strategies as st

import pgdyn
from pgdyn.dynamics.ensemble import block, lanes, launch, program, schedule, table

MARK = 10_000  # more steps than any lane here takes
TESTS = str(pathlib.Path(__file__).parent.parent)


@pytest.fixture(scope="module")
def problems():
    return tabular()


@pytest.fixture(scope="module")
def whole(problems):
    return run(problems)


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
from batches import COUNT, FIELDS, run, tabular
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
        pool = ThreadPoolExecutor(2)
        monkeypatch.setattr(launch, "_stream", None)
        monkeypatch.setattr(launch, "_threads", lambda process: pool)

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


def test_devices_resume_their_own_lanes(problems, whole, monkeypatch):
    """Blocks so small that each of two devices has lanes handed back, which go on with a later block."""
    monkeypatch.setattr(schedule, "_BLOCK", 2)
    monkeypatch.setattr(schedule, "_LEAST_FUSED", 1)
    resumed = []
    begin = schedule._begin
    monkeypatch.setattr(
        schedule,
        "_begin",
        lambda job, waiting, *rest: resumed.append(len(waiting.numbers)) or begin(job, waiting, *rest),
    )
    assert_same_bits(run(problems, devices=None), whole)
    assert max(resumed) > 2


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
    begun, calls, cancelled = [], [], []
    begin = schedule.launch.begin

    def begin_one(*given):
        begun.append(begin(*given))
        return begun[-1]._replace(cancel=lambda: cancelled.append(1))

    monkeypatch.setattr(schedule.launch, "begin", begin_one)

    def progress(done, total):
        calls.append(done)
        raise error("enough")

    with pytest.raises(error, match="enough"):
        run(problems[np.tile(np.arange(COUNT), 9)], progress=progress)
    assert len(calls) == 1
    assert len(begun) == 2 * count
    assert len(cancelled) == 2 * count - 1
    assert_same_bits(run(problems), whole)
