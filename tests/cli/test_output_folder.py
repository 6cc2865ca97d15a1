"""The folder of `pgdyn simulate --out`: refused before anything is computed, or written whole, or not at all."""

import errno
import pathlib

import jax
import matplotlib.figure
import pytest
from commands import refused, run

import pgdyn
from pgdyn.cli import output


def test_output_folders_are_replaced_only_when_asked_and_only_if_ours(capsys, file, tmp_path):
    out = tmp_path / "o"
    simulate = ("simulate", file, "--t1", 50, "--saves", 9, "--target", 0.9, "--out", out)
    out.mkdir()
    assert run(capsys, *simulate)[0] == 0
    before = (out / "problem.toml").stat().st_ino
    assert "is not empty; choose another folder or replace its results with --overwrite" in refused(capsys, *simulate)
    assert (out / "problem.toml").stat().st_ino == before
    assert run(capsys, *simulate, "--overwrite")[0] == 0
    assert (out / "problem.toml").stat().st_ino != before
    (out / "notes.txt").write_text("precious")
    assert "holds notes.txt, which no such run has written" in refused(capsys, *simulate, "--overwrite")
    assert "is a file; it must be a folder" in refused(capsys, "simulate", file, "--t1", 3, "--out", file)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["o", "problem.json"]


FAILURES = {  # what happens while files are written -> exit code, sentence
    "disk": (OSError(28, "No space left on device"), 1, "{out} cannot be written: No space left on device"),
    "disk, named": (
        OSError(28, "No space left on device", "a.png"),
        1,
        "--out {out} cannot be written: No space left on device",
    ),
    "ctrl-c": (KeyboardInterrupt(), 130, "interrupted; what was being written has been removed"),
    "memory": (MemoryError(), 2, "the run does not fit into memory; save fewer points or run a smaller problem"),
    "device memory": (
        jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 8 bytes."),
        2,
        "the run does not fit into memory; save fewer points or run a smaller problem",
    ),
}


@pytest.mark.parametrize(("case", "present"), [(case, False) for case in FAILURES] + [("disk", True), ("ctrl-c", True)])
def test_a_failure_while_writing_leaves_nothing_half_done(capsys, file, tmp_path, monkeypatch, case, present):
    failure, expected, sentence = FAILURES[case]
    out = tmp_path / "o"
    simulate = ("simulate", file, "--t1", 50, "--saves", 9, "--target", 0.9, "--out", out)
    if present:
        out.mkdir()
        (out / "problem.toml").write_text("the old one")

    def fail(self, path, **options):
        path.write_bytes(b"half a picture")
        raise failure

    monkeypatch.setattr(matplotlib.figure.Figure, "savefig", fail)
    code, shown, err = run(capsys, *simulate, *(["--overwrite"] if present else []))
    assert code == expected and err.count("\n") == 1 and err.startswith("error: ")
    assert sentence.format(out=out) in err
    # The run is not lost: it has been shown.
    assert "true value reaches 0.9 at time 16.7" in shown
    assert sorted(entry.name for entry in tmp_path.iterdir()) == (["o"] if present else []) + ["problem.json"]
    if present:
        assert (out / "problem.toml").read_text() == "the old one"


def test_a_place_that_cannot_be_written_is_refused_before_anything_is_computed(capsys, file, tmp_path, monkeypatch):
    monkeypatch.setattr(pgdyn, "solve", None)
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    for out, words in (
        (file / "run", "Not a directory"),
        (file / "a" / "run", "Not a directory"),
        (pathlib.Path("/proc/run"), "No such file or directory"),
        (tmp_path / ("x" * 300), "File name too long"),
        (tmp_path / "dangling", "is a file; it must be a folder"),
    ):
        sentence = refused(capsys, "simulate", file, "--t1", 3, "--out", out)
        assert sentence.startswith(f"--out {out} ") and words in sentence
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["dangling", "problem.json"]


def test_a_full_disk_is_found_before_anything_is_computed(capsys, file, tmp_path, monkeypatch):
    class Full:
        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def write(self, _):
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(output.tempfile, "TemporaryFile", lambda dir: Full())
    out = tmp_path / "a" / "run"
    sentence = refused(capsys, "simulate", file, "--t1", 3, "--out", out)
    assert sentence == f"--out {out} cannot be written: No space left on device" and not out.parent.exists()
