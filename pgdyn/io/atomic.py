"""Files and folders that are written whole or not at all.

What is being written has a hidden name beside its own (`.NAME.partial-...`), and takes its own by one rename. After an
exception (a full disk, Ctrl-C) it is removed and what was there before stays. A process that is killed leaves the
hidden name behind, which `leftovers` finds. Errors name the path that the caller gave.
"""

from __future__ import annotations

import contextlib
import glob
import os
import pathlib
import shutil
import uuid
from collections.abc import Iterator, Mapping

_HIDDEN = (".partial-", ".replaced-")


def write_file(path: str | os.PathLike[str], data: bytes) -> None:
    """Writes a file; one that is there is replaced, and a link keeps pointing to it.

    Raises:
        OSError: if it cannot be written, or `path` is a link to nothing.

    Example:
        >>> import tempfile
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "note.txt"
        >>> write_file(path, b"whole")
        >>> path.read_text()
        'whole'
    """
    target = _target(path)
    partial = _hidden(target, _HIDDEN[0])
    try:
        with _naming(path, partial):
            partial.write_bytes(data)
            partial.replace(target)
    finally:
        remove(partial)


@contextlib.contextmanager
def whole_folder(path: str | os.PathLike[str], *, overwrite: bool = False) -> Iterator[pathlib.Path]:
    """A folder to write into that takes the name `path` when the block ends without an exception.

    Args:
        path: the folder; its parents are made where they are missing.
        overwrite: replace what is there; an empty folder is always replaced.

    Yields:
        The folder under its hidden name.

    Raises:
        FileExistsError: if `path` exists and `overwrite` is False.
        OSError: if it cannot be written, or `path` is a link to nothing.

    Example:
        >>> import tempfile
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "results"
        >>> with whole_folder(path) as folder:
        ...     _ = (folder / "table.txt").write_text("1 2 3")
        >>> [entry.name for entry in path.iterdir()]
        ['table.txt']
    """
    target = _target(path)
    occupied = target.exists() and not (target.is_dir() and not any(target.iterdir()))
    if occupied and not overwrite:
        raise FileExistsError(f"{path} already exists")
    partial, replaced = (_hidden(target, mark) for mark in _HIDDEN)
    try:
        with _naming(path, partial):
            if target.parent.exists() and not target.parent.is_dir():
                raise NotADirectoryError(f"{path} cannot be written: {target.parent} is not a folder")
            target.parent.mkdir(parents=True, exist_ok=True)
            partial.mkdir()
            yield partial
            if target.exists():
                target.rename(replaced)
            partial.rename(target)
    except BaseException:
        if replaced.exists() and not target.exists():
            replaced.rename(target)
        raise
    finally:
        remove(partial)
        remove(replaced)


def write_tree(folder: pathlib.Path, files: Mapping[str, bytes]) -> None:
    """Writes files by their paths inside a folder, one after the other.

    Libraries that write in threads of their own (zarr) write into memory first, and from there to here: after the
    first error nothing is still on its way to a folder that is being removed.

    Raises:
        OSError: if one cannot be written.

    Example:
        >>> import tempfile
        >>> folder = pathlib.Path(tempfile.mkdtemp())
        >>> write_tree(folder, {"zarr.json": b"{}", "reward/c/0": b"1"})
        >>> (folder / "reward" / "c" / "0").read_bytes()
        b'1'
    """
    for name, data in files.items():
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)


def remove(path: pathlib.Path) -> None:
    """Removes a file, a link (not what it points to) or a folder with all that is in it, as far as that is possible."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink()


def is_leftover(name: str) -> bool:
    """Whether a file name is one that only an interrupted write leaves behind."""
    return name.startswith(".") and any(mark in name for mark in _HIDDEN)


def leftovers(path: pathlib.Path) -> list[pathlib.Path]:
    """What interrupted writes of `path` have left behind. Other processes may be writing some of it."""
    return [entry for mark in _HIDDEN for entry in path.parent.glob(f".{glob.escape(path.name)}{mark}*")]


def _target(path: str | os.PathLike[str]) -> pathlib.Path:
    """Where `path` leads."""
    given = pathlib.Path(path)
    if given.is_symlink() and not given.exists():
        raise FileNotFoundError(f"{path} is a link to {os.readlink(given)}, which does not exist")
    target = pathlib.Path(os.path.realpath(given))
    if not target.name:
        raise FileExistsError(f"{path} is the root of the file system")
    return target


def _hidden(target: pathlib.Path, mark: str) -> pathlib.Path:
    return target.with_name(f".{target.name}{mark}{uuid.uuid4().hex[:12]}")


@contextlib.contextmanager
def _naming(path: str | os.PathLike[str], partial: pathlib.Path) -> Iterator[None]:
    """Errors of the system name `path` where they would name the hidden sibling, or nothing."""
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise
        place = pathlib.Path(path)
        if isinstance(error.filename, str | bytes):
            found = pathlib.Path(os.fsdecode(error.filename))
            if found.is_relative_to(partial):
                place = place / found.relative_to(partial)
            elif found != partial.parent and found not in partial.parents:
                raise
        # The system's own constructor makes a PermissionError, a FileExistsError, ... of the number.
        raise OSError(error.errno, f"{place} cannot be written: {error.strerror}") from None
