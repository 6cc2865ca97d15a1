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
from pgdyn.sweep import engine
from pgdyn.sweep.spec import Spec, digest

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
        self.path, self.spec, self.provenance = path, spec, dict(made_by)
        origin = digest({"sweep": spec.fingerprint, "numbers": self.provenance["numbers"]})
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
            for name in sorted(os.listdir(store.path)):
                if name not in _OURS and not name.startswith(_DISCARDED) and not atomic.is_leftover(name):
                    raise ValueError(f"{path} holds {name}, which no sweep has written; choose another folder")
            (store.path / ".locks").mkdir(exist_ok=True)
            store.claim(_ROOT, wait=True)
        except OSError as error:
            raise OSError(error.errno, f"{path} cannot be written: {error.strerror}") from None
        try:
            if overwrite:
                store._discard()
            store._adopt()
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
        root = _description(path)
        if root == "missing":
            raise ValueError(f"{path} is not the store of a sweep")
        if isinstance(root, str):
            advice = "the sweep's own command writes it anew and keeps the shards"
            raise ValueError(f"{path}/zarr.json is damaged, or not of a sweep; {advice}")
        try:
            spec = Spec.from_table(root["spec"])
        except (ValueError, TypeError) as error:
            raise _other_version(path, root["made_by"], str(error)) from None
        return cls(path, spec, root["made_by"])

    def folder(self, shard: int) -> pathlib.Path:
        """Where a shard lies once it is done."""
        return self.path / "shards" / self._names[shard]

    def state(self, shard: int) -> Literal["done", "missing", "damaged"]:
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
        """A shard's arrays, in memory; a ValueError if it is missing or damaged."""
        import zarr

        if (state := self.state(shard)) != "done":
            raise ValueError(f"{self.path}: shard {shard} is {state}; the sweep's own command makes it again")
        group: Any = zarr.open_group(self.folder(shard), mode="r")
        return {name: np.asarray(group[name][...]) for name in self.spec.observables}

    def write(self, shard: int, arrays: Mapping[str, np.ndarray]) -> None:
        """Writes a shard whole, or nothing and an OSError, in place of whatever is there under its name."""
        import zarr.storage

        folder = self.folder(shard)
        if folder.is_symlink():
            folder.unlink()
        with atomic.whole_folder(folder, overwrite=True) as partial:
            files: dict[str, Any] = {}
            described = {"shard": shard, "first_point": self.spec.shard_points(shard).start}
            group = zarr.create_group(zarr.storage.MemoryStore(files), zarr_format=3, attributes=described)
            for name, array in arrays.items():
                # One uncompressed chunk: the bytes depend on no library's version, and the numbers hardly compress.
                options: dict[str, Any] = {"compressors": None, "config": {"write_empty_chunks": True}}
                group.create_array(name, data=array, chunks=array.shape, **options)
            atomic.write_tree(partial, {name: data.to_bytes() for name, data in files.items()})
            (partial / _MANIFEST).write_bytes(self._manifest(shard, partial))

    def claim(self, shard: int | str, *, wait: bool = False) -> bool:
        """Whether the shard is now this store's to make; False where another process makes it."""
        # Not one lock for each thread: whichever thread ends a sweep gives up what all of them hold.
        lock = filelock.FileLock(self.path / ".locks" / str(shard), thread_local=False, fallback_to_soft=False)
        try:
            lock.acquire(blocking=wait)
        except filelock.Timeout:
            return False
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
        self._claims[shard] = lock
        return True

    def release(self, shard: int | str) -> None:
        """Lets others have the shard."""
        if shard in self._claims:
            self._claims.pop(shard).release(force=True)

    def being_made(self) -> list[int]:
        """The shards that are claimed at this moment, here or elsewhere, as far as this process may tell."""
        found = []
        for shard in sorted(int(path.name) for path in (self.path / ".locks").glob("[0-9]*")):
            with contextlib.suppress(OSError):
                if not self.claim(shard):
                    found.append(shard)
                    continue
                self.release(shard)
        return found

    def remove_leftovers(self) -> None:
        """Removes what processes have left of shards that they were killed at."""
        for entry in [*self.path.glob("shards/.*")]:
            number = entry.name[1:].partition("-")[0]
            if atomic.is_leftover(entry.name) and number.isdecimal() and self.claim(int(number)):
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

    def _adopt(self) -> None:
        """Writes the description, or checks that it is this sweep's."""
        root, ours = _description(self.path), {"zarr.json", *self._names}
        here = {"spec": self.spec.to_table(), "fingerprint": self.spec.fingerprint, "made_by": self.provenance}
        change = None
        if isinstance(root, str):
            names = sorted(entry.name for entry in self.path.glob("shards/*"))
            foreign = [name for name in names if name not in ours and not atomic.is_leftover(name)]
            if foreign:
                change = f"/zarr.json is {root} and the shard {foreign[0]} is not of this spec"
        elif root["fingerprint"] != here["fingerprint"]:
            change = f" was made by another spec: {_difference(root['spec'], here['spec']) or 'it differs'}"
        elif root["made_by"]["numbers"] != self.provenance["numbers"]:
            versions = _difference(root["made_by"]["numbers"], self.provenance["numbers"])
            change = f" was made by other versions, whose last digits differ: {versions}"
        if change is not None:
            raise ValueError(f"{self.path}{change}; choose another --out or replace it with --overwrite")
        _write_group(self.path / "shards", {})
        if isinstance(root, str):
            _write_group(self.path, {"pgdyn_sweep": here, "sha256": digest(here)})

    def _discard(self) -> None:
        if self.being_made():
            raise ValueError(f"{self.path}: another process is working on this store; it is not overwritten")
        with contextlib.suppress(FileNotFoundError):
            (self.path / "zarr.json").unlink()
        with contextlib.suppress(FileNotFoundError):
            (self.path / "shards").rename(self.path / f"{_DISCARDED}{uuid.uuid4().hex}")


