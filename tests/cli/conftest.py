"""What all tests of the command line share."""

import pytest

from pgdyn.cli import progress


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    """Lines of progress depend on the clock; `test_progress.py` sets one for itself."""
    monkeypatch.setattr(progress, "EVERY", 1e9)
