"""The output folder: which folders may be used, and files that are written whole or not at all."""

from __future__ import annotations

import json
import pathlib

from pgdyn.io import atomic

MARKER = "report.json"
_MADE_BY = "paper_repro"


def prepare(folder: pathlib.Path) -> None:
    """Makes `folder` ready to be written to: a new or empty one, or one that an earlier run wrote.

    Raises:
        ValueError: if it is no folder, holds other files or cannot be written to.
    """
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"--out: {folder} is a file; give a folder")
    if folder.exists() and any(folder.iterdir()) and not _is_ours(folder):
        raise ValueError(
            f"--out: {folder} holds other files; give an empty or new folder, or one written by an earlier run"
        )
    try:
        for part in (folder, folder / "data", folder / "figures"):
            part.mkdir(parents=True, exist_ok=True)
        if not _is_ours(folder):
            write_json(folder / MARKER, {"state": "unfinished"})
    except OSError as error:
        raise ValueError(f"--out: {folder} cannot be written to: {error.strerror}") from None


def write_json(path: pathlib.Path, content: dict) -> None:
    """Writes `content`, marked as ours, whole or not at all."""
    write_text(path, json.dumps({"made_by": _MADE_BY, **content}, indent=1, ensure_ascii=False) + "\n")


def write_text(path: pathlib.Path, text: str) -> None:
    """Writes `text` whole or not at all."""
    atomic.write_file(path, text.encode())


def _is_ours(folder: pathlib.Path) -> bool:
    try:
        return json.loads((folder / MARKER).read_text(encoding="utf-8")).get("made_by") == _MADE_BY
    except (OSError, ValueError, AttributeError):
        return False
