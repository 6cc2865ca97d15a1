"""Compiled programs kept on disk between processes, by JAX's persistent compilation cache.

`enable()` turns the cache on. The command line, `python -m paper_repro` and the tests call it; `import pgdyn` does not.
The entries are native code, which JAX trusts. They therefore lie in a folder that only the user can enter, one for each
kind of machine and build of jaxlib. Where the cache cannot be used (the folder is not the user's, nothing can be
written, XLA refuses its own entries on this processor), it stays off without a message: all it does is save time.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import platform
import sys
import tempfile
import time
import warnings
import zlib
from pathlib import Path
from typing import Any

import jax

VARIABLE = "PGDYN_COMPILATION_CACHE"
"""Environment variable: "0" turns the cache off, a folder moves it."""

LARGEST = 512 * 2**20
"""Bytes that a folder may hold when a process begins to use it; the entries used least recently go first."""

_ENTRY = "*-cache"
_ACCEPTED, _REFUSED, _CHECKED = ".accepted", ".refused", ".checked"
_CHECK_SECONDS = 0.3
_BEING_WRITTEN = 30.0  # seconds; a younger entry that is incomplete may be one that another process is writing


def enable(folder: str | os.PathLike[str] | None = None) -> Path | None:
    """Keeps what JAX compiles from now on, and uses what earlier processes have kept.

    Call it before anything is compiled. Programs that call the host (callbacks, `equinox.error_if`) are never kept.
    Two processes may use a folder at once.

    Args:
        folder: where entries go, in a subfolder for this machine; None for `default_folder()`. The variable
            `PGDYN_COMPILATION_CACHE` has precedence: "0" turns the cache off, anything else is the folder.

    Returns:
        The subfolder in use. None where the cache is turned off or cannot be used, and where JAX has been told of a
        cache already (`JAX_COMPILATION_CACHE_DIR`, `JAX_ENABLE_COMPILATION_CACHE`), which is left as it is.

    Source:
        JAX, "Persistent compilation cache". Its own bound, `jax_compilation_cache_max_size`, lists the whole folder for
        every entry that it writes (16 ms each at a thousand entries), so the bound is kept here, once a process.

    Example:
        >>> from unittest import mock
        >>> with mock.patch.dict("os.environ", PGDYN_COMPILATION_CACHE="0"):
        ...     print(enable())
        None
    """
    setting = os.environ.get(VARIABLE, "")
    if setting == "0" or not _setting("jax_enable_compilation_cache"):
        return None
    try:
        own = Path(setting or folder or default_folder()).expanduser().absolute() / machine()
        if present := _setting("jax_compilation_cache_dir"):
            return own if present == str(own) else None
        own.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not _is_private(own) or not _accepts_entries(own):
            return None
        _discard_incomplete(own)
        _keep_within(own, LARGEST)
    except (OSError, RuntimeError, importlib.metadata.PackageNotFoundError):
        return None
    jax.config.update("jax_compilation_cache_dir", str(own))
    # Small programs too: loading one takes a millisecond, compiling it ten, and there are dozens in a run.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    # JAX compiles where an entry cannot be read and goes on where one cannot be written; the user need not know.
    warnings.filterwarnings("ignore", "Error (reading|writing) persistent compilation cache entry", UserWarning)
    return own


def _setting(name: str) -> Any:
    return getattr(jax.config, name)


def default_folder() -> Path:
    """`pgdyn/compiled` in the user's cache folder: `$XDG_CACHE_HOME`, `~/Library/Caches` or `~/.cache`.

    Example:
        >>> default_folder().name
        'compiled'
    """
    home = os.environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(home):
        base = Path(home)
    else:
        base = Path.home() / ("Library/Caches" if sys.platform == "darwin" else ".cache")
    return base / "pgdyn" / "compiled"


def machine() -> str:
    """A name for this kind of machine and this build of jaxlib: whoever shares it can share compiled programs.

    It depends on the processor's instruction sets, jaxlib's version and the checksums of jaxlib's files.

    Example:
        >>> len(machine())
        16
    """
    jaxlib = importlib.metadata.distribution("jaxlib")
    parts = (
        platform.system(),
        platform.machine(),
        _instruction_sets(),
        jaxlib.version,
        jaxlib.read_text("RECORD") or "",
    )
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _instruction_sets() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line for line in lines if line.lower().startswith(("flags", "features"))), platform.processor())


def _is_private(folder: Path) -> bool:
    """Whether the folder is the user's own and closed to all others; elsewhere than on POSIX, nobody can say."""
    if not hasattr(os, "geteuid"):
        return True
    found = folder.stat()
    return found.st_uid == os.geteuid() and not found.st_mode & 0o077 and os.access(folder, os.R_OK | os.W_OK | os.X_OK)


