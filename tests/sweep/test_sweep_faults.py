"""Faults provoked for real in processes of their own. The oracle: a store that nothing has disturbed, byte by byte."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys

import numpy as np
import pytest
import sweep_cases as cases

from pgdyn.cli import main
from pgdyn.sweep import Store, load_spec, open_sweep, run_sweep


def interrupted(slow, store, number):
    """Starts a sweep, sends it a signal once some shards are done, and gives it back ended."""
    with cases.started(*cases.command("sweep", slow, "--out", store)) as process:
        cases.until(lambda: len(cases.shards(store)) >= 3, "three shards are done", process)
        cases.until(lambda: len(Store.open(store).being_made()) > 0, "a shard is being made", process)
        process.send_signal(number)
        out, err = process.communicate(timeout=cases.PATIENCE)
    assert 3 <= len(cases.shards(store)) < cases.SLOW_SHARDS
    return process.returncode, out, err


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM], ids=["killed", "ctrl-c", "ended"])
def test_an_interrupted_sweep_keeps_its_shards_and_ends_with_the_same_bits(slow, undisturbed, tmp_path, capsys, number):
    store = tmp_path / "store"
    code, out, err = interrupted(slow, store, number)
    done = {folder: folder.stat().st_ino for folder in cases.shards(store)}
    if number == signal.SIGINT:
        assert code == 130
        sentence = err.splitlines()[-1]  # after lines of progress, if it took so long
        kept = re.fullmatch(
            r"error: interrupted; (\d+) of 12 shards are safe; the same command goes on from there", sentence
        )
        assert kept, err
        assert int(kept[1]) == len(done)
    else:
        assert code == -number
    with pytest.raises(ValueError, match=f"holds {len(done)} of 12 shards"):
        open_sweep(store)
    assert main(["sweep", "--status", str(store)]) == 0
    assert f"shards       {len(done)} of 12 done, 0 being made, 0 damaged" in capsys.readouterr().out

    assert main(["sweep", str(slow), "--out", str(store)]) == 0
    assert f"{len(done)} were there; {12 - len(done)} computed" in capsys.readouterr().out
    assert {folder: folder.stat().st_ino for folder in done} == done
    assert cases.contents(store) == undisturbed


def test_two_processes_on_one_store_share_the_work(slow, undisturbed, tmp_path):
    store = tmp_path / "store"
    line = cases.command("sweep", slow, "--out", store)
    with cases.started(*line) as first, cases.started(*line) as second:
        computed = 0
        for process in (first, second):
            out, err = process.communicate(timeout=cases.PATIENCE)
            assert process.returncode == 0, err
            found = re.search(r"(\d+) computed in", out)
            computed += int(found[1]) if found else 0
    assert computed == cases.SLOW_SHARDS  # no shard twice
    assert cases.contents(store) == undisturbed


def test_a_process_finishes_the_shards_of_one_that_dies_beside_it(slow, undisturbed, tmp_path):
    store = tmp_path / "store"
    line = cases.command("sweep", slow, "--out", store)
    with cases.started(*line) as first, cases.started(*line) as second:
        cases.until(lambda: len(cases.shards(store)) >= 2, "two shards are done", first)
        first.kill()
        out, err = second.communicate(timeout=cases.PATIENCE)
        assert second.returncode == 0, err
    assert cases.contents(store) == undisturbed


@pytest.fixture
def small_disk(tmp_path):
    """A file system of a few pages, and a way to make it larger."""
    place = tmp_path / "disk"
    place.mkdir()

    def mount(options):
        return subprocess.run(["mount", *options, str(place)], capture_output=True, check=False).returncode == 0

    if os.geteuid() != 0 or not mount(["-t", "tmpfs", "-o", "size=192k", "tmpfs"]):
        pytest.skip("mounting a small file system needs rights that these tests do not have")
    try:
        yield place, lambda: mount(["-o", "remount,size=4m"])
    finally:
        subprocess.run(["umount", "-l", str(place)], check=False)


def test_a_full_disk_stops_the_sweep_with_one_sentence_and_loses_nothing(slow, undisturbed, small_disk, capsys):
    place, enlarge = small_disk
    store = place / "store"
    stopped = cases.run("sweep", slow, "--out", store)
    assert stopped.returncode == 1
    done = len(cases.shards(store))
    assert 0 < done < cases.SLOW_SHARDS
    sentence = (
        f"error: {store}: the disk is full; {done} of 12 shards are safe, shard {done} was computed and could not be "
        "kept; the same command goes on from there"
    )
    assert stopped.stderr.splitlines()[-1] == sentence
    assert stopped.stdout == ""
    assert enlarge()
    assert main(["sweep", str(slow), "--out", str(store)]) == 0
    assert f"{done} were there" in capsys.readouterr().out
    assert cases.contents(store) == undisturbed


# Runs in a process of its own: forks one that writes a store and is killed at its n-th file-system call, for every n.
CRASHES = """
import os, pathlib, pickle, signal, sys
import zarr  # here, so that not every fork imports it
from pgdyn.io import provenance
from pgdyn.sweep import engine, store

