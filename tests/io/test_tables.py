"""Tables in TOML and JSON. Oracles: the standard library's own readers, and the values that were written."""

import json
import tomllib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgdyn.io import tables

FLOATS = st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.one_of(FLOATS, st.booleans(), st.integers(-(2**63), 2**63 - 1), st.text(st.characters(codec="utf-8")))
KEYS = st.text("abcdefgh_", min_size=1, max_size=8)


@given(
    table=st.dictionaries(KEYS, st.one_of(VALUES, st.lists(FLOATS), st.dictionaries(KEYS, VALUES))),
    array=st.lists(st.lists(FLOATS, min_size=2, max_size=2), min_size=1, max_size=3),
    suffix=st.sampled_from([".toml", ".json"]),
)
def test_what_is_written_is_read_back(tmp_path_factory, table, array, suffix):
    path = tmp_path_factory.mktemp("tables") / f"t{suffix}"
    expected = table | {"array": array, "number": array[0][0]}
    given = table | {"array": np.asarray(array), "number": np.asarray(array[0][0]), "absent": None}
    tables.write(path, given)
    found = tables.read(path)
    assert found == expected
    assert np.asarray(found["array"]).tobytes() == np.asarray(array).tobytes()
    loads = tomllib.loads if suffix == ".toml" else json.loads
    assert loads(path.read_text(encoding="utf-8")) == expected


def test_the_text_is_one_row_a_line():
    table = {"true_reward": np.array([[1.0, 0.1], [1e-300, -2.0]]), "temperature": np.array(2.0)}
    text = "true_reward = [\n  [1.0, 0.1],\n  [1e-300, -2.0]\n]\ntemperature = 2.0\n"
    assert tables.dumps(table, "toml") == text
    text = '{\n  "true_reward": [\n    [1.0, 0.1],\n    [1e-300, -2.0]\n  ],\n  "temperature": 2.0\n}\n'
    assert tables.dumps(table, "json") == text


@pytest.mark.parametrize(
    "table, sentence",
    [
        ({"b": 1}, "the key a is missing"),
        ({"a": 1, "beta": 1}, "unknown key 'beta'; the keys are a, b"),
        ({}, "the key a is missing"),
        ({"a": 1, "b": "x"}, "b: 'x' is no number"),
    ],
)
def test_a_table_that_does_not_fit_a_signature(table, sentence):
    def make(a, b=2):
        return (a, b)

    def doubled(value):
        if isinstance(value, str):
            raise ValueError(f"{value!r} is no number")
        return 2 * value

    with pytest.raises(ValueError) as caught:
        tables.build(make, table, {"b": doubled})
    assert str(caught.value) == sentence
    assert tables.build(make, {"a": 1}, {"b": doubled}) == (1, 2)
    assert tables.build(make, {"a": 1, "b": 3}, {"b": doubled}) == (1, 6)


def test_errors_say_where_they_come_from():
    with pytest.raises(ValueError, match=r"^axes\[1\]: count is 0$"), tables.within("axes[1]"):
        raise ValueError("count is 0")
    with pytest.raises(FileNotFoundError, match=r"^problem: there is none$"), tables.within("problem"):
        raise FileNotFoundError("there is none")


def test_a_spec_is_called_a_spec(tmp_path):
    (tmp_path / "spec.json").write_text("3")
    with pytest.raises(ValueError, match="holds a number where a JSON object with the spec's keys is needed"):
        tables.read(tmp_path / "spec.json", "spec")
    with pytest.raises(ValueError, match="is a directory, not a spec file"):
        tables.read(tmp_path, "spec")
