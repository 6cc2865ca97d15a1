"""The program as processes of its own: what it imports, Ctrl-C, closed pipes, and what it keeps between runs."""

import os
import signal
import subprocess
import sys
import time

import pytest

from pgdyn import compilation_cache


def program(*arguments, **options):
    return subprocess.run([sys.executable, "-W", "error", *arguments], capture_output=True, text=True, **options)


def test_help_and_refusals_come_without_the_heavy_libraries(file):
    heavy = {"jax", "equinox", "numpy", "matplotlib", "xarray", "rich", "zarr", "pandas"}
    refused = ["simulate", str(file), "--t1", "ten"]
    calls = (["-h"], ["simulate", "-h"], ["sweep", "-h"], ["verify", "-h"], refused)
    code = f"import sys; from pgdyn.cli import main; print([(main(c), {heavy!r} & {{*sys.modules}}) for c in {calls}])"
    done = program("-c", code, check=True).stdout.splitlines()[-1]
    assert done == str([(0, set())] * 4 + [(2, set())])


def test_the_program_from_outside(file):
    done = program("-m", "pgdyn.cli", "simulate", str(file))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: --dynamics flow needs --t1, the end time\n"


@pytest.mark.parametrize("seconds", [0.1, 0.3, 0.6, 0.9])
def test_ctrl_c_at_any_time_is_one_sentence(file, seconds):
    """Most of the first seconds pass in imports: there an interruption may turn into another error, or be swallowed."""
    code = "import pgdyn.cli; print(flush=True); pgdyn.cli.run()"
    command = [sys.executable, "-c", code, "simulate", str(file), "--t1", "1e6"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    process.stdout.readline()
    time.sleep(seconds)
    ended = process.poll() is not None  # a quick machine with a warm cache may be done by then
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    said = (0, "") if ended else (130, "error: interrupted; what was being written has been removed\n")
    assert (process.returncode, err) == said


def test_a_reader_that_leaves_is_no_error(file):
    command = [sys.executable, "-m", "pgdyn.cli", "simulate", str(file), "--t1", "3"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait() == 1
    process.stderr.close()


def test_compiled_programs_are_kept_unless_told(file, tmp_path):
    """Oracle: the folder of the cache."""
    folder = tmp_path / "cache"
    arguments = ["-m", "pgdyn.cli", "simulate", str(file), "--dynamics", "ascend", "--steps", "50"]
    environment = os.environ | {compilation_cache.VARIABLE: str(folder)}
    first = program(*arguments[:2], "--no-cache", *arguments[2:], env=environment)
    assert first.returncode == 0 and not folder.exists()
    second = program(*arguments, env=environment)
    assert second.stdout == first.stdout and list(folder.rglob("*-cache"))