spec, arrays = pickle.loads(pathlib.Path(sys.argv[1]).read_bytes())
target = pathlib.Path(sys.argv[2])
# Asking for the device would start threads, which a fork does not take along.
engine.numbers_version = lambda: {"numbers": 0}
provenance.attributes = lambda: {}
EVENTS = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "shutil.rmtree"}

def work(path, kill_at):
    calls = 0
    def count(event, arguments):
        nonlocal calls
        if event in EVENTS and any(str(path) in str(argument) for argument in arguments):
            calls += 1
            if calls == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(count)
    with store.Store.create(path, spec) as opened:
        for shard in range(spec.num_shards):
            if opened.state(shard) != "done":
                assert opened.claim(shard)
                opened.write(shard, arrays[shard])
                opened.release(shard)

def forked(path, kill_at):
    child = os.fork()
    if child == 0:
        try:
            work(path, kill_at)
        except BaseException as error:
            print(type(error), error, file=sys.stderr, flush=True)
            os._exit(3)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

def contents(path):
    return {str(entry.relative_to(path)): entry.read_bytes() for entry in path.rglob("*") if entry.is_file()}

assert forked(target / "whole", 0) == 0
reference = contents(target / "whole")
for kill_at in range(1, 1000):
    path = target / f"killed at {kill_at}"
    code = forked(path, kill_at)
    if code == 0:
        break
    assert code == -signal.SIGKILL, code
    assert forked(path, 0) == 0
    assert contents(path) == reference, (kill_at, sorted(contents(path)), sorted(reference))
print(kill_at - 1)
"""


def test_a_kill_at_any_file_system_call_leaves_a_store_that_resumes(slow, tmp_path):
    import dataclasses
    import pickle

    loaded = dataclasses.replace(load_spec(slow), shard_size=120, observables=("result",))
    arrays = [{"result": np.full(120, i, np.int32)} for i in range(2)]
    (tmp_path / "work.pickle").write_bytes(pickle.dumps((loaded, arrays)))
    line = [sys.executable, "-c", CRASHES, str(tmp_path / "work.pickle"), str(tmp_path)]
    done = subprocess.run(line, capture_output=True, text=True, timeout=cases.PATIENCE)
    assert done.returncode == 0, done.stderr[-3000:]
    assert int(done.stdout) > 30  # the kills really came in the middle


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system does not pin processes to cores")
def test_flows_have_the_same_bits_on_one_core_and_on_two_devices(tmp_path):
    text = cases.SLOW.replace('kind = "ascend"\nsteps = 20000', 'kind = "flow"\nt1 = 1000.0')
    (tmp_path / "flow.toml").write_text(text.replace("shard_size = 20", "shard_size = 90"))
    run_sweep(load_spec(tmp_path / "flow.toml"), tmp_path / "here")
    core = min(os.sched_getaffinity(0))
    line = cases.command("sweep", tmp_path / "flow.toml", "--out", tmp_path / "there")
    pinned = f"import os, subprocess, sys; os.sched_setaffinity(0, [{core}]); sys.exit(subprocess.call(sys.argv[1:]))"
    done = subprocess.run([sys.executable, "-c", pinned, *line], capture_output=True, timeout=cases.PATIENCE)
    assert done.returncode == 0, done.stderr
    assert cases.contents(tmp_path / "there") == cases.contents(tmp_path / "here")