def _keep_within(folder: Path, largest: int) -> None:
    """Removes entries, those used least recently first, until at most `largest` bytes are left."""
    entries = [(max(found.st_atime, found.st_mtime), found.st_size, path) for path, found in _entries(folder)]
    total = sum(size for _, size, _ in entries)
    for _, size, path in sorted(entries):
        if total <= largest:
            return
        path.unlink(missing_ok=True)
        total -= size


def _entries(folder: Path) -> list[tuple[Path, os.stat_result]]:
    found = []
    for path in folder.glob(_ENTRY):
        try:
            found.append((path, path.stat()))
        except FileNotFoundError:  # another process has just removed it
            continue
    return found


def _discard_incomplete(folder: Path) -> None:
    """Removes entries that a process has left half written, which JAX would try to read for ever.

    Only entries written since the last check are read, for `_CHECK_SECONDS` at most; the rest wait for the next
    process.
    """
    stamp = folder / _CHECKED
    checked = stamp.stat().st_mtime_ns if stamp.exists() else 0
    begun, settled = time.monotonic(), time.time_ns() - int(_BEING_WRITTEN * 1e9)
    for path, found in sorted(_entries(folder), key=lambda entry: entry[1].st_mtime_ns):
        if not checked <= found.st_mtime_ns <= settled:
            continue
        try:
            content = path.read_bytes()
            if content[:1] == b"\x78":  # zlib; JAX takes Zstandard instead where that is installed
                zlib.decompress(content)
            elif not content:
                raise zlib.error
            checked = found.st_mtime_ns
        except FileNotFoundError:
            continue
        except zlib.error:
            path.unlink(missing_ok=True)
        if time.monotonic() - begun > _CHECK_SECONDS:
            break
    stamp.touch(mode=0o600)
    os.utime(stamp, ns=(checked, checked))


def _accepts_entries(folder: Path) -> bool:
    """Whether XLA loads on this machine what it has compiled here, as found by a trial in the folder's first use.

    On some processors it takes its own tuning flags for missing instruction sets, and writes an error to the terminal
    for every entry (jax issue 38445, xla issue 44565).
    """
    if (folder / _ACCEPTED).exists():
        return True
    if (folder / _REFUSED).exists():
        return False
    accepted = _trial()
    (folder / (_ACCEPTED if accepted else _REFUSED)).touch(mode=0o600)
    return accepted


def _trial() -> bool:
    """Whether a small program can be stored and loaded without a complaint."""
    from jax.experimental import serialize_executable

    compiled = jax.jit(lambda x: x + 1).lower(jax.ShapeDtypeStruct((), "float32")).compile()
    # XLA's complaint is written by native code, past sys.stderr.
    sys.stderr.flush()
    try:
        terminal = os.dup(2)
    except OSError:
        return False
    try:
        with tempfile.TemporaryFile() as written:
            os.dup2(written.fileno(), 2)
            try:
                serialize_executable.deserialize_and_load(*serialize_executable.serialize(compiled))
            except Exception:
                return False
            finally:
                os.dup2(terminal, 2)
            written.seek(0)
            return b"achine" not in written.read()
    finally:
        os.close(terminal)
