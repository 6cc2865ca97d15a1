"""Things that are no ordinary files, or files out of all proportion, given to the command line as processes."""

from __future__ import annotations

import os
import pathlib
import random
import subprocess
from collections.abc import Callable, Iterator

from . import files
from .command_line import PROGRAM, judged
from .inputs import folder
from .tally import Effort, Tally

PATIENCE = 90.0
MEGABYTES = 100

Make = Callable[[pathlib.Path], object]


def small(base: bytes) -> Iterator[tuple[str, Make]]:
    """Kinds of odd things, and what makes one of them at a path; `base` is a valid file."""
    yield "empty", lambda path: path.write_bytes(b"")
    yield "blank", lambda path: path.write_bytes(b" \n\t\r\n" * 100)
    yield "NUL bytes", lambda path: path.write_bytes(bytes(4096))
    yield "NUL at the end", lambda path: path.write_bytes(base + b"\x00")
    yield "byte order mark", lambda path: path.write_bytes(b"\xef\xbb\xbf" + base)
    yield "two byte order marks", lambda path: path.write_bytes(b"\xef\xbb\xbf\xef\xbb\xbf" + base)
    yield "UTF-16", lambda path: path.write_bytes(base.decode().encode("utf-16"))
    yield "UTF-32", lambda path: path.write_bytes(base.decode().encode("utf-32"))
    yield "lone carriage returns", lambda path: path.write_bytes(base.replace(b"\n", b"\r").replace(b", ", b",\r"))
    yield "Latin-1", lambda path: path.write_bytes(base + b"# caf\xe9")
    yield "cut off", lambda path: path.write_bytes(base[: len(base) // 2])
    yield "gzip", lambda path: path.write_bytes(b"\x1f\x8b\x08" + bytes(20))
    yield "a pickle", lambda path: path.write_bytes(b"cos\nsystem\n(S'touch pickled'\ntR.")
    yield "random bytes", lambda path: path.write_bytes(random.Random(0).randbytes(4096))
    yield "folder", lambda path: path.mkdir()
    yield "missing", lambda path: None
    yield "dangling link", lambda path: path.symlink_to(path.parent / "nothing")
    yield "link in a circle", lambda path: path.symlink_to(path)
    yield "pipe", os.mkfifo
    yield "link to /dev/null", lambda path: path.symlink_to("/dev/null")
    yield "link to /dev/zero", lambda path: path.symlink_to("/dev/zero")
    yield "link to /dev/full", lambda path: path.symlink_to("/dev/full")
    yield "link to /dev/stdin", lambda path: path.symlink_to("/dev/stdin")
    yield "link to /proc/self/mem", lambda path: path.symlink_to("/proc/self/mem")
    yield "unreadable", _unreadable


def _unreadable(path: pathlib.Path) -> None:
    path.write_bytes(b"{}")
    path.chmod(0)


def large(suffix: str, size: int) -> Iterator[tuple[str, Make]]:
    """Files of so many bytes."""
    key, close = (b'{"true_reward": ', b"}") if suffix == "json" else (b"true_reward = ", b"")
    yield "spaces", lambda path: path.write_bytes(b" " * size)
    yield "one line", lambda path: path.write_bytes(b"x" * size)
    yield "brackets", lambda path: path.write_bytes(key + b"[" * size)
    yield "braces", lambda path: path.write_bytes(b'{"a":' * (size // 5))
    yield "digits", lambda path: path.write_bytes(key + b"9" * size + close)
    yield "a string", lambda path: path.write_bytes(key + b'"' + b"a" * size + b'"' + close)
    yield "numbers", lambda path: path.write_bytes(key + b"[" + b"0.5," * (size // 4) + b"1.0]" + close)
    yield "keys", lambda path: path.write_bytes(_keys(suffix, size))
    yield "dots", lambda path: path.write_bytes(b"a" + b".a" * (size // 200) + b" = 1\n")
    yield "comments", lambda path: path.write_bytes(b"# nothing\n" * (size // 10))
    yield "random bytes", lambda path: path.write_bytes(random.Random(0).randbytes(size))


def _keys(suffix: str, size: int) -> bytes:
    count = size // 16
    if suffix == "json":
        return b"{" + b",".join(b'"k%d":%d' % (i, i) for i in range(count)) + b"}"
    return b"\n".join(b"k%d = %d" % (i, i) for i in range(count))


def commands(path: pathlib.Path) -> Iterator[list[str]]:
    """The commands that read such a file."""
    if path.suffix in (".toml", ".json"):
        yield ["simulate", str(path), "--t1", "5", "--saves", "4"]
        yield ["sweep", str(path), "--out", str(path.parent / "store")]
    if path.suffix in (".csv", ".json", ".parquet"):
        yield ["evaluate", str(path), "--json", "--resamples", "5"]


def run(tally: Tally, kind: str, what: str, make: Make, place: pathlib.Path, suffix: str, picked: slice) -> None:
    path = place / f"odd.{suffix}"
    make(path)
    try:
        for line in list(commands(path))[picked]:
            try:
                done = subprocess.run(
                    [*PROGRAM, *line], stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
                    timeout=PATIENCE, cwd=place, check=False,
                )  # fmt: skip
                wrong = judged(done.returncode, done.stdout, done.stderr)
            except subprocess.TimeoutExpired:
                wrong = f"took longer than {PATIENCE:g} s"
            if (place / "pickled").exists():
                wrong = "unpickled"
            tally.note(kind, wrong, f"{what}: {line[0]} {path.name}")
    finally:
        if path.is_dir() and not path.is_symlink():
            path.rmdir()
        else:
            path.unlink(missing_ok=True)


def odd(effort: Effort, tally: Tally) -> None:
    """Small odd things under each suffix, by each command that reads it."""
    bases = {
        "json": files.as_json(files.PROBLEMS[0]), "toml": files.as_toml(files.PROBLEMS[0]) or b"",
        "csv": files.as_csv(files.SCORES[0][1]), "parquet": files.as_csv(files.SCORES[0][1]),
    }  # fmt: skip
    every = [(what, make, suffix) for suffix, base in bases.items() for what, make in small(base)]
    every = [(what, make, suffix) for what, make, suffix in every if what != "unreadable" or os.geteuid() != 0]
    chosen = effort.random("odd").sample(every, effort.count(len(every)))
    with folder() as place:
        for what, make, suffix in chosen:
            if effort.spent:
                break
            run(tally, "odd files", what, make, place, suffix, slice(None))


def vast(effort: Effort, tally: Tally) -> None:
    """Files of 100 megabytes."""
    sizes = [(suffix, size) for size in (MEGABYTES, MEGABYTES // 4) for suffix in ("json", "toml")]
    every = [(what, make, suffix) for suffix, size in sizes for what, make in large(suffix, size * 2**20)]
    with folder() as place:
        for what, make, suffix in effort.random("vast").sample(every, effort.count(len(every), least=0)):
            if effort.spent:
                break
            run(tally, f"files of {MEGABYTES // 4} and {MEGABYTES} MB", what, make, place, suffix, slice(0, 1))
