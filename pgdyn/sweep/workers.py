"""Which workers of a Dask cluster give signs of life.

A worker that is stopped, or cut off while its connections stay open, is in the scheduler's list for minutes, and the
shards that it holds with it. Its heartbeats end at once, so they are what counts. The scheduler's clock need not be
this process's: a worker is heard when the time of its last heartbeat changes.
"""

from __future__ import annotations

import time
from typing import Any

_ANSWER = 2.0  # seconds that the scheduler may take to answer
_LOOK = 0.5  # seconds between looks at its list


class Workers:
    """The workers of a client's scheduler.

    Attributes:
        listed: how many the scheduler has; 0 where it does not answer.
    """

    def __init__(self, client: Any):
        self._client = client
        self._heard: dict[str, tuple[Any, float]] = {}  # address -> its last heartbeat, and when it was new
        self._looked = -_LOOK
        self._there = self._sign = time.monotonic()  # when workers were last missed, or one was heard
        self.listed = 0

    def look(self) -> int:
        """Looks at the list, if the last look is not too recent.

        Returns:
            How many workers there are.

        Raises:
            Exception: whatever Dask raises where its connection to the scheduler is lost.
        """
        now = time.monotonic()
        if now - self._looked < _LOOK:
            return self.listed
        self._looked = now
        try:
            identity = self._client.sync(self._client.scheduler.identity, n_workers=-1, callback_timeout=_ANSWER)
            found = {address: worker["last_seen"] for address, worker in identity["workers"].items()}
        except TimeoutError:
            found = {}
        before, self._heard = self._heard, {}
        for address, beat in found.items():
            known = before.get(address)
            self._heard[address] = known if known is not None and known[0] == beat else (beat, now)
        self._there = now if found or self.listed else self._there
        self.listed = len(found)
        self._sign = max([self._sign, *(when for _, when in self._heard.values())])
        return self.listed

    @property
    def alone(self) -> float:
        """Seconds without workers, or since one of those that are listed was heard."""
        return time.monotonic() - (self._sign if self.listed else self._there)

    def heard(self, limit: float) -> list[str]:
        """The addresses of those that have been heard in the last `limit` seconds."""
        now = time.monotonic()
        return [address for address, (_, when) in self._heard.items() if now - when <= limit]

    def holding(self, addresses: list[str]) -> set[str]:
        """The keys of the tasks that workers are at.

        Raises:
            Exception: whatever Dask raises where its connection to the scheduler is lost.
        """
        arguments = {"workers": addresses, "callback_timeout": _ANSWER}
        held = self._client.sync(self._client.scheduler.processing, **arguments) if addresses else {}
        return {key for keys in held.values() for key in keys}
