"""Signs of life of a cluster's workers. The oracle: a list of heartbeats that the test writes itself."""

import time
from types import SimpleNamespace

import pytest

from pgdyn.sweep import SweepStopped, cluster


class Client:
    """A scheduler's answers."""

    def __init__(self):
        self.beats, self.tasks, self.cancelled = {}, {}, []
        self.scheduler = SimpleNamespace(identity="identity", processing="processing")

    def sync(self, what, **arguments):
        if what == "identity":
            return {"workers": {address: {"last_seen": beat} for address, beat in self.beats.items()}}
        return {address: self.tasks[address] for address in arguments["workers"]}

    def cancel(self, futures):
        self.cancelled += futures


@pytest.fixture
def client(monkeypatch):
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    made = Client()
    made.clock = clock
    return made


def test_a_worker_without_a_new_heartbeat_is_deaf(client):
    found = cluster.Workers(client)
    client.beats = {"a": 1e9, "b": 2e9}  # clocks of their own
    for _ in range(6):
        client.clock[0] += 1.0
        client.beats["a"] += 1.0
        assert found.look() == 2
    assert found.heard(4.0) == ["a"] and found.heard(10.0) == ["a", "b"]
    assert found.alone == 0.0
    client.clock[0] += 7.0
    found.look()
    assert found.heard(4.0) == [] and found.alone == 7.0
    client.beats = {}
    client.clock[0] += 1.0
    assert found.look() == 0 and found.alone == 0.0  # from the first look that finds none
    client.clock[0] += 3.0
    assert found.look() == 0 and found.alone == 3.0


def test_tasks_that_only_deaf_workers_hold_are_taken_back(client):
    client.tasks = {"a": ["x"], "b": ["y"]}
    futures = [SimpleNamespace(key=key) for key in "xyz"]
    lost = cluster._forsaken(client, futures, ["a"])
    assert [future.key for future in lost] == ["y", "z"] and client.cancelled == lost
    client.tasks = {}  # a scheduler that is lost meanwhile
    assert cluster._forsaken(client, futures, ["a"]) == []


def test_what_is_waited_for_is_said():
    assert cluster._waiting(2.0, 60.0, 3) is None  # heartbeats come every few seconds
    assert cluster._waiting(20.0, 60.0, 3) == (
        "the cluster has heard nothing from its workers for 20 s; the sweep stops after 60 s"
    )
    assert cluster._waiting(2.0, 60.0, 0) == "the cluster has had no workers for 2 s; the sweep stops after 60 s"
    with pytest.raises(SweepStopped, match="heard nothing from its workers for 60 seconds; the same command"):
        cluster._waiting(61.0, 60.0, 3)
