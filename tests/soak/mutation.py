"""Spoils valid files: by structure, with hypothesis, and byte by byte."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Sequence
from typing import Any

import hypothesis
from hypothesis import strategies as st

NUMBERS = (
    float("nan"), float("inf"), float("-inf"), -1, 0, 1, 2, -0.0, 0.5, 1e-320, 1e-300, 1e300, 1e308, 1e12, 2**31, 2**53,
    2**63 - 1, 2**63, -(2**63), 2**64, 10**400, 10**5000, 3.0, 1e9, 999_999_999, 10**7,
)  # fmt: skip
OTHERS = (
    None, True, False, "", "x", "nan", "1.0", "flow", "\x00", "\ud800", "é", "a" * 10_000, "../..", "/", "[bold]",
    [], {}, [[]], [None], [[[[1.0]]]], ["a"], [True], {"": 1}, {"uniform": [0, 1]}, {"normal": [0, 0]}, {"file": "x"},
    [1.0], [1.0, 2.0], [[1.0, 2.0, 3.0]], [[1.0], [1.0, 2.0]], {"a": {"b": {"c": []}}},
)  # fmt: skip
PIECES = (
    b"\x00", b"\xef\xbb\xbf", b"\r", b"\n", b"\r\n", b"\xff", b"\xed\xa0\x80", b"\xc0\xaf", b"\t", b"\x1b[31m", b"\x7f",
    b"[", b"]", b"{", b"}", b'"', b"'", b'"""', b",", b"=", b":", b"#", b".", b"-", b"+", b"_", b"\\", b"\\u0000",
    b"\\ud800", b"nan", b"NaN", b"inf", b"-Infinity", b"1e400", b"1e-400", b"0x10", b"null", b"true", b"1979-05-27",
    b"07:32:00", b"[[axes]]", b"[[[[[[[[", b"9" * 5000, b"true_reward", b"/*", b"//", b"\xe2\x80\xa8", b"1_000", b"00",
)  # fmt: skip

_values = st.one_of(
    st.sampled_from(NUMBERS),
    st.sampled_from(OTHERS),
    st.floats(),
    st.integers(-5, 20),
    st.text(max_size=8),
    st.recursive(
        st.floats() | st.text(max_size=3) | st.none(),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
        max_leaves=8,
    ),
)


def places(table: Any) -> list[tuple[Any, Any]]:
    """Every (container, key) of nested lists and tables."""
    found = []
    keys = table if isinstance(table, dict) else range(len(table)) if isinstance(table, list) else ()
    for key in keys:
        found.append((table, key))
        found += places(table[key])
    return found


@st.composite
def spoiled(draw: Any, bases: Sequence[Any]) -> Any:
    """One of the tables with one to three changes."""
    table = copy.deepcopy(draw(st.sampled_from(bases)))
    for _ in range(draw(st.integers(1, 3))):
        spots = places(table)
        if not spots:
            break
        held, key = spots[draw(st.integers(0, len(spots) - 1))]
        change = draw(st.sampled_from(("replace", "replace", "replace", "delete", "wrap", "rename", "add", "swap")))
        if change == "replace":
            held[key] = copy.deepcopy(draw(_values))
        elif change == "delete":
            del held[key]
        elif change == "wrap":
            held[key] = [held[key]]
        elif change == "swap":
            other, there = spots[draw(st.integers(0, len(spots) - 1))]
            held[key], other[there] = copy.deepcopy(other[there]), copy.deepcopy(held[key])
        elif isinstance(held, list):
            held.insert(key, copy.deepcopy(held[key]))
        else:
            name = draw(st.sampled_from([*map(str, table), "kind", "file", "uniform", "x", "", "target"]))
            held[name] = held.pop(key) if change == "rename" else copy.deepcopy(draw(_values))
    return table


def each(strategy: st.SearchStrategy[Any], count: int, seed: int, use: Callable[[Any], object]) -> None:
    """Calls `use` with so many examples, always the same ones."""

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(strategy)
    def run(example: Any) -> None:
        use(example)

    run()


def spoil_bytes(data: bytes, rng: random.Random) -> bytes:
    """The bytes with one to four changes."""
    spoiled = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        at, to = sorted((rng.randint(0, len(spoiled)), rng.randint(0, len(spoiled))))
        to = min(to, at + 20)
        match rng.randrange(8):
            case 0 | 1:
                spoiled[at:at] = rng.choice(PIECES)
            case 2:
                spoiled[at : at + rng.randint(1, 3)] = rng.choice(PIECES)
            case 3:
                spoiled[at : at + 1] = bytes([rng.randrange(256)])
            case 4:
                del spoiled[at:to]
            case 5:
                spoiled[at:at] = spoiled[at:to]
            case 6:
                del spoiled[at if rng.random() < 0.3 else len(spoiled) :]
            case 7:
                digits = [i for i, byte in enumerate(spoiled) if chr(byte).isdigit()]
                if digits:
                    spot = rng.choice(digits)
                    spoiled[spot : spot + 1] = rng.choice((b"-1", b"0", b"1e400", b"1e-320", b"nan", b"1e12", b'"1"'))
    return bytes(spoiled)
