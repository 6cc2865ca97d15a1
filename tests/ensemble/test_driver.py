"""Who runs which chunks when: every lane once, any number of workers, devices, progress, errors.

Oracle: the same flows on one core, bit for bit; for chunks alone a count of what was done.
"""

import itertools
import threading
from unittest.mock import patch

import jax
import numpy as np
import pytest
from batches import COUNT, TARGET, assert_same_bits, run, tabular
from hypothesis import example, given
from hypothesis import strategies as st

import pgdyn
from pgdyn.ensemble import driver, executor, flows, tuning

THREADS = tuning.ALL._replace(streams=False)


@pytest.fixture(scope="module")
def problems():
    return tabular()


@pytest.fixture(scope="module")
def whole(problems):
    with patch.object(executor, "cores", lambda: 1):
        return run(problems)


# ---------------------------------------------------------------- sharing out


@given(st.integers(1, 5000), st.integers(1, 600), st.integers(1, 9))
@example(1, 600, 9)
@example(3, 1, 2)
@example(4097, 64, 2)
def test_every_lane_is_in_one_chunk(lanes, chunk, workers):
    """No chunk is larger than it may be, each is spread over all lanes, and no worker is left without one."""
    shared = list(flows.share_out(lanes, chunk, workers))
    for part in shared:
        assert 0 < len(part) <= chunk and (np.diff(part) > 0).all()
        assert len(set(np.diff(part))) <= 1
    np.testing.assert_array_equal(np.sort(np.concatenate(shared)), np.arange(lanes))
    assert len(shared) >= min(lanes, workers)


@given(st.integers(1, 5000), st.integers(2, 600), st.integers(1, 9))
@example(65, 17, 1)
def test_workers_end_together(lanes, chunk, workers):
    """Whole chunks are equally many for each worker; those that are cut come last and are the smallest."""
    sizes = [len(part) for part in flows.share_out(lanes, chunk, workers)]
    longest = max(sizes)
    whole = [size for size in sizes if size >= longest - 1]
    if len(sizes) > 2 * workers and longest > 18:  # a shorter last chunk of 17 or less is not cut
        assert sizes[: len(whole)] == whole and len(whole) % workers == 0 and len(sizes) - len(whole) == 3 * workers


# ---------------------------------------------------------------- chunks alone


@given(st.integers(0, 30), st.integers(1, 5), st.integers(1, 3))
def test_every_chunk_is_run_once_by_any_number_of_workers(count, workers, ahead):
    """No worker has more than it may, calls have numbers below `workers`, and results are those of the right chunk."""
    chunks = [np.arange(first, first + 1 + first % 3) for first in range(count)]
    calls, collected, ticks = [], [], []
    most = [0]

    def call(rows, worker):
        calls.append((rows[0], worker))
        most[0] = max(most[0], len(calls) - len(collected))
        return lambda: jax.device_put(rows.sum())

    def collect(rows, found):
        assert found == rows.sum()
        collected.append(rows[0])

    with tuning.using(THREADS):
        driver.run(chunks, call, collect, ticks.append, workers, ahead)
    assert [first for first, _ in calls] == list(range(count))
    assert sorted(collected) == list(range(count))
    assert {worker for _, worker in calls} <= set(range(workers))
    assert sum(ticks) == sum(map(len, chunks)) and len(ticks) == count
    assert most[0] <= workers * ahead


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("where", ["call", "compiled", "collect", "progress"])
def test_an_error_ends_the_call(where, error, workers):
    """Nothing is begun after it, what has not begun never runs, and the next call is whole."""
    begun, ran, collected = [], [], []

    def fail(place):
        if place == where and len(begun) >= 2:
            raise error("enough")

    def call(rows, worker):
        begun.append(rows)
        fail("call")

        def compiled():
            fail("compiled")
            ran.append(rows)
            return jax.device_put(rows)

        return compiled

    def collect(rows, found):
        fail("collect")
        collected.append(int(rows[0]))

    chunks = [np.array([i]) for i in range(1000)]
    with tuning.using(THREADS):
        with pytest.raises(error, match="enough"):
            driver.run(chunks, call, collect, lambda more: fail("progress"), workers, 2)
        assert len(begun) <= 4 * workers and len(ran) <= len(begun) and len(collected) <= len(begun)
        where, seen = None, []
        driver.run(chunks[:50], call, lambda rows, found: seen.append(int(found[0])), None, workers, 2)
    assert sorted(seen) == list(range(50))


# ---------------------------------------------------------------- flows


@pytest.mark.parametrize("small_chunks", [False, True])
@pytest.mark.parametrize("streams", [True, False])
@pytest.mark.parametrize("cores", [2, 3])
def test_any_number_of_cores(problems, whole, cores, streams, small_chunks, monkeypatch):
    monkeypatch.setattr(executor, "cores", lambda: cores)
    if small_chunks:
        size = flows.choose_size(problems, True, "cpu")._replace(chunk=128)
        monkeypatch.setattr(flows, "choose_size", lambda *given: size)
    with tuning.using(tuning.ALL._replace(streams=streams)):
        assert_same_bits(run(problems), whole)


def test_devices(problems, whole):
    """Two devices, and the second alone, give what the first gives."""
    both = jax.local_devices()
    assert len(both) == 2
    assert_same_bits(run(problems, devices=both), whole)
    assert_same_bits(run(problems[:7], devices=both[1:]), whole, among=slice(7))


@pytest.mark.parametrize("streams", [True, False])
def test_two_calls_at_once(problems, whole, streams, monkeypatch):
    """From two threads, each of which has streams of its own."""
    monkeypatch.setattr(executor, "cores", lambda: 2)
    found = []
    threads = [threading.Thread(target=lambda: found.append(run(problems))) for _ in range(2)]
    with tuning.using(tuning.ALL._replace(streams=streams)):
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(found) == 2
    for each in found:
        assert_same_bits(each, whole)


def test_progress_counts_to_n_in_the_calling_thread(problems, whole, monkeypatch):
    monkeypatch.setattr(executor, "cores", lambda: 3)
    seen = []
    found = run(problems, progress=lambda done, total: seen.append((done, total, threading.get_ident())))
    assert_same_bits(found, whole)
    done = [count for count, *_ in seen]
    assert done == sorted(set(done)) and done[-1] == COUNT and len(done) >= 3
    assert {(total, thread) for _, total, thread in seen} == {(COUNT, threading.get_ident())}


@pytest.mark.parametrize("streams", [True, False])
@pytest.mark.parametrize("cores", [1, 3])
@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_error_in_progress_ends_the_call(problems, whole, error, cores, streams, monkeypatch):
    """No further call of it; the next call of the engine is whole again."""
    monkeypatch.setattr(executor, "cores", lambda: cores)
    calls = itertools.count()

    def progress(done, total):
        next(calls)
        raise error("enough")

    with tuning.using(tuning.ALL._replace(streams=streams)):
        with pytest.raises(error, match="enough"):
            pgdyn.flow_many(problems, 50.0, target=TARGET, progress=progress)
        assert next(calls) == 1
        assert_same_bits(run(problems), whole)