def _description(path: pathlib.Path) -> dict[str, Any] | Literal["missing", "damaged"]:
    """What the attributes of a store say; a ValueError if another version of pgdyn has written them."""
    try:
        attributes = json.loads((path / "zarr.json").read_bytes())["attributes"]
        root = attributes["pgdyn_sweep"]
        if digest(root) != attributes["sha256"]:
            return "damaged"
    except (FileNotFoundError, NotADirectoryError):
        return "missing"
    except (ValueError, KeyError, TypeError, RecursionError):
        return "damaged"
    root = root if isinstance(root, dict) else {}
    for key, kind in (("spec", dict), ("fingerprint", str), ("made_by", dict)):
        if not isinstance(root.get(key), kind):
            raise _other_version(path, root.get("made_by"), f"its description has no {key}")
    if "numbers" not in root["made_by"]:
        raise _other_version(path, root["made_by"], "its description has no made_by.numbers")
    return root


def _write_group(folder: pathlib.Path, attributes: Mapping[str, Any]) -> None:
    """Makes `folder` a zarr group with these attributes, unless it is one already."""
    data = json.dumps({"attributes": attributes, "zarr_format": 3, "node_type": "group"}, indent=2).encode()
    folder.mkdir(exist_ok=True)
    with contextlib.suppress(OSError):
        if (folder / "zarr.json").read_bytes() == data:
            return
    atomic.write_file(folder / "zarr.json", data)


def _other_version(path: pathlib.Path, made_by: Any, reason: str) -> ValueError:
    version = made_by.get("pgdyn_version", "unknown") if isinstance(made_by, dict) else "unknown"
    return ValueError(
        f"{path} was written by another version of pgdyn ({version}), which this one cannot read: {reason}"
    )


def _difference(there: Any, here: Any, place: str = "") -> str | None:
    """The first entry in which two plain values differ, in words; None where there is none but in the titles."""
    if isinstance(there, list) and isinstance(here, list):
        if len(there) != len(here):
            return f"{place} has {len(there)} entries there and {len(here)} here"
        there, here = ({f"[{i}]": entry for i, entry in enumerate(entries)} for entries in (there, here))
    if not isinstance(there, Mapping) or not isinstance(here, Mapping):
        return None if there == here else f"{place} is {there!r:.60} there and {here!r:.60} here"
    for key in dict.fromkeys([*there, *here]):
        if not place and key in ("name", "description"):
            continue
        inner = f"{place}.{key}".replace(".[", "[").removeprefix(".")
        if key not in there or key not in here:
            return f"{inner} is given {'here but not there' if key in here else 'there but not here'}"
        if (found := _difference(there[key], here[key], inner)) is not None:
            return found
    return None
