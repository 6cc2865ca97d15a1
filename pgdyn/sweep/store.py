"""The store of a sweep: a zarr hierarchy that grows shard by shard and survives whatever interrupts it.

    STORE/zarr.json                    group; its attributes hold the spec, what made the numbers, and their checksum
    STORE/shards/00007-<hash>/         group of one shard: an array of every observable, one chunk, uncompressed
    STORE/shards/00007-<hash>/checksums.json
    STORE/.claims                      empty; its bytes are locked by the processes that work on shards

A shard's name is a hash of the spec, of the versions that made the numbers, and of its number, so that a shard is
either the right one or not there. It is written under a hidden name and takes its own by one rename: a process that
dies at any moment leaves whole shards and rubbish that is recognised as such. Nothing is flushed to the disk in
between: should a power failure leave a torn file under a final name, its checksum gives it away, and the shard is made
again.

Locks on bytes of `.claims` (POSIX record locks) keep two processes from making the same shard twice. They vanish with
their process. Should a file system not have them, the two make equal shards and one of the renames wins.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import pathlib
import shutil
import uuid
from collections.abc import Iterator, Mapping
from typing import Any, Literal

import numpy as np

from pgdyn import provenance
from pgdyn.sweep import engine
from pgdyn.sweep.spec import Spec, digest

State = Literal["done", "missing", "damaged"]
_MANIFEST = "checksums.json"
_PARTIAL = ".partial-"
_ROOT_LOCK = 2**40  # a byte beyond those of the shards
_OURS = ("zarr.json", "shards", ".claims")


class Store:
    """A store opened for one spec. Within a process, open a store once at a time: record locks belong to processes.

    Args:
        path: the folder.
        spec: the sweep.
        numbers: what makes the numbers (`engine.numbers_version`).
    """

    def __init__(self, path: pathlib.Path, spec: Spec, numbers: Mapping[str, Any]):
        self.path = path
        self.spec = spec
        self.numbers = dict(numbers)
        seed = {"sweep": spec.fingerprint, "numbers": self.numbers}
        self._names = [f"{i:05d}-{digest(seed | {'shard': i})[:40]}" for i in range(spec.num_shards)]
        self._claims: int | None = None

    @classmethod
    def create(cls, path: str | os.PathLike[str], spec: Spec, *, overwrite: bool = False) -> Store:
        """Makes the store, or opens it where the same sweep has begun it.

        Args:
            path: the folder; made with its parents where it is not there.
            spec: the sweep.
            overwrite: throw away what another sweep, or this one, has left there.

        Raises:
            ValueError: if the folder belongs to another sweep, or holds what no sweep has written.
            OSError: if it cannot be written.
        """
        store = cls(pathlib.Path(path), spec, engine.numbers_version())
        if store.path.exists() and not store.path.is_dir():
            raise ValueError(f"{path} is a file; a store is a folder")
        store.path.mkdir(parents=True, exist_ok=True)
        strangers = [e.name for e in sorted(store.path.iterdir()) if e.name not in _OURS and not _is_rubbish(e.name)]
        if strangers:
            raise ValueError(f"{path} holds {strangers[0]}, which no sweep has written; choose another folder")
        with store._root_locked():
            if overwrite:
                store._discard()
            store._adopt_root()
            store._sweep_rubbish()
        return store

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Store:
        """Opens a store to read it.

        Raises:
            FileNotFoundError: if there is nothing of that name.
            ValueError: if it is no store of a sweep, or its description is damaged.
        """
        path = pathlib.Path(path)
        if not path.exists():
            raise FileNotFoundError(f"{path}: there is no such store")
        try:
            root = _read_root(path)
        except ValueError as error:
            raise ValueError(f"{error}; the sweep's own command writes it anew and keeps the shards") from None
        if root is None:
            raise ValueError(f"{path} is not the store of a sweep")
        return cls(path, Spec.from_table(root["spec"]), root["made_by"]["numbers"])

    @property
    def provenance(self) -> dict[str, Any]:
        """What the process that began the store recorded of itself."""
        root = _read_root(self.path)
        return {} if root is None else root["made_by"]

    def folder(self, shard: int) -> pathlib.Path:
        """Where a shard lies once it is done."""
        return self.path / "shards" / self._names[shard]

    def state(self, shard: int) -> State:
        """Whether a shard is there and whole, every byte of it checked."""
        folder = self.folder(shard)
        if not folder.exists():
            return "missing"
        try:
            stored = (folder / _MANIFEST).read_bytes()
            return "done" if stored == self._manifest(shard, folder) else "damaged"
        except OSError:
            return "damaged" if folder.exists() else "missing"

    def count(self) -> int:
        """How many shards have been written, damaged ones among them."""
        return sum(self.folder(shard).exists() for shard in range(self.spec.num_shards))

    def read(self, shard: int) -> dict[str, np.ndarray]:
        """A shard's arrays, in memory.

        Raises:
            ValueError: if it is missing or damaged.
        """
        import zarr

        if (state := self.state(shard)) != "done":
            raise ValueError(f"{self.path}: shard {shard} is {state}; the sweep's own command makes it again")
        group = zarr.open_group(self.folder(shard), mode="r")
        return {name: np.asarray(group[name][...]) for name in self.spec.observables or ()}  # pyright: ignore

    def write(self, shard: int, arrays: Mapping[str, np.ndarray]) -> None:
        """Writes a shard whole or not at all. What was there and damaged goes; what was there and whole stays.

        Raises:
            OSError: if the disk is full or fails; nothing of the shard is left then.
        """
        folder = self.folder(shard)
        partial = folder.with_name(f"{_PARTIAL}{folder.name}-{uuid.uuid4().hex}")
        try:
            _write_group(partial, arrays, {"shard": shard, "first_point": self.spec.shard_points(shard).start})
            (partial / _MANIFEST).write_bytes(self._manifest(shard, partial))
            if self.state(shard) == "damaged":
                shutil.rmtree(folder) if folder.is_dir() else folder.unlink()
            try:
                partial.rename(folder)
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST) or self.state(shard) != "done":
                    raise
        finally:
            shutil.rmtree(partial, ignore_errors=True)

    def claim(self, shard: int) -> bool:
        """Whether this process now holds the shard; False where another does."""
        if self._claims is None:
            self._claims = os.open(self.path / ".claims", os.O_RDWR | os.O_CREAT, 0o666)
        if not _lock(self._claims, shard):
            return False
        # Whoever was making this shard before has died: what it left is in the way of nobody, but takes space.
        for rubbish in self.folder(shard).parent.glob(f"{_PARTIAL}{self._names[shard]}-*"):
            shutil.rmtree(rubbish, ignore_errors=True)
        return True

    def release(self, shard: int) -> None:
        """Lets others have the shard."""
        if self._claims is not None:
            _unlock(self._claims, shard)

    def being_made(self) -> list[int]:
        """The shards that other processes hold at this moment."""
        try:
            claims = os.open(self.path / ".claims", os.O_RDONLY)
        except OSError:
            return []
        try:
            held = []
            for shard in range(self.spec.num_shards):
                if _lock(claims, shard, shared=True):
                    _unlock(claims, shard)
                else:
                    held.append(shard)
            return held
        finally:
            os.close(claims)

    def close(self) -> None:
        """Gives up all claims."""
        if self._claims is not None:
            os.close(self._claims)
            self._claims = None

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

    @contextlib.contextmanager
    def _root_locked(self) -> Iterator[None]:
        if self._claims is None:
            self._claims = os.open(self.path / ".claims", os.O_RDWR | os.O_CREAT, 0o666)
        _lock(self._claims, _ROOT_LOCK, wait=True)
        try:
            yield
        finally:
            _unlock(self._claims, _ROOT_LOCK)

    def _adopt_root(self) -> None:
        """Writes the root's description, or checks that it is this sweep's."""
        damaged = False
        try:
            root = _read_root(self.path)
        except ValueError:
            root, damaged = None, True
        shards = self.path / "shards"
        if root is not None:
            self._refuse_other(root)
            if not _is_group(shards):
                _write_node(shards, {})
            return
        present = {entry.name for entry in shards.iterdir()} if shards.is_dir() else set()
        foreign = sorted(name for name in present - {"zarr.json", *self._names} if not _is_rubbish(name))
        if foreign:
            kind = "damaged" if damaged else "missing"
            raise ValueError(
                f"{self.path}/zarr.json is {kind} and the shard {foreign[0]} is not of this spec; "
                "choose another --out or replace the store with --overwrite"
            )
        made_by = provenance.attributes() | {"numbers": self.numbers}
        root = {"spec": self.spec.to_table(), "fingerprint": self.spec.fingerprint, "made_by": made_by}
        _write_node(shards, {})
        _write_node(self.path, {"pgdyn_sweep": root, "sha256": digest(root)})

    def _refuse_other(self, root: Mapping[str, Any]) -> None:
        advice = "choose another --out or replace it with --overwrite"
        if root["fingerprint"] != self.spec.fingerprint:
            change = _first_difference(root["spec"], self.spec.to_table()) or "it differs"
            raise ValueError(f"{self.path} was made by another spec: {change}; {advice}")
        theirs = root["made_by"]["numbers"]
        if theirs != self.numbers:
            change = _first_difference(theirs, self.numbers)
            raise ValueError(f"{self.path} was made by other versions, whose last digits differ: {change}; {advice}")

    def _discard(self) -> None:
        assert self._claims is not None
        if not _lock(self._claims, 0, length=_ROOT_LOCK):
            raise ValueError(f"{self.path}: another process is working on this store; it is not overwritten")
        try:
            with contextlib.suppress(FileNotFoundError):
                (self.path / "zarr.json").unlink()
            if (shards := self.path / "shards").is_dir():
                shards.rename(self.path / f".discarded-{uuid.uuid4().hex}")
        finally:
            _unlock(self._claims, 0, length=_ROOT_LOCK)

    def _sweep_rubbish(self) -> None:
        # Only what is written under the root's lock, which is held here; shards in the making belong to their claims.
        for entry in (*self.path.iterdir(), *(self.path / "shards").glob(f"{_PARTIAL}node-*")):
            if _is_rubbish(entry.name):
                shutil.rmtree(entry, ignore_errors=True)


def _is_rubbish(name: str) -> bool:
    return name.startswith((_PARTIAL, ".discarded-"))


def _read_root(path: pathlib.Path) -> dict[str, Any] | None:
    """The root's description; None if there is none, ValueError if it is damaged."""
    try:
        text = (path / "zarr.json").read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        attributes = json.loads(text)["attributes"]
        root, checksum = attributes["pgdyn_sweep"], attributes["sha256"]
    except (ValueError, KeyError, TypeError):
        root, checksum = None, ""
    if root is None or digest(root) != checksum:
        raise ValueError(f"{path}/zarr.json is damaged, or not of a sweep")
    return root


