"""The store of a sweep: a zarr hierarchy that grows shard by shard and survives whatever interrupts it.

    STORE/zarr.json                    group; its attributes hold the spec, what made the numbers, and their checksum
    STORE/shards/00007-<hash>/         group of one shard: an array of every observable, one chunk, uncompressed
    STORE/shards/00007-<hash>/checksums.json
    STORE/.locks/7                     empty; locked by the process that works on the shard

A shard's name is a hash of the spec, of the versions that made the numbers, and of its number, so that a shard is
either the right one or not there. It is written under a hidden name and takes its own by one rename: a process that
dies at any moment leaves whole shards, and leftovers that the next process removes. Nothing is flushed to the disk in
between: should a power failure leave an incomplete file under a final name, its checksum gives it away, and the shard
is made again. Checksums cover every file, names and descriptions too: those of zarr's own codecs would cover a chunk's
numbers, but not the description that gives them a meaning, and a missing chunk reads as zeros.

A lock is the system's and vanishes with its process; the file stays and means nothing by itself. On a file system
without locks every claim succeeds: two processes may then make the same shard, and equal ones.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import pathlib
import uuid
from collections.abc import Mapping
from typing import Any, Literal

import filelock
import numpy as np

from pgdyn.io import atomic, provenance
from pgdyn.sweep import description, engine
from pgdyn.sweep.spec import Spec, digest

State = Literal["done", "missing", "damaged"]
_MANIFEST = "checksums.json"
_ROOT = "root"  # the name of the lock on all but the shards
_DISCARDED = ".discarded-"
_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP, errno.EINVAL)
_OURS = ("zarr.json", "shards", ".locks", ".claims")  # the last is of earlier versions


class Store:
    """A store opened for one spec.

    Args:
        path: the folder.
        spec: the sweep.
        made_by: what the process that began the store recorded of itself, with `engine.numbers_version` as "numbers".

    Example:
        >>> import tempfile
        >>> from pgdyn import sweep
        >>> axes = [sweep.Axis.linear("proxy_reward[1]", -1, 1, 4)]
        >>> spec = sweep.Spec({"true_reward": [1, 0.8, -1]}, axes, sweep.Flow(t1=10.0), shard_size=2)
        >>> with Store.create(tempfile.mkdtemp(), spec) as store:
        ...     store.state(0), store.count()
        ('missing', 0)
    """

    def __init__(self, path: pathlib.Path, spec: Spec, made_by: Mapping[str, Any]):
        self.path = path
        self.spec = spec
        self.provenance = dict(made_by)
        self.numbers = self.provenance["numbers"]
        origin = digest({"sweep": spec.fingerprint, "numbers": self.numbers})
        self._names = [f"{i:05d}-{digest([origin, i])[:40]}" for i in range(spec.num_shards)]
        self._claims: dict[int | str, filelock.BaseFileLock] = {}

    @classmethod
    def create(cls, path: str | os.PathLike[str], spec: Spec, *, overwrite: bool = False) -> Store:
        """Makes the store, or opens it where the same sweep has begun it.

        With `overwrite`, what another sweep, or this one, has left there is thrown away.

        Raises:
            ValueError: if the folder belongs to another sweep, or holds what no sweep has written.
            OSError: if it cannot be written.
        """
        store = cls(pathlib.Path(path), spec, provenance.attributes() | {"numbers": engine.numbers_version()})
        if store.path.is_symlink() and not store.path.exists():
            raise ValueError(f"{path} is a link to {os.readlink(path)}, which does not exist")
        if store.path.exists() and not store.path.is_dir():
            raise ValueError(f"{path} is a file; a store is a folder")
        try:
            store.path.mkdir(parents=True, exist_ok=True)
            for name in sorted(entry.name for entry in store.path.iterdir()):
                if name not in _OURS and not name.startswith(_DISCARDED) and not atomic.is_leftover(name):
                    raise ValueError(f"{path} holds {name}, which no sweep has written; choose another folder")
            (store.path / ".locks").mkdir(exist_ok=True)
            store.claim(_ROOT, wait=True)
        except OSError as error:
            raise OSError(error.errno, f"{path} cannot be written: {error.strerror}") from None
        try:
            if overwrite:
                store._discard()
            store._adopt_root()
            for folder in (store.path, store.path / "shards"):
                for left in (*folder.glob(f"{_DISCARDED}*"), *atomic.leftovers(folder / "zarr.json")):
                    atomic.remove(left)
        finally:
            store.release(_ROOT)
        store.remove_leftovers()
        return store

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Store:
        """Opens a store to read it.

        Raises:
            FileNotFoundError: if there is nothing of that name.
            ValueError: if it is no store of a sweep, of another version of pgdyn, or its description is damaged.
        """
        path = pathlib.Path(path)
        if not path.exists():
            raise FileNotFoundError(f"{path}: there is no such store")
        try:
            root = description.read(path)
        except description.Damaged as error:
            raise ValueError(f"{error}; the sweep's own command writes it anew and keeps the shards") from None
        if root is None:
            raise ValueError(f"{path} is not the store of a sweep")
        try:
            spec = Spec.from_table(root["spec"])
        except (ValueError, TypeError) as error:
            raise description.other_version(path, root["made_by"], str(error)) from None
        return cls(path, spec, root["made_by"])

    def folder(self, shard: int) -> pathlib.Path:
        """Where a shard lies once it is done."""
        return self.path / "shards" / self._names[shard]

    def state(self, shard: int) -> State:
        """Whether a shard is there and whole, every byte of it checked."""
        folder = self.folder(shard)
        try:
            stored = (folder / _MANIFEST).read_bytes()
            return "done" if stored == self._manifest(shard, folder) else "damaged"
        except OSError:
            return "damaged" if os.path.lexists(folder) else "missing"

    def count(self) -> int:
        """How many shards have been written, damaged ones among them."""
        return sum(os.path.lexists(self.folder(shard)) for shard in range(self.spec.num_shards))

    def read(self, shard: int) -> dict[str, np.ndarray]:
        """A shard's arrays, in memory.

        Raises:
            ValueError: if it is missing or damaged.
        """
        import zarr.storage

        if (state := self.state(shard)) != "done":
            raise ValueError(f"{self.path}: shard {shard} is {state}; the sweep's own command makes it again")
        group = zarr.open_group(self.folder(shard), mode="r")
        return {name: np.asarray(group[name][...]) for name in self.spec.observables or ()}  # pyright: ignore

    def write(self, shard: int, arrays: Mapping[str, np.ndarray]) -> None:
        """Writes a shard whole or not at all, in place of whatever is there under its name.

        Raises:
            OSError: if the disk is full or fails; nothing of the shard is left then.
        """
        import zarr.storage

        folder = self.folder(shard)
        if folder.is_symlink():
            folder.unlink()
        with atomic.whole_folder(folder, overwrite=True) as partial:
            first = self.spec.shard_points(shard).start
            files: dict[str, Any] = {}
            memory = zarr.storage.MemoryStore(files)
            group = zarr.create_group(memory, zarr_format=3, attributes={"shard": shard, "first_point": first})
            for name, array in arrays.items():
                # One uncompressed chunk: the bytes depend on no library's version, and the numbers hardly compress.
                options: dict[str, Any] = {"compressors": None, "config": {"write_empty_chunks": True}}
                group.create_array(name, data=array, chunks=array.shape, **options)
            atomic.write_tree(partial, {name: data.to_bytes() for name, data in files.items()})
            (partial / _MANIFEST).write_bytes(self._manifest(shard, partial))

    def claim(self, shard: int | str, *, wait: bool = False) -> bool:
        """Whether the shard is now this store's to make; False where another process makes it.

        Raises:
            OSError: if the lock cannot be written.
        """
        if (lock := _locked(self.path / ".locks" / str(shard), wait)) is not None:
            self._claims[shard] = lock
        return lock is not None

    def release(self, shard: int | str) -> None:
        """Lets others have the shard."""
        if shard in self._claims:
            self._claims.pop(shard).release(force=True)

    def being_made(self) -> list[int]:
        """The shards that are claimed at this moment, here or elsewhere, as far as this process may tell."""
        found = []
        for path in (self.path / ".locks").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if (lock := _locked(path)) is None:
                    found.append(int(path.name))
                else:
                    lock.release(force=True)
        return sorted(found)

    def remove_leftovers(self) -> None:
        """Removes what processes have left of shards that they were killed at."""
        left = [entry for entry in (self.path / "shards").iterdir() if atomic.is_leftover(entry.name)]
        for entry in left:
            number = entry.name[1:].partition("-")[0]
            if number.isdecimal() and self.claim(int(number)):
                atomic.remove(entry)
                self.release(int(number))

    def close(self) -> None:
        """Gives up all claims."""
        for shard in list(self._claims):
            self.release(shard)

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _manifest(self, shard: int, folder: pathlib.Path) -> bytes:
        files = {}
        for entry in sorted(folder.rglob("*")):
            if entry.is_file() and entry.name != _MANIFEST:
                files[entry.relative_to(folder).as_posix()] = hashlib.sha256(entry.read_bytes()).hexdigest()
        return (json.dumps({"shard": self._names[shard], "sha256": files}, indent=1) + "\n").encode()

    def _adopt_root(self) -> None:
        """Writes the root's description, or checks that it is this sweep's."""
        shards, state = self.path / "shards", "missing"
        try:
            root = description.read(self.path)
        except description.Damaged:
            root, state = None, "damaged"
        advice = "choose another --out or replace it with --overwrite"
        if root is None:
            present = {entry.name for entry in shards.iterdir()} if shards.is_dir() else set()
            for name in sorted(present - {"zarr.json", *self._names}):
                if not atomic.is_leftover(name):
                    raise ValueError(
                        f"{self.path}/zarr.json is {state} and the shard {name} is not of this spec; {advice}"
                    )
        elif root["fingerprint"] != self.spec.fingerprint:
            change = description.first_difference(root["spec"], self.spec.to_table()) or "it differs"
            raise ValueError(f"{self.path} was made by another spec: {change}; {advice}")
        elif root["made_by"]["numbers"] != self.numbers:
            change = description.first_difference(root["made_by"]["numbers"], self.numbers)
            raise ValueError(f"{self.path} was made by other versions, whose last digits differ: {change}; {advice}")
        shards.mkdir(exist_ok=True)
        description.write_group(shards, {})
        if root is None:
            table, fingerprint = self.spec.to_table(), self.spec.fingerprint
            description.write(self.path, {"spec": table, "fingerprint": fingerprint, "made_by": self.provenance})

    def _discard(self) -> None:
        if self.being_made():
            raise ValueError(f"{self.path}: another process is working on this store; it is not overwritten")
        with contextlib.suppress(FileNotFoundError):
            (self.path / "zarr.json").unlink()
        with contextlib.suppress(FileNotFoundError):
            (self.path / "shards").rename(self.path / f"{_DISCARDED}{uuid.uuid4().hex}")


def _locked(path: pathlib.Path, wait: bool = False) -> filelock.BaseFileLock | None:
    """The lock of a file, taken; None where it is held elsewhere."""
    # Not one lock for each thread: whichever thread ends a sweep gives up what all of them hold.
    lock = filelock.FileLock(path, thread_local=False, fallback_to_soft=False)
    try:
        lock.acquire(blocking=wait)
    except filelock.Timeout:
        return None
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
    return lock
