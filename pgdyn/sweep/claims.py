"""Claims on shards: a lock file for each, so that no two processes make the same shard at once.

A lock is the system's and vanishes with its process; the file stays and means nothing by itself. On a file system
without locks every claim succeeds: two processes may then make the same shard, and equal ones.
"""

from __future__ import annotations

import contextlib
import errno
import pathlib

import filelock

_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP, errno.EINVAL)


class Claims:
    """The claims of one store.

    Args:
        folder: where the lock files are.
    """

    def __init__(self, folder: pathlib.Path):
        self._folder = folder
        self._held: dict[str, filelock.BaseFileLock] = {}

    def take(self, name: str, *, wait: bool = False) -> bool:
        """Whether the lock `name` is now held here; False where it is held elsewhere.

        Raises:
            OSError: if the lock file cannot be written.
        """
        # Not one lock for each thread: whichever thread ends a sweep gives up what all of them hold.
        lock = filelock.FileLock(self._folder / name, thread_local=False, fallback_to_soft=False)
        try:
            lock.acquire(blocking=wait)
        except filelock.Timeout:
            return False
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
        self._held[name] = lock
        return True

    def release(self, name: str) -> None:
        """Lets others have the lock."""
        if name in self._held:
            self._held.pop(name).release(force=True)

    def release_all(self) -> None:
        """Lets others have every lock held here."""
        for name in list(self._held):
            self.release(name)

    def held(self) -> list[str]:
        """The locks that are held at this moment, here or elsewhere, as far as this process may tell."""
        found = []
        for path in sorted(self._folder.glob("*")):
            probe = Claims(self._folder)
            with contextlib.suppress(OSError):
                if not probe.take(path.name):
                    found.append(path.name)
            probe.release_all()
        return found