def _is_group(folder: pathlib.Path) -> bool:
    try:
        node = json.loads((folder / "zarr.json").read_bytes())
    except (OSError, ValueError):
        return False
    return node == {"attributes": {}, "zarr_format": 3, "node_type": "group"}


def _write_node(folder: pathlib.Path, attributes: Mapping[str, Any]) -> None:
    """Makes `folder` a zarr group; its zarr.json appears whole."""
    folder.mkdir(exist_ok=True)
    partial = folder / f"{_PARTIAL}node-{uuid.uuid4().hex}"
    try:
        _write_group(partial, {}, attributes)
        (partial / "zarr.json").replace(folder / "zarr.json")
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _write_group(folder: pathlib.Path, arrays: Mapping[str, np.ndarray], attributes: Mapping[str, Any]) -> None:
    import zarr

    group = zarr.create_group(folder, zarr_format=3, attributes=dict(attributes))
    for name, array in arrays.items():
        # One uncompressed chunk: the bytes depend on no library's version, and the numbers hardly compress.
        group.create_array(name, data=array, chunks=array.shape, compressors=None, config={"write_empty_chunks": True})


def _first_difference(there: Any, here: Any, place: str = "") -> str | None:
    """The first entry in which two plain values differ, in words."""
    if isinstance(there, Mapping) and isinstance(here, Mapping):
        for key in [*there, *(key for key in here if key not in there)]:
            if not place and key in ("name", "description"):
                continue
            inner = f"{place}.{key}" if place else str(key)
            if key not in there or key not in here:
                return f"{inner} is given {'here but not there' if key in here else 'there but not here'}"
            if (found := _first_difference(there[key], here[key], inner)) is not None:
                return found
        return None
    if isinstance(there, list) and isinstance(here, list):
        if len(there) != len(here):
            return f"{place} has {len(there)} entries there and {len(here)} here"
        for i, pair in enumerate(zip(there, here, strict=True)):
            if (found := _first_difference(*pair, f"{place}[{i}]")) is not None:
                return found
        return None
    return None if there == here else f"{place} is {there!r:.60} there and {here!r:.60} here"


def _lock(descriptor: int, byte: int, *, length: int = 1, wait: bool = False, shared: bool = False) -> bool:
    """Whether bytes of a file are now locked by this process; True on file systems that know no locks."""
    import fcntl

    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    try:
        fcntl.lockf(descriptor, kind if wait else kind | fcntl.LOCK_NB, length, byte)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EAGAIN):
            return False
        if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.EINVAL):
            raise
    return True


def _unlock(descriptor: int, byte: int, *, length: int = 1) -> None:
    import fcntl

    with contextlib.suppress(OSError):
        fcntl.lockf(descriptor, fcntl.LOCK_UN, length, byte)
