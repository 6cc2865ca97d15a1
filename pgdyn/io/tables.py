"""Tables of keys and values in TOML and JSON files: read, checked and written in one way.

`read` says which line is wrong, `build` which key, and `numbers` which entry. Values are only ever data: nothing in a
file is evaluated or unpickled.
"""

from __future__ import annotations

import contextlib
import inspect
import json
import math
import os
import pathlib
import tomllib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import numpy as np

from pgdyn import validate
from pgdyn.io import atomic

Made = TypeVar("Made")

_LARGEST = {"toml": 2**25, "json": 2**26}  # bytes, which take some ten seconds to read
_MOST_DOTS = 100  # of a key; the reader of TOML takes a time that grows with their square


def read(path: str | os.PathLike[str], content: str = "problem") -> dict[str, Any]:
    """The keys and values of a TOML or JSON file, told apart by its suffix.

    Args:
        path: a file ending in .toml or .json, in UTF-8.
        content: what the file should hold, for error messages.

    Raises:
        FileNotFoundError: if there is no such file.
        OSError: if it cannot be read.
        ValueError: naming the file and the line or key that is wrong; also on a key that is given twice.

    Example:
        >>> import tempfile
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "problem.toml"
        >>> _ = path.write_text("true_reward = [1.0, 0.8]")
        >>> read(path)
        {'true_reward': [1.0, 0.8]}
    """
    try:
        path = pathlib.Path(path)
    except TypeError:
        raise ValueError(f"path is {validate.shown(path)}; it must be the name of a {content} file") from None
    if path.is_dir():
        raise ValueError(f"{path} is a directory, not a {content} file")
    suffix(path, content)
    if path.exists() and not path.is_file():  # it might have no end, or never begin
        raise ValueError(f"{path} is a pipe or a device, not a {content} file")
    try:
        if path.exists() and path.stat().st_size > _LARGEST[suffix(path, content)]:
            most = ", ".join(f"{size >> 20} MB as {kind.upper()}" for kind, size in _LARGEST.items())
            raise ValueError(f"{path} has {path.stat().st_size >> 20} MB; a {content} file has at most {most}")
        data = path.read_bytes()
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: there is no such file") from None
    except OSError as error:
        raise type(error)(f"{path} cannot be read: {error.strerror}") from None
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ValueError(f"{path}, line {line}: not UTF-8 text (byte {data[error.start]:#04x})") from None
    if not text.strip():
        raise ValueError(f"{path} is empty")
    return _parse(path, text, content)


def write(path: str | os.PathLike[str], table: Mapping[str, Any], content: str = "problem") -> None:
    """Writes a table as TOML or JSON, by the suffix of `path`, whole or not at all; `read` gives the same floats back.

    Args:
        path: the file; one that is there is replaced.
        table: plain values. NumPy arrays of numbers are written one row a line.
        content: what the file holds, for error messages.

    Raises:
        ValueError: on another suffix.
        OSError: if the file cannot be written.

    Example:
        >>> import tempfile
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "problem.toml"
        >>> write(path, {"true_reward": np.array([1.0, 0.8]), "name": "a test"})
        >>> print(path.read_text())
        true_reward = [1.0, 0.8]
        name = "a test"
        <BLANKLINE>
    """
    atomic.write_file(path, dumps(table, suffix(pathlib.Path(path), content)).encode())


def dumps(table: Mapping[str, Any], kind: str) -> str:
    """The text of a table in the format "toml" or "json"; entries that are None are left out.

    Example:
        >>> print(dumps({"temperature": 1.0, "name": None, "provenance": {"seed": 3}}, "toml"))
        temperature = 1.0
        <BLANKLINE>
        [provenance]
        seed = 3
        <BLANKLINE>
    """
    table = {key: value for key, value in table.items() if value is not None}
    if kind == "json":
        entries = (f"  {json.dumps(key)}: {_rows(value, '  ') or json.dumps(value)}" for key, value in table.items())
        return "{\n" + ",\n".join(entries) + "\n}\n"
    import tomli_w

    arrays = "".join(f"{key} = {rows}\n" for key, value in table.items() if (rows := _rows(value)))
    return arrays + tomli_w.dumps({key: value for key, value in table.items() if not isinstance(value, np.ndarray)})


def suffix(path: pathlib.Path, content: str) -> str:
    """The format that a file is named after: "toml" or "json".

    Raises:
        ValueError: if it is neither.
    """
    kind = path.suffix.lower().removeprefix(".")
    if kind not in ("toml", "json"):
        raise ValueError(f"{path}: the name of a {content} file ends in .toml or .json")
    return kind


