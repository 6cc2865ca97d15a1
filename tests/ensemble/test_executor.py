"""Calls that run side by side: in streams, in threads, one after the other; also in a child of a fork."""

import os
import pathlib
import subprocess
import sys
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pgdyn.ensemble import executor, tuning, xla

TESTS = str(pathlib.Path(__file__).parents[1])
both = pytest.mark.parametrize("streams", [True, False])


def test_xla_has_streams():
    """In the versions that are tested; without them threads call, which is slower."""
    assert xla.has_streams()


def test_cores_are_those_that_this_process_may_use():
    assert 1 <= executor.cores() <= os.cpu_count()


@both
@pytest.mark.parametrize("workers", [1, 2, 5])
def test_results_are_those_of_their_call(workers, streams):
    """As NumPy arrays, in the tree that the call gives."""

    def call(number):
        return lambda: {"twice": jnp.full(3, 2.0) * number, "none": None}

    with tuning.using(tuning.ALL._replace(streams=streams)):
        running = [executor.begin(call(float(i)), i % workers, workers) for i in range(20)]
        for i, one in enumerate(running):
            found = one.result()
            assert isinstance(found["twice"], np.ndarray) and found["none"] is None and one.is_ready()
            np.testing.assert_array_equal(found["twice"], np.full(3, 2.0 * i))


@both
def test_a_short_call_ends_before_a_long_one(streams):
    """Begun after it with another number; results are those of the right call."""

    @jax.jit
    def count_to(limit):
        return jax.lax.while_loop(lambda x: x[0] < limit, lambda x: x + jnp.cos(0 * x), jnp.zeros(1000))

    count_to(1.0).block_until_ready()
    with tuning.using(tuning.ALL._replace(streams=streams)):
        long = executor.begin(lambda: count_to(1e5), 0, 2)
        short = executor.begin(lambda: count_to(7.0), 1, 2)
        assert short.result()[0] == 7
        assert not long.is_ready()
        assert long.result()[0] == 1e5 and long.is_ready() and short.is_ready()


def test_as_many_threads_as_workers():
    """They are kept for later calls, and do not become more."""
    meet = threading.Barrier(3)
    seen = set()

    def call():
        meet.wait(30)  # only three threads at once get past this
        seen.add(threading.get_ident())
        return np.zeros(1)

    with tuning.using(tuning.ALL._replace(streams=False)):
        for _ in range(20):
            for one in [executor.begin(call, worker, 3) for worker in range(3)]:
                one.result()
    assert len(seen) == 3 and threading.get_ident() not in seen


def test_errors_reach_the_caller_and_cancelled_calls_never_run():
    gate, ran = threading.Event(), []

    def fail():
        gate.wait(30)
        raise RuntimeError("enough")

    with tuning.using(tuning.ALL._replace(streams=False)):
        busy = [executor.begin(fail, worker, 2) for worker in range(2)]
        waiting = executor.begin(lambda: ran.append(1), 0, 2)
        waiting.cancel()
        gate.set()
        for one in busy:
            with pytest.raises(RuntimeError, match="enough"):
                one.result()
        after = executor.begin(lambda: np.ones(1), 0, 2)
        assert after.result() == 1 and ran == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_after_a_fork():
    """The child has none of the parent's threads, and gets its own."""
    code = """
import os
import numpy as np
from pgdyn.ensemble import executor, tuning
def total():
    running = [executor.begin(lambda i=i: np.array(i), i % 3, 3) for i in range(10)]
    return sum(int(one.result()) for one in running)
with tuning.using(tuning.ALL._replace(streams=False)):
    assert total() == 45
    child = os.fork()
    if child == 0:
        os._exit(total())
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    ran = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, timeout=300)
    assert ran.stdout.strip() == "45", ran.stderr


def test_where_calls_wait_to_begin_another():
    """Where JAX was told to run calls in the thread that makes them, threads take the place of streams."""
    code = """
import sys, jax
jax.config.update("jax_cpu_enable_async_dispatch", {waits})
from batches import FIELDS, run, tabular
from pgdyn import compilation_cache
from pgdyn.ensemble import executor, xla
compilation_cache.enable()
executor.cores = lambda: 2
assert {waits} or not xla.has_streams()
found = run(tabular())
sys.stdout.buffer.write(b"".join(getattr(found, name).tobytes() for name in FIELDS))
"""
    # Both in processes of their own: programs that tests compile here may have other last bits.
    environment = {**os.environ, "PYTHONPATH": TESTS}
    one, other = (
        subprocess.run(
            [sys.executable, "-c", code.format(waits=waits)], capture_output=True, env=environment, timeout=300
        )
        for waits in (False, True)
    )
    assert one.returncode == other.returncode == 0, one.stderr.decode() + other.stderr.decode()
    assert one.stdout == other.stdout
