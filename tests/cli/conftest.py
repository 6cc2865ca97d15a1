"""What all tests of the command line share."""

import json

import pytest
from commands import POLICY, PROXY, TRUE

from pgdyn.cli import progress


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    """Lines of progress depend on the clock; `test_progress.py` sets one for itself."""
    monkeypatch.setattr(progress, "EVERY", 1e9)


@pytest.fixture
def file(tmp_path):
    """The problem file of `commands`."""
    path = tmp_path / "problem.json"
    path.write_text(json.dumps({"true_reward": TRUE, "proxy_reward": PROXY, "initial_policy": POLICY}))
    return path
