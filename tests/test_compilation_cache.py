"""Compiled programs between processes. Oracles: JAX's own events of hits and misses, and results without a cache."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import jax
import optax
import pytest
from jax.experimental import serialize_executable

import pgdyn
from pgdyn import compilation_cache

ROOT = Path(__file__).parents[1]
OPTIONS = (
    "jax_compilation_cache_dir",
    "jax_persistent_cache_min_compile_time_secs",
    "jax_persistent_cache_min_entry_size_bytes",
)
# Compiles two programs and says what came of it.
PROGRAM = """
import collections, json, sys
import jax, jax.numpy as jnp
from pgdyn import compilation_cache
events = collections.Counter()
jax.monitoring.register_event_listener(lambda event, **_: events.update([event.rsplit("/", 1)[-1]]))
folder = compilation_cache.enable()
value = jax.jit(lambda x: jnp.sin(x).sum())(jnp.arange(4.0))
print(json.dumps({"folder": folder and str(folder), "value": float(value), **events}))
"""
VALUE = pytest.approx(sum(math.sin(x) for x in range(4)))
posix = pytest.mark.skipif(not hasattr(os, "geteuid"), reason="file owners and modes are those of POSIX")


def begin(folder, **variables):
    environment = os.environ | {compilation_cache.VARIABLE: str(folder)} | variables
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM], env=environment, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def finish(process):
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0 and err == b""  # nothing for the user to wonder about
    found = json.loads(out)
    assert found["value"] == VALUE
    return found


@pytest.fixture
def no_cache(monkeypatch):
    """JAX as before any cache was turned on, until the end of the test."""
    before = {name: getattr(jax.config, name) for name in OPTIONS}
    jax.config.update("jax_compilation_cache_dir", None)
    monkeypatch.delenv(compilation_cache.VARIABLE, raising=False)
    yield
    for name, value in before.items():
        jax.config.update(name, value)


def test_what_one_process_compiles_no_other_does(tmp_path):
    """Two begin at once; a third finds all; what is damaged is made again."""
    for process in [begin(tmp_path) for _ in range(2)]:
        finish(process)
    third = finish(begin(tmp_path))
    folder = Path(third["folder"])
    assert folder.parent == tmp_path and folder.stat().st_mode & 0o777 == 0o700
    entries = sorted(folder.glob("*-cache"))
    assert third["cache_hits"] == len(entries) > 0 and "cache_misses" not in third

    for entry in entries:
        entry.write_bytes(entry.read_bytes()[:-200])
    assert "cache_hits" not in finish(begin(tmp_path))  # compiled anew, without a word
    for entry in entries:
        os.utime(entry, (entry.stat().st_atime, entry.stat().st_mtime - 3600))
    assert finish(begin(tmp_path))["cache_misses"] == len(entries)
    assert "cache_misses" not in finish(begin(tmp_path))


def test_the_switch(tmp_path):
    off = finish(begin(0, XDG_CACHE_HOME=str(tmp_path)))
    assert off["folder"] is None and "cache_misses" not in off and not list(tmp_path.iterdir())


def test_a_cache_that_the_user_has_set_up_stays(tmp_path):
    theirs, ours = tmp_path / "theirs", tmp_path / "ours"
    found = finish(begin(ours, JAX_COMPILATION_CACHE_DIR=str(theirs)))
    assert found["folder"] is None and not ours.exists()
    assert finish(begin(ours, JAX_ENABLE_COMPILATION_CACHE="0"))["folder"] is None and not ours.exists()


def test_the_folder_is_that_of_the_variable_then_the_argument_then_the_user(tmp_path, no_cache, monkeypatch):
    key = compilation_cache.machine()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert compilation_cache.enable() == tmp_path / "pgdyn" / "compiled" / key
    assert jax.config.jax_compilation_cache_dir == str(tmp_path / "pgdyn" / "compiled" / key)
    assert compilation_cache.enable() == tmp_path / "pgdyn" / "compiled" / key  # once more changes nothing
    jax.config.update("jax_compilation_cache_dir", None)
    assert compilation_cache.enable(tmp_path / "argument") == tmp_path / "argument" / key
    jax.config.update("jax_compilation_cache_dir", None)
    monkeypatch.setenv(compilation_cache.VARIABLE, str(tmp_path / "variable"))
    assert compilation_cache.enable(tmp_path / "argument") == tmp_path / "variable" / key


@posix
@pytest.mark.parametrize("mode", [0o755, 0o770, 0o500])
def test_a_folder_open_to_others_or_closed_to_the_user_is_refused(tmp_path, no_cache, mode):
    if mode == 0o500 and os.geteuid() == 0:
        pytest.skip("root may write anywhere")
    folder = tmp_path / compilation_cache.machine()
    folder.mkdir()
    folder.chmod(mode)
    assert compilation_cache.enable(tmp_path) is None and jax.config.jax_compilation_cache_dir is None
    assert not list(folder.iterdir())


@posix
def test_a_folder_of_another_user_is_refused(tmp_path, no_cache, monkeypatch):
    mine = os.geteuid()
    (tmp_path / compilation_cache.machine()).mkdir(mode=0o700)
    monkeypatch.setattr(os, "geteuid", lambda: mine + 1)
    assert compilation_cache.enable(tmp_path) is None and jax.config.jax_compilation_cache_dir is None


def test_a_place_where_no_folder_can_be_made(tmp_path, no_cache, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "file")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert compilation_cache.enable() is None
    assert compilation_cache.enable(tmp_path / "file" / "folder") is None
    assert jax.config.jax_compilation_cache_dir is None


def test_a_machine_whose_entries_are_refused(tmp_path, no_cache, monkeypatch, capfd):
    """XLA complains on the terminal about an entry with an instruction set that the machine lacks; the user sees none
    of it, and the next process does not try again."""
    store = serialize_executable.serialize
    wanted = b"+sse4.2"

    def tampered(compiled):
        payload, *trees = store(compiled)
        if wanted not in payload:
            pytest.skip("entries name their instruction sets on x86 alone")
        return payload.replace(wanted, b"+sse9.9"), *trees

    monkeypatch.setattr(serialize_executable, "serialize", tampered)
    assert compilation_cache.enable(tmp_path) is None
    monkeypatch.setattr(serialize_executable, "serialize", store)
    assert compilation_cache.enable(tmp_path) is None
    assert capfd.readouterr() == ("", "")


def test_entries_used_least_recently_go_first(tmp_path, no_cache, monkeypatch):
    folder = compilation_cache.enable(tmp_path)
    for age, name in enumerate(("new", "middle", "old")):
        (folder / f"{name}-cache").write_bytes(b"entry" * 20)
        os.utime(folder / f"{name}-cache", (2e9 - age, 1e9 + age))  # written in the other order
    jax.config.update("jax_compilation_cache_dir", None)
    monkeypatch.setattr(compilation_cache, "LARGEST", 250)
    assert compilation_cache.enable(tmp_path) == folder
    assert {path.name for path in folder.glob("*-cache")} == {"new-cache", "middle-cache"}


def test_no_program_of_a_run_calls_the_host(paper_problem):
    """One that does is compiled by every process: JAX keeps none of them."""
    runs = (
        lambda problem: pgdyn.flow(problem, 100.0, target=0.9),
        lambda problem: pgdyn.flow(problem, 100.0, geometry="natural"),
        lambda problem: pgdyn.ascend(problem, 10, optimizer=optax.adam(0.1), target=0.9),
        lambda problem: pgdyn.ascend_sampled(problem, 10, jax.random.key(0), target=0.9),
    )
    for run in runs:
        assert "callback" not in jax.jit(lambda problem, run=run: run(problem).params).lower(paper_problem).as_text()


def test_the_main_job_uses_the_cache(tmp_path):
    environment = os.environ | {compilation_cache.VARIABLE: str(tmp_path)}
    subprocess.run([sys.executable, "-m", "paper_repro", "--help"], env=environment, cwd=ROOT, check=True)
    assert (tmp_path / compilation_cache.machine()).is_dir()
