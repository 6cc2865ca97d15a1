"""The folder of `--out`: whether it can be written, asked before anything is computed, and writing it afterwards."""

from __future__ import annotations

import os
import pathlib
import tempfile
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any

import click

import pgdyn

if TYPE_CHECKING:
    import xarray
    from matplotlib.figure import Figure

_ROOM = 2**20  # bytes that must be free; what a run leaves is known only after it


def option(files: str) -> Callable[[Any], Any]:
    """The options `--out` and `--overwrite` of a command that leaves `files` in a folder."""
    path, text = click.Path(path_type=pathlib.Path), f"Folder for {files}.  [default: only show the table]"
    overwrite = click.option("--overwrite", is_flag=True, help="Replace what an earlier run left in that folder.")
    return lambda command: click.option("--out", type=path, metavar="DIR", help=text)(overwrite(command))


def require_writable(out: pathlib.Path | None, overwrite: bool, ours: Collection[str]) -> None:
    """Refuses before anything is computed an `out` that cannot be written, or holds other files than `ours`.

    The folder need not exist, nor need those above it.
    """
    if out is None:
        return
    try:
        found = sorted(entry.name for entry in out.iterdir()) if out.is_dir() else []
        if not out.is_dir() and os.path.lexists(out):
            raise ValueError(f"--out {out} is a file; it must be a folder")
        # The folder is replaced as a whole, so the one above it is written, or the first that is there.
        place = next(parent for parent in out.absolute().parents if os.path.lexists(parent))
        with tempfile.TemporaryFile(dir=place) as probe:
            probe.write(bytes(_ROOM))
            probe.flush()
    except OSError as error:
        raise ValueError(f"--out {out} cannot be written: {error.strerror or error}") from None
    if found and not overwrite:
        raise ValueError(f"--out {out} is not empty; choose another folder or replace its results with --overwrite")
    if strangers := [name for name in found if name not in ours]:
        raise ValueError(f"--out {out} holds {strangers[0]}, which no such run has written, so it is not overwritten")


def write(out: pathlib.Path | None, overwrite: bool, fill: Callable[[pathlib.Path], None]) -> None:
    """Writes a result that has been shown already, by `fill` into the folder that it is given: whole, or not at all."""
    from pgdyn.io import atomic

    if out is None:
        return
    try:
        with atomic.whole_folder(out, overwrite=overwrite) as folder:
            fill(folder)
    except OSError as error:
        words = error.strerror or str(error)
        words = words if str(out) in words else f"--out {out} cannot be written: {words}"
        raise click.ClickException(f"{words}; what is shown is all there is") from None


def names(name: str) -> tuple[str, ...]:
    """The files that `save` writes."""
    return (f"{name}.zarr", f"{name}.png", f"{name}.pdf", "problem.toml")


def save(folder: pathlib.Path, name: str, dataset: xarray.Dataset, figure: Figure, problem: pgdyn.Problem) -> None:
    """Writes a result as NAME.zarr, NAME.png and NAME.pdf, and its problem."""
    from pgdyn.io import datasets

    datasets.save(dataset, folder / f"{name}.zarr")
    save_figure(folder, name, figure)
    pgdyn.save_problem(problem, folder / "problem.toml")


def save_figure(folder: pathlib.Path, name: str, figure: Figure) -> None:
    """Writes NAME.png and NAME.pdf, without a date, so that equal results are equal files."""
    figure.savefig(folder / f"{name}.png", dpi=150)
    figure.set_layout_engine("none")  # its layout was made for the first picture, and serves both
    figure.savefig(folder / f"{name}.pdf", metadata={"CreationDate": None})
