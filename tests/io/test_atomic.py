"""Files and folders written whole or not at all. The oracle: what the file system holds afterwards."""

import os
import pathlib
import subprocess
import sys

import pytest

from pgdyn.io import atomic


@pytest.fixture
def read_only(tmp_path):
    """A folder that this process may not write, whoever runs the tests."""
    place = tmp_path / "read-only"
    place.mkdir()
    for folder in (place, *place.parents):
        if folder.stat().st_uid == os.geteuid() and folder != pathlib.Path("/"):
            folder.chmod(0o755)
    place.chmod(0o555)
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield place
    finally:
        if root:
            os.seteuid(0)
        place.chmod(0o755)


def names(folder):
    return sorted(entry.name for entry in folder.iterdir())


def test_a_file_is_written_and_replaced(tmp_path):
    path = tmp_path / "a.txt"
    atomic.write_file(path, b"one")
    atomic.write_file(path, b"two")
    assert path.read_bytes() == b"two" and names(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_appears_when_the_block_ends(tmp_path, overwrite):
    path = tmp_path / "deep" / "results"
    with atomic.whole_folder(path, overwrite=overwrite) as folder:
        (folder / "a").write_text("a")
        assert not path.exists()
    assert names(path) == ["a"] and names(path.parent) == ["results"]


def test_a_folder_is_replaced_only_when_asked_and_an_empty_one_always(tmp_path):
    path = tmp_path / "results"
    for text in ("one", "two"):
        with atomic.whole_folder(path, overwrite=text == "two") as folder:
            (folder / text).write_text(text)
    assert names(path) == ["two"]
    with pytest.raises(FileExistsError, match="results already exists"), atomic.whole_folder(path):
        raise AssertionError("the block must not run")
    (path / "two").unlink()
    with atomic.whole_folder(path) as folder:
        (folder / "three").write_text("three")
    assert names(path) == ["three"] and names(tmp_path) == ["results"]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt(), RuntimeError("no")])
def test_what_was_there_stays_when_the_block_fails(tmp_path, error):
    path = tmp_path / "results"
    path.mkdir()
    (path / "old").write_text("old")
    with pytest.raises(type(error)), atomic.whole_folder(path, overwrite=True) as folder:
        (folder / "new").write_text("new")
        raise error
    assert names(path) == ["old"] and names(tmp_path) == ["results"]


@pytest.mark.parametrize("write", ["file", "folder"])
def test_a_read_only_place_is_named_as_it_was_given(read_only, write):
    path = read_only / "out"
    with pytest.raises(PermissionError) as caught:
        if write == "file":
            atomic.write_file(path, b"")
        else:
            with atomic.whole_folder(path):
                pass
    assert caught.value.strerror == f"{path} cannot be written: Permission denied"
    assert names(read_only) == []


def test_an_error_inside_a_folder_names_the_file_by_its_final_path(tmp_path):
    with pytest.raises(FileNotFoundError) as caught, atomic.whole_folder(tmp_path / "out") as folder:
        (folder / "absent" / "a.txt").write_text("")
    assert caught.value.strerror == f"{tmp_path / 'out' / 'absent' / 'a.txt'} cannot be written: " + os.strerror(2)
    with pytest.raises(OSError) as caught, atomic.whole_folder(tmp_path / "out"):
        raise OSError(28, "No space left on device")
    assert caught.value.errno == 28 and str(tmp_path / "out") + " cannot be written" in caught.value.strerror
    with pytest.raises(FileNotFoundError) as caught, atomic.whole_folder(tmp_path / "out"):
        (tmp_path / "elsewhere").read_text()
    assert caught.value.filename == str(tmp_path / "elsewhere")


@pytest.mark.parametrize("write", [lambda path: atomic.write_file(path, b""), lambda path: _make(path)])
def test_a_link_to_nothing_is_refused_by_name(tmp_path, write):
    (tmp_path / "link").symlink_to(tmp_path / "gone")
    with pytest.raises(FileNotFoundError, match=r"link is a link to .*gone, which does not exist"):
        write(tmp_path / "link")
    assert names(tmp_path) == ["link"]


def _make(path):
    with atomic.whole_folder(path, overwrite=True) as folder:
        (folder / "new").write_text("new")


def test_a_link_keeps_pointing_to_what_is_written(tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "file").write_text("old")
    (tmp_path / "there" / "old").write_text("old")
    for link, name in (("a", "there"), ("b", "file")):
        (tmp_path / link).symlink_to(tmp_path / name)
    _make(tmp_path / "a")
    atomic.write_file(tmp_path / "b", b"new")
    assert (tmp_path / "a").is_symlink() and names(tmp_path / "there") == ["new"]
    assert (tmp_path / "b").is_symlink() and (tmp_path / "file").read_text() == "new"
    assert names(tmp_path) == ["a", "b", "file", "there"]


def test_a_file_in_the_way_of_a_parent_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("precious")
    with pytest.raises(OSError, match=r"out cannot be written: .*file is not a folder"):
        _make(tmp_path / "file" / "out")
    assert (tmp_path / "file").read_text() == "precious"
    with pytest.raises(FileExistsError, match="root of the file system"):
        _make("/")


def test_what_a_killed_process_leaves_is_found(tmp_path):
    path = tmp_path / "[odd] name"
    dies = "import os, sys; from pgdyn.io import atomic\nwith atomic.whole_folder(sys.argv[1]): os.kill(os.getpid(), 9)"
    assert subprocess.run([sys.executable, "-c", dies, path], check=False).returncode == -9
    (left,) = atomic.leftovers(path)
    assert names(tmp_path) == [left.name] and atomic.is_leftover(left.name)
    atomic.remove(left)
    assert names(tmp_path) == [] and not atomic.is_leftover("map.partial-1") and not atomic.is_leftover(".zarr")
