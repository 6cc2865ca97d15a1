"""Sweeps on Dask clusters in processes of their own, some of which are killed. The oracle is an undisturbed store."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import sys
import time

import numpy as np
import pytest
import sweep_cases as cases

from pgdyn import compilation_cache
from pgdyn.sweep import SweepStopped, cluster, engine, load_spec, run_sweep

psutil = pytest.importorskip("psutil")
pytest.importorskip("distributed")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def started(tmp_path):
    """Starts a scheduler and so many workers: their address, and the processes, the scheduler's first."""
    with contextlib.ExitStack() as stack:

        def start(workers):
            address = f"tcp://127.0.0.1:{free_port()}"
            lines = [[sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", address, "--no-dashboard"]]
            worker = [sys.executable, "-m", "distributed.cli.dask_worker", address, "--no-nanny", "--nthreads", "1"]
            lines += [[*worker, "--no-dashboard", "--local-directory", str(tmp_path / "scratch")]] * workers
            processes = []
            for i, line in enumerate(lines):
                log = stack.enter_context((tmp_path / str(i)).open("w"))
                environment = os.environ | {"PYTHONWARNINGS": "ignore"}
                processes.append(stack.enter_context(cases.started(*line, env=environment, stderr=log)))
            for i, process in enumerate(processes[1:], 1):
                text = lambda i=i: (tmp_path / str(i)).read_text()  # noqa: E731
                cases.until(lambda text=text: "Registered to" in text(), "a worker is there", process)
            return address, processes

        yield start


def test_a_cluster_that_loses_a_worker_writes_the_same_store(slow, undisturbed, started, tmp_path):
    address, processes = started(2)
    store = tmp_path / "store"
    with cases.started(*cases.command("sweep", slow, "--out", store, "--cluster", address)) as sweep:
        cases.until(lambda: len(cases.shards(store)) >= 3, "three shards are done", sweep)
        processes[1].kill()
        assert len(cases.shards(store)) < cases.SLOW_SHARDS
        out, err = sweep.communicate(timeout=cases.PATIENCE)
    assert sweep.returncode == 0, err
    cases.until(lambda: "Remove worker" in (tmp_path / "0").read_text(), "the scheduler misses a worker")
    assert "12 computed" in out
    assert cases.contents(store) == undisturbed


def test_the_shards_of_a_deaf_worker_are_sent_to_another(slow, undisturbed, started, tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, "_BEAT", 5.0)
    address, processes = started(2)
    store = tmp_path / "store"

    def watch(progress):
        if progress.computed:
            processes[1].send_signal(signal.SIGSTOP)

    summary = run_sweep(load_spec(slow), store, cluster=address, progress=watch, worker_timeout=5.0)
    assert summary.computed == cases.SLOW_SHARDS
    assert cases.contents(store) == undisturbed


def stopped(slow, store, address, victims, **options):
    """Runs a sweep and kills processes after its first shard: its last words, its progress, and how long it took."""
    told, killed = [], []

    def watch(progress):
        told.append(progress)
        if progress.computed and not killed:
            killed.append(time.monotonic())
            for victim in victims:
                victim.kill()

    with pytest.raises(SweepStopped) as caught:
        run_sweep(load_spec(slow), store, cluster=address, progress=watch, **options)
    return str(caught.value), told, time.monotonic() - killed[0]


def test_a_sweep_whose_workers_all_die_says_what_it_waits_for_and_stops(slow, undisturbed, started, tmp_path):
    address, processes = started(2)
    store = tmp_path / "store"
    sentence, told, seconds = stopped(slow, store, address, processes[1:], worker_timeout=3.0)
    assert sentence == "the cluster has had no workers for 3 seconds; the same command goes on from there"
    waits = [progress.waiting for progress in told if progress.waiting]
    assert 3 <= seconds < 30
    assert "the cluster has had no workers for 2 s; the sweep stops after 3 s" in waits
    assert all(re.fullmatch(r"the cluster has had no workers for \d+ s; the sweep stops after 3 s", w) for w in waits)
    kept = len(cases.shards(store))
    assert 0 < kept < cases.SLOW_SHARDS
    assert run_sweep(load_spec(slow), store).found == kept
    assert cases.contents(store) == undisturbed


def test_a_sweep_that_loses_its_scheduler_stops(slow, started, tmp_path):
    address, processes = started(1)
    sentence, _, seconds = stopped(slow, tmp_path / "store", address, processes[:1])
    assert sentence == "the scheduler was lost; the same command goes on from there"
    assert seconds < 30


@pytest.mark.parametrize("limit", [0.0, -1.0, float("nan"), "soon"])
def test_a_wait_for_workers_is_a_positive_number(slow, limit, tmp_path):
    with pytest.raises(ValueError, match="worker_timeout"):
        run_sweep(load_spec(slow), tmp_path / "store", workers=1, worker_timeout=limit)
    assert not (tmp_path / "store").exists()


def test_no_scheduler_at_the_address_is_one_sentence(slow, tmp_path, monkeypatch):
    monkeypatch.setattr("pgdyn.sweep.cluster._CONNECT", "200ms")
    with pytest.raises(ValueError, match=r"no Dask scheduler answers at 'tcp://127.0.0.1:\d+'"):
        run_sweep(load_spec(slow), tmp_path / "store", cluster=f"tcp://127.0.0.1:{free_port()}")


@pytest.mark.parametrize(
    "address", ["http://127.0.0.1:8786", "ucx://127.0.0.1:8786", "tcp://no such host:1", "tcp://x"]
)
def test_a_bad_address_is_one_sentence(slow, address, tmp_path, monkeypatch):
    monkeypatch.setattr("pgdyn.sweep.cluster._CONNECT", "200ms")
    with pytest.raises(ValueError, match=r"no Dask scheduler answers at|it must look like tcp://") as caught:
        run_sweep(load_spec(slow), tmp_path / "store", cluster=address)
    assert address in str(caught.value)


def test_a_worker_of_another_version_is_refused(slow):
    loaded = load_spec(slow)
    table, numbers = json.dumps(loaded.to_table()), engine.numbers_version()
    found = cluster._task(table, 0, numbers)
    np.testing.assert_array_equal(found["true_value"], engine.compute_shard(loaded, 0)["true_value"])
    with pytest.raises(ValueError, match=r"a worker has jax '.*' where the store has '0.1'"):
        cluster._task(table, 0, numbers | {"jax": "0.1"})


def test_local_workers_write_the_same_store(slow, undisturbed, tmp_path):
    store, cache = tmp_path / "store", tmp_path / "cache"
    environment = os.environ | {compilation_cache.VARIABLE: str(cache)}
    done = cases.run("sweep", slow, "--out", store, "--workers", "2", env=environment)
    assert done.returncode == 0, done.stderr
    assert cases.contents(store) == undisturbed
    assert list(cache.rglob("*-cache"))  # by the workers: the process that was asked compiles nothing


def still_running(processes, timeout):
    """Those of the processes that have not ended in time; one that only waits to be reaped by init has."""
    _, alive = psutil.wait_procs(processes, timeout=timeout)
    return [one for one in alive if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]


@pytest.mark.parametrize("moment", ["the cluster starts", "half a second later", "the first shard is done"])
def test_ctrl_c_ends_local_workers_at_any_moment(slow, moment, tmp_path):
    store = tmp_path / "store"
    line = cases.command("sweep", slow, "--out", store, "--workers", "2")
    with cases.started(*line, start_new_session=True) as sweep:
        if moment == "the first shard is done":
            cases.until(lambda: len(cases.shards(store)) > 0, moment, sweep)
        else:
            # Before the store is there, other children come and go: uname, which names the processor, and git.
            cases.until((store / "zarr.json").exists, moment, sweep)
            cases.until(lambda: bool(psutil.Process(sweep.pid).children()), moment, sweep)
            time.sleep(0.5 if moment == "half a second later" else 0.0)
        family = psutil.Process(sweep.pid).children(recursive=True)
        os.killpg(sweep.pid, signal.SIGINT)  # as a terminal does it
        begun = time.monotonic()
        _, err = sweep.communicate(timeout=cases.PATIENCE)
        seconds = time.monotonic() - begun
    assert sweep.returncode == 130, err
    assert "Traceback" not in err
    assert re.fullmatch(
        r"error: interrupted; \d+ of 12 shards are safe; the same command goes on from there", err.splitlines()[-1]
    )
    assert seconds < 6  # 2 on a machine that does nothing else
    assert not still_running(family, 5)


def test_local_workers_end_with_a_process_that_is_killed(slow, tmp_path):
    line = cases.command("sweep", slow, "--out", tmp_path / "store", "--workers", "1")
    with cases.started(*line) as sweep:
        cases.until(lambda: len(cases.shards(tmp_path / "store")) > 0, "the first shard is done", sweep)
        family = psutil.Process(sweep.pid).children(recursive=True)
        assert family
        sweep.kill()
        alive = still_running(family, cases.PATIENCE)
    assert not alive
