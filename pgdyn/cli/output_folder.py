"""The folder of `--out`: whether a command may write it."""

from __future__ import annotations

import pathlib
from collections.abc import Collection


def require_replaceable(out: pathlib.Path, overwrite: bool, ours: Collection[str]) -> None:
    """Raises before anything is computed where `out` could not be written or holds what is not ours to remove.

    Args:
        out: the folder; it need not exist.
        overwrite: whether what an earlier run left there may be replaced.
        ours: names of the files that such a run leaves.

    Raises:
        ValueError: if `out` is a file, holds something that may not be replaced, or holds a file of another name.
    """
    if not out.exists():
        return
    if not out.is_dir():
        raise ValueError(f"--out {out} is a file; it must be a folder")
    found = sorted(entry.name for entry in out.iterdir())
    if found and not overwrite:
        raise ValueError(f"--out {out} is not empty; choose another folder or replace its results with --overwrite")
    if strangers := [name for name in found if name not in ours]:
        raise ValueError(f"--out {out} holds {strangers[0]}, which no such run has written, so it is not overwritten")
