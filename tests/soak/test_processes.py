"""What importing pgdyn changes for the rest of a process, as docs/process.md has it."""

import pytest

from . import processes

QUICK = (
    "importing pgdyn after JAX changes 64-bit numbers alone",
    "importing pgdyn before JAX changes one variable for a while",
    "importing pgdyn with 64-bit numbers left alone changes nothing",
    "an explicit JAX_ENABLE_X64=0 comes back for processes that are started",
)


@pytest.mark.parametrize("kind", QUICK)
def test_a_process(kind):
    assert processes.wrong(*processes.SCRIPTS[kind]) == ""
