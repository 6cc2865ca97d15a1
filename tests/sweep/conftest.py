"""The slow sweep that is disturbed, and the store that it leaves where nothing disturbs it."""

import pytest
import sweep_cases as cases

from pgdyn.sweep import load_spec, run_sweep


@pytest.fixture(scope="session")
def slow(tmp_path_factory):
    path = tmp_path_factory.mktemp("spec") / "slow.toml"
    path.write_text(cases.SLOW)
    return path


@pytest.fixture(scope="session")
def undisturbed(slow, tmp_path_factory):
    """The store of an uninterrupted run, made in this process."""
    store = tmp_path_factory.mktemp("undisturbed") / "store"
    summary = run_sweep(load_spec(slow), store)
    assert summary.computed == summary.shards == cases.SLOW_SHARDS
    return cases.contents(store)