@contextlib.contextmanager
def within(place: object) -> Iterator[None]:
    """Errors about values inside the block begin with where they were found: `place: ...`."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{place}: {error}") from None
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{place}: {error}") from None


def build(
    make: Callable[..., Made], table: Mapping[str, Any], readers: Mapping[str, Callable[[Any], Any]] | None = None
) -> Made:
    """`make` called with a table's keys as arguments; its signature says which keys there are and which must be there.

    Args:
        make: a class or function.
        table: keys and values.
        readers: for some keys, what makes an argument of the value; errors in it begin with the key.

    Raises:
        ValueError: naming the key that is unknown or missing, and what `make` raises.

    Example:
        >>> from pgdyn import Objective
        >>> build(Objective, {"kl": 0.1}).kl
        Array(0.1, dtype=float64)
        >>> build(Objective, {"kll": 0.1})
        Traceback (most recent call last):
            ...
        ValueError: unknown key 'kll'; did you mean 'kl'?
    """
    parameters = inspect.signature(make).parameters
    validate.refuse_unknown(table, parameters)
    for name, parameter in parameters.items():
        if parameter.default is parameter.empty and name not in table:
            raise ValueError(f"the key {name} is missing")
    arguments = dict(table)
    for name, reader in (readers or {}).items():
        if name in table:
            with within(name):
                arguments[name] = reader(table[name])
    return make(**arguments)


def numbers(key: str, value: Any, axes: int, rule: str) -> np.ndarray:
    """The array of a key's nested lists, every entry checked to be a finite number.

    Args:
        key: the key, for error messages.
        value: a number, or lists of numbers.
        axes: the most axes that the array may have.
        rule: its shapes in words, for instance "[K] or [P, K]".

    Raises:
        ValueError: naming the entry that is wrong.

    Example:
        >>> numbers("true_reward", [[1, 2], [3, float("nan")]], 2, "[K] or [P, K]")
        Traceback (most recent call last):
            ...
        ValueError: true_reward[1, 1] is nan; every entry must be finite
    """
    return np.asarray(_checked(key, value, axes, rule, ()), np.float64)


def _parse(path: pathlib.Path, text: str, content: str) -> dict[str, Any]:
    kind = suffix(path, content)
    if kind == "toml" and any(map(_is_deep, text.splitlines())):
        raise ValueError(f"{path} is nested too deeply to be a {content}")
    try:
        table = tomllib.loads(text) if kind == "toml" else json.loads(text, object_pairs_hook=_once)
    except tomllib.TOMLDecodeError as error:
        where = f"line {text.rstrip().count(chr(10)) + 1}, the last"
        reason = str(error).replace("at end of document", f"at {where}")
        raise ValueError(f"{path} is not valid TOML: {reason}") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}, line {error.lineno}: not valid JSON: {error.msg}") from None
    except RecursionError:
        raise ValueError(f"{path} is nested too deeply to be a {content}") from None
    except ValueError as error:
        # Python refuses the longest whole numbers, in words about itself.
        long = "a whole number in it has thousands of digits" if "set_int_max_str_digits" in str(error) else error
        raise ValueError(f"{path}: {long}") from None
    if not isinstance(table, dict):
        kinds = {list: "a list", str: "a string", bool: "a truth value", type(None): "null"}
        found = kinds.get(type(table), "a number")
        raise ValueError(f"{path} holds {found} where a JSON object with the {content}'s keys is needed")
    return table


def _is_deep(line: str) -> bool:
    """Whether a line's key, or the table that it begins, has more dots than any that is known."""
    if line.count(".") <= _MOST_DOTS:
        return False
    before, sign, _ = line.partition("#")[0].partition("=")
    return before.count(".") > _MOST_DOTS and (sign == "=" or (before.lstrip()[:1] == "[" and "," not in before))


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table: dict[str, Any] = {}
    for key, value in pairs:
        if key in table:
            raise ValueError(f"the key {key!r} is given twice")
        table[key] = value
    return table


def _checked(key: str, value: Any, axes: int, rule: str, index: tuple[int, ...]) -> Any:
    """`value` with every entry a finite float and every list as long as its neighbours."""
    if isinstance(value, list):
        here = validate.place(key, index)
        if len(index) == axes:
            raise ValueError(f"{here} is a list; a file holds one problem, where {key} must be {rule}")
        if not value:
            raise ValueError(f"{here} is empty")
        if {float, int}.issuperset(map(type, value)):  # a long row of good numbers needs no look at each
            with contextlib.suppress(OverflowError):
                if np.isfinite(row := np.array(value, np.float64)).all():
                    return row
        rows = [_checked(key, entry, axes, rule, (*index, i)) for i, entry in enumerate(value)]
        shapes = [np.shape(row) for row in rows]
        for i, shape in enumerate(shapes):
            if shape != shapes[0]:
                first, other = (validate.place(key, (*index, j)) for j in (0, i))
                raise ValueError(f"{key} is not rectangular: {first} has shape {shapes[0]} but {other} {shape}")
        return np.asarray(rows)
    if isinstance(value, bool) or not isinstance(value, int | float):
        word = {dict: "a table", type(None): "null"}.get(type(value), validate.shown(value))
        raise ValueError(f"{validate.place(key, index)} is {word}; it must be a number")
    try:
        number = float(value)
    except OverflowError:
        raise ValueError(f"{validate.place(key, index)} is a whole number too large for a float") from None
    if not math.isfinite(number):
        raise ValueError(validate.refusal(key, index, number, "every entry must be finite"))
    return number


def _rows(value: Any, indent: str = "") -> str:
    """An array as nested lists, one row a line, every number by its shortest decimal that reads back as the same float.

    Empty for what is no array.
    """
    if not isinstance(value, np.ndarray):
        return ""
    if value.ndim == 0:
        return repr(float(value))
    inner = [_rows(np.asarray(entry), indent + "  ") for entry in value]
    if value.ndim == 1:
        return "[" + ", ".join(inner) + "]"
    return "[\n" + ",\n".join(f"{indent}  {row}" for row in inner) + f"\n{indent}]"
