"""Threads that share work out: everything once, the caller among them, errors and interrupts end them all."""

import subprocess
import sys
import threading
import time

import pytest

from pgdyn import cores


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_each_item_once_and_in_as_many_threads(threads):
    done, busy = [], set()
    meet = threading.Barrier(threads)

    def work(item):
        if threading.get_ident() not in busy:
            busy.add(threading.get_ident())
            meet.wait(10)  # only as many threads as there should be get past this
        done.append(item)

    cores.each(work, range(100), threads)
    assert sorted(done) == list(range(100))
    assert len(busy) == threads and threading.get_ident() in busy


def test_nothing_to_do():
    done = []
    cores.each(done.append, [])
    assert done == []


def test_threads_are_kept_and_do_not_become_more():
    """Also in quick calls on end, where the last call's thread may not have gone idle yet."""

    def work(item):
        time.sleep(0.001)

    cores.each(work, range(20), 3)
    kept = {thread.ident for thread in threading.enumerate()}
    for _ in range(2000):
        cores.each(lambda item: None, range(4), 3)
    assert {thread.ident for thread in threading.enumerate()} == kept


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
@pytest.mark.parametrize("where", ["this thread", "another"])
def test_an_error_ends_all(where, error):
    """What is in hand is finished before the error is raised, and nothing more is begun."""
    begun, ended = [], []
    here = threading.get_ident()
    both = threading.Barrier(2)

    def work(item):
        begun.append(item)
        if item < 2:
            both.wait(10)
            if (threading.get_ident() == here) == (where == "this thread"):
                raise error("enough")
            time.sleep(0.05)
        ended.append(item)

    with pytest.raises(error, match="enough"):
        cores.each(work, range(1000), 2)
    assert len(ended) == len(begun) - 1
    assert len(begun) <= 3


def test_calls_within_calls():
    """A thread that shares out its own item shares it with whoever is free, and never waits for one."""
    done = []
    cores.each(lambda outer: cores.each(lambda inner: done.append((outer, inner)), range(5), 3), range(7), 4)
    assert sorted(done) == [(outer, inner) for outer in range(7) for inner in range(5)]


@pytest.mark.skipif(sys.platform == "win32", reason="no fork")
def test_after_a_fork():
    """The child has none of the parent's threads and does all by itself."""
    code = """
import os, time
from pgdyn import cores
cores.each(lambda item: time.sleep(.001), range(20), 3)
child = os.fork()
if child == 0:
    done = []
    cores.each(done.append, range(50), 3)
    os._exit(len(done))
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    ran = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, timeout=100)
    assert ran.stdout.strip() == "50", ran.stderr
