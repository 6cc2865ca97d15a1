"""Every example in a docstring of pgdyn runs and gives what it says."""

import doctest
import importlib
import pathlib

import jax
import pytest

import pgdyn

ROOT = pathlib.Path(pgdyn.__file__).parent
FILES = sorted(path for path in ROOT.rglob("*.py") if path.name != "__main__.py" and ">>> " in path.read_text())


def name_of(path):
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_examples(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # examples may write files
    module = importlib.import_module(name_of(path))
    # Users write examples under JAX's own rules, not the stricter ones of the tests.
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        found = doctest.testmod(module, optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS)
    assert found.attempted > 0 and found.failed == 0
