"""Nothing in a user's file is unpickled or evaluated. The oracle: a file that a pickle would make."""

import json
import pathlib
import pickle
import re

import numpy as np
import pytest

import pgdyn
from pgdyn.io import datasets
from pgdyn.sweep import load_spec, open_sweep

PACKAGE = pathlib.Path(pgdyn.__file__).parent
# What executes or unpickles; `literal_eval` reads pgdyn's own source.
DANGEROUS = re.compile(
    r"\bpickle\b|\bmarshal\b|\bshelve\b|(?<![\w.])(eval|exec)\(|allow_pickle|np\.load\(|__import__|yaml"
)


class Trap:
    """Makes a file where it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return pathlib.Path.touch, (self.path,)


def test_the_trap_works(tmp_path):
    pickle.loads(pickle.dumps(Trap(tmp_path / "sprung")))
    assert (tmp_path / "sprung").exists()


@pytest.mark.parametrize("name", ["p.json", "p.toml", "p.csv", "p.parquet", "p.npy", "p.pkl", "p"])
def test_no_file_is_unpickled(name, tmp_path):
    path, sprung = tmp_path / name, tmp_path / "sprung"
    if name == "p.npy":
        np.save(path, np.array([Trap(sprung)], dtype=object), allow_pickle=True)
    else:
        path.write_bytes(pickle.dumps(Trap(sprung)))
    for read in (pgdyn.load_problem, load_spec, pgdyn.evaluate, datasets.load, open_sweep):
        with pytest.raises((ValueError, OSError)):
            read(path)
    assert not sprung.exists()


FILTERED = {"filters": [{"id": "pickle"}], "compressor": None}


@pytest.mark.parametrize("dtype", ["<f8", "|O"])
def test_no_store_is_unpickled(dtype, tmp_path):
    """zarr's second format can name pickle as a codec."""
    store, sprung = tmp_path / "store.zarr", tmp_path / "sprung"
    (store / "x").mkdir(parents=True)
    (store / ".zgroup").write_text('{"zarr_format": 2}')
    array = {"zarr_format": 2, "shape": [1], "chunks": [1], "dtype": dtype, "fill_value": 0, "order": "C", **FILTERED}
    (store / "x" / ".zarray").write_text(json.dumps(array))
    (store / "x" / ".zattrs").write_text('{"_ARRAY_DIMENSIONS": ["a"]}')
    (store / "x" / "0").write_bytes(pickle.dumps(Trap(sprung)))
    for read in (datasets.load, open_sweep):
        with pytest.raises(ValueError, match="store"):
            read(store)
    assert not sprung.exists()


def test_the_library_has_nothing_that_unpickles_or_evaluates():
    """Strings and comments may speak of it; code may not."""
    import io
    import tokenize

    spoken = (tokenize.STRING, tokenize.COMMENT)
    for path in PACKAGE.rglob("*.py"):
        tokens = tokenize.generate_tokens(io.StringIO(path.read_text()).readline)
        code = "".join("" if token.type in spoken else token.string + " " * (token.type == 1) for token in tokens)
        code = re.sub(r"\s*([.(])\s*", r"\1", code)
        assert not (found := DANGEROUS.search(code)), (path, found)


def test_what_is_no_store_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("x")
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "zarr.json").write_text('{"zarr_format": 3')
    for name in ("file", "empty", "broken"):
        with pytest.raises(ValueError, match=f"{name} is no whole store of a dataset: "):
            datasets.load(tmp_path / name)
